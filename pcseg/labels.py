"""Class names, ids, colours and kinds of each dataset: the only place that knows a dataset's classes."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32, Int64, UInt8


@dataclass(frozen=True)
class ClassSet:
    """The classes of one dataset, in the order of the class indices that scenes and models use.

    Args:
        name: how configs and files call the set.
        names: class names; the index into this tuple is the class index.
        ids: id of each class in the benchmark's own files, never 0 (0 is "unannotated" there).
        colors: one RGB colour per class.
        stuff: names of classes that are surfaces rather than objects; panoptic quality reports them apart.
        instance_names: names of classes that instance AP counts; the others are void there.
    """

    name: str
    names: tuple[str, ...]
    ids: tuple[int, ...]
    colors: tuple[tuple[int, int, int], ...]
    stuff: frozenset[str]
    instance_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def instance_classes(self) -> tuple[int, ...]:
        """Class indices that instance AP counts."""
        return tuple(self.names.index(name) for name in self.instance_names)

    def index(self, name: str) -> int:
        """Class index of a name.

        Raises:
            ValueError: the set has no such class.
        """
        if name not in self.names:
            raise ValueError(f"{self.name} has no class {name!r}; its classes: {', '.join(self.names)}")
        return self.names.index(name)

    def color_table(self) -> UInt8[np.ndarray, "C 3"]:
        """Colours as an array, one row per class."""
        return np.array(self.colors, np.uint8)

    def index_of_ids(self, ids: Int64[np.ndarray, "P"]) -> Int32[np.ndarray, "P"]:
        """Class index of each benchmark id, -1 for ids outside the set."""
        table = np.full(max(int(ids.max(initial=0)), max(self.ids)) + 1, -1, np.int32)
        table[list(self.ids)] = np.arange(len(self.ids))
        return np.where(ids >= 0, table[np.maximum(ids, 0)], -1).astype(np.int32)


# Order of the class index as in the S3DIS literature; ids are 1..13, because 0 * 1000 + instance would read as void.
_S3DIS: tuple[tuple[str, tuple[int, int, int]], ...] = (
    ("ceiling", (190, 200, 205)),
    ("floor", (140, 125, 105)),
    ("wall", (225, 215, 195)),
    ("beam", (255, 187, 120)),
    ("column", (148, 103, 189)),
    ("window", (110, 190, 235)),
    ("door", (200, 110, 60)),
    ("table", (235, 170, 40)),
    ("chair", (214, 60, 60)),
    ("sofa", (227, 119, 194)),
    ("bookcase", (60, 120, 190)),
    ("board", (70, 160, 90)),
    ("clutter", (120, 120, 120)),
)

# The 20 benchmark classes of ScanNet v2: nyu40 id, name, colour.
_SCANNET20: tuple[tuple[int, str, tuple[int, int, int]], ...] = (
    (1, "wall", (174, 199, 232)),
    (2, "floor", (152, 223, 138)),
    (3, "cabinet", (31, 119, 180)),
    (4, "bed", (255, 187, 120)),
    (5, "chair", (188, 189, 34)),
    (6, "sofa", (140, 86, 75)),
    (7, "table", (255, 152, 150)),
    (8, "door", (214, 39, 40)),
    (9, "window", (197, 176, 213)),
    (10, "bookshelf", (148, 103, 189)),
    (11, "picture", (196, 156, 148)),
    (12, "counter", (23, 190, 207)),
    (14, "desk", (247, 182, 210)),
    (16, "curtain", (219, 219, 141)),
    (24, "refrigerator", (255, 127, 14)),
    (28, "shower curtain", (158, 218, 229)),
    (33, "toilet", (44, 160, 44)),
    (34, "sink", (112, 128, 144)),
    (36, "bathtub", (227, 119, 194)),
    (39, "otherfurniture", (82, 84, 163)),
)

S3DIS = ClassSet(
    name="s3dis",
    names=tuple(name for name, _ in _S3DIS),
    ids=tuple(range(1, len(_S3DIS) + 1)),
    colors=tuple(color for _, color in _S3DIS),
    stuff=frozenset({"ceiling", "floor", "wall"}),
    instance_names=tuple(name for name, _ in _S3DIS),
)

SCANNET20 = ClassSet(
    name="scannet20",
    names=tuple(name for _, name, _ in _SCANNET20),
    ids=tuple(i for i, _, _ in _SCANNET20),
    colors=tuple(color for _, _, color in _SCANNET20),
    stuff=frozenset({"wall", "floor"}),
    instance_names=tuple(name for _, name, _ in _SCANNET20[2:]),
)

CLASS_SETS: dict[str, ClassSet] = {classes.name: classes for classes in (S3DIS, SCANNET20)}


def class_set(name: str) -> ClassSet:
    """The class set called `name`.

    Raises:
        ValueError: there is no such set.
    """
    if name not in CLASS_SETS:
        raise ValueError(f"no class set {name!r}; known: {', '.join(CLASS_SETS)}")
    return CLASS_SETS[name]
