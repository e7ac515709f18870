"""The zip file that ScanNet's benchmark takes, and a check of it before the upload."""

import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pcseg.classes import ClassSet
from pcseg.files import atomic_open
from pcseg.metrics.benchmark_files import MASK_FOLDER, object_lines
from pcseg.metrics.mask_files import decode, mask_bytes, parse_mask, read_mask


@dataclass(frozen=True)
class SubmissionCounts:
    """Numbers of scenes and of objects in a submission."""

    num_scenes: int
    num_objects: int


def write_submission(path: Path, folder: Path, scenes: Iterable[str]) -> Path:
    """Packs a folder of predictions; masks of any format become .txt.

    Args:
        path: the .zip, written atomically.
        folder: folder of `write_predictions`.
        scenes: names of the scenes to pack; others in the folder are left out.

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

    SCENE.txt files are at the root, mask files in a folder. Each line is "MASK_FILE LABEL_ID SCORE" with a relative
    path, a label id that the benchmark counts and a number. Each mask is named once and has one 0 or 1 per line, as
    many as the other masks of the scene. Nothing else is in the zip.

    Args:
        path: the .zip.
        classes: the dataset's classes.
        scenes: names of the expected scenes, with their number of points if it is known; any scenes if None.

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
        names = {name.removesuffix(".txt") for name in found}
        missing, unknown = sorted(set(scenes or names) - names), sorted(names - set(scenes or names))
        if missing:
            raise ValueError(f"{path}: scene {missing[0]} is missing{_more(missing)}; an empty file means no objects")
        if unknown:
            raise ValueError(f"{path}: {unknown[0]} is not one of the scenes to submit{_more(unknown)}")
        named: set[str] = set()
        for name in sorted(names):
            named |= _check_scene(path, archive, name, classes, scenes[name] if scenes else None)
        left = sorted(files - named - set(found))
        if left:
            raise ValueError(f"{path}: {left[0]} is named by no SCENE.txt{_more(left)}")
        return SubmissionCounts(len(found), len(named))


def _check_scene(
    path: Path, archive: zipfile.ZipFile, name: str, classes: ClassSet, num_points: int | None
) -> set[str]:
    """The mask files that one SCENE.txt names."""
    ids = {classes.ids[label] for label in classes.instance_classes}
    where, named, files = f"{path}: {name}.txt", set[str](), set(archive.namelist())
    for here, mask, _, _ in object_lines(decode(archive.read(f"{name}.txt"), where), where, ids, strict=True):
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


def _more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""
