"""Class names, ids, colors and kinds of each dataset: the only place that knows a dataset's classes."""

import colorsys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jaxtyping import Int32, Int64, UInt8

from pcseg.labels_scannet200 import SCANNET200 as _SCANNET200


@dataclass(frozen=True)
class ClassSet:
    """The classes of one dataset, in the order of the class indices that scenes and models use.

    Args:
        name: how configs and files call the set.
        names: class names; the index into this tuple is the class index.
        ids: id of each class in the benchmark's own files, never 0 (0 is "unannotated" there).
        colors: one RGB color per class.
        stuff: names of classes that are surfaces rather than objects; panoptic quality reports them apart.
        instance_names: names of classes that instance AP counts; the others are void there.
        groups: named subsets of the classes that metrics report apart, e.g. head, common and tail.
    """

    name: str
    names: tuple[str, ...]
    ids: tuple[int, ...]
    colors: tuple[tuple[int, int, int], ...]
    stuff: frozenset[str]
    instance_names: tuple[str, ...]
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)

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
        """Colors as an array, one row per class."""
        return np.array(self.colors, np.uint8)

    def index_of_ids(self, ids: Int64[np.ndarray, "P"]) -> Int32[np.ndarray, "P"]:
        """Class index of each benchmark id, -1 for ids outside the set."""
        table = np.full(max(int(ids.max(initial=0)), max(self.ids)) + 1, -1, np.int32)
        table[list(self.ids)] = np.arange(len(self.ids))
        return np.where(ids >= 0, table[np.maximum(ids, 0)], -1).astype(np.int32)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain lists, numbers and texts, for JSON, YAML and checkpoints."""
        return {
            "name": self.name,
            "names": list(self.names),
            "ids": list(self.ids),
            "colors": [list(color) for color in self.colors],
            "stuff": [name for name in self.names if name in self.stuff],
            "instance_names": list(self.instance_names),
            "groups": {group: list(members) for group, members in self.groups.items()},
        }

    @staticmethod
    def from_dict(content: Any, where: str = "class set", default_name: str | None = None) -> "ClassSet":
        """The class set that `to_dict` gave, or that a person wrote.

        Args:
            content: a mapping with `names` and, optionally, `name`, `ids` (1, 2, ... without them), `colors` (distinct
                ones), `stuff` (none), `instance_names` (all but stuff) and `groups` (none).
            where: what messages call it, e.g. the file.
            default_name: its name where the mapping has none.

        Raises:
            ValueError: a key is not known, or a value does not fit; the message names it.
        """
        return _checked(content, where, default_name)


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

# The 20 benchmark classes of ScanNet v2: nyu40 id, name, color.
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


def distinct_colors(count: int) -> tuple[tuple[int, int, int], ...]:
    """`count` colors that tell neighbors apart, always the same ones.

    Hues go round by the golden ratio, which never comes close to an earlier one soon; lightness and strength alternate.
    """
    colors = []
    for index in range(count):
        strength, light = (0.75, 0.55, 0.9)[index % 3], (0.9, 0.7, 0.8, 0.55)[index % 4]
        rgb = colorsys.hsv_to_rgb(index * 0.6180339887 % 1, strength, light)
        colors.append((round(255 * rgb[0]), round(255 * rgb[1]), round(255 * rgb[2])))
    return tuple(colors)


_GROUPS_200 = {"head": "h", "common": "c", "tail": "t"}

SCANNET200 = ClassSet(
    name="scannet200",
    names=tuple(name for _, name, _ in _SCANNET200),
    ids=tuple(i for i, _, _ in _SCANNET200),
    colors=distinct_colors(len(_SCANNET200)),
    stuff=frozenset({"wall", "floor"}),
    instance_names=tuple(name for _, name, _ in _SCANNET200 if name not in ("wall", "floor")),
    groups={
        group: tuple(name for _, name, mark in _SCANNET200 if mark == letter) for group, letter in _GROUPS_200.items()
    },
)

CLASS_SETS: dict[str, ClassSet] = {classes.name: classes for classes in (S3DIS, SCANNET20, SCANNET200)}
_KEYS = ("name", "names", "ids", "colors", "stuff", "instance_names", "groups")


def class_set(name: str | Path) -> ClassSet:
    """The class set called `name`, or the one that a YAML file of one's own describes.

    Args:
        name: a name out of `CLASS_SETS`, or the path of a .yaml file with the keys of `ClassSet.from_dict`.

    Raises:
        ValueError: there is no such set or file, or the file does not describe one.
    """
    if str(name) in CLASS_SETS:
        return CLASS_SETS[str(name)]
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        raise ValueError(f"no class set {str(name)!r}; known: {', '.join(CLASS_SETS)}; or the path of a .yaml file")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: cannot read the classes: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    classes = ClassSet.from_dict(content, str(path), path.stem)
    if classes.name in CLASS_SETS and classes != CLASS_SETS[classes.name]:
        raise ValueError(f"{path}: {classes.name} is the name of a class set of pcseg; give it another one with `name`")
    return classes


def _checked(content: Any, where: str, default_name: str | None) -> ClassSet:
    if not isinstance(content, dict) or not isinstance(content.get("names"), (list, tuple)) or not content["names"]:
        raise ValueError(f"{where}: expected a mapping with a list `names` of class names, as in names: [floor, chair]")
    unknown = [str(key) for key in content if key not in _KEYS]
    if unknown:
        raise ValueError(f"{where}: no key {unknown[0]!r} is known; expected {', '.join(_KEYS)}")
    names = _names(content["names"], where, "names", None)
    stuff = _names(content.get("stuff", []), where, "stuff", names)
    others = [name for name in names if name not in stuff]
    name = content.get("name", default_name)
    if not isinstance(name, str) or not name:
        raise ValueError(f"{where}: expected a name for the class set, found {name!r}")
    ids = content.get("ids", list(range(1, len(names) + 1)))
    if not _are_whole(ids, 1, 2**31 - 1) or len(ids) != len(names) or len(set(ids)) != len(ids):
        raise ValueError(f"{where}: expected ids as {len(names)} different whole numbers above 0, found {ids!r}")
    colors = content.get("colors", distinct_colors(len(names)))
    if (
        not isinstance(colors, (list, tuple))
        or len(colors) != len(names)
        or not all(_are_whole(color, 0, 255) and len(color) == 3 for color in colors)
    ):
        raise ValueError(f"{where}: expected colors as {len(names)} lists [r, g, b] of 0..255, found {colors!r}")
    groups = content.get("groups", {})
    if not isinstance(groups, dict):
        raise ValueError(f"{where}: expected groups as a mapping of names to lists of classes, found {groups!r}")
    return ClassSet(
        name=name,
        names=names,
        ids=tuple(ids),
        colors=tuple((color[0], color[1], color[2]) for color in colors),
        stuff=frozenset(stuff),
        instance_names=_names(content.get("instance_names", others), where, "instance_names", names),
        groups={str(key): _names(members, where, f"groups.{key}", names) for key, members in groups.items()},
    )


def _names(values: Any, where: str, key: str, known: tuple[str, ...] | None) -> tuple[str, ...]:
    """A list of different class names, all of them out of `known` where that is given."""
    if not isinstance(values, (list, tuple)) or not all(isinstance(value, str) and value for value in values):
        raise ValueError(f"{where}: expected {key} as a list of class names, found {values!r}")
    double = [value for index, value in enumerate(values) if value in values[:index]]
    if double:
        raise ValueError(f"{where}: {key} has {double[0]!r} twice")
    strange = [value for value in values if known is not None and value not in known]
    if strange:
        raise ValueError(f"{where}: {key} has {strange[0]!r}, which is not among names: {', '.join(known or ())}")
    return tuple(values)


def _are_whole(values: Any, low: int, high: int) -> bool:
    return isinstance(values, (list, tuple)) and all(type(v) is int and low <= v <= high for v in values)
