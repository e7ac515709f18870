"""Predictions, ground truth and submissions in the format of ScanNet's instance benchmark.

A folder of predictions has ``SCENE.txt`` with one line ``MASK_FILE LABEL_ID SCORE`` per object, MASK_FILE relative to
the folder, and the mask files (see `mask_files`). Ground truth is ``SCENE.txt`` with one whole number per point and
line: label id * 1000 + instance, or 0 for points without annotation.
"""

import math
import os
import re
import zipfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Int32

from pcseg.classes import ClassSet
from pcseg.files import atomic_open, atomic_write
from pcseg.metrics.mask_files import MaskFormat, as_text, mask_bytes, parse_mask, read_integers, read_mask
from pcseg.prediction import Prediction, mask_rows
from pcseg.structures import Scene

MASK_FOLDER = "predicted_masks"


def write_predictions(folder: Path, prediction: Prediction, *, mask_format: MaskFormat = "txt") -> int:
    """Writes the objects of one scene, in SCENE.txt last, so that it never names a missing mask file.

    Args:
        folder: folder of predictions; created if it is missing.
        prediction: objects and their scene; masks over superpoints are written over points.
        mask_format: the benchmark takes "txt" only; "npz" and "json" are smaller.

    Returns:
        The number of objects that were left out: those of classes that instance AP does not count.

    Raises:
        ValueError: the scene has no name, or one with slashes.
    """
    name, classes = prediction.scene.name, prediction.classes
    if not name or "/" in name or "\\" in name:
        raise ValueError(f"scene name {name!r} is empty or has slashes, which the name of a file cannot hold")
    in_lines = re.sub(r"\s", lambda blank: f"%{ord(blank[0]):02x}", name)  # blanks end the name of a mask in a line
    lines = []
    for row in range(len(prediction)):
        assert classes is not None  # objects have labels
        if prediction.labels[row] not in classes.instance_classes:
            continue
        relative = f"{MASK_FOLDER}/{in_lines}_{row:03d}.{mask_format}"
        atomic_write(folder / relative, mask_bytes(prediction.point_mask(row), mask_format))
        lines.append(f"{relative} {classes.ids[prediction.labels[row]]} {float(prediction.scores[row])!r}\n")
    atomic_write(folder / f"{name}.txt", "".join(lines))
    return len(prediction) - len(lines)


def read_predictions(path: Path, scene: Scene, classes: ClassSet) -> Prediction:
    """Reads the predictions of one scene.

    Args:
        path: SCENE.txt; its masks are named relative to its folder.
        scene: scene that was predicted; every mask must have as many points.
        classes: classes whose label ids the file uses.

    Returns:
        Objects with masks over points, in the order of the file. As in the benchmark's script, objects whose label ids
        the class set does not have are passed over.

    Raises:
        ValueError: an invalid line, or a mask file that is missing, named twice or of a wrong length; the message names
            file and line.
    """
    masks, labels, scores = [], [], []
    for where, file, label_id, score in object_lines(path.read_bytes(), str(path)):
        if label_id not in classes.ids:
            continue
        if not (path.parent / file).is_file():
            raise ValueError(f"{where}: there is no mask file {path.parent / file}")
        masks.append(np.flatnonzero(read_mask(path.parent / file, len(scene))))
        labels.append(classes.ids.index(label_id))
        scores.append(score)
    rows = mask_rows(masks, len(scene))
    return Prediction(scene, rows, np.array(labels, np.int64), np.array(scores, np.float64), classes=classes)


