"""Scans of ScanNet from the raw release: mesh, segments, aggregation, axis alignment and labels."""

import csv
import functools
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int32, Int64

from pcseg import classes
from pcseg.choices import SCANNET_LABEL_COLUMNS
from pcseg.data.ply import read_ply
from pcseg.data.store import RawRoom
from pcseg.data.text import numbers_of_line
from pcseg.files import decoding
from pcseg.ops.overlap import unique_ids
from pcseg.structures import Scene

Object = tuple[int, str, list[int]]  # id from 0, raw category, segments
_SCAN_NAME = re.compile(r"scene\d+_\d+")


def find_rooms(raw: Path) -> list[Path]:
    """Scan folders directly below `raw`, or below its scans and scans_test, in order of name.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: there are no scans in it.
    """
    if not raw.is_dir():
        raise FileNotFoundError(f"{raw}: no such folder; expected the folder of ScanNet that holds scans/sceneNNNN_NN")
    places = [place for place in (raw, raw / "scans", raw / "scans_test") if place.is_dir()]
    rooms = [room for place in places for room in place.iterdir() if _is_scan(room)]
    if not rooms:
        raise ValueError(f"{raw}: no folder sceneNNNN_NN in it; expected the folder of ScanNet that holds scans/")
    return sorted(rooms, key=lambda room: room.name)


def room_files(folder: Path, label_table: Path | None = None) -> list[Path]:
    """The files that a scan .../sceneNNNN_NN is read from, the mesh first.

    The table of labels is one of them if it exists and the scan has annotations.

    Raises:
        ValueError: no mesh.
    """
    mesh = folder / f"{folder.name}_vh_clean_2.ply"
    if not mesh.is_file():
        raise ValueError(f"{folder}: no {mesh.name} in it; download the scan again")
    aggregation = _aggregation(folder)
    files = [aggregation, _segments(folder), folder / f"{folder.name}.txt", aggregation and label_table]
    return [mesh, *(path for path in files if path is not None and path.is_file())]


def read_room(folder: Path, *, label_table: Path, class_set: str = "scannet20") -> RawRoom:
    """Reads a scan of ScanNet, axes aligned, with its segments as superpoints.

    Args:
        folder: .../sceneNNNN_NN of the release.
        label_table: scannetv2-labels.combined.tsv; read only for scans with annotations.
        class_set: "scannet20" or "scannet200".

    Returns:
        The scan, and a note for everything that it lacks. A scan without aggregation (a test scan) has no labels; one
        without segments has no superpoints. Instances are objects of the aggregation; those outside the class set
        have semantic -1.

    Raises:
        ValueError: a file is missing, damaged, or does not fit the mesh.

    Source: the data organization page of ScanNet; export_train_mesh_for_evaluation.py of its BenchmarkScripts for
        "scannet20", ScanNet200/preprocess_scannet200.py for "scannet200".
    """
    name, notes = folder.name, []
    mesh = read_ply(room_files(folder)[0])
    xyz, faces = mesh["xyz"], mesh.get("faces")
    alignment = _read_axis_alignment(folder / f"{name}.txt")
    if alignment is None:
        notes.append(f"{name}: no axisAlignment in {name}.txt, coordinates left as they are")
    else:
        xyz = xyz @ alignment[:3, :3].T + alignment[:3, 3]
    superpoint = semantic = instance = None
    segments, aggregation = _segments(folder), _aggregation(folder)
    if segments.is_file():
        ids, rank, _ = unique_ids(_read_segments(segments, len(xyz)))
        superpoint = rank.astype(np.int32)
    else:
        notes.append(f"{name}: no segments, superpoints are made from the mesh")
    if aggregation is None:
        notes.append(f"{name}: no aggregation, the scan has no labels")
    elif superpoint is None:
        raise ValueError(f"{folder}: {aggregation.name} without {segments.name}; download the scan again")
    else:
        of_segment = _labels(aggregation, ids, label_table, class_set, notes)
        semantic, instance = (labels[superpoint] for labels in of_segment)
    scene = Scene(
        name=name,
        xyz=xyz.astype(np.float32),
        rgb=mesh.get("rgb"),
        semantic=semantic,
        instance=instance,
        superpoint=superpoint,
        faces=None if faces is None else faces.astype(np.int32),
    )
    return RawRoom(scene, notes)


def _read_axis_alignment(path: Path) -> Float64[np.ndarray, "4 4"] | None:
    """The matrix of the line ``axisAlignment = ...`` (row by row); None if there is no such line or file."""
    text = path.read_text(errors="replace") if path.is_file() else ""
    line = re.search(r"^\s*axisAlignment\s*=(.*)$", text, re.MULTILINE)
    if line is None:
        return None
    numbers = numbers_of_line(line[1].encode()) or []
    if len(numbers) != 16 or not np.isfinite(numbers).all():
        raise ValueError(f"{path}: expected 16 numbers after axisAlignment, found {line[1].strip()!r}")
    return np.array(numbers).reshape(4, 4)


def _read_segments(path: Path, num_points: int) -> Int64[np.ndarray, "P"]:
    """Segment id of each vertex."""
    segments = _read_json(path, "segIndices")["segIndices"]
    if not isinstance(segments, list) or len(segments) != num_points:
        found = len(segments) if isinstance(segments, list) else type(segments).__name__
        raise ValueError(f"{path}: expected segIndices of {num_points} vertices, found {found}")
    if not all(type(segment) is int for segment in segments):
        raise ValueError(f"{path}: expected whole numbers in segIndices")
    return np.array(segments, np.int64)


