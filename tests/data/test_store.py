"""Processed rooms survive a round trip, and damage is reported with the file's name."""

import json
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

from pcseg.classes import S3DIS
from pcseg.data import store
from pcseg.data.store import Source, is_current, list_rooms, read_manifest, read_room, source_of, write_room
from pcseg.structures import Scene
from tests.conftest import refuses
from tests.scenes import random_scene

SOURCE = Source("raw/room", "abc")
MANIFEST = {"format_version": store.FORMAT_VERSION, "name": "room", "class_set": "s3dis", "source": {}}


@pytest.fixture
def scene() -> Scene:
    number = np.arange(50, dtype=np.int32)
    instance = np.where(number < 40, 1 + number // 20, 0).astype(np.int32)
    labels = {"semantic": np.where(number < 40, 8, -1).astype(np.int32), "instance": instance}
    faces = np.array([[0, 1, 2]], np.int32)
    return random_scene(num=50).with_(normal=None, superpoint=number // 10, faces=faces, **labels)


@pytest.fixture
def folder(tmp_path: Path, scene: Scene) -> Path:
    """The scene as a processed room, the only one in tmp_path."""
    return write_room(tmp_path, scene, "s3dis", SOURCE, ["a note"])


def test_round_trip(tmp_path: Path, scene: Scene, folder: Path) -> None:
    assert sorted(path.name for path in tmp_path.iterdir()) == ["room"]
    assert not (folder / "normal.npy").exists()
    read = read_room(folder)
    assert (read.name, read.normal) == ("room", None)
    for key in ("xyz", "rgb", "semantic", "instance", "superpoint", "faces"):
        array = getattr(read, key)
        assert isinstance(array, np.memmap)
        assert not array.flags.writeable
        np.testing.assert_array_equal(array, getattr(scene, key), strict=True)
    manifest = read_manifest(folder)
    counts = [manifest[f"num_{name}"] for name in ("points", "superpoints", "instances", "unlabeled_points")]
    assert counts == [50, 5, 2, 10]
    assert manifest["points_per_class"]["chair"] == 40
    assert store.absent_classes([folder], S3DIS) == [n for n, name in enumerate(S3DIS.names) if name != "chair"]
    assert manifest["instances_per_class"]["chair"] == sum(manifest["instances_per_class"].values()) == 2
    assert (manifest["source"], manifest["notes"]) == ({"path": "raw/room", "fingerprint": "abc"}, ["a note"])
    dot = Scene("dot", np.zeros((1, 3), np.float32), faces=np.zeros((0, 3), np.int32))
    folder = write_room(tmp_path, dot, "scannet20", SOURCE)
    read = read_room(folder)
    assert (len(read), read.semantic, read.faces.shape) == (1, None, (0, 3))
    store.verify_room(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["faces.npy", "manifest.json", "xyz.npy"]
    np.save(folder / "xyz.npy", np.ones((1, 3), np.float32))
    read_room(folder)
    refuses("checksum mismatch, its arrays are corrupt", store.verify_room, folder)


def test_written_again_in_place_or_not_at_all(tmp_path: Path, scene: Scene, folder: Path, monkeypatch) -> None:
    write_room(tmp_path, Scene("room", np.zeros((60, 3), np.float32)), "s3dis", SOURCE)
    assert len(read_room(folder)) == 60
    monkeypatch.setattr(np, "save", Mock(side_effect=OSError("disk full")))
    refuses("disk full", write_room, tmp_path, scene, "s3dis", SOURCE, error=OSError)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["room"]
    assert len(read_room(folder)) == 60
    left, other = tmp_path / ".room.0123abcd", tmp_path / ".room_2.0123abcd"
    left.mkdir()
    other.mkdir()
    (left / "xyz.npy").write_bytes(b"half")
    store.remove_leftovers(tmp_path, "room")
    assert not left.exists()
    assert other.exists()
    assert list_rooms(tmp_path, ["*"]) == [folder]
    (other / "notes.txt").write_text("mine")
    mine = other.rename(tmp_path / "mine")
    refuses(r"files that are not of a room \(notes.txt\)", write_room, tmp_path, scene.with_(name=mine.name), S3DIS)


def test_refused(tmp_path: Path, scene: Scene) -> None:
    for change, message in (
        ({"name": "a/b"}, "cannot be a folder's"),
        ({"name": ".a"}, "cannot be a folder's"),
        ({"semantic": np.full(50, 13, np.int32)}, r"expected semantic -1..12 \(s3dis\), found 13..13"),
        ({"semantic": np.full(50, -2, np.int32)}, "expected semantic"),
        ({"instance": np.full(50, -1, np.int32)}, "expected instance ids from 0"),
        ({"superpoint": np.full(50, 1, np.int32)}, "gaps, no point has 0"),
        ({"superpoint": np.full(50, -1, np.int32)}, "superpoint ids from 0"),
        ({"faces": np.array([[0, 1, 50]], np.int32)}, "faces name points"),
    ):
        refuses(message, write_room, tmp_path, scene.with_(**change), "s3dis", SOURCE)
        assert list(tmp_path.iterdir()) == []


def test_damage_names_the_file(tmp_path: Path, scene: Scene) -> None:
    for name, content, message in (
        ("rgb.npy", None, r"rgb\.npy: missing; run pcseg prepare"),
        ("semantic.npy", b"", r"semantic\.npy: not an"),
        ("semantic.npy", b"\x93NUMPY", r"semantic\.npy: not an"),
        ("semantic.npy", -1, r"semantic\.npy: not an"),
        ("semantic.npy", np.zeros(49, np.int32), r"semantic\.npy: expected int32 \[50\], found int32 \[49\]"),
        ("xyz.npy", np.full((50, 3), np.nan, np.float32), "not finite"),
        ("manifest.json", b"{", r"manifest\.json: not a manifest, or damaged"),
        ("manifest.json", json.dumps({**MANIFEST, "arrays": {"xyz": []}}).encode(), r"manifest\.json: not a manifest"),
        ("manifest.json", None, r"no manifest\.json"),
    ):
        path = write_room(tmp_path, scene, "s3dis", SOURCE) / name
        if content is None:
            path.unlink()
        elif isinstance(content, np.ndarray):
            np.save(path, content)
        else:
            path.write_bytes(path.read_bytes()[:content] if isinstance(content, int) else content)
        refuses(message, read_room, path.parent)
        assert not is_current(tmp_path, "room", "s3dis", SOURCE) or name == "xyz.npy"


@pytest.mark.parametrize("command", ["", "pcseg prepare s3dis in out"])
def test_another_format_version_names_the_command(tmp_path: Path, scene: Scene, command: str) -> None:
    folder = write_room(tmp_path, scene, "s3dis", SOURCE, command=command)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "format_version": 99}))
    expected = command or "pcseg prepare KIND RAW OUT"
    refuses(f"format version 99, .* convert it with: {expected} --force", read_room, folder)
    assert not is_current(tmp_path, "room", "s3dis", SOURCE)


