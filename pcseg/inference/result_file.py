"""The file between prediction and pictures: a room, its labels and the objects found, in one .npz that stands alone."""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int32, UInt8

from pcseg.classes import ClassSet
from pcseg.files import atomic_open
from pcseg.structures import Instances, Scene, mask_rows

FORMAT = "pcseg-result"
VERSION = 1
_SCENE_ARRAYS = ("xyz", "rgb", "normal", "semantic", "instance", "superpoint", "faces")
_DTYPES = {"xyz": np.float32, "rgb": np.uint8, "normal": np.float32}  # the others are int32


@dataclass(frozen=True)
class Result:
    """What a result file holds.

    Args:
        scene: the room, with its ground truth where it has one.
        instances: the objects that were found; None where only classes were predicted.
        semantic: predicted class of each point, -1 for none; None where only objects were predicted.
        classes: the classes that all labels index.
    """

    scene: Scene
    instances: Instances | None
    semantic: Int32[np.ndarray, "P"] | None
    classes: ClassSet


def save_result(
    path: Path,
    scene: Scene,
    instances: Instances | None,
    semantic: Int32[np.ndarray, "P"] | None,
    classes: ClassSet,
) -> None:
    """Writes a room and what was predicted for it to one compressed .npz.

    Args:
        path: the file; it is replaced only when the new one is whole.
        scene: the room.
        instances: the objects found, over superpoints or over points; None for none predicted.
        semantic: predicted class index of each point; None for none predicted.
        classes: the classes of scene and predictions; names, ids and colors go into the file.

    Raises:
        ValueError: the parts do not belong together, or a label is outside the classes.
        OSError: the file cannot be written.
    """
    path = Path(path)
    _check(str(path), scene, instances, semantic, classes)
    arrays: dict[str, np.ndarray] = {
        "format": np.array(FORMAT),
        "version": np.array(VERSION),
        "name": np.array(scene.name),
        "class_set": np.array(classes.name),
        "class_names": np.array(classes.names),
        "class_ids": np.array(classes.ids, np.int64),
        "class_colors": classes.color_table(),
        "class_stuff": np.array([name in classes.stuff for name in classes.names], np.bool_),
        "class_instances": np.array([classes.names.index(name) for name in classes.instance_names], np.int64),
    }
    for key in _SCENE_ARRAYS:
        value = getattr(scene, key)
        if value is not None:
            arrays[key] = value
    if instances is not None:
        arrays["mask_shape"] = np.array([len(instances), instances.num_columns], np.int64)
        arrays["mask_bits"] = _packed_bits(instances)
        arrays["labels"] = np.asarray(instances.labels, np.int64)
        arrays["scores"] = np.asarray(instances.scores)
        if instances.superpoint is not None:
            arrays["mask_superpoint"] = instances.superpoint
    if semantic is not None:
        arrays["predicted_semantic"] = semantic
    with atomic_open(path) as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def load_result(path: Path) -> Result:
    """Reads what `save_result` wrote.

    Args:
        path: a result file.

    Returns:
        The room, the predictions and the classes, checked.

    Raises:
        ValueError: the file is no result, is damaged, or was written by a newer version.
        OSError: the file cannot be opened.
    """
    path = Path(path)
    arrays = _read_arrays(path)
    kind = arrays.get("format")
    if kind is None or kind.ndim != 0 or str(kind) != FORMAT:
        raise ValueError(f"{path}: not a pcseg result (no entry 'format' that says {FORMAT!r})")
    version = int(_entry(path, arrays, "version"))
    if version != VERSION:
        raise ValueError(f"{path}: result version {version}, this program reads {VERSION}; use the one that wrote it")
    try:
        scene = Scene(
            name=str(_entry(path, arrays, "name")),
            **{
                key: _entry(path, arrays, key, _DTYPES.get(key, np.int32))
                for key in _SCENE_ARRAYS
                if key in arrays or key == "xyz"
            },
        )
        classes = _read_classes(path, arrays)
        instances = _read_instances(path, arrays)
    except (TypeError, IndexError) as error:
        raise ValueError(f"{path}: damaged result file: {error}") from error
    semantic = None
    if "predicted_semantic" in arrays:
        semantic = _entry(path, arrays, "predicted_semantic", np.int32)
    _check(str(path), scene, instances, semantic, classes)
    return Result(scene, instances, semantic, classes)


