"""Processed rooms on disk: one folder per room, one .npy per array, and a manifest."""

import fnmatch
import glob
import hashlib
import json
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pcseg import classes as class_sets
from pcseg.classes import CLASS_SETS, ClassSet
from pcseg.data.scan_fields import check_faces
from pcseg.files import decoding, first_of
from pcseg.ops.overlap import object_ids
from pcseg.structures import SCENE_ARRAYS, Scene

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
_AGAIN = "run pcseg prepare with --force again"


@dataclass(frozen=True)
class RawRoom:
    """A room as a dataset's reader gives it."""

    scene: Scene
    notes: list[str]  # one line of text per repair or defect
    instance_sources: list[str] | None = None  # file name of instance 1, 2, ...; None if they are not from a file each
    advice: list[str] | None = None  # one line of text for each thing that looks wrong and was left as it is


@dataclass(frozen=True)
class Source:
    """Where a room came from, so that a second run recognizes whether it is up to date."""

    path: str  # raw file or folder, absolute
    fingerprint: str  # hash over names, sizes and times of the raw files and the settings of the preprocessing


def source_of(path: Path, files: Iterable[Path], settings: str = "") -> Source:
    """Fingerprint of the raw files of a room, without reading them.

    Args:
        path: raw file or folder of the room.
        files: raw files that decide the result.
        settings: everything else that decides the result, for example the voxel size of the over-segmentation.

    Raises:
        FileNotFoundError: one of the files is missing.
    """
    digest = hashlib.sha256(settings.encode())
    for file in sorted(files):
        status = file.stat()
        digest.update(f"\n{file.name} {status.st_size} {status.st_mtime_ns}".encode())
    return Source(str(path.absolute()), digest.hexdigest())


