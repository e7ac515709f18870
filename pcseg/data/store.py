"""Processed rooms on disk: one folder per room, one .npy per array, and a manifest."""

import fnmatch
import glob
import hashlib
import json
import shutil
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pcseg.classes import CLASS_SETS, ClassSet
from pcseg.classes import class_set as class_set_called
from pcseg.data.room_checks import check_scene, counts_of
from pcseg.structures import Scene

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
ARRAYS = ("xyz", "rgb", "normal", "semantic", "instance", "superpoint", "faces")


@dataclass(frozen=True)
class Source:
    """Where a room came from, so that a second run can tell whether it is up to date.

    Args:
        path: raw file or folder.
        fingerprint: hash over names, sizes and times of the raw files and the settings of the preprocessing.
    """

    path: str
    fingerprint: str


def source_of(path: Path, files: Iterable[Path], settings: str = "") -> Source:
    """Fingerprint of the raw files of a room, without reading them.

    Args:
        path: raw file or folder of the room.
        files: every file that the room is made from.
        settings: whatever else decides what comes out, e.g. the voxel size of the over-segmentation.

    Raises:
        FileNotFoundError: one of the files is missing.
    """
    digest = hashlib.sha256(settings.encode())
    for file in sorted(files):
        status = file.stat()
        digest.update(f"\n{file.name} {status.st_size} {status.st_mtime_ns}".encode())
    return Source(str(path), digest.hexdigest())