def is_result(path: Path) -> bool:
    """Whether `path` is an .npz archive with the entries of a result file; scans may be .npz files too."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return {"format.npy", "version.npy", "class_names.npy"} <= set(archive.namelist())


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an .npz file, without pickles."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    if path.is_dir():
        raise ValueError(f"{path}: a folder, expected a result file (.npz)")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path}: not a result file: expected an .npz archive, whole and undamaged")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except (ValueError, EOFError, KeyError, SyntaxError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise ValueError(f"{path}: damaged or foreign .npz file ({error}); write it again") from error


def _entry(path: Path, arrays: dict[str, np.ndarray], key: str, dtype: type | None = None) -> np.ndarray:
    if key not in arrays:
        raise ValueError(f"{path}: damaged result file: it has no entry {key!r}")
    value = arrays[key]
    if dtype is not None and value.dtype != dtype:
        raise ValueError(f"{path}: entry {key!r} must be {np.dtype(dtype).name}, found {value.dtype}")
    return value


def _read_classes(path: Path, arrays: dict[str, np.ndarray]) -> ClassSet:
    names = tuple(str(name) for name in _entry(path, arrays, "class_names"))
    ids = tuple(int(i) for i in _entry(path, arrays, "class_ids", np.int64))
    colors = tuple((int(r), int(g), int(b)) for r, g, b in _entry(path, arrays, "class_colors", np.uint8))
    stuff = _entry(path, arrays, "class_stuff", np.bool_)
    if not len(names) == len(ids) == len(colors) == len(stuff):
        raise ValueError(f"{path}: {len(names)} class names, {len(ids)} ids, {len(colors)} colors: they must agree")
    return ClassSet(
        name=str(_entry(path, arrays, "class_set")),
        names=names,
        ids=ids,
        colors=colors,
        stuff=frozenset(name for name, is_stuff in zip(names, stuff) if is_stuff),
        instance_names=tuple(names[i] for i in _entry(path, arrays, "class_instances", np.int64)),
    )


def _packed_bits(instances: Instances) -> UInt8[np.ndarray, "I bytes"]:
    """The masks, eight columns a byte."""
    bits = np.zeros((len(instances), (instances.num_columns + 7) // 8), np.uint8)
    for row in range(len(instances)):
        bits[row] = np.packbits(instances.column_mask(row))
    return bits


def _read_instances(path: Path, arrays: dict[str, np.ndarray]) -> Instances | None:
    if "mask_bits" not in arrays:
        return None
    rows, columns = (int(size) for size in _entry(path, arrays, "mask_shape", np.int64))
    bits = _entry(path, arrays, "mask_bits", np.uint8)
    if rows < 0 or columns < 0 or bits.shape != (rows, (columns + 7) // 8):
        raise ValueError(f"{path}: masks of shape {(rows, columns)} do not fit the packed bits of shape {bits.shape}")
    masks = mask_rows([np.flatnonzero(np.unpackbits(row, count=columns)) for row in bits], columns)
    superpoint = _entry(path, arrays, "mask_superpoint", np.int32) if "mask_superpoint" in arrays else None
    scores = _entry(path, arrays, "scores")
    if scores.dtype not in (np.float32, np.float64):
        raise ValueError(f"{path}: entry 'scores' must be float32 or float64, found {scores.dtype}")
    return Instances(masks, _entry(path, arrays, "labels", np.int64), scores, superpoint)


def _check(
    where: str,
    scene: Scene,
    instances: Instances | None,
    semantic: np.ndarray | None,
    classes: ClassSet,
) -> None:
    """Raises ValueError where room, predictions and classes do not belong together."""
    num_points, num_classes = len(scene), len(classes)
    if scene.xyz.shape != (num_points, 3):
        raise ValueError(f"{where}: xyz must have shape (P, 3), found {scene.xyz.shape}")
    labels = {"semantic": scene.semantic, "predicted semantic": semantic}
    if instances is not None:
        labels["labels of the objects"] = instances.labels
        if instances.num_points != num_points:
            raise ValueError(f"{where}: masks are for {instances.num_points} points, the room has {num_points}")
        owner = instances.superpoint
        if owner is not None and num_points and not 0 <= owner.min() <= owner.max() < instances.num_columns:
            raise ValueError(
                f"{where}: superpoints run from {owner.min()} to {owner.max()}, "
                f"the masks have columns for 0 to {instances.num_columns - 1}"
            )
        if not np.isfinite(instances.scores).all():
            raise ValueError(f"{where}: object {int(np.flatnonzero(~np.isfinite(instances.scores))[0])} has no score")
    if semantic is not None and semantic.shape != (num_points,):
        raise ValueError(f"{where}: predicted semantic must have shape ({num_points},), found {semantic.shape}")
    for key, value in labels.items():
        lowest = 0 if key.startswith("labels") else -1
        if value is not None and value.size and not lowest <= value.min() <= value.max() < num_classes:
            raise ValueError(
                f"{where}: {key} must be class indices from {lowest} to {num_classes - 1} of {classes.name}, "
                f"found {value.min()} to {value.max()}"
            )