def write_room(
    root: Path | str,
    scene: Scene,
    class_set: str | Path | ClassSet,
    source: Source = Source("", ""),
    notes: Sequence[str] = (),
    *,
    advice: Sequence[str] | None = None,
    instance_sources: Sequence[str] | None = None,
    superpoints: dict[str, str | int | float] | None = None,
    command: str = "",
) -> Path:
    """Writes a room and returns its folder, which appears complete, or not at all if anything fails.

    Args:
        root: folder of the processed rooms; created if missing.
        scene: the room; its name becomes the folder's. An earlier room of this name is replaced.
        class_set: the class set that `semantic` indexes, its name, or its YAML file; the manifest holds a custom one in
            full.
        source: where the room came from, for a second run of the preprocessing.
        notes: one line of text per repair or defect.
        advice: one line of text for each thing that looks wrong and was left as it is.
        instance_sources: file that instance 1, 2, ... was read from.
        superpoints: the settings that made its superpoints, for models that are trained on the room.
        command: command that makes the room, for messages of later versions.

    Raises:
        ValueError: no points, a name that no folder can have, ids or labels out of range, or a folder of this name
            with files that are not of a room.
    """
    classes, folder = class_sets.class_set(class_set), Path(root) / scene.name
    _check_room(scene, classes)
    known = {MANIFEST, *(f"{key}.npy" for key in SCENE_ARRAYS)}
    if folder.exists() and (foreign := sorted(path.name for path in folder.iterdir() if path.name not in known)):
        raise ValueError(f"{folder}: holds files that are not of a room ({first_of(foreign)}); choose another folder")
    arrays = {key: np.ascontiguousarray(value) for key in SCENE_ARRAYS if (value := getattr(scene, key)) is not None}
    manifest = {
        "format_version": FORMAT_VERSION,
        "name": scene.name,
        "class_set": classes.name,
        "class_names": list(classes.names),
        "source": asdict(source),
        "command": command,
        "arrays": {key: {"dtype": str(value.dtype), "shape": list(value.shape)} for key, value in arrays.items()},
        "sha256": _checksum(arrays),
        **_counts(scene, classes),
        "notes": list(notes),
    }
    custom = None if classes.name in CLASS_SETS else classes.to_dict()
    extras = {"classes": custom, "instance_sources": instance_sources, "superpoints": superpoints, "advice": advice}
    manifest |= {key: value for key, value in extras.items() if value is not None}
    with _atomic_folder(folder) as temporary:
        for key, value in arrays.items():
            np.save(temporary / f"{key}.npy", value)
        (temporary / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return folder


@contextmanager
def _atomic_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill, which then replaces `folder`, or vanishes if anything fails."""
    # The leading dot hides unfinished folders from `list_rooms`.
    temporary, old = (folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}") for _ in range(2))
    temporary.mkdir(parents=True)
    try:
        yield temporary
        if folder.exists():
            folder.rename(old)
        temporary.rename(folder)
    finally:
        for rest in (temporary, old):
            shutil.rmtree(rest, ignore_errors=True)


def read_manifest(folder: Path) -> dict:
    """The manifest of a room.

    Raises:
        ValueError: no such room, a damaged manifest, or one of another format version.
    """
    path = folder / MANIFEST
    if not path.is_file():
        expected = "a processed room, which pcseg prepare writes, or one scan"
        raise ValueError(f"{folder}: no {MANIFEST} in it; expected {expected}")
    with decoding(path, "a manifest", f"; {_AGAIN}"):
        manifest = json.loads(path.read_text(encoding="utf-8"))
        version = manifest.get("format_version")
    if version != FORMAT_VERSION:
        command = manifest.get("command") or "pcseg prepare KIND RAW OUT"
        found = f"format version {version!r}, this pcseg reads {FORMAT_VERSION}"
        raise ValueError(f"{path}: {found}; convert it with: {command} --force")
    if missing := [key for key in ("name", "class_set", "arrays", "source") if key not in manifest]:
        raise ValueError(f"{path}: damaged (no {missing[0]}); {_AGAIN}")
    return manifest


def classes_of(manifest: dict) -> ClassSet:
    """The class set of the labels of a room.

    Raises:
        ValueError: the manifest names an unknown set and does not describe it.
    """
    if "classes" in manifest:
        return ClassSet.from_dict(manifest["classes"], f"manifest of room {manifest['name']}")
    return class_sets.class_set(manifest["class_set"])


def check_classes(rooms: Sequence[Path], classes: ClassSet) -> None:
    """Checks that rooms have the labels that a config expects.

    Raises:
        ValueError: a room was processed with another class set; the message names both.
    """
    for folder in rooms:
        found = classes_of(read_manifest(folder))
        if found.name != classes.name or found.names != classes.names:
            what = f"the {len(found)} classes of {found.name}, expected the {len(classes)} of {classes.name}"
            raise ValueError(f"{folder}: processed with {what}; set data.classes, or process the rooms again")


def absent_classes(rooms: Sequence[Path], classes: ClassSet) -> list[int]:
    """Classes that no point of the rooms has, by their manifests."""
    found = {name for room in rooms for name, num in read_manifest(room).get("points_per_class", {}).items() if num}
    return [index for index, name in enumerate(classes.names) if name not in found]


def read_room(folder: Path | str) -> Scene:
    """Maps a room's arrays from disk, read-only; only the coordinates are loaded, to check them.

    Raises:
        ValueError: no such room, another format version, or a damaged room; the message names the file.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    arrays = _map_arrays(folder, manifest)
    with decoding(folder, "a room", f"; {_AGAIN}"):
        return Scene(name=manifest["name"], **arrays)


def verify_room(folder: Path) -> None:
    """Reads every byte of a room and compares the checksum with its manifest.

    Raises:
        ValueError: an array differs from the written one.
    """
    manifest = read_manifest(folder)
    if _checksum(_map_arrays(folder, manifest)) != manifest["sha256"]:
        raise ValueError(f"{folder}: checksum mismatch, its arrays are corrupt; {_AGAIN}")


def is_current(root: Path, name: str, class_set: str, source: Source) -> bool:
    """Whether a complete room of this format exists that was made from this source.

    Args:
        root: folder of processed rooms.
        name: name of the room.
        class_set: name of the class set that the room must have.
        source: source that the room must have; its path may differ.
    """
    try:
        manifest = read_manifest(root / name)
        _map_arrays(root / name, manifest)
    except ValueError:
        return False
    return manifest["class_set"] == class_set and manifest["source"].get("fingerprint") == source.fingerprint


def rooms_without_source(root: Path) -> dict[str, str]:
    """Raw paths that are gone, by the names of the rooms made from them.

    Where the folder around them is gone too, raw data was moved or deleted after use, and its rooms do not count.
    """
    gone = {}
    for file in sorted(root.glob(f"[!.]*/{MANIFEST}")):
        with suppress(ValueError):  # a damaged room, or one of another version
            source = Path(read_manifest(file.parent)["source"].get("path", ""))
            # Relative paths, of older versions, were those of another working directory.
            if source.is_absolute() and source.parent.is_dir() and not source.exists():
                gone[file.parent.name] = str(source)
    return gone


def remove_leftovers(root: Path, name: str) -> None:
    """Removes files of a room that an interrupted run left in `root`; no other run may be writing that room."""
    for folder in root.glob(f".{glob.escape(name)}.????????"):
        shutil.rmtree(folder, ignore_errors=True)


def list_rooms(root: Path, patterns: Sequence[str]) -> list[Path]:
    """Folders of the rooms that patterns choose, in order of name.

    Args:
        root: folder of processed rooms.
        patterns: globs on room names, for example ``Area_5_*``, or paths of .txt files with one name or glob per line.
            An entry that starts with "!" removes rooms from the choice.

    Raises:
        FileNotFoundError: the folder or a .txt file does not exist.
        ValueError: no room remains.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder; expected processed rooms, run pcseg prepare")
    names = sorted(path.parent.name for path in root.glob("[!.]*/" + MANIFEST) if path.is_file())
    chosen: set[str] = set()
    dropped: set[str] = set()
    for entry in patterns:
        matching = chosen if not entry.startswith("!") else dropped
        for pattern in _globs(entry.removeprefix("!")):
            matching |= set(fnmatch.filter(names, pattern))
    rooms = [root / name for name in names if name in chosen - dropped]
    if not rooms:
        there = f": {', '.join(names[:5])}{' ...' if len(names) > 5 else ''}" if names else ""
        wanted = ", ".join(patterns) or "no pattern at all"
        raise ValueError(f"{root}: no room matches {wanted}; it holds {len(names)} rooms{there}")
    return rooms


def _counts(scene: Scene, classes: ClassSet) -> dict[str, object]:
    """What the manifest counts: points, superpoints, instances; points and instances of each class."""

    def per_class(labels: np.ndarray) -> dict[str, int]:
        return dict(zip(classes.names, np.bincount(labels[labels >= 0], minlength=len(classes)).tolist()))

    counts: dict[str, object] = {"num_points": len(scene), "num_superpoints": scene.num_superpoints}
    if scene.semantic is not None:
        counts["points_per_class"] = per_class(scene.semantic)
        counts["num_unlabeled_points"] = int((scene.semantic < 0).sum())
    if scene.instance is not None:
        ids = scene.instance if scene.semantic is None else object_ids(scene.semantic, scene.instance)
        ids, first = np.unique(ids, return_index=True)
        first = first[ids > 0]
        counts["num_instances"] = len(first)
        if scene.semantic is not None:
            counts["instances_per_class"] = per_class(scene.semantic[first])
    return counts


def _check_room(scene: Scene, classes: ClassSet) -> None:
    where = f"scene {scene.name}"
    if not scene.name or scene.name.startswith(".") or "/" in scene.name or "\\" in scene.name:
        raise ValueError(f"scene {scene.name!r}: its name cannot be a folder's; use letters, digits, - and _")
    if len(scene) == 0:
        raise ValueError(f"{where}: it has no points")
    last = len(classes) - 1
    for key, low, high, expected in (
        ("semantic", -1, last, f"semantic -1..{last} ({classes.name})"),
        ("instance", 0, None, "instance ids from 0 (no instance)"),
        ("superpoint", 0, None, "superpoint ids from 0"),
    ):
        ids = getattr(scene, key)
        if ids is not None and (ids.min() < low or (high is not None and ids.max() > high)):
            ids_of = "if these are ids of a benchmark, name the column `label` and give label_ids"
            hint = f"; {ids_of}; list values that mean no class in ignore_labels" if key == "semantic" else ""
            raise ValueError(f"{where}: expected {expected}, found {ids.min()}..{ids.max()}{hint}")
    if scene.superpoint is not None and (empty := np.bincount(scene.superpoint) == 0).any():
        raise ValueError(f"{where}: superpoint ids have gaps, no point has {int(empty.argmax())}")
    check_faces(where, scene.faces, len(scene))


def _globs(entry: str) -> list[str]:
    if not entry.endswith(".txt"):
        return [entry]
    if not Path(entry).is_file():
        raise FileNotFoundError(f"{entry}: no such file; expected a list of rooms, one name a line")
    return [line.strip() for line in Path(entry).read_text(encoding="utf-8").splitlines() if line.strip()]


def _map_arrays(folder: Path, manifest: dict) -> dict[str, Any]:
    arrays = {}
    with decoding(folder / MANIFEST, "a manifest", f"; {_AGAIN}"):
        expected = {key: f"{entry['dtype']} {entry['shape']}" for key, entry in manifest["arrays"].items()}
    for key in expected:
        path = folder / f"{key}.npy"
        if not path.is_file():
            raise ValueError(f"{path}: missing; {_AGAIN}")
        with decoding(path, "an .npy file", f"; {_AGAIN}"):
            arrays[key] = np.load(path, mmap_mode="r", allow_pickle=False)
        if (found := f"{arrays[key].dtype} {list(arrays[key].shape)}") != expected[key]:
            raise ValueError(f"{path}: expected {expected[key]}, found {found}; {_AGAIN}")
    return arrays


def _checksum(arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for key, array in arrays.items():
        digest.update(key.encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