def write_room(
    root: Path,
    scene: Scene,
    class_set: str | Path,
    source: Source,
    notes: Sequence[str] = (),
    *,
    instance_sources: Sequence[str] | None = None,
    superpoints: Mapping[str, str | int | float] | None = None,
    command: str = "",
) -> Path:
    """Write a room; it appears under its name all at once or, when anything fails, not at all.

    Args:
        root: folder of the processed rooms; made where it is missing.
        scene: the room; its name becomes the folder's.
        class_set: name or file of the class set that `semantic` indexes; one of one's own is kept in the manifest.
        source: where the room came from.
        notes: what was mended on the way, kept in the manifest.
        instance_sources: file that instance 1, 2, ... was read from.
        superpoints: the settings that they were made with, for models that are trained on the room.
        command: that makes the room, for messages of later versions.

    Returns:
        The room's folder.

    Raises:
        ValueError: no points, a name that cannot be a folder's, or labels outside the class set.
    """
    classes = class_set_called(class_set)
    check_scene(scene, classes)
    root.mkdir(parents=True, exist_ok=True)
    folder = root / scene.name
    # The leading point hides unfinished folders from `list_rooms`.
    temporary = root / f".{scene.name}.{uuid.uuid4().hex[:8]}"
    temporary.mkdir()
    try:
        digest = hashlib.sha256()
        arrays = {}
        for key in ARRAYS:
            value = getattr(scene, key)
            if value is not None:
                value = np.ascontiguousarray(value)
                np.save(temporary / f"{key}.npy", value)
                arrays[key] = {"dtype": str(value.dtype), "shape": list(value.shape)}
                digest.update(key.encode())
                digest.update(_bytes_of(value))
        manifest = {
            "format_version": FORMAT_VERSION,
            "name": scene.name,
            "class_set": classes.name,
            "class_names": list(classes.names),
            "source": {"path": source.path, "fingerprint": source.fingerprint},
            "command": command,
            "arrays": arrays,
            "sha256": digest.hexdigest(),
            **counts_of(scene, classes),
            "notes": list(notes),
        }
        if classes.name not in CLASS_SETS:
            manifest["classes"] = classes.to_dict()
        if instance_sources is not None:
            manifest["instance_sources"] = list(instance_sources)
        if superpoints is not None:
            manifest["superpoints"] = dict(superpoints)
        (temporary / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
        if folder.exists():
            old = root / f".{scene.name}.{uuid.uuid4().hex[:8]}"
            folder.rename(old)
            temporary.rename(folder)
            shutil.rmtree(old)
        else:
            temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def read_manifest(folder: Path) -> dict:
    """The manifest of a room.

    Raises:
        ValueError: no such room, a damaged manifest, or one of another format version.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise ValueError(f"{folder}: no {MANIFEST} in it; expected a processed room, run tools/preprocess_*.py")
    try:
        manifest = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: damaged ({error}); run tools/preprocess_*.py with --force again") from error
    version = manifest.get("format_version") if isinstance(manifest, dict) else None
    if version != FORMAT_VERSION:
        command = manifest.get("command") if isinstance(manifest, dict) else None
        raise ValueError(
            f"{path}: format version {version!r}, this pcseg reads {FORMAT_VERSION}; convert it with: "
            f"{command or 'tools/preprocess_*.py RAW OUT'} --force"
        )
    missing = [key for key in ("name", "class_set", "arrays", "source") if key not in manifest]
    if missing:
        raise ValueError(f"{path}: damaged (no {missing[0]}); run tools/preprocess_*.py with --force again")
    return manifest


def classes_of(manifest: dict) -> ClassSet:
    """The class set that the labels of a room index.

    Raises:
        ValueError: the manifest names a set that is neither known nor described in it.
    """
    if "classes" in manifest:
        return ClassSet.from_dict(manifest["classes"], f"manifest of room {manifest['name']}")
    return class_set_called(manifest["class_set"])


def check_classes(rooms: Sequence[Path], classes: ClassSet) -> None:
    """See to it that rooms carry the labels that a recipe counts on.

    Raises:
        ValueError: a room was processed with another class set; both are named.
    """
    for folder in rooms:
        found = classes_of(read_manifest(folder))
        if found.name != classes.name or found.names != classes.names:
            raise ValueError(
                f"{folder}: processed with the {len(found)} classes of {found.name}, expected the {len(classes)} of "
                f"{classes.name}; set data.classes, or process the rooms again"
            )


def read_room(folder: Path) -> Scene:
    """A room whose arrays are mapped from disk, not loaded; only the coordinates are looked through.

    Args:
        folder: as `write_room` made it.

    Returns:
        The room; its arrays are read-only.

    Raises:
        ValueError: no such room, another format version, or a damaged one; the message names the file.
    """
    manifest = read_manifest(folder)
    arrays = {key: _map_array(folder / f"{key}.npy", entry) for key, entry in manifest["arrays"].items()}
    if "xyz" not in arrays:
        raise ValueError(f"{folder / MANIFEST}: damaged (no xyz); run tools/preprocess_*.py with --force again")
    try:
        return Scene(name=manifest["name"], **arrays)
    except ValueError as error:
        raise ValueError(f"{folder}: damaged ({error}); run tools/preprocess_*.py with --force again") from error


def verify_room(folder: Path) -> None:
    """Read every byte of a room and compare it with the manifest.

    Raises:
        ValueError: the arrays are not those that were written.
    """
    manifest = read_manifest(folder)
    digest = hashlib.sha256()
    for key, entry in manifest["arrays"].items():
        digest.update(key.encode())
        digest.update(_bytes_of(_map_array(folder / f"{key}.npy", entry)))
    if digest.hexdigest() != manifest["sha256"]:
        raise ValueError(
            f"{folder}: its arrays are not those that were written; run tools/preprocess_*.py with --force"
        )


def is_current(root: Path, name: str, class_set: str, source: Source) -> bool:
    """Whether a room is there, whole, in this format, and made from this very source."""
    folder = root / name
    if not folder.is_dir():
        return False
    try:
        manifest = read_manifest(folder)
        for key, entry in manifest["arrays"].items():
            _map_array(folder / f"{key}.npy", entry)
    except ValueError:
        return False
    return manifest["class_set"] == class_set and manifest["source"]["fingerprint"] == source.fingerprint


def remove_leftovers(root: Path, name: str) -> None:
    """Remove what an interrupted run left of a room; no other run may be writing that room."""
    for folder in root.glob(f".{glob.escape(name)}.????????"):
        shutil.rmtree(folder, ignore_errors=True)


def list_rooms(root: Path, patterns: Sequence[str]) -> list[Path]:
    """Folders of the rooms that patterns choose, in order of name.

    Args:
        root: folder of processed rooms.
        patterns: globs on room names, e.g. ``Area_5_*``, or paths of .txt files with one name or glob a line; an entry
            that starts with "!" takes rooms out again.

    Raises:
        ValueError: no such folder, a missing .txt file, or no room is left.
    """
    if not root.is_dir():
        raise ValueError(f"{root}: no such folder; expected processed rooms, run tools/preprocess_*.py")
    names = sorted(
        path.name for path in root.iterdir() if not path.name.startswith(".") and (path / MANIFEST).is_file()
    )
    chosen: set[str] = set()
    dropped: set[str] = set()
    for entry in patterns:
        target = dropped if entry.startswith("!") else chosen
        for pattern in _globs(entry.removeprefix("!")):
            target |= set(fnmatch.filter(names, pattern))
    rooms = [root / name for name in names if name in chosen - dropped]
    if not rooms:
        there = f": {', '.join(names[:5])}{' ...' if len(names) > 5 else ''}" if names else ""
        wanted = ", ".join(patterns) or "no pattern at all"
        raise ValueError(f"{root}: no room matches {wanted}; it holds {len(names)} rooms{there}")
    return rooms


def _globs(entry: str) -> list[str]:
    if not entry.endswith(".txt"):
        return [entry]
    path = Path(entry)
    if not path.is_file():
        raise ValueError(f"{path}: no such file; expected a list of rooms, one name a line")
    return [line.strip() for line in path.read_text().splitlines() if line.strip()]


def _map_array(path: Path, entry: dict) -> np.ndarray:
    again = "run tools/preprocess_*.py with --force again"
    if not path.is_file():
        raise ValueError(f"{path}: missing; {again}")
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"{path}: damaged ({error}); {again}") from error
    found = {"dtype": str(array.dtype), "shape": list(array.shape)}
    if found != entry:
        raise ValueError(
            f"{path}: expected {entry['dtype']} {entry['shape']}, found {found['dtype']} {found['shape']}; {again}"
        )
    return array


def _bytes_of(array: np.ndarray) -> memoryview:
    return array.reshape(-1).view(np.uint8).data
