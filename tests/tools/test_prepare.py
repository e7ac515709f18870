"""pcseg prepare from raw folders to rooms in the store: reports, second runs, and what they refuse."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from pcseg.choices import SCANNET_LABEL_TABLE as LABEL_TABLE
from pcseg.data.preprocess import superpoints_of
from pcseg.data.store import Source, classes_of, list_rooms, read_manifest, read_room, verify_room, write_room
from pcseg.ops.superpoints import SuperpointOptions
from pcseg.parallel import map_rooms
from pcseg.structures import Scene
from tests.conftest import holds, refuses
from tests.data.test_scannet import NAME, write_scan
from tests.tools.commands import passes, refused, tool

BAD_OPTIONS = ["--workers 0", "--voxel-size 0", "--max-superpoints -5", "--superpoints voxel --coarse-voxel-size -1"]


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    (tmp_path / "raw").mkdir()
    return tmp_path / "raw"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def prepare(dataset: str, raw: Path, out: Path, *options: object, report: str = "report.json") -> dict[str, Any]:
    """Runs pcseg prepare DATASET RAW OUT; returns the report, with what was printed as "text"."""
    printed, _ = passes(f"prepare {dataset}", raw, out, *options)
    return {**json.loads((out / report).read_text()), "text": printed}


def fails(dataset: str, raw: Path, out: Path, *options: object) -> str:
    """What pcseg prepare prints to stderr where a room fails: the reasons, then an error."""
    status, _, err = tool(f"prepare {dataset}", raw, out, *options)
    assert (status, "Traceback" in err) == (2, False)
    return err


def write_s3dis(raw: Path, area: int, room: str, rng: np.random.Generator) -> Path:
    """A small raw room: a floor, a wall and a table."""
    folder = raw / f"Area_{area}" / room / "Annotations"
    folder.mkdir(parents=True)
    parts = {"floor_1": ((2, 2, 0), 0), "wall_1": ((2, 0, 2), 0), "table_1": ((1, 0.5, 0), (0.5, 0.5, 0.7))}
    for name, (scale, offset) in parts.items():
        rows = np.column_stack([rng.random((600, 3)) * scale + offset, np.full((600, 3), len(name) * 20)])
        np.savetxt(folder / f"{name}.txt", rows, fmt="%.3f %.3f %.3f %d %d %d")
    return folder.parent


def test_s3dis_in_two_processes_then_again(raw: Path, out: Path, tmp_path: Path, rng) -> None:
    rooms = [write_s3dis(raw, area, "office_1", rng) for area in (1, 5)]
    path = rooms[1] / "Annotations" / "wall_1.txt"
    path.write_bytes(path.read_bytes().replace(b" 120\n", b"\x10120\n", 1))
    report = prepare("s3dis", raw, out, "--workers", 2, "--json", tmp_path / "r.json")
    text = report.pop("text")
    manifest = read_manifest(out / "Area_1_office_1")
    assert manifest["instance_sources"] == ["floor_1.txt", "table_1.txt", "wall_1.txt"]
    assert manifest["command"] == f"pcseg prepare s3dis {raw} {out}"
    assert "2 rooms (2 written, 0 up to date, 0 failed), 3,599 points" in text
    assert "wall_1.txt:1: not a point x y z r g b, dropped" in text
    assert report == json.loads((tmp_path / "r.json").read_text())
    assert report["classes"]["table"] == {"points": 1200, "instances": 2}
    assert (report["instances"], report["num_repairs"], report["failed"]) == (6, 1, {})
    assert list(report["repairs"]) == ["Area_5_office_1"]
    for folder in list_rooms(out, ["*"]):
        verify_room(folder)
        scene = read_room(folder)
        assert 3 <= scene.num_superpoints < 600
        # Superpoints of this room keep floor and wall apart.
        assert len(np.unique(scene.instance[scene.superpoint == np.bincount(scene.superpoint).argmax()])) == 1

    # A second run does only what changed; its report still lists every repair.
    path.touch()
    report = prepare("s3dis", raw, out)
    assert (report["written"], report["up_to_date"], report["num_repairs"]) == (1, 1, 1)
    report = prepare("s3dis", raw, out, "--areas", 5, "--force")
    assert (report["written"], report["up_to_date"], report["rooms"]) == (1, 0, 1)


def test_rooms_of_an_earlier_run_come_first(raw: Path, out: Path, rng, monkeypatch) -> None:
    write_s3dis(raw, 1, "small", rng)
    prepare("s3dis", raw, out)
    large = write_s3dis(raw, 1, "large", rng) / "Annotations"
    (large / "wall_2.txt").write_bytes((large / "wall_1.txt").read_bytes())
    mapped = Mock(side_effect=map_rooms)
    monkeypatch.setattr("pcseg.data.preprocess.map_rooms", mapped)
    prepare("s3dis", raw, out)
    assert [folder.name for folder in mapped.call_args.args[1]] == ["small", "large"]


@pytest.mark.parametrize("workers", [1, 2])
def test_one_bad_room_does_not_stop_the_others(raw: Path, out: Path, rng, workers: int) -> None:
    write_s3dis(raw, 1, "good", rng)
    (write_s3dis(raw, 1, "dragon", rng) / "Annotations" / "dragon_1.txt").touch()
    (raw / "Area_1" / "empty").mkdir()
    error = fails("s3dis", raw, out, "--workers", workers)
    assert "error: 2 of 3 rooms failed, reasons above: Area_1_dragon, Area_1_empty\n" in error
    assert error.count("found class 'dragon'") == error.count("no folder Annotations") == 1
    failed = json.loads((out / "report.json").read_text())["failed"]
    assert set(failed) == {"Area_1_dragon", "Area_1_empty"}
    assert "found class 'dragon'" in failed["Area_1_dragon"]
    assert "no folder Annotations" in failed["Area_1_empty"]
    assert [folder.name for folder in list_rooms(out, ["*"])] == ["Area_1_good"]


@pytest.mark.parametrize("dataset", ["s3dis", "scannet", "scans"])
def test_no_such_folder(raw: Path, out: Path, dataset: str) -> None:
    options = ("--classes", "s3dis") if dataset == "scans" else ()
    assert "no " in refused(f"prepare {dataset}", raw, out, *options)
    raw.rmdir()
    expected = {"s3dis": "the folder of S3DIS", "scannet": "the folder of ScanNet", "scans": "a folder of scans"}
    assert f"no such folder; expected {expected[dataset]}" in refused(f"prepare {dataset}", raw, out, *options)
    assert not out.exists()


@pytest.mark.parametrize("options", [*BAD_OPTIONS, "--areas 7", "--shard a", "--shard 3/2"])
def test_bad_options(raw: Path, out: Path, rng, options: str) -> None:
    write_s3dis(raw, 1, "office_1", rng)
    refused("prepare s3dis", raw, out, *options.split())


def test_scans_with_instances_from_zero(raw: Path, out: Path, rng) -> None:
    xyz = (rng.random((800, 3)) * [2, 2, 0.01]).astype(np.float32)
    labels = (np.arange(800) // 400).astype(np.int32)
    np.savez(raw / "a.npz", xyz=xyz, semantic=labels, instance=labels)
    np.savetxt(raw / "b.txt", np.column_stack([xyz, labels, labels]), header="x y z semantic instance", fmt="%.5g")
    report = prepare("scans", raw, out, "--classes", "s3dis", "--first-instance", 0)
    assert "\n0 repairs and notes\nwhat looks wrong and was left as it is:\n  a.npz: It has only 800" in report["text"]
    assert [*report["advice"]] == ["a", "b"]
    for name in ("a", "b"):
        holds(read_room(out / name), instance=labels + 1, semantic=labels)
    assert read_manifest(out / "a")["instances_per_class"]["floor"] == 1
    # Other options, other rooms: they are made again.
    assert prepare("scans", raw, out, "--classes", "s3dis")["written"] == 2
    np.testing.assert_array_equal(read_room(out / "a").instance, labels)
    # A scan without labels.
    np.save(raw / "c.npy", xyz)
    assert "no semantic and no instance" in fails("scans", raw, out, "--classes", "s3dis")
    prepare("scans", raw, out, "--classes", "s3dis", "--unlabeled")
    assert read_room(out / "c").semantic is None
    # Values that mean no class, and no instance.
    labels = {"semantic": np.repeat([0, 255, -100, 1], 200), "instance": np.repeat([1, 2, 0, 3], 200)}
    np.savez(raw / "a.npz", xyz=xyz, **labels)
    error = fails("scans", raw, out, "--classes", "s3dis", "--unlabeled")
    assert "name the column `label` and give --label-ids; list values that mean no class in --ignore-labels" in error
    np.savez(raw / "a.npz", xyz=xyz, semantic=labels["semantic"], instance=np.repeat([1, 2, -100, 3], 200))
    error = fails("scans", raw, out, "--classes", "s3dis", "--unlabeled")
    assert "see --first-instance and --ignore-labels" in error
    prepare("scans", raw, out, "--classes", "s3dis", "--unlabeled", "--ignore-labels", 255, -100)
    holds(read_room(out / "a"), semantic=np.repeat([0, -1, -1, 1], 200), instance=np.repeat([1, 0, 0, 3], 200))
    # Two files of one name.
    np.save(raw / "a.npy", xyz)
    assert "would be written twice" in refused("prepare scans", raw, out, "--classes", "s3dis")


def test_what_is_wrong_with_labels_and_with_older_rooms(raw: Path, out: Path, rng) -> None:
    xyz = (rng.random((800, 3)) * [2, 2, 0.01]).astype(np.float32)
    chair, floor = 3, 1
    labels = {"semantic": np.repeat([chair, floor, chair, -1], 200), "instance": np.repeat([0, 0, 4, 7], 200)}
    for name in ("a", "b"):
        np.savez(raw / f"{name}.npz", xyz=xyz, **labels)
    options = ("--classes", "indoor", "--workers", 1)
    text = prepare("scans", raw, out, *options)["text"]
    assert "a.npz: Some points of objects have no instance: 200 of chair.\n" in text
    assert "a.npz: 1 of its 2 instance ids have no point with a class.\n" in text
    assert "is gone" not in text
    # A renamed scan leaves its old room, which the report names, as long as other scans are still there.
    (raw / "a.npz").rename(raw / "c.npz")
    report = prepare("scans", raw / "c.npz", out, *options)
    assert report["gone"] == {"a": f"{raw / 'a.npz'}"}
    assert f"1 room in {out} whose scan is gone: a ({raw / 'a.npz'}); " in report["text"]
    raw.rename(raw.with_name("moved"))
    assert prepare("scans", raw.with_name("moved"), out, *options)["gone"] == {}


def test_scannet(raw: Path, out: Path, tmp_path: Path) -> None:
    write_scan(raw)
    unlabeled = raw / "scans_test" / "scene0707_00"
    unlabeled.mkdir(parents=True)
    for path in write_scan(tmp_path / "other", aggregation="", segments=None).iterdir():
        path.rename(unlabeled / path.name.replace(NAME, unlabeled.name))
    assert "2 rooms (2 written" in prepare("scannet", raw, out)["text"]
    train, test = read_room(out / NAME), read_room(out / unlabeled.name)
    assert {*train.instance} == {0, 1, 2, 3} == {*train.superpoint}
    assert {*train.semantic} == {-1, 0, 4}
    assert test.semantic is None
    assert test.num_superpoints > 0
    assert prepare("scannet", raw, out)["up_to_date"] == 2
    # A changed table of labels makes the labeled scan out of date, not the test scan.
    with (raw / LABEL_TABLE).open("a") as file:
        file.write("9\tlamp\t35\n")
    assert prepare("scannet", raw, out)["written"] == 1
    labels = ("--labels", tmp_path / "absent.tsv", "--force")
    assert "absent.tsv: no such file" in fails("scannet", raw, out, *labels)


def test_an_internal_error_is_not_taken_for_bad_input(raw: Path, out: Path, rng, monkeypatch) -> None:
    write_s3dis(raw, 1, "office_1", rng)
    monkeypatch.setattr("pcseg.data.preprocess.write_room", Mock(side_effect=KeyError("bug")))
    refuses("internal error at .*office_1", prepare, "s3dis", raw, out, error=RuntimeError)


def test_shards_and_workers_give_the_same(raw: Path, out: Path, rng, tmp_path: Path) -> None:
    for area in (1, 2, 3):
        write_s3dis(raw, area, "office_1", rng)
    for part, num_rooms in ((1, 2), (2, 1)):
        report = prepare("s3dis", raw, out, "--shard", f"{part}/2", report=f"report_{part}_of_2.json")
        assert report["rooms"] == num_rooms
    assert not (out / "report.json").exists()
    # The whole at the end: nothing is done again, and the report counts all.
    whole = prepare("s3dis", raw, out)
    assert (whole["rooms"], whole["written"], whole["up_to_date"]) == (3, 0, 3)
    assert list(whole["groups"]) == ["Area_1", "Area_2", "Area_3"]
    assert sum(group["points"] for group in whole["groups"].values()) == whole["points"] == 5400
    assert whole["per_room"]["Area_1_office_1"]["sha256"] == read_manifest(out / "Area_1_office_1")["sha256"]
    # Another number of processes: the same checksum.
    assert prepare("s3dis", raw, tmp_path / "again", "--workers", 3)["sha256"] == whole["sha256"]
    counts = prepare("s3dis", raw, tmp_path / "indoor", "--classes", "indoor")["classes"]
    for name, other in (("table", "table"), ("bookcase", "bookshelf"), ("clutter", "other object")):
        assert counts[other] == whole["classes"][name]


def test_coarse_voxels_and_fewer_superpoints(raw: Path, out: Path, rng) -> None:
    write_s3dis(raw, 1, "office_1", rng)
    prepare("s3dis", raw, out, "--superpoints", "voxel", "--coarse-voxel-size", 1)
    scene = read_room(out / "Area_1_office_1")
    cell = np.floor((scene.xyz - scene.xyz.min(0)).astype(np.float64)).astype(int)
    assert scene.num_superpoints == len(np.unique(cell, axis=0))
    assert superpoints_of([out / "Area_1_office_1"]) == SuperpointOptions(method="voxel", coarse_voxel_size=1.0)
    # Other superpoints, another room: it is made again.
    assert prepare("s3dis", raw, out, "--max-superpoints", 40)["written"] == 1


def test_custom_classes(raw: Path, out: Path, tmp_path: Path, rng) -> None:
    classes = tmp_path / "workshop.yaml"
    classes.write_text("names: [floor, bench, vice, lamp]\nids: [10, 20, 30, 40]\nstuff: [floor]\n")
    xyz = (rng.random((800, 3)) * [2, 2, 0.01]).astype(np.float32)
    label, instance = np.repeat([10, 20, 99, 20], 200), np.repeat([9, 1, 0, 2], 200)
    np.savez(raw / "a.npz", xyz=xyz, label=label, instance=instance)
    options = ("--classes", classes, "--label-ids", classes)
    expected = "no semantic in it; its column `label` is read with --label-ids, the class set that its ids are of"
    assert expected in fails("scans", raw, out, *options[:2])
    report = prepare("scans", raw, out, *options)
    assert report["instances"] == report["classes"]["bench"]["instances"] == 2
    assert "floor                    -           200\n" in report["text"], "a surface has no instances to count"
    assert "no class                 -           200\nwarning: no point has these classes" in report["text"]
    assert "of the class set: vice, lamp\n" in report["text"]
    assert classes_of(read_manifest(out / "a")).instance_names == ("bench", "vice", "lamp")
    np.testing.assert_array_equal(np.unique(read_room(out / "a").semantic), [-1, 0, 1])
    assert prepare("scans", raw, out, *options)["up_to_date"] == 1
    # Other classes, other rooms.
    classes.write_text("names: [floor, vice]\nids: [10, 20]\nstuff: [floor]\n")
    prepare("scans", raw, out, *options)
    assert read_manifest(out / "a")["class_names"] == ["floor", "vice"]
    assert "cannot read the classes" in refused("prepare scans", raw, out, "--classes", tmp_path / "absent.yaml")


def test_real_rooms(real: Path, out: Path) -> None:
    passes("prepare scans", real / "s3dis" / "room_7.npz", out, "--classes", "s3dis", "--first-instance", 0)
    scene = read_room(out / "room_7")
    assert (len(scene), read_manifest(out / "room_7")["num_instances"]) == (99605, 14)
    assert 50 < scene.num_superpoints < 5000
    passes("prepare s3dis", real / "s3dis_raw", out / "raw")
    assert read_manifest(out / "raw" / "Area_3_hallway_3")["num_instances"] == 12


def test_superpoints_of_rooms_are_those_that_all_of_them_have(tmp_path: Path) -> None:
    graph, voxel = SuperpointOptions(voxel_size=0.04, max_superpoints=77), SuperpointOptions(method="voxel")

    def write(name: str, settings: dict | None) -> Path:
        scene = Scene(name, np.zeros((1, 3), np.float32))
        return write_room(tmp_path, scene, "s3dis", Source("", ""), superpoints=settings)

    written = {"a": asdict(graph), "b": asdict(graph), "v": asdict(voxel), "old": None}
    rooms = {name: write(name, settings) for name, settings in written.items()}
    for names, expected in (("a b", graph), ("v", voxel), ("a v", None), ("a old", None), ("old", None), ("", None)):
        assert superpoints_of([rooms[name] for name in names.split()]) == expected
    newer = write("newer", {**asdict(graph), "snap_to_edges": True})
    refuses(r"newer: superpoint settings .*snap_to_edges.* update it", superpoints_of, [newer])
    for content in (None, [], "graph", {"method": "other"}, {"max_superpoints": 0}):
        refuses(r"settings|expected", SuperpointOptions.from_dict, content, "here")