def object_lines(raw: bytes, where: str, ids: Collection[int] | None = None) -> Iterator[tuple[str, str, int, float]]:
    """Reads and checks the lines of SCENE.txt.

    Args:
        raw: content of the file.
        where: name of the file in messages.
        ids: label ids that may occur; empty lines, label ids like 5.0, which the benchmark's script reads, and a byte
            order mark are then refused. None accepts all of these.

    Yields:
        Place in messages, mask file, label id and score of each line.

    Raises:
        ValueError: names file and line, and what is wrong there.
    """
    named: set[str] = set()
    for number, line in enumerate(as_text(raw, where, strict=ids is not None).splitlines(), start=1):
        here, parts = f"{where}:{number}", line.split()
        if not parts and ids is None:
            continue
        if len(parts) != 3:
            raise ValueError(f"{here}: expected 'MASK_FILE LABEL_ID SCORE', found {line!r}")
        file, label, score = os.path.normpath(parts[0]), _number(parts[1]), _number(parts[2])
        if os.path.isabs(file) or file.split(os.sep)[0] == "..":
            raise ValueError(f"{here}: mask file {parts[0]} must be a relative path inside the folder of SCENE.txt")
        if file in named:
            raise ValueError(f"{here}: mask file {parts[0]} was named by an earlier line")
        named.add(file)
        if not label.is_integer():
            raise ValueError(f"{here}: the label id must be a whole number, found {parts[1]!r}")
        if ids is not None and (label not in ids or not parts[1].isdecimal()):
            known = ", ".join(map(str, sorted(ids))) if len(ids) <= 20 else f"{len(ids)} ids"
            raise ValueError(f"{here}: label id {parts[1]} is not one of the class set's ({known})")
        if not math.isfinite(score):
            raise ValueError(f"{here}: the score must be a finite number, found {parts[2]!r}")
        yield here, file, int(label), score


def write_ground_truth(folder: Path, scene: Scene, classes: ClassSet) -> Path:
    """Writes the annotation of one scene and returns the path of SCENE.txt.

    Args:
        folder: folder of ground truth; created if it is missing.
        scene: a scene with labels. Points without class or without instance become 0: the format cannot hold a class
            without an instance. Instance ids above 999, which it cannot hold either, are numbered again in each class.
        classes: the dataset's classes.

    Raises:
        ValueError: a class index outside the set, a negative instance id, or a class of more than 999 instances.
    """
    path, semantic, instance = folder / f"{scene.name}.txt", scene.semantic, scene.instance
    if semantic is None or instance is None:
        raise ValueError(f"{path}: scene {scene.name} has no labels to write")
    wrong = semantic[(semantic < -1) | (semantic >= len(classes))]
    if len(wrong):
        raise ValueError(f"{path}: class index {wrong[0]} does not fit the format, expected -1..{len(classes) - 1}")
    if instance.min(initial=0) < 0:
        raise ValueError(f"{path}: instance id {instance.min()} does not fit the format, expected 0 or more")
    if instance.max(initial=0) > 999:
        instance = instance.copy()
        for label in np.unique(semantic[semantic >= 0]):
            inside = (semantic == label) & (instance > 0)
            instance[inside] = np.unique(instance[inside], return_inverse=True)[1] + 1
            if (count := instance[inside].max(initial=0)) > 999:
                raise ValueError(f"{path}: {classes.names[label]} has {count} instances, the format holds 999")
    label_ids = np.append(np.array(classes.ids, np.int64), 0)[semantic]
    values = np.where((label_ids > 0) & (instance > 0), label_ids * 1000 + instance, 0)
    return atomic_write(path, "".join(f"{value}\n" for value in values.tolist()))


