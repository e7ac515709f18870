"""tools/predict.py from a checkpoint and any file to results, and tools/export.py from these to other programs."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plyfile import PlyData, PlyElement

from pcseg import load_model
from pcseg.inference.prediction_files import SUFFIXES
from pcseg.ops.superpoints import SuperpointOptions
from pcseg.ops.voxelize import voxelize
from pcseg.prediction import Prediction
from pcseg.structures import Scene
from pcseg.synthetic import make_room
from tests.tools.small_model import fresh_checkpoint

OPTIONS = asdict(SuperpointOptions(max_superpoints=200))
Run = Callable[..., tuple[int, str, str]]


def _checkpoint(
    path: Path, *, classes: str = "s3dis", features: str = "rgb, xyz", superpoints: dict[str, Any] | None = OPTIONS
) -> Path:
    changes = ("model.decoder.mask_activation=sigmoid", "inference.min_points=20")
    return fresh_checkpoint(
        path, f"data.classes={classes}", f"data.features=[{features}]", *changes, superpoints=superpoints
    )


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _checkpoint(tmp_path_factory.mktemp("model") / "last.pt")


@pytest.fixture(scope="module")
def scene() -> Scene:
    """A room with color whose coordinates every format holds without rounding."""
    room = make_room(5, 0, num_points=3000)
    return Scene("room", np.round(room.xyz * 512).astype(np.float32) / 512, room.rgb)


def _write_ply(path: Path, scene: Scene) -> None:
    kinds = [(k, "f4") for k in "xyz"] + [(k, "u1") for k in ("red", "green", "blue")]
    rows = np.array([(*p, *c) for p, c in zip(scene.xyz.tolist(), scene.rgb.tolist())], kinds)
    PlyData([PlyElement.describe(rows, "vertex")]).write(path)


def _write_txt(path: Path, scene: Scene) -> None:
    np.savetxt(path, np.concatenate([scene.xyz, scene.rgb], axis=1), fmt=["%.9f"] * 3 + ["%d"] * 3)


WRITERS: dict[str, Callable[[Path, Scene], None]] = {
    "npz": lambda path, scene: np.savez(path, xyz=scene.xyz, rgb=scene.rgb),
    "txt": _write_txt,
    "ply": _write_ply,
}


@pytest.fixture(scope="module")
def scan(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scan") / "room.v2.npz"
    WRITERS["npz"](path, scene)
    return path


def _arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as archive:
        return {key: archive[key] for key in archive.files if key != "name"}


def test_files_of_any_format_give_the_same(checkpoint: Path, scene: Scene, tmp_path: Path, tool: Run) -> None:
    scans = [tmp_path / f"as_{suffix}.{suffix}" for suffix in WRITERS]
    for path in scans:
        WRITERS[path.suffix[1:]](path, scene)
    status, out, err = tool("predict", checkpoint, *scans, "--out", tmp_path / "out", "--threshold", 0)
    assert status == 0, err
    assert out.count("objects with score >= 0.0 -> ") == len(scans)
    assert {p.name for p in (tmp_path / "out").iterdir()} == {f"as_{s}{end}" for s in WRITERS for end in SUFFIXES}
    first = _arrays(tmp_path / "out" / "as_npz.npz")
    assert len(first["labels"]) > 0
    for suffix in WRITERS:
        same = _arrays(tmp_path / "out" / f"as_{suffix}.npz")
        assert set(same) == set(first)
        for key, value in first.items():
            np.testing.assert_array_equal(same[key], value, err_msg=f"{suffix} {key}")


def test_labels_in_the_scan_change_nothing(checkpoint: Path, scan: Path, tmp_path: Path, tool: Run) -> None:
    with np.load(scan) as archive:
        labels = np.arange(len(archive["xyz"]))
        np.savez(tmp_path / "room.v2.npz", **archive, semantic=labels % 40, instance=labels % 7)
    for name, path in (("a", scan), ("b", tmp_path / "room.v2.npz")):
        assert tool("predict", checkpoint, path, "--out", tmp_path / name)[0] == 0
    a, b = (_arrays(tmp_path / name / "room.v2.npz") for name in "ab")
    assert set(a) == set(b)
    assert all(np.array_equal(a[key], b[key]) for key in a)


def test_the_checkpoint_alone_is_enough(tmp_path: Path, scan: Path, tool: Run) -> None:
    home, away = tmp_path / "home", tmp_path / "away"
    home.mkdir()
    away.mkdir()
    (home / "mine.yaml").write_text("names: [ground, wall, sofa bed]\nstuff: [ground, wall]\n")
    options = asdict(SuperpointOptions(method="voxel", coarse_voxel_size=0.5))
    _checkpoint(home / "last.pt", classes=str(home / "mine.yaml"), superpoints=options).rename(away / "moved.pt")
    (home / "mine.yaml").unlink()
    home.rmdir()
    status, _, err = tool("predict", away / "moved.pt", scan, "--out", away / "out", "--device", "cpu")
    assert status == 0, err
    assert "note:" not in err
    result = Prediction.load(away / "out" / "room.v2.npz")
    assert result.classes.names == ("ground", "wall", "sofa bed")
    # Superpoints use the settings of the training rooms.
    np.testing.assert_array_equal(result.scene.superpoint, voxelize(result.scene.xyz, 0.5).point_to_voxel)


def test_superpoint_settings_of_other_versions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert load_model(_checkpoint(tmp_path / "a.pt")).superpoints == SuperpointOptions(max_superpoints=200)
    assert capsys.readouterr().err == ""
    assert load_model(_checkpoint(tmp_path / "old.pt", superpoints=None)).superpoints == SuperpointOptions()
    assert "old.pt does not record the superpoint settings of its training rooms" in capsys.readouterr().err
    _checkpoint(tmp_path / "new.pt", superpoints={"method": "graph", "newer": 3})
    with pytest.raises(ValueError, match=r"new\.pt: superpoint settings .* not of this version of pcseg; update it"):
        load_model(tmp_path / "new.pt")


def test_color_that_the_model_wants_is_missing(checkpoint: Path, scene: Scene, tmp_path: Path, tool: Run) -> None:
    np.savez(tmp_path / "gray.npz", xyz=scene.xyz)
    command = ("predict", checkpoint, tmp_path / "gray.npz", "--out", tmp_path / "out")
    status, out, err = tool(*command)
    assert (status, out) == (2, "")
    assert err.splitlines()[-1].startswith("error: scene gray has no rgb, but the model takes rgb, xyz; ")
    assert "--gray" in err
    assert "data.features=[xyz]" in err
    assert not list((tmp_path / "out").iterdir())
    assert tool(*command, "--gray")[0] == 0
    blind = _checkpoint(tmp_path / "blind.pt", features="xyz")
    assert tool("predict", blind, tmp_path / "gray.npz", "--out", tmp_path / "out")[0] == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_a_broken_scan_does_not_stop_the_others(
    checkpoint: Path, scan: Path, tmp_path: Path, tool: Run, workers: int
) -> None:
    (tmp_path / "broken.ply").write_bytes(b"ply\nno")
    scans = (tmp_path / "broken.ply", tmp_path / "absent.txt", scan)
    status, out, err = tool("predict", checkpoint, *scans, "--out", tmp_path / "out", "--workers", workers)
    assert status == 2
    assert "broken.ply: not predicted: " in err
    assert "absent.txt: no such file" in err
    assert err.splitlines()[-1].startswith("error: 2 of 3 scans not predicted, reasons above: ")
    assert "Traceback" not in err
    assert out.count(" objects with score") == 1
    assert {p.name for p in (tmp_path / "out").iterdir()} == {f"room.v2{end}" for end in SUFFIXES}


def test_nothing_takes_the_place_of_another(
    checkpoint: Path, scan: Path, scene: Scene, tmp_path: Path, tool: Run
) -> None:
    other = tmp_path / "room.v2.ply"
    _write_ply(other, scene)
    before = other.read_bytes()
    status, _, err = tool("predict", checkpoint, scan, other, "--out", tmp_path / "out")
    assert status == 2
    assert err.startswith(f"error: {other}: its results would overwrite those of {scan}")
    status, _, err = tool("predict", checkpoint, other, "--out", tmp_path)
    assert status == 2
    assert err.startswith(f"error: {other}: would overwrite the input file")
    assert not (tmp_path / "out").exists()
    assert other.read_bytes() == before


@pytest.mark.parametrize(
    "options",
    [
        ("--tile", "2"),
        ("--tile", "0"),
        ("--views", "flips"),
        ("--precision", "bf16"),
        ("--min-points", "100000"),
        ("--origin", 1, 2, 3),
    ],
)
def test_options_reach_the_prediction(
    checkpoint: Path, scan: Path, scene: Scene, tmp_path: Path, tool: Run, options: tuple[object, ...]
) -> None:
    status, _, err = tool("predict", checkpoint, scan, "--out", tmp_path, *options)
    assert status == 0, err
    result = Prediction.load(tmp_path / "room.v2.npz")
    assert result.num_points == len(scene)
    assert (len(result) == 0) == (options[0] == "--min-points")
    shift = [1, 2, 3] if options[0] == "--origin" else [0, 0, 0]
    np.testing.assert_array_equal(result.scene.xyz, scene.xyz - np.array(shift, np.float32))


def test_bad_usage_ends_with_one_line(checkpoint: Path, scan: Path, tmp_path: Path, tool: Run) -> None:
    cases = {
        "--threshold must be from 0 to 1, got 7.0": (checkpoint, scan, "--threshold", "7"),
        "device 'gpu' is not known; expected cpu, cuda": (checkpoint, scan, "--device", "gpu"),
        "nowhere.pt: no such checkpoint": (tmp_path / "nowhere.pt", scan),
        "tile_size must be a positive length in meters, got -1.0": (checkpoint, scan, "--tile", "-1"),
    }
    for message, arguments in cases.items():
        status, out, err = tool("predict", *arguments, "--out", tmp_path / "out")
        assert (status, out) == (2, ""), message
        assert message in err.splitlines()[-1]
        assert "Traceback" not in err


def test_export(checkpoint: Path, scan: Path, tmp_path: Path, tool: Run) -> None:
    assert tool("predict", checkpoint, scan, "--out", tmp_path, "--threshold", "0")[0] == 0
    result = tmp_path / "room.v2.npz"
    outputs = ("--ply", tmp_path / "ply", "--csv", tmp_path / "csv", "--coco", tmp_path / "coco.json")
    status, out, err = tool("export", result, *outputs, "--threshold", "0")
    assert (status, err) == (0, "")
    assert out.split() == [
        str(tmp_path / "ply" / "room.v2.ply"), str(tmp_path / "csv" / "room.v2.instances.csv"),
        str(tmp_path / "coco.json"),
    ]  # fmt: skip
    assert (tmp_path / "ply" / "room.v2.ply").read_bytes() == (tmp_path / "room.v2.ply").read_bytes()
    table = "room.v2.instances.csv"
    assert (tmp_path / "csv" / table).read_bytes() == (tmp_path / table).read_bytes()
    document = json.loads((tmp_path / "coco.json").read_text())
    assert len(document["annotations"]) == len(Prediction.load(result))
    refused = {
        "not a pcseg result": (scan, "--ply", tmp_path / "a"),
        "at least one of --ply": (result,),
        "which has the same name": (result, result, "--csv", tmp_path / "a"),
        "--threshold must be": (result, "--coco", tmp_path / "a", "--threshold", "-1"),
    }
    for message, arguments in refused.items():
        status, _, err = tool("export", *arguments)
        assert status == 2, message
        assert message in err
    assert not (tmp_path / "a").exists()
