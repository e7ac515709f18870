"""Raw ScanNet scans, whole, without annotations, and damaged."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pcseg.choices import SCANNET_LABEL_TABLE as LABEL_TABLE
from pcseg.classes import SCANNET20, SCANNET200
from pcseg.data.scannet import find_rooms, read_label_table, read_room, room_files
from tests.conftest import holds, refuses
from tests.data.test_scan_files import FACE, PLY

ALIGNMENT = [0.0, -1, 0, 1, 1, 0, 0, 2, 0, 0, 1, 3, 0, 0, 0, 1]
NAME = "scene0000_00"
SEGMENTS = [5, 5, 5, 9, 9, 2, 2, 40]


def _groups(*rows: tuple[int, str, list[int]]) -> list[dict[str, Any]]:
    """Objects as an aggregation lists them."""
    return [dict(zip(("objectId", "label", "segments"), row)) for row in rows]


GROUPS = _groups((0, "office chair", [9]), (2, "wall", [5]), (1, "ceiling fan", [2]))


def write_scan(
    raw: Path,
    *,
    aggregation: str = f"{NAME}.aggregation.json",
    groups: list[dict[str, Any]] = GROUPS,
    segments: list[int] | None = SEGMENTS,
    info: str = f"appVersion = 1\naxisAlignment = {' '.join(map(str, ALIGNMENT))} \nnumColorFrames = 9\n",
) -> Path:
    """A scan of eight vertices; aggregation "", segments None or info "" omits the file."""
    folder = raw / "scans" / NAME
    folder.mkdir(parents=True)
    (raw / LABEL_TABLE).write_text("id\traw_category\tnyu40id\n2\toffice chair\t5\n1\twall\t1\n7\tceiling fan\t40\n")
    colors = "".join(f"property uchar {name}\n" for name in ("red", "green", "blue"))
    rows = "".join(f"{i} 0 0 {10 * i} 0 0\n" for i in range(8))
    (folder / f"{NAME}_vh_clean_2.ply").write_text(PLY.format(8) + colors + FACE + rows + "3 0 1 2\n")
    if aggregation:
        (folder / aggregation).write_text(json.dumps({"sceneId": NAME, "segGroups": groups}))
    if segments is not None:
        (folder / f"{NAME}_vh_clean_2.0.010000.segs.json").write_text(json.dumps({"segIndices": segments}))
    if info:
        (folder / f"{NAME}.txt").write_text(info)
    return folder


@pytest.mark.parametrize("aggregation", [f"{NAME}.aggregation.json", f"{NAME}_vh_clean.aggregation.json"])
def test_scan(tmp_path: Path, aggregation: str) -> None:
    folder = write_scan(tmp_path, aggregation=aggregation)
    room = read_room(folder, label_table=tmp_path / LABEL_TABLE)
    scene = room.scene
    assert (scene.name, room.notes) == (NAME, [])
    # Row-major: x' = -y + 1, y' = x + 2, z' = z + 3.
    np.testing.assert_allclose(scene.xyz, [[1, i + 2, 3] for i in range(8)])
    np.testing.assert_array_equal(scene.rgb[:, 0], np.arange(8) * 10)
    # Instances are objectId + 1; the fan is an object without a class of the benchmark, the last vertex has no object.
    holds(scene, superpoint=[1, 1, 1, 2, 2, 0, 0, 3], instance=[3, 3, 3, 1, 1, 2, 2, 0])
    wall, chair = SCANNET20.index("wall"), SCANNET20.index("chair")
    holds(scene, semantic=[wall] * 3 + [chair] * 2 + [-1] * 3, faces=[[0, 1, 2]])
    assert len(room_files(folder, tmp_path / LABEL_TABLE)) == 5


def test_test_scan_without_anything(tmp_path: Path) -> None:
    folder = write_scan(tmp_path, aggregation="", segments=None, info="")
    (tmp_path / LABEL_TABLE).unlink()
    room = read_room(folder, label_table=tmp_path / LABEL_TABLE)
    assert room.scene.semantic is room.scene.instance is room.scene.superpoint is None
    np.testing.assert_allclose(room.scene.xyz[:, 0], np.arange(8))
    assert len(room.notes) == 3
    assert "no axisAlignment" in room.notes[0]
    assert len(room_files(folder, tmp_path / LABEL_TABLE)) == 1


def test_damaged(tmp_path: Path) -> None:
    damages = (
        ({"segments": SEGMENTS[:-1]}, "expected segIndices of 8 vertices, found 7"),
        ({"segments": [*SEGMENTS[:-1], "a"]}, "whole numbers"),
        ({"segments": None}, r"aggregation\.json without"),
        ({"groups": [{"objectId": 0, "label": "chair"}]}, "has no segments"),
        ({"groups": [{"objectId": -1, "label": "chair", "segments": [9]}]}, "objectId >= 0"),
        ({"groups": [{"objectId": 0, "label": "dragon", "segments": [5]}]}, "label 'dragon' is not in"),
        ({"info": "axisAlignment = 1 0 x\n"}, "expected 16 numbers"),
    )
    for number, (options, message) in enumerate(damages):
        folder = write_scan(tmp_path / str(number), **options)
        refuses(message, read_room, folder, label_table=tmp_path / str(number) / LABEL_TABLE)


def test_find_rooms_and_damaged_files(tmp_path: Path) -> None:
    refuses("no such folder", find_rooms, tmp_path / "absent", error=FileNotFoundError)
    refuses("no folder sceneNNNN_NN", find_rooms, tmp_path)
    names = ["scene0001_00", "scene0002_00", "scene0707_00"]
    for place in (f"scans/{names[1]}", f"scans/{names[0]}", f"scans_test/{names[2]}", "scans/notes"):
        (tmp_path / place).mkdir(parents=True)
    assert [room.name for room in find_rooms(tmp_path)] == names
    assert find_rooms(tmp_path / "scans")[0] == tmp_path / "scans" / names[0]
    folder = write_scan(tmp_path)
    (tmp_path / "other.tsv").write_text("a\tb\n1\t2\n")
    refuses(r"absent\.tsv: no such file", read_room, folder, label_table=tmp_path / "absent.tsv")
    refuses("no column raw_category, found a, b", read_room, folder, label_table=tmp_path / "other.tsv")
    refuses("not one of ScanNet", read_room, folder, label_table=tmp_path / LABEL_TABLE, class_set="s3dis")
    for content in ("{", "[]", "{}"):
        (folder / f"{NAME}_vh_clean_2.0.010000.segs.json").write_text(content)
        refuses(r"segs\.json: (not JSON|no segIndices)", read_room, folder, label_table=tmp_path / LABEL_TABLE)
    (folder / f"{NAME}_vh_clean_2.ply").unlink()
    refuses(r"no scene0000_00_vh_clean_2\.ply", room_files, folder)


def _official_v2(groups: list[dict], label_ids: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """Label id and instance of each vertex, written vertex by vertex as ScanNet's export script does.

    The script keeps one list for a label and for its first object, which the next objects of the label lengthen.
    """
    of_object: dict[int, list[int]] = {}
    of_label: dict[str, list[int]] = {}
    for group in json.loads(json.dumps(groups)):
        of_object[group["objectId"] + 1] = group["segments"]
        if group["label"] in of_label:
            of_label[group["label"]].extend(group["segments"])
        else:
            of_label[group["label"]] = group["segments"]
    labels, instances = np.zeros((2, len(SEGMENTS)), int)
    for vertex, segment in enumerate(SEGMENTS):
        for label, members in of_label.items():
            if segment in members:
                labels[vertex] = label_ids[label]
        for number, members in of_object.items():
            if segment in members:
                instances[vertex] = number
    return labels, instances


def test_defects_of_the_aggregation_as_scannets_script_has_them(tmp_path: Path, rng: np.random.Generator) -> None:
    kinds, present = ["office chair", "wall", "ceiling fan"], sorted(set(SEGMENTS))
    for trial in range(60):
        ids, labels, members = rng.integers(0, 4, 6).tolist(), rng.choice(kinds, 6).tolist(), rng.integers(0, 4, 6)
        segments = [rng.choice(present, count).tolist() for count in members]
        groups = _groups(*zip(ids, labels, segments))[: rng.integers(0, 7)]
        raw = tmp_path / str(trial)
        room = read_room(write_scan(raw, groups=groups), label_table=raw / LABEL_TABLE)
        labels, instances = _official_v2(groups, read_label_table(raw / LABEL_TABLE, "nyu40id"))
        holds(room.scene, instance=instances, semantic=SCANNET20.index_of_ids(labels))
        ids = [group["objectId"] for group in groups]
        assert any("there twice" in note for note in room.notes) == (len(set(ids)) < len(ids))


def test_scannet200_writes_one_object_after_another(tmp_path: Path) -> None:
    groups = _groups((0, "wall", [9]), (0, "dragon", [5]), (1, "office chair", [9, 404]), (2, "wall", []))
    room = read_room(write_scan(tmp_path, groups=groups), label_table=tmp_path / LABEL_TABLE, class_set="scannet200")
    at_9, at_5 = np.array(SEGMENTS) == 9, np.array(SEGMENTS) == 5
    instance = np.where(at_9, 2, np.where(at_5, 1, 0))
    holds(room.scene, semantic=np.where(at_9, SCANNET200.index("chair"), -1), instance=instance)
    twice = "objectId 0 there twice", "1 segments belong to two objects"
    absent = "1 segments of its objects are not in the mesh", "objects without a vertex, left out: 2"
    for note in ("read as unlabeled: dragon", *twice, *absent):
        assert note in "\n".join(room.notes)
