"""Predictions and ground truth in the format of ScanNet's instance benchmark.

A folder of predictions holds ``SCENE.txt`` with one line ``MASK_FILE LABEL_ID SCORE`` per object, MASK_FILE relative
to the folder, and the mask files: ``.txt`` with one 0 or 1 per point and line (the benchmark's own), ``.npz`` (key
``mask``, or ``packed`` as by np.packbits) or ``.json`` (run lengths, see `pcseg.metrics.rle`). Ground truth is
``SCENE.txt`` with one whole number per point and line, label id * 1000 + instance, 0 where nothing is annotated.
"""

import json
import math
import os
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int32, Int64, Integer

from pcseg.classes import ClassSet
from pcseg.files import atomic_write, npz_bytes, read_npz
from pcseg.metrics.rle import rle_decode, rle_encode
from pcseg.structures import Prediction, Scene, mask_rows

MASK_FOLDER = "predicted_masks"
MaskFormat = Literal["txt", "npz", "json"]


def write_predictions(folder: Path, prediction: Prediction, *, mask_format: MaskFormat = "txt") -> Path:
    """Writes the objects found in one scene.

    Args:
        folder: folder of predictions, made where it does not exist.
        prediction: the objects of a scene; masks over superpoints are written over points.
        mask_format: the benchmark takes "txt" only; "npz" and "json" are smaller.

    Returns:
        The path of SCENE.txt. It is written last, so it never names a mask file that is not there.

    Raises:
        ValueError: the name of the scene has blanks or slashes, which the format cannot hold.
    """
    name, classes = prediction.scene.name, prediction.classes
    if not name or any(character.isspace() or character in "/\\" for character in name):
        raise ValueError(
            f"scene name {name!r} has blanks or slashes, which the benchmark's format cannot hold; rename it"
        )
    lines = []
    for row in range(len(prediction)):
        assert classes is not None  # objects have labels
        label, score = int(prediction.labels[row]), float(prediction.scores[row])
        relative = f"{MASK_FOLDER}/{name}_{row:03d}.{mask_format}"
        atomic_write(Path(folder) / relative, mask_bytes(prediction.point_mask(row), mask_format))
        lines.append(f"{relative} {classes.ids[label]} {score!r}\n")
    return atomic_write(Path(folder) / f"{name}.txt", "".join(lines))


def read_predictions(path: Path, scene: Scene, classes: ClassSet) -> Prediction:
    """Reads the objects of one scene.

    Args:
        path: SCENE.txt in a folder of predictions.
        scene: the scene; every mask must have as many points.
        classes: the dataset's classes.

    Returns:
        Objects with masks over points, in the order of the file.

    Raises:
        ValueError: names file and line, and what is wrong there: a line without three entries, a mask file outside
            the folder, missing, named twice or of a wrong length, a label id that the dataset does not have, a score
            that is not a number.
    """
    path = Path(path)
    ids = {label_id: index for index, label_id in enumerate(classes.ids)}
    masks: dict[str, np.ndarray] = {}
    labels, scores = [], []
    for number, line in enumerate(_read_text(path).splitlines(), start=1):
        where, parts = f"{path}:{number}", line.split()
        if not parts:
            continue
        if len(parts) != 3:
            raise ValueError(f"{where}: expected 'MASK_FILE LABEL_ID SCORE', found {line!r}")
        file, label_id, score = parts
        if not math.isfinite(_number(score, f"{where}: the score")):
            raise ValueError(f"{where}: the score must be a finite number, found {score!r}")
        if _number(label_id, f"{where}: the label id") not in ids:
            known = ", ".join(map(str, classes.ids)) if len(ids) <= 20 else f"{len(ids)} ids"
            raise ValueError(f"{where}: label id {label_id} is not one of {classes.name} ({known})")
        file = os.path.normpath(file)
        if os.path.isabs(file) or file.split(os.sep)[0] == "..":
            raise ValueError(f"{where}: mask file {parts[0]} must be a path inside {path.parent}, relative to it")
        if file in masks:
            raise ValueError(
                f"{where}: mask file {parts[0]} was named by an earlier line; give each object its own file"
            )
        if not (path.parent / file).is_file():
            raise ValueError(f"{where}: there is no mask file {path.parent / file}")
        masks[file] = np.flatnonzero(read_mask(path.parent / file, len(scene)))
        labels.append(ids[int(float(label_id))])
        scores.append(float(score))
    rows = mask_rows(list(masks.values()), len(scene))
    return Prediction(scene, rows, np.array(labels, np.int64), np.array(scores, np.float64), classes=classes)


def write_ground_truth(
    path: Path, semantic: Integer[np.ndarray, "P"], instance: Integer[np.ndarray, "P"], classes: ClassSet
) -> Path:
    """Writes the annotation of one scene.

    Args:
        path: the file.
        semantic: class index of each point, -1 for none.
        instance: object of each point, 1..999, 0 for none. Points without class or without object become 0: the
            format has no place for a class without an object.
        classes: gives the label ids of the class indices.

    Returns:
        The path.

    Raises:
        ValueError: a class index outside the set, or an instance id that does not fit into three digits.
    """
    for what, values, low, high in (("class index", semantic, -1, len(classes) - 1), ("instance id", instance, 0, 999)):
        if len(values) and not low <= values.min() <= values.max() <= high:
            bad = values.min() if values.min() < low else values.max()
            raise ValueError(f"{path}: {what} {bad} does not fit the format, expected {low}..{high}")
    label_ids = np.append(np.array(classes.ids, np.int64), 0)[semantic]
    values = np.where((label_ids > 0) & (instance > 0), label_ids * 1000 + instance, 0)
    return atomic_write(path, "".join(f"{value}\n" for value in values.tolist()))


