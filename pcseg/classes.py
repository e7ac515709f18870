"""Class names, ids, colors and kinds of each dataset: the only place that knows a dataset's classes.

The built-in sets are YAML files in pcseg/class_sets, in the format of a user's own file. Each is read on first use:
`from pcseg.classes import S3DIS`, SCANNET20 or SCANNET200.
"""

import json
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jaxtyping import Bool, Int32, Int64, UInt8

from pcseg.choices import CLASS_SETS as CLASS_SETS

_ALIASES = {"scannet": "scannet20"}


def hex_colors(text: str) -> UInt8[np.ndarray, "K 3"]:
    """Colors from six hexadecimal digits each."""
    return np.frombuffer(bytes.fromhex(text), np.uint8).reshape(-1, 3)


# Made once by greedy choice of the color that is farthest from all earlier ones (Glasbey et al. 2007, "Colour displays
# for categorical images"), by the least distance in OKLab for normal and for dichromatic vision: the first 20 differ
# most, also without red or green cones.
OBJECT_COLORS = hex_colors(
    "b02e9a 447205 457cfd 24af32 9eeb50 a97ec3 ed4f8d a4515d 6443cc 3ab5ff ff815f 179996 d6b60f 2e65a0 786ac7 817f24 "
    "26dafe d790c5 f9b379 cd5f5c 7c89e7 d78c01 f8b6fe 89497b 73b072 27b4b0 b6e195 b59be6 b41946 4f8b4f 2f63e1 c54476 "
    "8f4ab4 a15930 b7d341 147f7c 027bdc f485fe 9066a9 cf6ba1 6bd36d 9f3960 ff8fb4 9b61ea fb9891 fba8c1 46abd4 fd6563 "
    "1e94ff 169d78 cb4ab3 1ccfdd f8a052 5e96d4 6d58ca c8368f 9d8502 e3769b 2cc69a 57a858"
)
SURFACE_COLORS = hex_colors("dceab2 d5c79d d5b9ea f1d5ff b2e3c0 b2d5ea f1b9ce e3d5ab c7f1d5 e3b9b2")  # pale, not gray


def class_colors(is_surface: Bool[np.ndarray, "C"]) -> UInt8[np.ndarray, "C 3"]:
    """Colors of classes: people with any kind of color vision can tell about twenty apart; after 30 they get darker."""
    colors = np.empty((len(is_surface), 3), np.uint8)
    for mask, table in ((is_surface, SURFACE_COLORS), (~is_surface, OBJECT_COLORS[:30])):  # the others are for objects
        turn, row = np.divmod(np.arange(mask.sum()), len(table))
        colors[mask] = table[row] * 0.9 ** turn[:, None]
    return colors


