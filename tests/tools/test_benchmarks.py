"""Benchmarks and tables: every candidate runs, those that compute the same agree, and unknown names are bad usage."""

import importlib
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pcseg.benchmarks import cold, tiles
from pcseg.benchmarks.conv import conv
from pcseg.benchmarks.criterion import CRITERIA, criterion_step
from pcseg.benchmarks.loader import loader
from pcseg.benchmarks.measure import in_own_process, median_ms
from pcseg.benchmarks.metrics import metrics
from pcseg.benchmarks.superpoints import superpoints
from pcseg.benchmarks.train import PHASES, train
from pcseg.benchmarks.voxelize import voxelizers
from pcseg.choices import BENCHMARKS
from pcseg.data.augment import AUGMENTATIONS
from pcseg.synthetic import make_room
from tests.tools.commands import passes, refused
from tests.tools.small import fresh_checkpoint, write_rooms
from tools import augmentation_pictures, superpoint_quality

SMALL = ["model.unet.channels=[16]", "model.decoder.num_layers=1", "model.decoder.num_queries=10"]


def test_names_and_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "unknown benchmark 'criterium'; expected one of criterion" in refused("bench", "criterium")
    assert all(callable(getattr(importlib.import_module(f"pcseg.benchmarks.{name}"), name)) for name in BENCHMARKS)
    calls = []
    median_ms({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=2)
    assert calls == ["a", "b"] * 3, "the first round is not measured"
    assert in_own_process(os.getpid) != os.getpid()
    assert cold._call(["--help"], Path("unused"))["CPU s"] > 0.01
    monkeypatch.setattr(cold, "_call", lambda words, cache: {"s": 1.0})
    assert cold.cold(1, num_points=3000)["pcseg train, empty kernel cache"] == {"s": 1.0}
    for name in CRITERIA:
        criterion_step(name, num_queries=6, num_instances=3, num_tokens=20)()


def test_metrics_convolutions_and_voxelizers_agree(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    assert superpoints(rounds=1, num_points=3000)["superpoints, color"]["cpu_ms"] > 0
    result = metrics(rounds=1, num_scenes=2, num_points=4000)
    assert result["largest_difference"] == 0
    assert result["kib_kept_per_scene"] < 20
    # Where spconv is installed, the benchmark itself compares the numbers of both.
    before = torch.get_num_threads()
    result = conv(rounds=1, num_points=2000)
    assert torch.get_num_threads() == before
    assert result["pairs"] > result["voxels"] > 500
    for what in ("pairs", "32 channels, forward", "96 channels, backward"):
        assert result[f"1 thread, {what}"]["pcseg"]["cpu_ms"] >= 0
    monkeypatch.setitem(sys.modules, "spconv.pytorch.utils", None)  # importing it warns
    # Cells of a power of two, whose floor is exact in single precision.
    xyz = (rng.integers(0, 200, (3000, 3)) / 64).astype(np.float32)
    counts = {name: step() for name, step in voxelizers(xyz).items()}
    assert len(counts) == 3
    assert min(counts.values()) > 0
    assert max(counts.values()) - min(counts.values()) <= 0.01 * counts["pcseg"]


def test_phases_of_training_add_up_and_loading_is_measured() -> None:
    found = train(1, 3000, 1, (0,), *SMALL)["cpu, 0 loader processes"]
    shares = [found[f"share_{phase}"] for phase in PHASES]
    assert sum(shares) == pytest.approx(1)
    assert min(*shares, found["rooms_per_second"]) > 0
    assert 0 < found["share_waiting_for_loader"] < 1
    assert found["waits"] == 1, "which superpoints of the room belong to an object"
    result = loader(1, num_points=3000)
    assert result["loader"]["0"]["rooms_per_second"] > 0
    assert 0 < result["loader"]["1"]["cpu_ms_per_room"] < 1000
    assert 0 < result["elastic_share"] < 1


def test_a_floor_grows_in_area_and_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = tiles.make_floor(1500, 1500), tiles.make_floor(3000, 1500)
    assert (len(one), len(two)) == (1500, 3000)
    assert np.ptp(two.xyz[:, 0]) > 8 > np.ptp(one.xyz[:, 0])
    assert np.ptp(two.xyz[:, 2]) < 5
    np.testing.assert_array_equal(two.xyz[:1500], one.xyz)
    monkeypatch.setattr(tiles, "NUM_MODELS", 2)
    small, large = (tiles.predict_floor(len(floor), 1500) for floor in (one, two))
    for row in (small, large):
        assert row["seconds"] > 0
        assert row["peak_mb"] >= row["peak_mb_before"] > 10
        assert min(row["seconds_files"], row["seconds_picture"], row["seconds_page"]) > 0
    assert large["superpoints"] > small["superpoints"]


def test_quality_of_superpoints_and_picture_of_augmentations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = make_room(1, 0, num_points=8000)
    found = {name: superpoint_quality.measure([room], make) for name, make in superpoint_quality.methods(True).items()}
    assert found["at most 500, color"]["superpoints"] <= 500
    assert found["at most 2000, color"]["oracle_miou"] > found["voxels of 0.2 m"]["oracle_miou"]
    assert 0.3 * len(room) < len(superpoint_quality._thinned(room, np.random.default_rng(0))) < 0.8 * len(room)
    assert set(augmentation_pictures.OPTIONS) <= set(AUGMENTATIONS)
    monkeypatch.setattr("sys.argv", ["augmentation_pictures.py", str(tmp_path / "a.png")])
    monkeypatch.setattr(augmentation_pictures, "WIDTH", 60)
    monkeypatch.setattr(augmentation_pictures, "HEIGHT", 40)
    augmentation_pictures.main()
    assert 1000 < (tmp_path / "a.png").stat().st_size < 600_000


def test_table_of_inference_options(tmp_path: Path) -> None:
    write_rooms(tmp_path / "rooms", 4000)
    checkpoint = fresh_checkpoint(tmp_path / "last.pt", "inference.top_k=8")
    out = tmp_path / "table.json"
    options = ("--rooms", "Area_1_*", "--only", "matrix", "--json", out, "--device", "cpu")
    assert "no matrix NMS" in passes("inference_options", checkpoint, tmp_path / "rooms", *options)[0]
    content = json.loads(out.read_text())
    assert (content["num_rooms"], list(content["options"])) == (1, ["base", "no matrix NMS"])
    assert set(content["options"]["base"]) == {"ap", "ap50", "ap25", "seconds_per_room"}
