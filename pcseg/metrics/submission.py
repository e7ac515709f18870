"""The zip that ScanNet's benchmark takes, and a check of it before anybody uploads it."""

import io
import math
import posixpath
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pcseg.classes import ClassSet
from pcseg.files import atomic_open
from pcseg.metrics.benchmark_files import MASK_FOLDER, mask_bytes, read_mask


@dataclass(frozen=True)
class SubmissionCounts:
    """What a submission holds."""

    num_scenes: int
    num_objects: int


def write_submission(path: Path, folder: Path, scenes: Iterable[str]) -> Path:
    """Packs a folder of predictions; masks become .txt whatever they are in the folder.

    Args:
        path: the .zip; it appears whole or not at all.
        folder: where `write_predictions` wrote.
        scenes: names of the scenes to take; others in the folder are left out.

    Returns:
        The path.

    Raises:
        ValueError: a mask file is damaged.
        OSError: a scene is not in the folder.
    """
    path, folder = Path(path), Path(folder)
    with atomic_open(path) as target, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for scene in sorted(scenes):
            lines = []
            for line in (folder / f"{scene}.txt").read_text().splitlines():
                file, label_id, score = line.split()
                name = f"{MASK_FOLDER}/{Path(file).stem}.txt"
                archive.writestr(name, mask_bytes(read_mask(folder / file, None), "txt"))
                lines.append(f"{name} {label_id} {score}\n")
            archive.writestr(f"{scene}.txt", "".join(lines))
    return path


def check_submission(path: Path, classes: ClassSet, scenes: Mapping[str, int | None] | None = None) -> SubmissionCounts:
    """Checks a submission against the benchmark's rules.

    SCENE.txt files lie at the root, mask files in a folder; each line is "MASK_FILE LABEL_ID SCORE" with a relative
    path, a label id that the benchmark counts and a number; each mask is named once and has one 0 or 1 per line, as
    many as the other masks of the scene; nothing else is in the zip.

    Args:
        path: the .zip.
        classes: the dataset's classes.
        scenes: the scenes that there must be, and their number of points where that is known; any where None.

    Returns:
        SubmissionCounts.

    Raises:
        ValueError: names the file, and the line, that breaks a rule.

    Source:
        The documentation of the ScanNet benchmark, "3D semantic label instance: submission format".
    """
    path = Path(path)
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path}: not a zip file")
    with zipfile.ZipFile(path) as archive:
        files = {name for name in archive.namelist() if not name.endswith("/")}
        found = sorted(name for name in files if "/" not in name)
        strange = [name for name in found if not name.endswith(".txt")]
        if strange:
            raise ValueError(f"{path}: {strange[0]} at the root is no SCENE.txt; remove it")
        if not found:
            raise ValueError(f"{path}: no SCENE.txt at the root; pack the files themselves, not the folder they are in")
        _check_scenes(path, {name.removesuffix(".txt") for name in found}, scenes)
        named: set[str] = set()
        for file in found:
            num_points = None if scenes is None else scenes[file.removesuffix(".txt")]
            named |= _check_scene(path, archive, file, files, classes, num_points)
        left = sorted(files - named - set(found))
        if left:
            raise ValueError(f"{path}: {left[0]} is named by no SCENE.txt{_more(left)}")
        return SubmissionCounts(len(found), len(named))


def _check_scenes(path: Path, found: set[str], wanted: Mapping[str, int | None] | None) -> None:
    if wanted is None:
        return
    missing, unknown = sorted(set(wanted) - found), sorted(found - set(wanted))
    if missing:
        raise ValueError(f"{path}: scene {missing[0]} is missing{_more(missing)}; an empty file stands for no objects")
    if unknown:
        raise ValueError(f"{path}: {unknown[0]} is not one of the scenes to submit{_more(unknown)}")


def _check_scene(
    path: Path, archive: zipfile.ZipFile, file: str, files: set[str], classes: ClassSet, num_points: int | None
) -> set[str]:
    """The mask files that one SCENE.txt names."""
    ids = {classes.ids[label] for label in classes.instance_classes}
    named: set[str] = set()
    for number, line in enumerate(_text(path, archive, file).splitlines(), start=1):
        where, parts = f"{path}: {file}:{number}", line.split()
        if len(parts) != 3:
            raise ValueError(f"{where}: expected 'MASK_FILE LABEL_ID SCORE', found {line!r}")
        mask, label_id, score = parts
        if posixpath.isabs(mask) or ".." in mask.split("/") or "/" not in mask:
            raise ValueError(f"{where}: mask file {mask} must be a relative path into a folder of the zip")
        if mask not in files:
            raise ValueError(f"{where}: there is no mask file {mask} in the zip")
        if mask in named:
            raise ValueError(f"{where}: mask file {mask} was named before; give each object its own")
        if not label_id.isdecimal() or int(label_id) not in ids:
            raise ValueError(f"{where}: label id {label_id} is not one that the {classes.name} benchmark counts")
        if not _is_number(score):
            raise ValueError(f"{where}: the score must be a finite number, found {score!r}")
        length = _mask_length(path, archive, mask)
        if num_points is not None and length != num_points:
            raise ValueError(f"{path}: {mask} has {length} points, the scene has {num_points}")
        num_points = length
        named.add(mask)
    return named


def _mask_length(path: Path, archive: zipfile.ZipFile, mask: str) -> int:
    raw = archive.read(mask)
    content = np.frombuffer(raw if raw.endswith(b"\n") else raw + b"\n", np.uint8)
    digits, ends = content[::2], content[1::2]
    if len(content) % 2 == 0 and np.all(ends == ord("\n")) and np.all((digits == ord("0")) | (digits == ord("1"))):
        return len(digits)
    for number, line in enumerate(io.BytesIO(raw), start=1):
        if line.strip() not in (b"0", b"1"):
            shown = line.strip()[:40].decode(errors="replace")
            raise ValueError(f"{path}: {mask}:{number}: expected 0 or 1, found {shown!r}")
    return raw.count(b"\n") + (not raw.endswith(b"\n"))


def _text(path: Path, archive: zipfile.ZipFile, file: str) -> str:
    try:
        return archive.read(file).decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: {file} is not a text file: {error}") from error


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""
