"""The line, the logs, and the output to TensorBoard and Weights & Biases."""

import json
import math
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pcseg.classes import S3DIS
from pcseg.metrics.scores import Scores
from pcseg.prediction import Prediction
from pcseg.structures import Scene
from pcseg.training.run_logger import RunLogger, TensorBoardWriter, WandbWriter

CPU = torch.device("cpu")


def _record(step: int, **changes: Any) -> dict[str, Any]:
    losses = {"loss": 2.0 / step, "loss_ce": 0.5, "loss_ce_0": 0.7}
    times = {"seconds": 0.2, "loading_seconds": 0.05, "skipped": 0}
    return {"step": step, "lr": 1e-3, "grad_norm": 1.5, **losses, "rooms": 2, **times, **changes}


@pytest.fixture
def scores() -> Scores:
    """One chair found, one missed."""
    semantic = np.repeat(np.array([8, 8, 1], np.int32), 200)
    instance = np.repeat(np.array([1, 2, 0], np.int32), 200)
    scene = Scene.without_xyz("Area_5_office_1", 600, semantic=semantic, instance=instance)
    scores = Scores(S3DIS)
    scores.add(Prediction(scene, (instance == 1)[None], np.array([8]), np.array([0.9], np.float32), classes=S3DIS))
    return scores


def test_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logger = RunLogger(tmp_path, num_steps=400, step=38, device=CPU)
    logger.step(_record(39))
    logger.step(_record(40))
    logger.close()
    line = capsys.readouterr().err.replace("\n", "").split("\r")[-1]
    assert line.startswith("train  10%|")
    assert "40/400, 01:30 left, 8.0 rooms/s, " in line
    assert " GiB, lr 1.0e-03, loss 0.051, ce 0.500" in line
    assert [json.loads(row)["step"] for row in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [39, 40]


def test_loss_that_is_not_finite(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logger = RunLogger(tmp_path, num_steps=4, step=0, device=CPU)
    logger.step(_record(1, loss=math.nan, grad_norm=math.inf))
    logger.step(_record(2, loss=1.0))
    logger.step(_record(3, loss=math.nan, skipped=1))
    logger.close()
    assert "loss 1.000" in capsys.readouterr().err
    losses = [json.loads(row)["loss"] for row in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert losses == [None, 1.0, None]


def test_evaluation_of_the_same_step_is_replaced(tmp_path: Path, scores: Scores) -> None:
    logger = RunLogger(tmp_path, num_steps=4, step=0, device=CPU)
    for step in (2, 4, 4):
        logger.evaluation(step, scores.compute(), scores, {})
    logger.close()
    rows = [json.loads(row) for row in (tmp_path / "evaluations.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 4]
    assert rows[0]["classes"]["chair"]["ap50"] == 0.5


def test_tensorboard(tmp_path: Path, scores: Scores) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def open_logger(step: int) -> RunLogger:
        return RunLogger(
            tmp_path, num_steps=4, step=step, device=CPU, writers=[TensorBoardWriter(tmp_path / "tb", step)]
        )

    logger = open_logger(0)
    logger.step(_record(1))
    logger.step(_record(2, loss=99.0))
    logger.close()
    logger = open_logger(1)  # as after a crash: step 2 is done again
    logger.step(_record(2, grad_norm=math.inf))
    logger.evaluation(2, scores.compute(), scores, {"Area_5_office_1": Image.new("RGB", (8, 6))})
    logger.close()

    events = EventAccumulator(str(tmp_path / "tb"))
    events.Reload()
    tags = events.Tags()
    assert {"train/loss", "train/loss_ce", "train/lr", "train/rooms_per_second", "train/memory_gib"} <= {
        *tags["scalars"]
    }
    assert {"val/ap", "val/ap50", "val/ap25", "val/miou", "val/pq", "ap50_of_class/chair"} <= {*tags["scalars"]}
    assert "train/loss_ce_0" not in tags["scalars"]
    assert "ap50_of_class/beam" not in tags["scalars"], "there is none, so there is no number"
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(1, 2.0), (2, 1.0)]
    assert [event.step for event in events.Scalars("train/grad_norm")] == [1]
    assert {*tags["images"]} == {"val/Area_5_office_1", "val/precision and recall"}
    picture = events.Images("val/Area_5_office_1")[0]
    assert (picture.width, picture.height) == (8, 6)


def test_absent_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ValueError, match=r"train.tensorboard=true needs tensorboard, which is not installed; run: pip"):
        TensorBoardWriter(tmp_path, 0)
    with pytest.raises(ValueError, match=r"train.wandb=rooms needs wandb, which is not installed"):
        WandbWriter("rooms", tmp_path, {})


def test_wandb_calls(tmp_path: Path, scores: Scores, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records the calls that the package would get."""
    calls: list[tuple[str, Any]] = []

    class FakeRun:
        id = "abc123"

        def log(self, values: dict[str, Any], step: int) -> None:
            calls.append(("log", (step, values)))

        def finish(self) -> None:
            calls.append(("finish", None))

    def init(**options: Any) -> FakeRun:
        calls.append(("init", options))
        return FakeRun()

    fake = types.ModuleType("wandb")
    vars(fake).update(init=init, Image=lambda image: ("image", image.size))
    monkeypatch.setitem(sys.modules, "wandb", fake)
    for step in (0, 1):
        writer = WandbWriter("rooms", tmp_path, {"train": {"steps": 4}})
        logger = RunLogger(tmp_path, num_steps=4, step=step, device=CPU, writers=[writer])
        logger.step(_record(step + 1))
        logger.close()
    logger = RunLogger(tmp_path, num_steps=4, step=2, device=CPU, writers=[writer])
    logger.evaluation(2, scores.compute(), scores, {"room": Image.new("RGB", (8, 6))})
    logger.close()
    inits = [options for name, options in calls if name == "init"]
    assert [options["id"] for options in inits] == [None, "abc123"], "a resumed run goes on under its id"
    assert inits[0]["project"] == "rooms"
    assert inits[0]["config"] == {"train": {"steps": 4}}
    logs = [values for name, values in calls if name == "log"]
    assert [step for step, _ in logs] == [1, 2, 2, 2, 2]
    assert logs[0][1]["train/loss"] == 2.0
    assert logs[2][1]["val/ap50"] == 0.5
    assert logs[3][1] == {"val/room": ("image", (8, 6))}
    assert calls[-1][0] == "finish"


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real package, which writes files and sends nothing."""
    pytest.importorskip("wandb")
    for key, value in {"MODE": "offline", "SILENT": "true", "ERROR_REPORTING": "false", "CONSOLE": "off"}.items():
        monkeypatch.setenv(f"WANDB_{key}", value)
    monkeypatch.setenv("WANDB__DISABLE_STATS", "true")


def test_wandb_that_does_not_start(tmp_path: Path, offline: None, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = sys.modules["wandb"]

    def init(**_: Any) -> None:
        raise wandb.UsageError("No API key configured.")

    monkeypatch.setattr(wandb, "init", init)
    with pytest.raises(
        ValueError, match=r"train.wandb=rooms: .* does not start: No API key configured. To train without it, set"
    ):
        WandbWriter("rooms", tmp_path, {})
