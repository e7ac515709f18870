"""Results of single rooms on disk, small files that combine again: Area 5, six folds, several machines."""

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
from pcseg.metrics.s3dis import PartitionCounts, S3DISScene
from pcseg.metrics.scores import SceneRecord, Scores

FORMAT, VERSION = "pcseg-room-scores", 2


def save_room(folder: Path, name: str, scores: Scores) -> Path:
    """Writes what the measures need of one room to NAME.npz in the folder, some ten kilobytes.

    Args:
        folder: folder of the file, which is created if it is missing.
        name: name of the room.
        scores: scores to which the room was added.
    """
    arrays = {
        "format": np.array(FORMAT),
        "version": np.array(VERSION),
        "name": np.array(name),
        "class_set": np.array(json.dumps(scores.classes.to_dict())),
        "min_points": np.array(scores.min_points),
        "min_score": np.array(scores.min_score),
        **_flat("", scores.state()[name]),
    }
    return atomic_write(folder / f"{name}.npz", npz_bytes(arrays))


def read_rooms(folders: Iterable[Path]) -> Scores:
    """The scores of all rooms in folders that `save_room` wrote, such as one per fold.

    Raises:
        ValueError: a folder without such files, a damaged file, rooms measured with different settings, or a duplicate
            room.
    """
    scores: Scores | None = None
    where: dict[str, Path] = {}
    for folder in folders:
        paths = sorted(folder.glob("*.npz"))
        if not paths:
            raise ValueError(f"{folder}: expected results of rooms (NAME.npz), found none; pcseg test --export DIR")
        for path in paths:
            name, found = _read(path)
            if scores is None:
                scores = Scores(found.classes, min_points=found.min_points, min_score=found.min_score)
            own, others = ((s.classes.name, s.min_points, s.min_score) for s in (found, scores))
            if own != others:
                raise ValueError(f"{path}: measured with (classes, min_points, min_score) {own}, the others {others}")
            if found.classes != scores.classes:
                raise ValueError(f"{path}: its classes {own[0]} are not the {own[0]} of the others; export it again")
            if name in where:
                raise ValueError(f"{path}: room {name} is in {where[name]} too; every room counts once")
            where[name] = path
            scores.merge([found.state()])
    if scores is None:
        raise ValueError("no folder with results of rooms was given")
    return scores


def split_areas(scores: Scores) -> dict[str, Scores]:
    """Splits rooms of S3DIS by area, from their names (``Area_5_office_1``); empty if a room has no such name."""
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
    parts = [_flat(f"{prefix}.{f.name}".lstrip("."), getattr(value, f.name)) for f in fields(value)]
    return {key: array for part in parts for key, array in part.items()}


def _read(path: Path) -> tuple[str, Scores]:
    """The name of a room, and scores of this room alone."""
    arrays = read_npz(path)
    if str(arrays.get("format")) != FORMAT or int(arrays.get("version", -1)) != VERSION:
        raise ValueError(f"{path}: not results of a room as pcseg test --export writes them (version {VERSION})")

    def parts(kind: type, prefix: str) -> Any:
        return kind(**{f.name: arrays[f"{prefix}.{f.name}"] for f in fields(kind)})

    try:
        name, content = str(arrays["name"]), json.loads(str(arrays["class_set"]))
        classes = ClassSet.from_dict(content, f"{path}: class_set")
        scores = Scores(classes, min_points=int(arrays["min_points"]), min_score=float(arrays["min_score"]))
        ap, objects, s3dis = parts(SceneMatches, "ap"), parts(SceneMatches, "objects"), None
        if classes.s3dis_protocols:
            partition, confident = (parts(PartitionCounts, f"s3dis.{key}") for key in ("partition", "confident"))
            s3dis = S3DISScene(arrays["s3dis.num_gt"], partition, confident)
        outcomes = parts(SceneOutcomes, "outcomes")
        scores.merge([{name: SceneRecord(ap, objects, s3dis, arrays["semantic"], arrays["panoptic"], outcomes)}])
    except KeyError as error:
        raise ValueError(f"{path}: damaged results of a room: {error} is missing; export it again") from error
    return name, scores
