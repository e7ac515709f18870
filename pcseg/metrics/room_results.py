"""Results of single rooms on disk, small files that can be put together again: Area 5, six folds, several machines."""

import json
import re
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pcseg.classes import ClassSet
from pcseg.files import atomic_write, npz_bytes, read_npz
from pcseg.metrics.matching import SceneMatches
from pcseg.metrics.outcomes import SceneOutcomes
from pcseg.metrics.s3dis_protocols import PartitionCounts, S3DISScene
from pcseg.metrics.scores import SceneRecord, Scores

FORMAT, VERSION = "pcseg-room-scores", 1


def save_room(folder: Path, name: str, scores: Scores) -> Path:
    """Writes what the measures need of one room, some ten kilobytes.

    Args:
        folder: made where it does not exist.
        name: a room that was added to `scores`; the file is NAME.npz.
        scores: holds the room.

    Returns:
        The path.
    """
    record = scores.state()[name]
    arrays = {
        "format": np.array(FORMAT),
        "version": np.array(VERSION),
        "name": np.array(name),
        "class_set": np.array(json.dumps(scores.classes.to_dict())),
        "min_points": np.array(scores.min_points),
        "min_score": np.array(scores.min_score),
        **_flat("", record),
    }
    return atomic_write(Path(folder) / f"{name}.npz", npz_bytes(arrays))


def read_rooms(folders: Iterable[Path]) -> Scores:
    """Puts rooms of several folders together.

    Args:
        folders: folders with files that `save_room` wrote, such as one per fold.

    Returns:
        Scores with all rooms.

    Raises:
        ValueError: a folder without such files, a damaged file, rooms measured with different settings, or the same
            room twice.
    """
    scores: Scores | None = None
    where: dict[str, Path] = {}
    for folder in folders:
        paths = sorted(Path(folder).glob("*.npz"))
        if not paths:
            raise ValueError(f"{folder}: expected results of rooms (NAME.npz), found none; tools/test.py --export DIR")
        for path in paths:
            arrays = _read(path)
            name, found = str(arrays["name"]), _settings(path, arrays)
            if scores is None:
                scores = found
            mine, others = ((s.classes.name, s.min_points, s.min_score) for s in (found, scores))
            if mine == others and found.classes != scores.classes:
                raise ValueError(f"{path}: its classes {mine[0]} are not the {mine[0]} of the others; export it again")
            if mine != others:
                raise ValueError(f"{path}: measured with (classes, min_points, min_score) {mine}, the others {others}")
            if name in where:
                raise ValueError(f"{path}: room {name} is in {where[name]} as well; every room counts once")
            where[name] = path
            scores.merge([{name: _record(path, arrays, scores.classes)}])
    if scores is None:
        raise ValueError("no folder with results of rooms was given")
    return scores


def split_areas(scores: Scores) -> dict[str, Scores]:
    """Rooms of S3DIS by area, from their names (``Area_5_office_1``); none where a room is not called so."""
    areas: dict[str, list[str]] = {}
    for name in scores.names:
        match = re.match(r"(Area_\d+)_", name)
        if match is None:
            return {}
        areas.setdefault(match[1], []).append(name)
    return {area: scores.subset(names) for area, names in sorted(areas.items())}


def _flat(prefix: str, value: Any) -> dict[str, np.ndarray]:
    if value is None:
        return {}
    if not is_dataclass(value):
        return {prefix: value}
    # The matches of the S3DIS protocols are those of AP.
    keys = [f.name for f in fields(value) if not (isinstance(value, S3DISScene) and f.name == "matches")]
    parts = [_flat(f"{prefix}.{key}" if prefix else key, getattr(value, key)) for key in keys]
    return {key: array for part in parts for key, array in part.items()}


def _record(path: Path, arrays: dict[str, np.ndarray], classes: ClassSet) -> SceneRecord:
    def parts(kind: type, prefix: str) -> dict[str, np.ndarray]:
        return {f.name: arrays[f"{prefix}.{f.name}"] for f in fields(kind)}

    try:
        ap = SceneMatches(**parts(SceneMatches, "ap"))
        s3dis = None
        if classes.s3dis_protocols:
            halves = {key: PartitionCounts(**parts(PartitionCounts, f"s3dis.{key}")) for key in _HALVES}
            s3dis = S3DISScene(num_gt=arrays["s3dis.num_gt"], matches=ap, **halves)
        outcomes = SceneOutcomes(**parts(SceneOutcomes, "outcomes"))
        return SceneRecord(ap, s3dis, arrays["semantic"], arrays["panoptic"], outcomes)
    except KeyError as error:
        raise ValueError(f"{path}: damaged results of a room: {error} is missing; export it again") from error


_HALVES = ("partition", "confident")


def _settings(path: Path, arrays: dict[str, np.ndarray]) -> Scores:
    classes = ClassSet.from_dict(json.loads(str(arrays["class_set"])), f"{path}: class_set")
    return Scores(classes, min_points=int(arrays["min_points"]), min_score=float(arrays["min_score"]))


def _read(path: Path) -> dict[str, np.ndarray]:
    arrays = read_npz(path)
    if str(arrays.get("format")) != FORMAT or int(arrays.get("version", -1)) != VERSION:
        raise ValueError(f"{path}: not results of a room as tools/test.py --export writes them (version {VERSION})")
    return arrays
