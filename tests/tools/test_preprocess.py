"""The preprocessing tools from raw folders to rooms in the store: reports, second runs, and what they refuse."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pcseg.data import preprocess as preprocessing
from pcseg.data.scannet import LABEL_TABLE
from pcseg.data.store import classes_of, list_rooms, read_manifest, read_room, verify_room

TOOLS = Path(__file__).resolve().parents[2] / "tools"


def run(tool: str, *args: object) -> subprocess.CompletedProcess:
    command = [sys.executable, str(TOOLS / tool), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def run_here(monkeypatch: pytest.MonkeyPatch, tool: str, *args: object) -> int:
    """The tool in this process: no second start of Python and torch; returns its exit status."""
    monkeypatch.setattr(sys, "argv", [tool, *map(str, args)])
    try:
        runpy.run_path(str(TOOLS / tool), run_name="__main__")
    except SystemExit as leave:
        return leave.code if isinstance(leave.code, int) else 1
    return 0


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
    """Its import takes longer than that of all the rest."""
    tools = [str(TOOLS / f"preprocess_{name}.py") for name in ("s3dis", "scannet", "scans")]
    program = f"import runpy, sys; [runpy.run_path(tool) for tool in {tools}]; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr


def test_s3dis_in_two_processes_then_again(tmp_path: Path, rng: np.random.Generator, monkeypatch) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    rooms = [write_s3dis(raw, area, "office_1", rng) for area in (1, 5)]
    path = rooms[1] / "Annotations" / "wall_1.txt"
    path.write_bytes(path.read_bytes().replace(b" 120\n", b"\x10120\n", 1))
    done = run("preprocess_s3dis.py", raw, out, "--workers", 2, "--json", tmp_path / "r.json")
    assert done.returncode == 0, done.stderr
    assert "2 rooms (2 written, 0 up to date, 0 failed), 3,600 points" in done.stdout
    assert "read as" in done.stdout
    report = json.loads((tmp_path / "r.json").read_text())
    assert report == json.loads((out / "report.json").read_text())
    assert report["classes"]["table"] == {"points": 1200, "instances": 2}
    assert report["instances"] == 6
    assert report["num_repairs"] == 1
    assert report["repairs"]["Area_5_office_1"][0].startswith("Area_5/office_1/Annotations/wall_1.txt:1: control byte")
    assert report["failed"] == {}
    for folder in list_rooms(out, ["*"]):
        verify_room(folder)
        scene = read_room(folder)
        assert scene.superpoint is not None
        assert 3 <= scene.num_superpoints < 600
        # Superpoints of this room keep floor and wall apart.
        assert scene.instance is not None
        largest = np.bincount(scene.superpoint).argmax()
        assert len(np.unique(scene.instance[scene.superpoint == largest])) == 1

    # A second run does only what changed; its report still lists every repair.
    path.touch()
    assert run_here(monkeypatch, "preprocess_s3dis.py", raw, out) == 0
    report = json.loads((out / "report.json").read_text())
    assert (report["written"], report["up_to_date"], report["num_repairs"]) == (1, 1, 1)
    assert run_here(monkeypatch, "preprocess_s3dis.py", raw, out, "--areas", 5, "--force") == 0
    report = json.loads((out / "report.json").read_text())
    assert (report["written"], report["up_to_date"], report["rooms"]) == (1, 0, 1)


def test_one_bad_room_does_not_stop_the_others(tmp_path: Path, rng: np.random.Generator, monkeypatch, capsys) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    write_s3dis(raw, 1, "good", rng)
    for room, line in (("letters", "1.0 2.0 x 1 2 3\n"), ("nan", "nan 2.0 3.0 1 2 3\n")):
        folder = write_s3dis(raw, 1, room, rng)
        with (folder / "Annotations" / "wall_1.txt").open("a") as file:
            file.write(line)
    (raw / "Area_1" / "empty").mkdir()
    assert run_here(monkeypatch, "preprocess_s3dis.py", raw, out) == 2
    error = capsys.readouterr().err
    assert "error: 3 of 4 rooms failed" in error
    assert "Traceback" not in error
    report = json.loads((out / "report.json").read_text())
    assert set(report["failed"]) == {"Area_1_empty", "Area_1_letters", "Area_1_nan"}
    assert "wall_1.txt:601: expected six numbers" in report["failed"]["Area_1_letters"]
    assert "wall_1.txt:601: expected finite" in report["failed"]["Area_1_nan"]
    assert "no folder Annotations" in report["failed"]["Area_1_empty"]
    assert [folder.name for folder in list_rooms(out, ["*"])] == ["Area_1_good"]


@pytest.mark.parametrize(
    ("tool", "options", "message"),
    [
        ("preprocess_s3dis.py", (), "no such folder; expected the folder of S3DIS"),
        ("preprocess_scannet.py", (), "no such folder; expected the folder of ScanNet"),
        ("preprocess_scans.py", ("--classes", "s3dis"), "no such folder; expected a folder of scans"),
    ],
)
def test_no_such_folder(tmp_path: Path, monkeypatch, capsys, tool: str, options: tuple, message: str) -> None:
    assert run_here(monkeypatch, tool, tmp_path / "absent", tmp_path / "out", *options) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert error.startswith("error: ")
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()
    (tmp_path / "raw").mkdir()
    assert run_here(monkeypatch, tool, tmp_path / "raw", tmp_path / "out", *options) == 2
    assert "no " in capsys.readouterr().err


def test_bad_options(tmp_path: Path, rng: np.random.Generator, monkeypatch, capsys) -> None:
    write_s3dis(tmp_path / "raw", 1, "office_1", rng)
    for options in (
        ("--workers", 0),
        ("--workers", -1),
        ("--voxel-size", 0),
        ("--max-superpoints", -5),
        ("--areas", 7),
    ):
        assert run_here(monkeypatch, "preprocess_s3dis.py", tmp_path / "raw", tmp_path / "out", *options) == 2
        assert capsys.readouterr().err.startswith("error: ")


def test_scans_with_instances_from_zero(tmp_path: Path, rng: np.random.Generator, monkeypatch, capsys) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    raw.mkdir()
    xyz = (rng.random((800, 3)) * [2, 2, 0.01]).astype(np.float32)
    labels = (np.arange(800) // 400).astype(np.int32)
    np.savez(raw / "a.npz", xyz=xyz, semantic=labels, instance=labels)
    table = np.column_stack([xyz, labels, labels])
    np.savetxt(raw / "b.txt", table, header="x y z semantic instance", fmt="%.5g")
    options = ("--classes", "s3dis", "--first-instance", 0)
    assert run_here(monkeypatch, "preprocess_scans.py", raw, out, *options) == 0
    for name in ("a", "b"):
        scene = read_room(out / name)
        np.testing.assert_array_equal(scene.instance, labels + 1)
        np.testing.assert_array_equal(scene.semantic, labels)
        assert scene.superpoint is not None
    assert read_manifest(out / "a")["instances_per_class"]["floor"] == 1
    # Other options, other rooms: they are made again.
    assert run_here(monkeypatch, "preprocess_scans.py", raw, out, "--classes", "s3dis") == 0
    assert json.loads((out / "report.json").read_text())["written"] == 2
    np.testing.assert_array_equal(read_room(out / "a").instance, labels)
    # A scan without labels.
    np.save(raw / "c.npy", xyz)
    capsys.readouterr()
    assert run_here(monkeypatch, "preprocess_scans.py", raw, out, "--classes", "s3dis") == 2
    assert "no semantic and no instance" in capsys.readouterr().err
    assert run_here(monkeypatch, "preprocess_scans.py", raw, out, "--classes", "s3dis", "--unlabeled") == 0
    assert read_room(out / "c").semantic is None
    # Two files of one name.
    np.save(raw / "a.npy", xyz)
    assert run_here(monkeypatch, "preprocess_scans.py", raw, out, "--classes", "s3dis") == 2
    assert "would be written twice" in capsys.readouterr().err


def test_scannet(tmp_path: Path, rng: np.random.Generator, monkeypatch, capsys) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    for split, name in (("scans", "scene0001_00"), ("scans_test", "scene0707_00")):
        folder = raw / split / name
        folder.mkdir(parents=True)
        grid = np.stack(np.meshgrid(np.arange(20), np.arange(20)), axis=-1).reshape(-1, 2) * 0.1
        vertices = "".join(f"{x:.2f} {y:.2f} 0 9 9 9\n" for x, y in grid.tolist())
        corners = [row * 20 + column for row in range(19) for column in range(19)]
        faces = "".join(f"3 {c} {c + 1} {c + 20}\n3 {c + 1} {c + 21} {c + 20}\n" for c in corners)
        header = "ply\nformat ascii 1.0\nelement vertex 400\n"
        header += "".join(f"property float {axis}\n" for axis in "xyz")
        header += "".join(f"property uchar {color}\n" for color in ("red", "green", "blue"))
        header += f"element face {2 * len(corners)}\nproperty list uchar int vertex_indices\nend_header\n"
        (folder / f"{name}_vh_clean_2.ply").write_text(header + vertices + faces)
        (folder / f"{name}.txt").write_text("axisAlignment = 1 0 0 1 0 1 0 0 0 0 1 0 0 0 0 1\n")
    folder = raw / "scans" / "scene0001_00"
    segments = (np.arange(400) // 100 * 7).tolist()
    (folder / "scene0001_00_vh_clean_2.0.010000.segs.json").write_text(json.dumps({"segIndices": segments}))
    groups = [{"objectId": 0, "label": "floor", "segments": [0, 7]}, {"objectId": 1, "label": "mat", "segments": [14]}]
    (folder / "scene0001_00.aggregation.json").write_text(json.dumps({"segGroups": groups}))
    (raw / LABEL_TABLE).write_text("id\traw_category\tnyu40id\n1\tfloor\t2\n2\tmat\t20\n")
    assert run_here(monkeypatch, "preprocess_scannet.py", raw, out) == 0
    assert "2 rooms (2 written" in capsys.readouterr().out
    train = read_room(out / "scene0001_00")
    assert train.num_superpoints == 4
    np.testing.assert_array_equal(np.unique(train.instance), [0, 1, 2])
    np.testing.assert_array_equal(np.unique(train.semantic), [-1, 1])
    np.testing.assert_allclose(train.xyz[0], [1, 0, 0])
    test = read_room(out / "scene0707_00")
    assert test.semantic is None
    assert test.num_superpoints == 1
    assert run_here(monkeypatch, "preprocess_scannet.py", raw, out) == 0
    assert json.loads((out / "report.json").read_text())["up_to_date"] == 2
    # A changed table of labels makes the labeled scan out of date, not the test scan.
    (raw / LABEL_TABLE).write_text("id\traw_category\tnyu40id\n1\tfloor\t2\n2\tmat\t39\n")
    assert run_here(monkeypatch, "preprocess_scannet.py", raw, out) == 0
    assert json.loads((out / "report.json").read_text())["written"] == 1
    assert run_here(monkeypatch, "preprocess_scannet.py", raw, out, "--labels", tmp_path / "absent.tsv", "--force") == 2
    assert "absent.tsv: no such file" in capsys.readouterr().err


def test_a_fault_of_ours_is_not_taken_for_bad_input(tmp_path: Path, rng: np.random.Generator, monkeypatch) -> None:
    write_s3dis(tmp_path / "raw", 1, "office_1", rng)

    def broken(*args: object, **options: object) -> None:
        raise KeyError("fault")

    monkeypatch.setattr(preprocessing, "over_segment", broken)
    with pytest.raises(RuntimeError, match="a fault of pcseg"):
        run_here(monkeypatch, "preprocess_s3dis.py", tmp_path / "raw", tmp_path / "out")
    assert json.loads((tmp_path / "out" / "report.json").read_text())["faults"]


def test_real_rooms(real: Path, tmp_path: Path, monkeypatch) -> None:
    options = ("--classes", "s3dis", "--first-instance", 0)
    assert run_here(monkeypatch, "preprocess_scans.py", real / "s3dis" / "room_7.npz", tmp_path, *options) == 0
    scene = read_room(tmp_path / "room_7")
    assert len(scene) == 99605
    assert read_manifest(tmp_path / "room_7")["num_instances"] == 14
    assert 50 < scene.num_superpoints < 5000


def test_shards_and_workers_give_the_same(tmp_path: Path, rng: np.random.Generator, monkeypatch) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    for area in (1, 2, 3):
        write_s3dis(raw, area, "office_1", rng)
    for part in (1, 2):
        assert run_here(monkeypatch, "preprocess_s3dis.py", raw, out, "--shard", f"{part}/2") == 0
    parts = [json.loads((out / f"report_{part}_of_2.json").read_text()) for part in (1, 2)]
    assert [part["rooms"] for part in parts] == [2, 1]
    assert not (out / "report.json").exists()
    # The whole at the end: nothing is done again, and the report counts all.
    assert run_here(monkeypatch, "preprocess_s3dis.py", raw, out) == 0
    whole = json.loads((out / "report.json").read_text())
    assert (whole["rooms"], whole["written"], whole["up_to_date"]) == (3, 0, 3)
    assert list(whole["groups"]) == ["Area_1", "Area_2", "Area_3"]
    assert sum(group["points"] for group in whole["groups"].values()) == whole["points"] == 5400
    assert whole["per_room"]["Area_1_office_1"]["sha256"] == read_manifest(out / "Area_1_office_1")["sha256"]
    # Other machines, other numbers of processes: the same checksum.
    assert run("preprocess_s3dis.py", raw, tmp_path / "again", "--workers", 3).returncode == 0
    assert json.loads((tmp_path / "again" / "report.json").read_text())["sha256"] == whole["sha256"]
    assert run_here(monkeypatch, "preprocess_s3dis.py", raw, out, "--shard", "3/2") == 2


def test_instances_keep_their_files_and_rooms_their_command(tmp_path: Path, rng, monkeypatch) -> None:
    write_s3dis(tmp_path / "raw", 1, "office_1", rng)
    options = ("--workers", 2, "--force", "--shard", "1/1")
    assert run_here(monkeypatch, "preprocess_s3dis.py", tmp_path / "raw", tmp_path / "out", *options) == 0
    manifest = read_manifest(tmp_path / "out" / "Area_1_office_1")
    assert manifest["instance_sources"] == ["floor_1.txt", "table_1.txt", "wall_1.txt"]
    assert manifest["instances_per_class"]["floor"] == 1
    assert manifest["command"] == f"python tools/preprocess_s3dis.py {tmp_path / 'raw'} {tmp_path / 'out'}"


def test_coarse_voxels_and_fewer_superpoints(tmp_path: Path, rng: np.random.Generator, monkeypatch, capsys) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    write_s3dis(raw, 1, "office_1", rng)
    options = ("--superpoints", "voxel", "--coarse-voxel-size", 1)
    assert run_here(monkeypatch, "preprocess_s3dis.py", raw, out, *options) == 0
    scene = read_room(out / "Area_1_office_1")
    cell = np.floor((scene.xyz - scene.xyz.min(0)).astype(np.float64)).astype(int)
    assert scene.num_superpoints == len(np.unique(cell, axis=0))
    # Other superpoints, another room: it is made again.
    assert run_here(monkeypatch, "preprocess_s3dis.py", raw, out, "--max-superpoints", 40) == 0
    assert json.loads((out / "report.json").read_text())["written"] == 1
    for wrong in (("--max-superpoints", 0), ("--superpoints", "voxel", "--coarse-voxel-size", -1), ("--shard", "a")):
        assert run_here(monkeypatch, "preprocess_s3dis.py", raw, out, *wrong) == 2


def test_classes_of_ones_own(tmp_path: Path, rng: np.random.Generator, monkeypatch, capsys) -> None:
    raw, out, classes = tmp_path / "raw", tmp_path / "out", tmp_path / "workshop.yaml"
    raw.mkdir()
    classes.write_text("names: [floor, bench]\nids: [10, 20]\nstuff: [floor]\n")
    xyz = (rng.random((800, 3)) * [2, 2, 0.01]).astype(np.float32)
    label, instance = np.repeat([10, 20, 99, 20], 200), np.repeat([0, 1, 0, 2], 200)
    np.savez(raw / "a.npz", xyz=xyz, label=label, instance=instance)
    tool = "preprocess_scans.py"
    assert run_here(monkeypatch, tool, raw, out, "--classes", classes, "--label-ids", classes) == 0
    manifest = read_manifest(out / "a")
    assert manifest["instances_per_class"] == {"floor": 0, "bench": 2}
    assert classes_of(manifest).instance_names == ("bench",)
    np.testing.assert_array_equal(np.unique(read_room(out / "a").semantic), [-1, 0, 1])
    assert run_here(monkeypatch, tool, raw, out, "--classes", classes, "--label-ids", classes) == 0
    assert json.loads((out / "report.json").read_text())["up_to_date"] == 1
    # Other classes, other rooms.
    classes.write_text("names: [floor, vice]\nids: [10, 20]\nstuff: [floor]\n")
    assert run_here(monkeypatch, tool, raw, out, "--classes", classes, "--label-ids", classes) == 0
    assert read_manifest(out / "a")["class_names"] == ["floor", "vice"]
    assert run_here(monkeypatch, tool, raw, out, "--classes", tmp_path / "absent.yaml") == 2
    assert "cannot read the classes" in capsys.readouterr().err