def _read_aggregation(path: Path) -> list[Object]:
    """Objects of a scan in the order of the file; ids may occur twice."""
    groups = []
    for entry in _read_json(path, "segGroups")["segGroups"]:
        if missing := [key for key in ("objectId", "label", "segments") if key not in entry]:
            raise ValueError(f"{path}: an object of segGroups has no {missing[0]}")
        if int(entry["objectId"]) < 0:
            raise ValueError(f"{path}: expected objectId >= 0 for each object, found {entry['objectId']}")
        groups.append((int(entry["objectId"]), str(entry["label"]), [int(segment) for segment in entry["segments"]]))
    return groups


@functools.cache
def read_label_table(path: Path, column: str) -> dict[str, int]:
    """Id of each raw category.

    Args:
        path: scannetv2-labels.combined.tsv.
        column: column of the ids, such as "nyu40id".

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it lacks a column.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; it comes with the release, next to scans/")
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file, delimiter="\t")
        if missing := [name for name in ("raw_category", column) if name not in (rows.fieldnames or ())]:
            raise ValueError(f"{path}: no column {missing[0]}, found {', '.join(rows.fieldnames or ())}")
        return {row["raw_category"]: int(row[column]) for row in rows if row["raw_category"] and row[column]}


def _labels(
    path: Path, ids: Int64[np.ndarray, "S"], label_table: Path, class_set: str, notes: list[str]
) -> tuple[Int32[np.ndarray, "S"], Int32[np.ndarray, "S"]]:
    """Class index and instance of each segment, as the ScanNet scripts assign them despite defects in the file."""
    groups = _read_aggregation(path)
    known = classes.class_set(class_set)
    if class_set not in SCANNET_LABEL_COLUMNS:
        raise ValueError(f"class set {class_set} is not one of ScanNet: {', '.join(SCANNET_LABEL_COLUMNS)}")
    table = read_label_table(label_table, SCANNET_LABEL_COLUMNS[class_set])
    unknown = sorted({label for _, label, _ in groups if label not in table})
    if unknown and class_set == "scannet20":
        raise ValueError(f"{path}: label {unknown[0]!r} is not in {label_table}")
    if unknown:
        notes.append(f"{path.name}: labels that are not in {label_table.name}, read as unlabeled: {', '.join(unknown)}")
    _note_defects(path, groups, set(ids.tolist()), notes)
    # In the order in which the scripts write them; later writes replace earlier ones.
    by_label, by_object = [(label, own) for _, label, own in groups], [(key, own) for key, _, own in groups]
    if class_set == "scannet20":
        by_label, by_object = _writes_of_v2(groups)
    semantic, instance = np.full(len(ids), -1, np.int32), np.zeros(len(ids), np.int32)
    for label, members in by_label:
        semantic[np.isin(ids, members)] = known.index_of_ids(np.array([table.get(label, 0)], np.int64))
    for object_id, members in by_object:
        instance[np.isin(ids, members)] = object_id + 1
    return semantic, instance


def _writes_of_v2(groups: list[Object]) -> tuple[list[tuple[str, list[int]]], list[tuple[int, list[int]]]]:
    """Segments that each label and each object writes in the script of ScanNet v2.

    A label writes at its first place in the file, all its objects at once. Of two objects of one id, the later one
    replaces the earlier. The script shares one list between a label and its first object. That object therefore writes
    all segments of the label before the other objects write theirs.
    """
    of_label: dict[str, list[int]] = {}
    of_object: dict[int, list[int]] = {}
    for object_id, label, members in groups:
        of_object[object_id] = list(members)
        if label in of_label:
            of_label[label] += members
        else:
            of_label[label] = of_object[object_id]
    return list(of_label.items()), list(of_object.items())


def _note_defects(path: Path, groups: list[Object], in_mesh: set[int], notes: list[str]) -> None:
    counts = Counter(object_id for object_id, _, _ in groups)
    if twice := sorted(object_id for object_id, count in counts.items() if count > 1):
        notes.append(f"{path.name}: objectId {', '.join(map(str, twice))} there twice, read like ScanNet's script")
    num_objects = Counter(segment for _, _, members in groups for segment in set(members))
    if num_shared := sum(num - 1 for segment, num in num_objects.items() if segment in in_mesh):
        notes.append(f"{path.name}: {num_shared} segments belong to two objects, the later one has them")
    if num_missing := sum(num for segment, num in num_objects.items() if segment not in in_mesh):
        notes.append(f"{path.name}: {num_missing} segments of its objects are not in the mesh, left out")
    if empty := [object_id for object_id, _, members in groups if in_mesh.isdisjoint(members)]:
        notes.append(f"{path.name}: objects without a vertex, left out: {', '.join(map(str, empty))}")


def _read_json(path: Path, key: str) -> dict[str, Any]:
    with decoding(path, "JSON", "; download the scan again"):
        content = json.loads(path.read_bytes())
    if not isinstance(content, dict) or key not in content:
        raise ValueError(f"{path}: no {key} in it; download the scan again")
    return content


def _is_scan(folder: Path) -> bool:
    has_mesh = (folder / f"{folder.name}_vh_clean_2.ply").is_file()
    return folder.is_dir() and (has_mesh or _SCAN_NAME.fullmatch(folder.name) is not None)


def _aggregation(folder: Path) -> Path | None:
    names = (f"{folder.name}.aggregation.json", f"{folder.name}_vh_clean.aggregation.json")
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _segments(folder: Path) -> Path:
    return folder / f"{folder.name}_vh_clean_2.0.010000.segs.json"
