"""The model that comes with pcseg: what it contains, and that it takes any scan."""

from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch

import pcseg
from pcseg import config as cfg
from pcseg import load_model
from pcseg.build import build_model
from pcseg.classes import class_set
from pcseg.inference.segmenter import Segmenter
from pcseg.kernels.conv import FAST_BF16
from pcseg.models.sparse_unet import SparseUNet
from pcseg.structures import Scene
from pcseg.training.checkpoint import load_checkpoint, load_matching_weights
from pcseg.training.weights_file import BUILT_IN, read_weights
from tests.conftest import refuses
from tests.tools.commands import ROOT, passes


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return load_model()


def _found(segmenter: Segmenter, scene: Scene) -> list[str]:
    """Names of the objects above the threshold of the model."""
    prediction = segmenter.predict(scene)
    assert prediction.num_points == len(scene)
    assert prediction.semantic is not None
    return [found.label for found in prediction if found.score >= segmenter.options.shown_above]


def test_the_file_is_small_and_names_its_sources() -> None:
    notes = read_weights(BUILT_IN)["notes"]
    assert BUILT_IN.stat().st_size < 8e6
    assert "rooms, SHA-256" in notes["rooms"]
    assert "CC BY 3.0" in notes["attribution"] or "CC-BY 3.0" in notes["attribution"]
    assert int(notes["steps"]) > 0
    assert notes["license"]


def test_it_finds_the_furniture_of_the_example(segmenter: Segmenter, example: Scene) -> None:
    names = _found(segmenter, example)
    assert {"sofa", "table", "floor", "wall"} <= set(names)
    fast, gray = (_found(segmenter.with_options(views="one"), scene) for scene in (example, example.with_(rgb=None)))
    assert min(len(names), len(fast), len(gray)) >= 10


def test_public_names_load_when_they_are_used(segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (pcseg, pcseg.losses, pcseg.metrics):
        assert set(module.__all__) <= set(dir(module))
        assert all(getattr(module, name).__doc__ for name in module.__all__)
    loads: list[str] = []
    monkeypatch.setattr("pcseg.trained.load_model", lambda model, device: loads.append(model) or segmenter)
    points = np.random.default_rng(0).random((200, 3))
    assert [pcseg.predict(points, "once.pt", "cpu", views="one").num_points for _ in range(2)] == [200, 200]
    options = {"scale": 0.001, "up": "y", "fast": True, "threshold": 1.0}
    (none,) = pcseg.predict([1000 * points], "once.pt", "cpu", **options)
    turned = none.scene
    assert len(none) == 0
    np.testing.assert_allclose(turned.xyz[:, 2], points[:, 1], rtol=1e-6)
    assert loads == ["once.pt"]
    labels = Scene("labels of other classes", turned.xyz, semantic=np.full(200, 99, np.int32))
    assert pcseg.predict(labels, "once.pt", "cpu", fast=True).scene.semantic is None
    refuses("its labels reach 99, those of indoor end at 30; give the class set", segmenter.predict, [turned, labels])
    assert segmenter.with_options(views="one").predict(turned, "scannet").classes.name == "scannet20"
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as it is outside of tests
    refuses("points and their colors are one array", pcseg.predict, points, points, error=TypeError)
    refuses("both are one array", pcseg.predict, [points, np.zeros((200, 3), np.uint8)], "once.pt", "cpu")


def test_predict_needs_only_the_scan(tmp_path: Path) -> None:
    out, _ = passes("predict", ROOT / "data" / "example_room.ply", "--out", tmp_path, "--fast", "--device", "cpu")
    assert "objects with score" in out
    assert (tmp_path / "example_room.html").exists()


def test_the_network_runs_in_place_without_gradients(segmenter: Segmenter, example: Scene, monkeypatch) -> None:
    halves, predict = list[bool](), SparseUNet._predict

    def counted(self: SparseUNet, *args: object) -> torch.Tensor:
        halves.append(self.halves)
        return predict(self, *args)

    monkeypatch.setattr(SparseUNet, "_predict", counted)
    few = Scene("few points", example.xyz[:3000], example.rgb[:3000])
    for precision in ("float32", "auto"):
        segmenter.with_options(views="one", precision=precision).predict(few)
    assert halves == [False, FAST_BF16]


def test_odd_scans(segmenter: Segmenter, example: Scene, rng: np.random.Generator) -> None:
    fast = segmenter.with_options(views="one")
    rows = np.sort(rng.permutation(len(example))[:3000])
    few = Scene("few points", example.xyz[rows], example.rgb[rows])
    assert "floor" in _found(fast.with_options(min_points=20), few)
    line = Scene("a line", np.linspace(0, 1, 500, dtype=np.float32)[:, None] * np.ones((1, 3), np.float32))
    assert _found(fast, line) is not None
    # A corridor of 60 m: the same room twelve times, in a row.
    shift = np.repeat(np.arange(12, dtype=np.float32) * 5.3, 20_000)
    rows = np.tile(np.sort(rng.permutation(len(example))[:20_000]), 12)
    xyz = example.xyz[rows] + shift[:, None] * np.array([1, 0, 0], np.float32)
    assert np.ptp(xyz[:, 0]) > 60
    names = _found(fast.with_options(min_points=30), Scene("corridor", xyz, example.rgb[rows]))
    assert min(names.count(name) for name in ("chair", "table")) >= 12
    assert "wall" in names  # some are in one plane


def test_twenty_million_points(segmenter: Segmenter, example: Scene, rng: np.random.Generator) -> None:
    times = -(-20_000_000 // len(example))
    shift = np.repeat(rng.normal(0, 0.002, (times, 3)).astype(np.float32), len(example), axis=0)
    scene = Scene("dense", np.tile(example.xyz, (times, 1)) + shift, np.tile(example.rgb, (times, 1)))
    assert len(scene) >= 20_000_000
    names = _found(segmenter.with_options(views="one"), scene)
    assert {"wall", "floor", "table", "sofa", "chair"} <= set(names)


def test_training_starts_from_it() -> None:
    """With the classes of another set, heads have the rows of the classes that both know."""
    before, after = class_set("indoor"), class_set("scannet20")
    assert load_model().classes is before, "with its present colors"
    model = build_model(cfg.load(ROOT / "configs" / "general.yaml", ["data.classes=scannet20"]), after)
    weights = load_checkpoint("builtin")["model"]
    assert load_matching_weights(model, weights, BUILT_IN, (before, after)) == []
    for name, found in model.state_dict().items():
        if found.shape == weights[name].shape:
            assert torch.equal(found, weights[name])
            continue
        assert torch.equal(found[after.index("chair")], weights[name][before.index("chair")])
        assert torch.equal(found[after.index("shower curtain")], weights[name][before.index("shower")])
        assert len(found) == len(after) or torch.equal(found[-1], weights[name][-1])
