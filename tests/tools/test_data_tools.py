"""Benchmarks of the data pipeline, the table of superpoints and the picture of augmentations."""

from pathlib import Path

import numpy as np
import pytest

from pcseg.data.augment import AUGMENTATIONS
from pcseg.synthetic import make_room
from tools import augmentation_pictures, benchmark, superpoint_quality
from tools.benchmarks import data


def _absent(xyz: np.ndarray) -> None:
    raise ImportError("left out here: importing it warns")


def test_voxelizers_agree(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "_spconv", _absent)
    monkeypatch.setattr(data, "_open3d", _absent)
    # Cells of a power of two, whose floor is exact in single precision.
    xyz = (rng.integers(0, 200, (3000, 3)) / 64).astype(np.float32)
    steps, missing = data.voxelizers(xyz)
    assert set(missing) == {"spconv PointToVoxel", "Open3D"}
    counts = {name: step() for name, step in steps.items()}
    assert len(counts) == 4
    assert min(counts.values()) > 0
    assert max(counts.values()) - min(counts.values()) <= 0.01 * counts["pcseg"]


def test_benchmarks_are_registered(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "STEP", 0.005)
    assert {"voxelize", "loader"} <= set(benchmark.BENCHMARKS)
    result = data.loader(1, num_points=3000)
    assert result["loader"]["0"]["rooms_per_second"] > 0
    assert 0 < result["loader"]["1"]["cpu_ms_per_room"] < 1000
    assert all(row["ms_waited"] > 0 for row in result["loader"].values())
    assert 0 < result["elastic_share"] < 1
    assert "rooms per second" in capsys.readouterr().out


def test_quality_of_superpoints() -> None:
    room = make_room(1, 0, num_points=8000)
    found = {name: superpoint_quality.measure([room], make) for name, make in superpoint_quality.methods(True).items()}
    assert found["at most 500, color"]["superpoints"] <= 500
    assert found["at most 2000, color"]["oracle_miou"] > found["voxels of 0.2 m"]["oracle_miou"]
    thinned = superpoint_quality._thinned(room, np.random.default_rng(0))
    assert 0.3 * len(room) < len(thinned) < 0.8 * len(room)


def test_every_augmentation_is_in_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(augmentation_pictures.OPTIONS) <= set(AUGMENTATIONS)
    monkeypatch.setattr("sys.argv", ["augmentation_pictures.py", str(tmp_path / "a.png")])
    monkeypatch.setattr(augmentation_pictures, "WIDTH", 60)
    monkeypatch.setattr(augmentation_pictures, "HEIGHT", 40)
    augmentation_pictures.main()
    assert 1000 < (tmp_path / "a.png").stat().st_size < 600_000
