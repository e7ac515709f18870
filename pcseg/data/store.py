"""Processed rooms on disk: one folder per room, one .npy per array, and a manifest."""

import fnmatch
import hashlib
import json
import shutil
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pcseg.labels import ClassSet
from pcseg.labels import class_set as class_set_called
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


def write_room(root: Path, scene: Scene, class_set: str, source: Source, notes: Sequence[str] = ()) -> Path:
    """Write a room; it appears under its name all at once or, when anything fails, not at all.

    Args:
        root: folder of the processed rooms; made where it is missing.
        scene: the room; its name becomes the folder's.
        class_set: name of the class set that `semantic` indexes.
        source: where the room came from.
        notes: what was mended on the way, kept in the manifest.

    Returns:
        The room's folder.

    Raises:
        ValueError: no points, a name that cannot be a folder's, or labels outside the class set.
    """
    classes = class_set_called(class_set)
    _check_scene(scene, classes)
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
            "class_set": class_set,
            "source": {"path": source.path, "fingerprint": source.fingerprint},
            "arrays": arrays,
            "sha256": digest.hexdigest(),
            **counts_of(scene, classes),
            "notes": list(notes),
        }
        (temporary / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
        if folder.exists():
            old = root / f".{scene.name}.{uuid.uuid4().hex[:8]}"
            folder.rename(old)
            temporary.rename(folder)
            shutil.rmtree(old)
        else:
            temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return folder


def counts_of(scene: Scene, classes: ClassSet) -> dict[str, object]:
    """What the manifest counts: points, superpoints, instances; points and instances of each class."""
    counts: dict[str, object] = {"num_points": len(scene), "num_superpoints": scene.num_superpoints}
    if scene.semantic is not None:
        labelled = scene.semantic >= 0
        per_class = np.bincount(scene.semantic[labelled], minlength=len(classes))
        counts["points_per_class"] = dict(zip(classes.names, per_class.tolist()))
        counts["num_unlabelled_points"] = int((~labelled).sum())
    if scene.instance is not None:
        ids, first = np.unique(scene.instance, return_index=True)
        first = first[ids > 0]
        counts["num_instances"] = len(first)
        if scene.semantic is not None:
            # The class of an instance is that of its first point; data sets give each object one class.
            labels = scene.semantic[first]
            per_class = np.bincount(labels[labels >= 0], minlength=len(classes))
            counts["instances_per_class"] = dict(zip(classes.names, per_class.tolist()))
    return counts


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
        raise ValueError(
            f"{path}: format version {version!r}, this pcseg reads {FORMAT_VERSION}; "
            f"run tools/preprocess_*.py with --force again to convert"
        )
    missing = [key for key in ("name", "class_set", "arrays", "source") if key not in manifest]
    if missing:
        raise ValueError(f"{path}: damaged (no {missing[0]}); run tools/preprocess_*.py with --force again")
    return manifest


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
        for glob in _globs(entry.removeprefix("!")):
            target |= set(fnmatch.filter(names, glob))
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


def _check_scene(scene: Scene, classes: ClassSet) -> None:
    if not scene.name or scene.name.startswith(".") or "/" in scene.name or "\\" in scene.name:
        raise ValueError(f"scene {scene.name!r}: its name cannot be a folder's; use letters, digits, - and _")
    if len(scene) == 0:
        raise ValueError(f"scene {scene.name}: it has no points")
    semantic, instance, superpoint, faces = scene.semantic, scene.instance, scene.superpoint, scene.faces
    if semantic is not None and (semantic.min() < -1 or semantic.max() >= len(classes)):
        raise ValueError(
            f"scene {scene.name}: expected semantic -1..{len(classes) - 1} ({classes.name}), found "
            f"{semantic.min()}..{semantic.max()}"
        )
    if instance is not None and instance.min() < 0:
        raise ValueError(f"scene {scene.name}: expected instance ids from 0 (no instance), found {instance.min()}")
    if superpoint is not None:
        if superpoint.min() < 0:
            raise ValueError(f"scene {scene.name}: expected superpoint ids from 0, found {superpoint.min()}")
        empty = np.bincount(superpoint) == 0
        if empty.any():
            raise ValueError(f"scene {scene.name}: superpoint ids have gaps, no point has {int(empty.argmax())}")
    if faces is not None and len(faces) and (faces.min() < 0 or faces.max() >= len(scene)):
        raise ValueError(f"scene {scene.name}: faces name points {faces.min()}..{faces.max()} of {len(scene)}")
