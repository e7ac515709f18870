"""Benchmarks of the data pipeline, the table of superpoints and the picture of augmentations."""

import sys
from pathlib import Path

import numpy as np
import pytest

from pcseg.data.augment import AUGMENTATIONS
from pcseg.synthetic import make_room
from tools import augmentation_pictures, superpoint_quality
from tools.benchmarks.loader import loader
from tools.benchmarks.voxelize import voxelizers


def test_voxelizers_agree(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spconv.pytorch.utils", None)  # importing it warns
    # Cells of a power of two, whose floor is exact in single precision.
    xyz = (rng.integers(0, 200, (3000, 3)) / 64).astype(np.float32)
    counts = {name: step() for name, step in voxelizers(xyz).items()}
    assert len(counts) == 3
    assert min(counts.values()) > 0
    assert max(counts.values()) - min(counts.values()) <= 0.01 * counts["pcseg"]


def test_loading_is_measured() -> None:
    result = loader(1, num_points=3000)
    assert result["loader"]["0"]["rooms_per_second"] > 0
    assert 0 < result["loader"]["1"]["cpu_ms_per_room"] < 1000
    assert 0 < result["elastic_share"] < 1


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
