"""The preprocessing tools from raw folders to rooms in the store: reports, second runs, and what they refuse."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from plyfile import PlyData, PlyElement

from pcseg.data import preprocess as preprocessing
from pcseg.data.scannet import LABEL_TABLE
from pcseg.data.store import classes_of, list_rooms, read_manifest, read_room, verify_room
from tests.tools.conftest import TOOLS, Tool

Run = Callable[..., dict]


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    (tmp_path / "raw").mkdir()
    return tmp_path / "raw"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def preprocess(tool: Tool, raw: Path, out: Path) -> Run:
    """Runs tools/preprocess_DATASET.py RAW OUT; returns the report, with what was printed as "text"."""

    def run(dataset: str, *options: object) -> dict:
        status, printed, errors = tool(f"preprocess_{dataset}", raw, out, *options)
        assert status == 0, errors
        return {**json.loads((out / "report.json").read_text()), "text": printed}

    return run


@pytest.fixture
def refused(tool: Tool, raw: Path, out: Path) -> Callable[..., str]:
    """Runs a preprocessing tool that ends with status 2; returns its error."""

    def run(dataset: str, *options: object) -> str:
        status, _, errors = tool(f"preprocess_{dataset}", raw, out, *options)
        assert status == 2
        assert "Traceback" not in errors
        return errors

    return run


def write_s3dis(raw: Path, area: int, room: str, rng: np.random.Generator) -> Path:
    """A small raw room: a floor, a wall and a table."""
    folder = raw / f"Area_{area}" / room / "Annotations"
    folder.mkdir(parents=True)
    for name, scale, offset in (
        ("floor_1", (2, 2, 0), (0, 0, 0)),
        ("wall_1", (2, 0, 2), (0, 0, 0)),
        ("table_1", (1, 0.5, 0), (0.5, 0.5, 0.7)),
    ):
        xyz = rng.random((600, 3)) * scale + offset
        rgb = np.full((600, 3), len(name) * 20)
        rows = [f"{x:.3f} {y:.3f} {z:.3f} {r} {g} {b}" for (x, y, z), (r, g, b) in zip(xyz.tolist(), rgb.tolist())]
        (folder / f"{name}.txt").write_text("\n".join(rows) + "\n")
    return folder.parent


def test_preprocessing_does_without_torch() -> None:
    """Importing torch takes longer than all other imports."""
    tools = [str(TOOLS / f"preprocess_{name}.py") for name in ("s3dis", "scannet", "scans")]
    program = f"import runpy, sys; [runpy.run_path(tool) for tool in {tools}]; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr


def test_s3dis_in_two_processes_then_again(raw: Path, out: Path, tmp_path: Path, rng, preprocess) -> None:
    rooms = [write_s3dis(raw, area, "office_1", rng) for area in (1, 5)]
    path = rooms[1] / "Annotations" / "wall_1.txt"
    path.write_bytes(path.read_bytes().replace(b" 120\n", b"\x10120\n", 1))
    report = preprocess("s3dis", "--workers", 2, "--json", tmp_path / "r.json")
    text = report.pop("text")
    manifest = read_manifest(out / "Area_1_office_1")
    assert manifest["instance_sources"] == ["floor_1.txt", "table_1.txt", "wall_1.txt"]
    assert manifest["command"] == f"python tools/preprocess_s3dis.py {raw} {out}"
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
        largest = np.bincount(scene.superpoint).argmax()
        assert len(np.unique(scene.instance[scene.superpoint == largest])) == 1

    # A second run does only what changed; its report still lists every repair.
    path.touch()
    report = preprocess("s3dis")
    assert (report["written"], report["up_to_date"], report["num_repairs"]) == (1, 1, 1)
    report = preprocess("s3dis", "--areas", 5, "--force")
    assert (report["written"], report["up_to_date"], report["rooms"]) == (1, 0, 1)


@pytest.mark.parametrize("workers", [1, 2])
def test_one_bad_room_does_not_stop_the_others(raw: Path, out: Path, rng, refused, workers: int) -> None:
    write_s3dis(raw, 1, "good", rng)
    (write_s3dis(raw, 1, "dragon", rng) / "Annotations" / "dragon_1.txt").touch()
    (raw / "Area_1" / "empty").mkdir()
    assert "error: 2 of 3 rooms failed" in refused("s3dis", "--workers", workers)
    failed = json.loads((out / "report.json").read_text())["failed"]
    assert set(failed) == {"Area_1_dragon", "Area_1_empty"}
    assert "found class 'dragon'" in failed["Area_1_dragon"]
    assert "no folder Annotations" in failed["Area_1_empty"]
    assert [folder.name for folder in list_rooms(out, ["*"])] == ["Area_1_good"]


@pytest.mark.parametrize(
    ("dataset", "options", "message"),
    [
        ("s3dis", (), "no such folder; expected the folder of S3DIS"),
        ("scannet", (), "no such folder; expected the folder of ScanNet"),
        ("scans", ("--classes", "s3dis"), "no such folder; expected a folder of scans"),
    ],
)
def test_no_such_folder(raw: Path, out: Path, refused, dataset: str, options: tuple, message: str) -> None:
    assert "no " in refused(dataset, *options)
    raw.rmdir()
    error = refused(dataset, *options).strip()
    assert message in error
    assert error.startswith("error: ")
    assert len(error.splitlines()) == 1
    assert not out.exists()


@pytest.mark.parametrize(
    "options",
    [
        ("--workers", 0),
        ("--voxel-size", 0),
        ("--max-superpoints", -5),
        ("--superpoints", "voxel", "--coarse-voxel-size", -1),
        ("--areas", 7),
        ("--shard", "a"),
        ("--shard", "3/2"),
    ],
)
def test_bad_options(raw: Path, rng, refused, options: tuple) -> None:
    write_s3dis(raw, 1, "office_1", rng)
    assert "error: " in refused("s3dis", *options)


def test_scans_with_instances_from_zero(raw: Path, out: Path, rng, preprocess, refused) -> None:
    xyz = (rng.random((800, 3)) * [2, 2, 0.01]).astype(np.float32)
    labels = (np.arange(800) // 400).astype(np.int32)
    np.savez(raw / "a.npz", xyz=xyz, semantic=labels, instance=labels)
    table = np.column_stack([xyz, labels, labels])
    np.savetxt(raw / "b.txt", table, header="x y z semantic instance", fmt="%.5g")
    preprocess("scans", "--classes", "s3dis", "--first-instance", 0)
    for name in ("a", "b"):
        scene = read_room(out / name)
        np.testing.assert_array_equal(scene.instance, labels + 1)
        np.testing.assert_array_equal(scene.semantic, labels)
    assert read_manifest(out / "a")["instances_per_class"]["floor"] == 1
    # Other options, other rooms: they are made again.
    assert preprocess("scans", "--classes", "s3dis")["written"] == 2
    np.testing.assert_array_equal(read_room(out / "a").instance, labels)
    # A scan without labels.
    np.save(raw / "c.npy", xyz)
    assert "no semantic and no instance" in refused("scans", "--classes", "s3dis")
    preprocess("scans", "--classes", "s3dis", "--unlabeled")
    assert read_room(out / "c").semantic is None
    # Two files of one name.
    np.save(raw / "a.npy", xyz)
    assert "would be written twice" in refused("scans", "--classes", "s3dis")


def test_scannet(raw: Path, out: Path, tmp_path: Path, preprocess, refused) -> None:
    corners = [row * 20 + column for row in range(19) for column in range(19)]
    vertex = np.zeros(400, [("x", "f4"), ("y", "f4"), ("z", "f4")])
    vertex["x"], vertex["y"] = np.divmod(np.arange(400), 20)
    face = np.empty(2 * len(corners), [("vertex_indices", "i4", (3,))])
    face["vertex_indices"] = [triangle for c in corners for triangle in ((c, c + 1, c + 20), (c + 1, c + 21, c + 20))]
    for split, name in (("scans", "scene0001_00"), ("scans_test", "scene0707_00")):
        (raw / split / name).mkdir(parents=True)
        mesh = PlyData([PlyElement.describe(vertex, "vertex"), PlyElement.describe(face, "face")])
        mesh.write(str(raw / split / name / f"{name}_vh_clean_2.ply"))
        (raw / split / name / f"{name}.txt").write_text("axisAlignment = 1 0 0 1 0 1 0 0 0 0 1 0 0 0 0 1\n")
    folder = raw / "scans" / "scene0001_00"
    segments = (np.arange(400) // 100 * 7).tolist()
    (folder / "scene0001_00_vh_clean_2.0.010000.segs.json").write_text(json.dumps({"segIndices": segments}))
    groups = [{"objectId": 0, "label": "floor", "segments": [0, 7]}, {"objectId": 1, "label": "mat", "segments": [14]}]
    (folder / "scene0001_00.aggregation.json").write_text(json.dumps({"segGroups": groups}))
    (raw / LABEL_TABLE).write_text("id\traw_category\tnyu40id\n1\tfloor\t2\n2\tmat\t20\n")
    assert "2 rooms (2 written" in preprocess("scannet")["text"]
    train = read_room(out / "scene0001_00")
    assert train.num_superpoints == 4
    np.testing.assert_array_equal(np.unique(train.instance), [0, 1, 2])
    np.testing.assert_array_equal(np.unique(train.semantic), [-1, 1])
    np.testing.assert_allclose(train.xyz[0], [1, 0, 0])
    test = read_room(out / "scene0707_00")
    assert test.semantic is None
    assert test.num_superpoints == 1
    assert preprocess("scannet")["up_to_date"] == 2
    # A changed table of labels makes the labeled scan out of date, not the test scan.
    (raw / LABEL_TABLE).write_text("id\traw_category\tnyu40id\n1\tfloor\t2\n2\tmat\t39\n")
    assert preprocess("scannet")["written"] == 1
    assert "absent.tsv: no such file" in refused("scannet", "--labels", tmp_path / "absent.tsv", "--force")


def test_an_internal_error_is_not_taken_for_bad_input(raw: Path, rng, tool: Tool, out: Path, monkeypatch) -> None:
    write_s3dis(raw, 1, "office_1", rng)

    def broken(*args: object, **options: object) -> None:
        raise KeyError("bug")

    monkeypatch.setattr(preprocessing, "write_room", broken)
    with pytest.raises(RuntimeError, match=r"internal error at .*office_1"):
        tool("preprocess_s3dis", raw, out)


def test_shards_and_workers_give_the_same(raw: Path, out: Path, rng, tool: Tool, tmp_path: Path, preprocess) -> None:
    for area in (1, 2, 3):
        write_s3dis(raw, area, "office_1", rng)
    for part in (1, 2):
        assert tool("preprocess_s3dis", raw, out, "--shard", f"{part}/2")[0] == 0
    parts = [json.loads((out / f"report_{part}_of_2.json").read_text()) for part in (1, 2)]
    assert [part["rooms"] for part in parts] == [2, 1]
    assert not (out / "report.json").exists()
    # The whole at the end: nothing is done again, and the report counts all.
    whole = preprocess("s3dis")
    assert (whole["rooms"], whole["written"], whole["up_to_date"]) == (3, 0, 3)
    assert list(whole["groups"]) == ["Area_1", "Area_2", "Area_3"]
    assert sum(group["points"] for group in whole["groups"].values()) == whole["points"] == 5400
    assert whole["per_room"]["Area_1_office_1"]["sha256"] == read_manifest(out / "Area_1_office_1")["sha256"]
    # Another number of processes: the same checksum.
    assert tool("preprocess_s3dis", raw, tmp_path / "again", "--workers", 3)[0] == 0
    assert json.loads((tmp_path / "again" / "report.json").read_text())["sha256"] == whole["sha256"]


def test_coarse_voxels_and_fewer_superpoints(raw: Path, out: Path, rng, preprocess) -> None:
    write_s3dis(raw, 1, "office_1", rng)
    preprocess("s3dis", "--superpoints", "voxel", "--coarse-voxel-size", 1)
    scene = read_room(out / "Area_1_office_1")
    cell = np.floor((scene.xyz - scene.xyz.min(0)).astype(np.float64)).astype(int)
    assert scene.num_superpoints == len(np.unique(cell, axis=0))
    # Other superpoints, another room: it is made again.
    assert preprocess("s3dis", "--max-superpoints", 40)["written"] == 1


def test_custom_classes(raw: Path, out: Path, tmp_path: Path, rng, preprocess, refused) -> None:
    classes = tmp_path / "workshop.yaml"
    classes.write_text("names: [floor, bench]\nids: [10, 20]\nstuff: [floor]\n")
    xyz = (rng.random((800, 3)) * [2, 2, 0.01]).astype(np.float32)
    label, instance = np.repeat([10, 20, 99, 20], 200), np.repeat([0, 1, 0, 2], 200)
    np.savez(raw / "a.npz", xyz=xyz, label=label, instance=instance)
    options = ("--classes", classes, "--label-ids", classes)
    preprocess("scans", *options)
    manifest = read_manifest(out / "a")
    assert manifest["instances_per_class"] == {"floor": 0, "bench": 2}
    assert classes_of(manifest).instance_names == ("bench",)
    np.testing.assert_array_equal(np.unique(read_room(out / "a").semantic), [-1, 0, 1])
    assert preprocess("scans", *options)["up_to_date"] == 1
    # Other classes, other rooms.
    classes.write_text("names: [floor, vice]\nids: [10, 20]\nstuff: [floor]\n")
    preprocess("scans", *options)
    assert read_manifest(out / "a")["class_names"] == ["floor", "vice"]
    assert "cannot read the classes" in refused("scans", "--classes", tmp_path / "absent.yaml")


def test_real_room(real: Path, tool: Tool, out: Path) -> None:
    options = ("--classes", "s3dis", "--first-instance", 0)
    status, _, errors = tool("preprocess_scans", real / "s3dis" / "room_7.npz", out, *options)
    assert status == 0, errors
    scene = read_room(out / "room_7")
    assert len(scene) == 99605
    assert read_manifest(out / "room_7")["num_instances"] == 14
    assert 50 < scene.num_superpoints < 5000


def test_real_raw_room(real: Path, tool: Tool, out: Path) -> None:
    status, _, errors = tool("preprocess_s3dis", real / "s3dis_raw", out)
    assert status == 0, errors
    assert read_manifest(out / "Area_3_hallway_3")["num_instances"] == 12
