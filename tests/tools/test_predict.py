"""pcseg predict from a checkpoint and any file to results, and pcseg export from these to other programs."""

import io
import json
import re
import time
from contextlib import redirect_stderr
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plyfile import PlyData, PlyElement

from pcseg import cli, load_model
from pcseg.files import read_npz
from pcseg.inference.prediction_files import SUFFIXES
from pcseg.inference.segmenter import Segmenter
from pcseg.ops.superpoints import SuperpointOptions
from pcseg.ops.voxelize import voxelize
from pcseg.prediction import Prediction
from pcseg.structures import Scene
from pcseg.synthetic import make_room
from tests.conftest import refuses
from tests.tools.commands import passes, refused, tool
from tests.tools.small import fresh_checkpoint

OPTIONS = asdict(SuperpointOptions(max_superpoints=200))


def _checkpoint(path: Path, *changes: str, superpoints: dict[str, Any] | None = OPTIONS) -> Path:
    activation = "model.decoder.mask_activation=sigmoid"
    return fresh_checkpoint(path, activation, "inference.min_points=20", *changes, superpoints=superpoints)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _checkpoint(tmp_path_factory.mktemp("model") / "last.pt")


@pytest.fixture(scope="module")
def scene() -> Scene:
    """A room with color whose coordinates every format holds without rounding."""
    room = make_room(5, 0, num_points=3000)
    return Scene("room", np.round(room.xyz * 512).astype(np.float32) / 512, room.rgb)


