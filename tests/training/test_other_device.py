"""Training and prediction on a device that is not the CPU, which finds tensors that were left behind."""

import copy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pcseg import config as cfg
from pcseg.benchmarks.measure import write_segmented_rooms
from pcseg.inference.segmenter import Segmenter
from pcseg.prediction import Prediction
from pcseg.run import Run
from tests.conftest import refuses
from tests.other_device import other_device

EMBEDDING = ("model.decoder={kind: embedding}", "criterion={kind: embedding}", "inference.num_queries=0")
HUNGARIAN = ("criterion={kind: hungarian}", "model.decoder.mask_activation=softmax")


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rooms")
    write_segmented_rooms(folder, [2000, 2000])
    return folder


def _train(rooms: Path, changes: tuple[str, ...], device: torch.device) -> tuple[list[float], Prediction]:
    """The loss of each step, and then what the model predicts."""
    own = [f"data.root={rooms}", 'data.train=["*"]', "data.val=[]", "model.unet.channels=[16,32]", "train.steps=2"]
    run = Run(cfg.load("synthetic", [*own, "train.batch_size=2", *changes]), rooms / "run", device)
    run.model = copy.deepcopy(run.model)  # as one's own model would be: what is trained is the model of the run
    weight = next(run.model.parameters())
    losses, before = list[float](), weight.detach().clone()
    run.logger = SimpleNamespace(step=lambda record: losses.append(record["loss"]))
    run.train_on(run._loader())
    assert not torch.equal(weight, before)
    data, options = run.config.data, run.config.inference
    segmenter = Segmenter(run._evaluated_model(), run.classes, data.voxel_size, data.features, options)
    return losses, segmenter.with_options(min_points=10).predict(run.rooms.scene(0))


@pytest.mark.parametrize("changes", [("train.ema_decay=0.9",), HUNGARIAN, EMBEDDING])
def test_nothing_stays_on_the_cpu(rooms: Path, changes: tuple[str, ...]) -> None:
    losses, expected = _train(rooms, changes, torch.device("cpu"))
    with other_device() as device:
        moved_losses, found = _train(rooms, changes, device)
    np.testing.assert_allclose(moved_losses, losses, rtol=1e-4)
    assert len(found) == len(expected)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-2, atol=1e-4)


def test_two_devices_do_not_mix() -> None:
    with other_device() as device:
        moved = torch.arange(6.0).to(device)
        assert (moved + 1).device.type == device.type
        refuses("tensors of two devices", torch.add, moved, torch.ones(6), error=RuntimeError)
        refuses("numpy", moved.numpy, error=RuntimeError)