@dataclass(frozen=True)
class ClassSet:
    """The classes of one dataset, in the order of the class indices that scenes and models use."""

    name: str  # name of the set in configs and files
    names: tuple[str, ...]  # class names; the index into this tuple is the class index
    ids: tuple[int, ...]  # id of each class in the benchmark's own files, never 0 (0 is "unannotated" there)
    colors: tuple[tuple[int, int, int], ...] = field(compare=False)  # one RGB color per class, 0..255
    # Names of classes that are surfaces rather than objects; panoptic quality reports them separately.
    stuff: frozenset[str]
    instance_names: tuple[str, ...]  # names of classes that instance AP counts; the others are void there
    # Named subsets of the classes that metrics report separately, e.g. head, common and tail.
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    # Report coverage, precision and recall too, and means over areas, as papers on S3DIS do.
    s3dis_protocols: bool = False

    def __len__(self) -> int:
        return len(self.names)

    @property
    def instance_classes(self) -> tuple[int, ...]:
        """Class indices that instance AP counts."""
        return tuple(self.names.index(name) for name in self.instance_names)

    @property
    def is_stuff(self) -> Bool[np.ndarray, "C"]:
        """Whether each class is a surface, such as wall."""
        return np.array([name in self.stuff for name in self.names], np.bool_)

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
        return np.array(self.colors, np.uint8).reshape(-1, 3)

    def index_of_ids(self, ids: Int64[np.ndarray, "P"]) -> Int32[np.ndarray, "P"]:
        """Class index of each benchmark id, -1 for ids outside the set.

        >>> class_set("scannet20").index_of_ids(np.array([1, 39, 13]))
        array([ 0, 19, -1], dtype=int32)
        """
        order = np.argsort(self.ids)
        row = order[np.minimum(np.searchsorted(self.ids, ids, sorter=order), len(self) - 1)]
        return np.where(np.array(self.ids)[row] == ids, row, -1).astype(np.int32)

    def mapping_to(self, other: "ClassSet") -> Int32[np.ndarray, "C"]:
        """Index in another set of each class, -1 for classes without a counterpart; see class_sets/mappings.yaml.

        In a set of a user, the class with the same name is the counterpart.

        Raises:
            ValueError: the sets differ, and no mapping between them is known, or no class has a counterpart.

        >>> indoor, s3dis = class_set("indoor"), class_set("s3dis")
        >>> [s3dis.names[i] for i in indoor.mapping_to(s3dis)[[0, 3, 9, 18]]]
        ['wall', 'chair', 'bookcase', 'clutter']
        """
        if self.names == other.names:
            return np.arange(len(self), dtype=np.int32)
        known = _mappings().get(self.name, {})
        by_name = other.name not in CLASS_SETS and set(self.names) & set(other.names)
        if other.name not in known and not by_name:
            raise ValueError(
                f"no mapping from classes {self.name} to {other.name}; known: {', '.join(known) or 'none'}"
            )
        table = known.get(other.name, {})
        names = [table.get(n, n if n in other.names else table.get("others")) for n in self.names]
        return np.array([-1 if name is None else other.index(name) for name in names], np.int32)

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, numbers and texts, for JSON, YAML and checkpoints."""
        stuff = [name for name in self.names if name in self.stuff]
        return json.loads(json.dumps({**asdict(self), "stuff": stuff}))

    @staticmethod
    def from_dict(content: Any, where: str = "class set", default_name: str | None = None) -> "ClassSet":
        """Builds a class set from the result of `to_dict`, or from a user's mapping.

        Args:
            content: a mapping with `names`. Optional keys are `name`, `ids` (1, 2, ... by default), `colors` (distinct
                ones), `stuff` (none), `instance_names` (all but stuff), `groups` (none) and `s3dis_protocols` (false).
            where: name of the mapping in error messages, e.g. the file.
            default_name: name of the set if the mapping has none.

        Raises:
            ValueError: a key is unknown, or a value is invalid; the message names it.

        >>> classes = ClassSet.from_dict({"name": "mine", "names": ["floor", "chair"], "stuff": ["floor"]})
        >>> classes.ids, classes.instance_names
        ((1, 2), ('chair',))
        """
        if not isinstance(content, dict) or not isinstance(content.get("names"), (list, tuple)) or not content["names"]:
            raise ValueError(
                f"{where}: expected a mapping with a list `names` of class names, as in names: [floor, chair]"
            )
        known = [f.name for f in fields(ClassSet)]
        if unknown := [str(key) for key in content if key not in known]:
            raise ValueError(f"{where}: unknown key {unknown[0]!r}; expected {', '.join(known)}")
        names = _names(content["names"], where, "names", None)
        stuff = _names(content.get("stuff", []), where, "stuff", names)
        others = [name for name in names if name not in stuff]
        name = content.get("name", default_name)
        if not isinstance(name, str) or not name:
            raise ValueError(f"{where}: expected a name for the class set, found {name!r}")
        ids = content.get("ids", list(range(1, len(names) + 1)))
        if not _are_whole(ids, 1, 2**31 - 1) or len(ids) != len(names) or len(set(ids)) != len(ids):
            raise ValueError(f"{where}: expected ids as {len(names)} different whole numbers above 0, found {ids!r}")
        colors = content.get("colors", class_colors(np.isin(names, stuff)).tolist())
        if (
            not isinstance(colors, (list, tuple))
            or len(colors) != len(names)
            or not all(_are_whole(color, 0, 255) and len(color) == 3 for color in colors)
        ):
            raise ValueError(f"{where}: expected colors as {len(names)} lists [r, g, b] of 0..255, found {colors!r}")
        groups = content.get("groups", {})
        if not isinstance(groups, dict):
            raise ValueError(f"{where}: expected groups as a mapping of names to lists of classes, found {groups!r}")
        protocols = content.get("s3dis_protocols", name == "s3dis")
        if not isinstance(protocols, bool):
            raise ValueError(f"{where}: expected s3dis_protocols as true or false, found {protocols!r}")
        return ClassSet(
            name=name,
            names=names,
            ids=tuple(ids),
            colors=tuple((color[0], color[1], color[2]) for color in colors),
            stuff=frozenset(stuff),
            instance_names=_names(content.get("instance_names", others), where, "instance_names", names),
            groups={str(key): _names(members, where, f"groups.{key}", names) for key, members in groups.items()},
            s3dis_protocols=protocols,
        )


NO_CLASSES = ClassSet("", (), (), (), frozenset(), ())


def class_set(name: str | Path | ClassSet) -> ClassSet:
    """Finds a built-in class set, or reads one from a YAML file.

    Args:
        name: one of `CLASS_SETS`, scannet for scannet20, or the path of a .yaml file with the keys of
            `ClassSet.from_dict`; a class set is returned as it is.

    Raises:
        ValueError: there is no such set or file, or the file does not describe one.
    """
    if isinstance(name, ClassSet):
        return name
    known = _ALIASES.get(str(name), str(name))
    if known in CLASS_SETS:
        return _built_in(known)
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        raise ValueError(f"no class set {str(name)!r}; known: {', '.join(CLASS_SETS)}; or the path of a .yaml file")
    classes = _read_yaml(path)
    if classes.name in CLASS_SETS and classes != _built_in(classes.name):
        raise ValueError(f"{path}: {classes.name} is the name of a built-in class set; choose another `name`")
    return classes


def __getattr__(name: str) -> ClassSet:
    if name.lower() in CLASS_SETS and name.isupper():
        return _built_in(name.lower())
    raise AttributeError(f"module 'pcseg.classes' has no attribute {name!r}")


@cache
def _built_in(name: str) -> ClassSet:
    return _read_yaml(Path(__file__).parent / "class_sets" / f"{name}.yaml")


@cache
def _mappings() -> dict[str, dict[str, dict[str, str]]]:
    return yaml.safe_load((Path(__file__).parent / "class_sets/mappings.yaml").read_text(encoding="utf-8"))


def _read_yaml(path: Path) -> ClassSet:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: cannot read the classes: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    return ClassSet.from_dict(content, str(path), path.stem)


def _names(values: Any, where: str, key: str, known: tuple[str, ...] | None) -> tuple[str, ...]:
    """Checks a list of different class names, each one of `known` if that is given."""
    if not isinstance(values, (list, tuple)) or not all(isinstance(value, str) and value for value in values):
        raise ValueError(f"{where}: expected {key} as a list of class names, found {values!r}")
    if double := [value for index, value in enumerate(values) if value in values[:index]]:
        raise ValueError(f"{where}: {key} has {double[0]!r} twice")
    if strange := [value for value in values if known is not None and value not in known]:
        raise ValueError(f"{where}: {key} has {strange[0]!r}, which is not among names: {', '.join(known or ())}")
    return tuple(values)


def _are_whole(values: Any, low: int, high: int) -> bool:
    return isinstance(values, (list, tuple)) and all(type(v) is int and low <= v <= high for v in values)