def test_a_room_is_current_while_its_source_is_the_same(tmp_path: Path, folder: Path) -> None:
    assert is_current(tmp_path, "room", "s3dis", SOURCE)
    assert not is_current(tmp_path, "other", "s3dis", SOURCE)
    assert not is_current(tmp_path, "room", "scannet20", SOURCE)
    assert not is_current(tmp_path, "room", "s3dis", Source("raw/room", "abd"))
    (file := tmp_path / "a.txt").write_text("1")
    first = source_of(tmp_path, [file])
    assert first == source_of(tmp_path, [file])
    assert first.fingerprint != source_of(tmp_path, [file], "voxel_size=0.05").fingerprint
    file.write_text("12")
    assert first.fingerprint != source_of(tmp_path, [file]).fingerprint
    refuses("absent", source_of, tmp_path, [tmp_path / "absent"], error=FileNotFoundError)
    (folder / "manifest.json").write_text(json.dumps({**MANIFEST, "arrays": {}}))
    assert not is_current(tmp_path, "room", "s3dis", SOURCE), "its fingerprint is missing"


def test_list_rooms(tmp_path: Path) -> None:
    root = tmp_path / "rooms"
    refuses("no such folder", list_rooms, root, ["*"], error=FileNotFoundError)
    for name in ("Area_1_a", "Area_5_a", "Area_5_b"):
        write_room(root, Scene(name, np.zeros((1, 3), np.float32)), "s3dis", SOURCE)
    (root / ".Area_5_c.unfinished").mkdir()
    (root / "report.json").write_text("{}")

    def names(*patterns: str) -> list[str]:
        return [folder.name for folder in list_rooms(root, patterns)]

    assert names("*") == ["Area_1_a", "Area_5_a", "Area_5_b"]
    assert names("Area_5_*") == ["Area_5_a", "Area_5_b"]
    assert names("*", "!Area_5_*") == ["Area_1_a"]
    assert names("!Area_5_b", "*_a", "*_b") == ["Area_1_a", "Area_5_a"]
    split = tmp_path / "split.txt"
    split.write_text("Area_5_b\n\nArea_9_z\n")
    assert names(str(split)) == ["Area_5_b"]
    assert names("*", f"!{split}") == ["Area_1_a", "Area_5_a"]
    refuses("no room matches Area_7_\\*; it holds 3 rooms: Area_1_a, Area_5_a, Area_5_b", names, "Area_7_*")
    refuses("no pattern at all", names)
    refuses(r"absent\.txt: no such file", names, "absent.txt")


def test_custom_classes_stay_with_the_room(tmp_path: Path, scene: Scene) -> None:
    own = tmp_path / "mine.yaml"
    own.write_text("names: [floor, wall, chair, lamp, a, b, c, d, e, f, g, h, i]\nstuff: [floor]\n")
    folder = write_room(tmp_path / "rooms", scene, own, SOURCE, instance_sources=["floor_1.txt"])
    own.unlink()
    manifest = read_manifest(folder)
    found = manifest["class_set"], manifest["class_names"][2:4], manifest["instance_sources"]
    assert found == ("mine", ["chair", "lamp"], ["floor_1.txt"])
    classes = store.classes_of(manifest)
    assert classes.stuff == {"floor"}
    store.check_classes([folder], classes)
    refuses("processed with the 13 classes of mine, expected the 13 of s3dis", store.check_classes, [folder], S3DIS)
    assert store.classes_of(read_manifest(write_room(tmp_path / "other", scene, S3DIS))) is S3DIS