def read_ground_truth(path: Path, classes: ClassSet) -> tuple[Int32[np.ndarray, "P"], Int32[np.ndarray, "P"]]:
    """Reads the annotation of one scene.

    Args:
        path: SCENE.txt in a folder of ground truth.
        classes: the dataset's classes; points of label ids outside the set become void, and so do
            negative numbers.

    Returns:
        Class index of each point, -1 for void, and object of each point: 0 for none, otherwise counted from 1 in the
        order of the file's numbers, unique in the scene. As for the benchmark's script, the number label id * 1000 is
        an object too.

    Raises:
        ValueError: names file and line of what is not a whole number.
    """
    values = _integers(Path(path))
    semantic = classes.index_of_ids(values // 1000)
    numbers, rank = np.unique(np.where(semantic < 0, 0, values), return_inverse=True)
    first = 0 if len(numbers) and numbers[0] == 0 else 1
    return semantic, (rank.reshape(-1) + first).astype(np.int32)


def read_mask(path: Path, num_points: int | None) -> Bool[np.ndarray, "P"]:
    """Reads one mask file (.txt, .npz or .json).

    Args:
        path: the file.
        num_points: points that the mask must have; None takes what the file says.

    Raises:
        ValueError: the file is damaged, of a kind that is not known, or of another length.
    """
    if path.suffix == ".txt":
        mask = _read_mask_text(path)
    elif path.suffix == ".npz":
        mask = _read_mask_npz(path, num_points)
    elif path.suffix == ".json":
        try:
            mask = rle_decode(json.loads(_read_text(path)))
        except ValueError as error:
            raise ValueError(f"{path}: not a run-length mask: {error}") from error
    else:
        raise ValueError(f"{path}: masks are .txt, .npz or .json files, found {path.suffix or 'no ending'}")
    if num_points is not None and len(mask) != num_points:
        raise ValueError(f"{path}: the mask has {len(mask)} points, the ground truth of the scene has {num_points}")
    return mask


def mask_bytes(mask: Bool[np.ndarray, "P"], mask_format: MaskFormat) -> bytes:
    """The content of a mask file."""
    if mask_format == "txt":
        lines = np.full((len(mask), 2), ord("\n"), np.uint8)
        lines[:, 0] = ord("0") + mask
        return lines.tobytes()
    if mask_format == "npz":
        return npz_bytes({"packed": np.packbits(mask), "num_points": np.array(len(mask), np.int64)})
    return json.dumps(rle_encode(mask)).encode()


def _read_mask_text(path: Path) -> Bool[np.ndarray, "P"]:
    raw = np.frombuffer(path.read_bytes(), np.uint8)
    digits, ends = raw[::2], raw[1::2]
    # The usual file, one digit and one newline per point, is read without parsing numbers.
    if np.all(ends == ord("\n")) and np.all((digits == ord("0")) | (digits == ord("1"))):
        return digits == ord("1")
    return _integers(path) != 0


def _read_mask_npz(path: Path, num_points: int | None) -> Bool[np.ndarray, "P"]:
    arrays = read_npz(path, ("mask", "packed", "num_points"))
    if "mask" in arrays:
        mask = arrays["mask"]
        if mask.ndim != 1 or mask.dtype.kind not in "biu":
            raise ValueError(f"{path}: mask must be bool or whole numbers of shape (P,), got {mask.dtype} {mask.shape}")
        return mask != 0
    if "packed" not in arrays:
        raise ValueError(f"{path}: expected an array 'mask' or 'packed', found neither")
    packed = arrays["packed"]
    count = int(arrays.get("num_points", np.int64(8 * packed.size if num_points is None else num_points)))
    if packed.dtype != np.uint8 or packed.ndim != 1 or len(packed) != (count + 7) // 8:
        raise ValueError(
            f"{path}: packed must hold {(count + 7) // 8} bytes for {count} points, got {packed.dtype} {packed.shape}"
        )
    return np.unpackbits(packed, count=count).astype(np.bool_)


def _integers(path: Path) -> Int64[np.ndarray, "P"]:
    """One whole number per line."""
    lines = _read_text(path).splitlines()
    while lines and not lines[-1].strip():
        lines.pop()
    values = np.zeros(len(lines), np.int64)
    for number, line in enumerate(lines, start=1):
        try:
            value = int(line)
        except ValueError as error:
            raise ValueError(f"{path}:{number}: expected one whole number, found {line!r}") from error
        if abs(value) >= 2**31:
            raise ValueError(f"{path}:{number}: {value} is too large for label id * 1000 + instance")
        values[number - 1] = value
    return values


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text file: {error}") from error


def _number(text: str, what: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ValueError(f"{what} must be a number, found {text!r}") from error