@pytest.fixture(scope="module")
def scan(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scan") / "room.v2.npz"
    np.savez(path, xyz=scene.xyz, rgb=scene.rgb)
    return path


def _write_ply(path: Path, scene: Scene) -> None:
    kinds = [(k, "f4") for k in "xyz"] + [(k, "u1") for k in ("red", "green", "blue")]
    rows = np.array([(*p, *c) for p, c in zip(scene.xyz.tolist(), scene.rgb.tolist())], kinds)
    PlyData([PlyElement.describe(rows, "vertex")]).write(path)


def test_any_format_gives_the_same_and_labels_change_nothing(
    checkpoint: Path, scene: Scene, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr("pcseg.parallel.LINE_SECONDS", 0)
    scans = [tmp_path / name for name in ("plain.npz", "text.txt", "mesh.ply", "labeled.npz")]
    np.savez(scans[0], xyz=scene.xyz, rgb=scene.rgb)
    np.savetxt(scans[1], np.concatenate([scene.xyz, scene.rgb], axis=1), fmt=["%.9f"] * 3 + ["%d"] * 3)
    _write_ply(scans[2], scene)
    labels = np.arange(len(scene))
    np.savez(scans[3], xyz=scene.xyz, rgb=scene.rgb, semantic=labels % 40, instance=labels % 7)
    out, err = passes("predict", "--model", checkpoint, *scans, "--out", tmp_path / "out", "--threshold", 0)
    for path in scans:
        assert re.search(rf"^. of 4 scans, ..:.., {path.name}: network$", err, re.MULTILINE), "a log shows life"
    assert out.count(" with score >= 0.0\n") == out.count("size in meters") == len(scans)
    assert f"files: {tmp_path / 'out' / 'plain'}.npz, .ply, .instances.csv, .ids.npy, .png, .html\n" in out
    assert {p.name for p in (tmp_path / "out").iterdir()} == {path.stem + end for path in scans for end in SUFFIXES}
    first, *others = [read_npz(tmp_path / "out" / f"{path.stem}.npz") for path in scans]
    assert len(first["labels"]) > 0
    for same in others:
        assert set(same) == set(first)
        for key in first.keys() - {"name"}:
            np.testing.assert_array_equal(same[key], first[key], err_msg=key)


def test_the_checkpoint_alone_is_enough(tmp_path: Path, scan: Path) -> None:
    classes = tmp_path / "mine.yaml"
    classes.write_text("names: [ground, wall, sofa bed]\nstuff: [ground, wall]\n")
    options = asdict(SuperpointOptions(method="voxel", coarse_voxel_size=0.5))
    moved = tmp_path / "away" / "moved.pt"
    moved.parent.mkdir()
    _checkpoint(tmp_path / "last.pt", f"data.classes={classes}", superpoints=options).rename(moved)
    classes.unlink()
    _, err = passes("predict", "--model", moved, scan, "--out", tmp_path / "out", "--device", "cpu")
    assert "note:" not in err
    result = Prediction.load(tmp_path / "out" / "room.v2.npz")
    assert result.classes.names == ("ground", "wall", "sofa bed")
    # Superpoints use the settings of the training rooms.
    np.testing.assert_array_equal(result.scene.superpoint, voxelize(result.scene.xyz, 0.5).point_to_voxel)


def test_superpoint_settings_of_other_versions(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert load_model(_checkpoint(tmp_path / "a.pt")).superpoints == SuperpointOptions(max_superpoints=200)
    assert not caplog.records
    assert load_model(_checkpoint(tmp_path / "old.pt", superpoints=None)).superpoints == SuperpointOptions()
    assert "old.pt does not record the superpoint settings of its training rooms" in caplog.text
    _checkpoint(tmp_path / "new.pt", superpoints={"method": "graph", "newer": 3})
    refuses(r"new\.pt: superpoint settings .* not of this version of pcseg; update it", load_model, tmp_path / "new.pt")


def test_color_that_the_model_wants_is_missing(checkpoint: Path, scene: Scene, tmp_path: Path) -> None:
    np.savez(tmp_path / "gray.npz", xyz=scene.xyz)
    scan = (tmp_path / "gray.npz", "--out", tmp_path / "out")
    error = refused("predict", "--model", checkpoint, *scan)
    assert error.startswith("error: scene gray has no rgb, but the model takes rgb, xyz; ")
    assert re.search(r"--gray.* data\.features=\[xyz\]$", error)
    assert not list((tmp_path / "out").iterdir())
    passes("predict", "--model", checkpoint, *scan, "--gray")
    out, _ = passes("predict", "--model", _checkpoint(tmp_path / "blind.pt", "data.features=[xyz]"), *scan)
    assert out.count("It has no color") == out.split(" with score >= ")[0].count("It has no color") == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_a_broken_scan_does_not_stop_the_others(checkpoint: Path, scan: Path, tmp_path: Path, workers: int) -> None:
    (tmp_path / "broken.ply").write_bytes(b"ply\nno")
    scans = (tmp_path / "broken.ply", tmp_path / "absent.txt", scan)
    status, out, err = tool("predict", "--model", checkpoint, *scans, "--out", tmp_path / "out", "--workers", workers)
    assert status == 2
    assert "broken.ply: not predicted: " in err
    assert "absent.txt: not predicted: no such file" in err
    assert err.endswith("error: 2 of 3 scans not predicted, reasons above: broken.ply, absent.txt\n")
    assert "Traceback" not in err
    assert all(line.count(": not predicted") < 2 for line in err.splitlines())
    assert out.count(" with score >= ") == 1
    assert {p.name for p in (tmp_path / "out").iterdir()} == {f"room.v2{end}" for end in SUFFIXES}


def test_only_the_wanted_files(checkpoint: Path, scan: Path, tmp_path: Path) -> None:
    out, _ = passes("predict", "--model", checkpoint, scan, "--out", tmp_path, "--only", "ids, csv,html", "--no-page")
    assert {path.name for path in tmp_path.iterdir()} == {"room.v2.ids.npy", "room.v2.instances.csv"}
    assert out.endswith("room.v2.instances.csv, .ids.npy\n")
    assert out.index(" with score >= ") < out.index("files: "), "the objects come first"


def test_only_the_wanted_classes(checkpoint: Path, scan: Path, tmp_path: Path) -> None:
    command = ("predict", "--model", checkpoint, scan, "--out", tmp_path, "--only", "npz")
    passes(*command)
    found = Prediction.load(tmp_path / "room.v2.npz")
    names = {one.label for one in found}
    kept = min(names)
    passes(*command, "--only-classes", f"{kept}, ceiling")
    result = Prediction.load(tmp_path / "room.v2.npz")
    assert {one.label for one in result} - {"ceiling"} == {kept} < names
    assert {one.id for one in result} <= {one.id for one in found}
    assert "no class 'chairs'" in refused(*command, "--only-classes", "chairs")


def test_nothing_takes_the_place_of_another(checkpoint: Path, scan: Path, scene: Scene, tmp_path: Path) -> None:
    other = tmp_path / "room.v2.ply"
    _write_ply(other, scene)
    before = other.read_bytes()
    error = refused("predict", "--model", checkpoint, scan, other, "--out", tmp_path / "out")
    assert error.startswith(f"error: {other}: its results would overwrite those of {scan}")
    error = refused("predict", "--model", checkpoint, other, "--out", tmp_path)
    assert error.startswith(f"error: {other}: would overwrite the input file")
    assert not (tmp_path / "out").exists()
    error = refused("predict", "--model", checkpoint, scan, "--out", other)
    assert error == f"error: {other}: this folder, or one above it, is a file\n"
    assert other.read_bytes() == before


def test_a_folder_of_scans_and_a_second_run(checkpoint: Path, scene: Scene, tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        np.savez(tmp_path / name, xyz=scene.xyz, rgb=scene.rgb, instance=np.full(len(scene), -7))  # labels are ignored
    command = ("predict", "--model", checkpoint, tmp_path, "--out", tmp_path / "out", "--only", "csv,ply")
    out, _ = passes(*command)
    assert sorted(re.findall(r"/([ab])\.", out)) == list("aabb")
    assert "replaced" not in out
    out, err = passes(*command[:-1], "csv")
    assert f"{tmp_path}: skipped out (a folder).\n" in err
    old = ".instances.csv (replaced 1 of an earlier run)\nnot written now, and perhaps of an earlier run: "
    assert out.count(old) == 2
    assert "no scan in it, only results of pcseg" in refused("predict", "--model", checkpoint, tmp_path / "out")
    assert "a result of pcseg; give the scan" in refused("predict", "--model", checkpoint, tmp_path / "out" / "a.ply")
    _write_ply(tmp_path / "out" / "a.ply", scene)  # as another program writes it after an edit
    before = (tmp_path / "out" / "a.ply").read_bytes()
    assert "a.ply: exists and is not a result of pcseg; move it or choose another" in refused(*command)
    assert (tmp_path / "out" / "a.ply").read_bytes() == before


def test_a_scan_in_millimeters_taken_as_meters(checkpoint: Path, scene: Scene, tmp_path: Path) -> None:
    path = tmp_path / "mm.npz"
    np.savez(path, xyz=1000 * scene.xyz, rgb=scene.rgb)
    status, out, error = tool("predict", "--model", checkpoint, path, "--out", tmp_path / "out", "--as-is")
    assert "m apart, too sparse for voxels of 0.15 m; if that is in millimeters, use --scale 0.001" in error
    assert (status, out) == (2, ""), "no warning says the same before"
    out, _ = passes("predict", "--model", checkpoint, path, "--out", tmp_path / "out", "--only", "ids")
    assert "mm.npz: Its size is that of a room in millimeters. It was converted, as --scale 0.001 does; " in out


def test_progress_moves_every_second(checkpoint: Path, scan: Path, tmp_path: Path, monkeypatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def slow(self: Segmenter, *given: Any) -> Any:
        time.sleep(2.5)
        return predict_views(self, *given)

    predict_views = Segmenter._predict_views
    monkeypatch.setattr(Segmenter, "_predict_views", slow)
    with redirect_stderr(Terminal()) as shown:
        cli.main(["predict", "--model", str(checkpoint), str(scan), "--out", str(tmp_path)])
    stages = [line.strip() for line in shown.getvalue().split("\r")]
    assert any(line.endswith(", loading the model") for line in stages)
    for stage in ("superpoints", "network", "objects", *(f"writing the {name}" for name in ("result", "ids", "page"))):
        assert any(line.endswith(f"room.v2.npz: {stage}") for line in stages), stage
    assert len({line for line in stages if line.endswith("network")}) >= 3, "the clock moves"


@pytest.mark.parametrize(
    "options",
    ["--tile 2", "--tile 0", "--views flips", "--fast", "--precision float32", "--min-points 100000", "--origin 1 2 3"],
)
def test_options_reach_the_prediction(checkpoint: Path, scan: Path, scene: Scene, tmp_path: Path, options: str) -> None:
    passes("predict", "--model", checkpoint, scan, "--out", tmp_path, *options.split())
    result = Prediction.load(tmp_path / "room.v2.npz")
    assert result.num_points == len(scene)
    assert (len(result) == 0) == ("--min-points" in options)
    shift = [1, 2, 3] if "--origin" in options else [0, 0, 0]
    np.testing.assert_array_equal(result.scene.xyz, scene.xyz - np.array(shift, np.float32))


def test_bad_options_are_named(checkpoint: Path, scan: Path, tmp_path: Path) -> None:
    for message, arguments in {
        "--threshold must be from 0 to 1, got 7.0": (scan, "--threshold", "7"),
        "--only idz: unknown 'idz'; choose from npz, ply, csv, ids, png, html": (scan, "--only", "idz"),
        "--only png with --no-picture or --no-page leaves no file to write": (scan, "--only", "png", "--no-picture"),
        "--min-points must be 0 or more, got -5": (scan, "--model", checkpoint, "--min-points", "-5"),
        "device 'gpu' is not known; expected cpu, cuda": (scan, "--model", checkpoint, "--device", "gpu"),
        "nowhere.pt: no such checkpoint": (scan, "--model", tmp_path / "nowhere.pt"),
        "old.pt is a model, not a scan; give it as --model old.pt": ("old.pt", scan),
        "the tile size must be a positive length in meters, got -1.0": (scan, "--model", checkpoint, "--tile", "-1"),
    }.items():
        assert message in refused("predict", *arguments, "--out", tmp_path / "out")


def test_export(checkpoint: Path, scan: Path, tmp_path: Path) -> None:
    passes("predict", "--model", checkpoint, scan, "--out", tmp_path, "--threshold", "0")
    result, coco = tmp_path / "room.v2.npz", tmp_path / "coco.json"
    outputs = ("--ply", tmp_path / "ply", "--csv", tmp_path / "csv", "--objects", tmp_path / "each", "--coco", coco)
    out, err = passes("export", result, *outputs, "--threshold", "0")
    assert err == ""
    written = [tmp_path / "ply" / "room.v2.ply", tmp_path / "csv" / "room.v2.instances.csv"]
    assert out.split() == [str(path) for path in (*written, tmp_path / "each" / "room.v2", coco)]
    assert len(list((tmp_path / "each" / "room.v2").iterdir())) == len(written[1].read_text().splitlines()) - 1
    assert all(path.read_bytes() == (tmp_path / path.name).read_bytes() for path in written)
    assert len(json.loads(coco.read_text())["annotations"]) == len(Prediction.load(result))
    passes("export", result, "--objects", tmp_path / "each", "--threshold", "1")
    assert not list((tmp_path / "each" / "room.v2").iterdir()), "no object of an earlier export stays"
    mine = tmp_path / "each" / "room.v2" / "mine.ply"
    for path, option in ((mine, ("--objects", tmp_path / "each")), (coco, ("--coco", coco))):
        path.write_text("mine")
        assert f"{path}: exists and is not a result of pcseg" in refused("export", result, *option)
        assert path.read_text() == "mine"
    error = refused("prepare scans", result, tmp_path / "rooms", "--classes", "s3dis")
    assert f"a result of pcseg; write it with labels first: pcseg export {result} --las DIR" in error
    for message, arguments in {
        "not a pcseg result": (scan, "--ply", tmp_path / "a"),
        "no such file or folder": (tmp_path / "b.npz", "--ply", tmp_path / "a"),
        "at least one of --ply": (result,),
        "which has the same name": (result, result, "--csv", tmp_path / "a"),
        "--threshold must be": (result, "--coco", tmp_path / "a", "--threshold", "-1"),
    }.items():
        assert message in refused("export", *arguments)
    assert not (tmp_path / "a").exists()
