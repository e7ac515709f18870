"""Categories of ScanNet for the things in synthetic rooms."""

from typing import NamedTuple


class Category(NamedTuple):
    """A row of scannetv2-labels.combined.tsv: id, category, and id and name of its class of NYU40."""

    id: int
    category: str
    nyu40id: int
    nyu40class: str


# Raw categories with id and name of their class of NYU40, as in the table of ScanNet; the row ids are our own.
_ROWS = (
    ("wall", 1, "wall"), ("floor", 2, "floor"), ("file cabinet", 3, "cabinet"), ("chair", 5, "chair"),
    ("office chair", 5, "chair"), ("armchair", 5, "chair"), ("stool", 40, "otherprop"), ("couch", 6, "sofa"),
    ("table", 7, "table"), ("coffee table", 7, "table"), ("door", 8, "door"), ("window", 9, "window"),
    ("bookshelf", 10, "bookshelf"), ("picture", 11, "picture"), ("desk", 14, "desk"), ("ceiling", 22, "ceiling"),
    ("books", 23, "books"), ("tv", 25, "television"), ("paper", 26, "paper"), ("box", 29, "box"),
    ("whiteboard", 30, "whiteboard"), ("blackboard", 38, "otherstructure"), ("bulletin board", 38, "otherstructure"),
    ("lamp", 35, "lamp"), ("backpack", 37, "bag"), ("column", 38, "otherstructure"), ("beam", 38, "otherstructure"),
    ("radiator", 39, "otherfurniture"), ("trash can", 39, "otherfurniture"), ("copier", 39, "otherfurniture"),
    ("monitor", 40, "otherprop"), ("laptop", 40, "otherprop"), ("keyboard", 40, "otherprop"),
    ("plant", 40, "otherprop"), ("printer", 40, "otherprop"), ("cup", 40, "otherprop"),
    ("computer tower", 40, "otherprop"), ("clock", 40, "otherprop"), ("vent", 38, "otherstructure"),
)  # fmt: skip
CATEGORIES = {raw: Category(row, raw, nyu40id, name) for row, (raw, nyu40id, name) in enumerate(_ROWS, start=1)}


def label_table() -> str:
    """Content of scannetv2-labels.combined.tsv, with the rows in use."""
    rows = ["id\traw_category\tcategory\tnyu40id\tnyu40class"]
    rows += [f"{c.id}\t{raw}\t{c.category}\t{c.nyu40id}\t{c.nyu40class}" for raw, c in CATEGORIES.items()]
    return "\n".join(rows) + "\n"