def read_ground_truth(path: Path, classes: ClassSet) -> tuple[Int32[np.ndarray, "P"], Int32[np.ndarray, "P"]]:
    """Reads the annotation of one scene.

    Args:
        path: SCENE.txt in a folder of ground truth.
        classes: the dataset's classes; points of label ids outside the set, and negative numbers, become void.

    Returns:
        Class index of each point, -1 for void. Instance of each point, 0 for none, otherwise numbered from 1 in the
        order of the file's numbers. As in the benchmark's script, the number label id * 1000 is an instance too.

    Raises:
        ValueError: names file and line of what is not a whole number, or labels without instances.
    """
    values = read_integers(path.read_bytes(), str(path))
    highest = values.max(initial=0)
    if highest > 0 and (highest < 1000 or np.isin(values[values > 0], classes.ids).all()):
        raise ValueError(
            f"{path}: expected label id * 1000 + instance, found labels up to {highest} without instances; "
            "tools/make_gt.py writes such files from processed rooms"
        )
    semantic = classes.index_of_ids(values // 1000)
    _, rank = np.unique(np.append(0, np.where(semantic < 0, 0, values)), return_inverse=True)  # 0 comes first
    return semantic, rank[1:].astype(np.int32)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def and_more(names: list[str]) -> str:
    """End of a message that names the first of some scenes or files."""
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def write_submission(path: Path, folder: Path, scenes: Iterable[str]) -> Path:
    """Packs predictions of scenes, atomically; masks of any format become .txt.

    Args:
        path: .zip file to write.
        folder: folder of `write_predictions`.
        scenes: names of the scenes to pack.

    Raises:
        ValueError: a mask file is damaged.
        OSError: a scene is not in the folder.
    """
    with atomic_open(path) as target, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.comment = b"pcseg"  # a file without it is not replaced
        for scene in sorted(scenes):
            lines = []
            for line in (folder / f"{scene}.txt").read_text(encoding="utf-8-sig").splitlines():
                file, label_id, score = line.split()
                name = f"{MASK_FOLDER}/{Path(file).stem}.txt"
                archive.writestr(name, mask_bytes(read_mask(folder / file, None), "txt"))
                lines.append(f"{name} {label_id} {score}\n")
            archive.writestr(f"{scene}.txt", "".join(lines))
    return path


def check_submission(path: Path, classes: ClassSet, scenes: Mapping[str, int | None] | None = None) -> tuple[int, int]:
    """Checks a submission against the benchmark's rules.

    SCENE.txt files are at the root, mask files in a folder. Each line is "MASK_FILE LABEL_ID SCORE" with a relative
    path, a label id that the benchmark counts and a number. Each mask is named once and has one 0 or 1 per line, as
    many as the other masks of the scene. Nothing else is in the zip.

    Args:
        path: the .zip.
        classes: the dataset's classes.
        scenes: names of the expected scenes, with their number of points if it is known; any scenes if None.

    Returns:
        Numbers of scenes and of objects.

    Raises:
        ValueError: names the file, and the line, that breaks a rule.

    Source: The documentation of the ScanNet benchmark, "3D semantic label instance: submission format".
    """
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path}: not a zip file")
    with zipfile.ZipFile(path) as archive:
        files = {name for name in archive.namelist() if not name.endswith("/")}
        found = sorted(name for name in files if "/" not in name)
        if strange := [name for name in found if not name.endswith(".txt")]:
            raise ValueError(f"{path}: {strange[0]} at the root is no SCENE.txt; remove it")
        if not found:
            raise ValueError(f"{path}: no SCENE.txt at the root; pack the files themselves, not the folder they are in")
        names = {name.removesuffix(".txt") for name in found}
        missing, unknown = sorted(set(scenes or names) - names), sorted(names - set(scenes or names))
        if missing:
            remedy = "an empty file means no objects"
            raise ValueError(f"{path}: scene {missing[0]} is missing{and_more(missing)}; {remedy}")
        if unknown:
            raise ValueError(f"{path}: {unknown[0]} is not one of the scenes to submit{and_more(unknown)}")
        named: set[str] = set()
        for name in sorted(names):
            named |= _check_scene(path, archive, name, classes, scenes[name] if scenes else None)
        if left := sorted(files - named - set(found)):
            raise ValueError(f"{path}: {left[0]} is named by no SCENE.txt{and_more(left)}")
        return len(found), len(named)


def _check_scene(
    path: Path, archive: zipfile.ZipFile, name: str, classes: ClassSet, num_points: int | None
) -> set[str]:
    """The mask files that one SCENE.txt names."""
    ids = {classes.ids[label] for label in classes.instance_classes}
    where, named, files = f"{path}: {name}.txt", set[str](), set(archive.namelist())
    for here, mask, _, _ in object_lines(archive.read(f"{name}.txt"), where, ids):
        if "/" not in mask:
            raise ValueError(f"{here}: mask file {mask} must be in a folder of the zip")
        if mask not in files:
            raise ValueError(f"{here}: there is no mask file {mask} in the zip")
        length = len(parse_mask(archive.read(mask), f"{path}: {mask}", strict=True))
        if num_points is not None and length != num_points:
            raise ValueError(f"{path}: {mask} has {length} points, the scene has {num_points}")
        num_points = length
        named.add(mask)
    return named
