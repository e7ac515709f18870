import math
import sys
import types
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from PIL import Image

from pcseg.classes import S3DIS
from pcseg.files import read_records
from pcseg.metrics.scores import Scores
from pcseg.training.run_logger import RunLogger, TensorBoardWriter, WandbWriter
from tests.conftest import refuses
from tests.metrics.scenes import measured, predict

CPU = torch.device("cpu")


def _record(step: int, **changes: Any) -> dict[str, Any]:
    losses = {"loss": 2.0 / step, "loss_ce": 0.5, "loss_ce_0": 0.7}
    times = {"seconds": 0.2, "loading_seconds": 0.05, "skipped": 0}
    return {"step": step, "lr": 1e-3, "grad_norm": 1.5, **losses, "rooms": 2, **times, **changes}


@pytest.fixture
def scores() -> Scores:
    """One chair found, one missed."""
    instance = np.repeat([1, 2, 0], 200)
    room = predict((instance == 1)[None], [8], [0.9], np.repeat([8, 8, 1], 200), instance, classes=S3DIS)
    return measured(Scores(S3DIS), room)


def test_line_and_evaluations_without_packages(tmp_path: Path, capsys, scores: Scores, monkeypatch) -> None:
    logger = RunLogger(tmp_path, num_steps=400, step=37, device=CPU)
    logger.step(_record(38, loss=math.nan, grad_norm=math.inf))
    logger.step(_record(39, loss=0.0513))
    logger.step(_record(40, loss=math.nan, skipped=1))
    logger.close()
    line = capsys.readouterr().err.replace("\n", "").split("\r")[-1]
    assert line.startswith("train  10%|")
    assert "40/400, 01:30 left, 8.0 scenes/s, " in line
    assert " GiB, lr 1.0e-03, loss 0.051, ce 0.500" in line
    rows = read_records(tmp_path / "metrics.jsonl")
    assert {row["step"]: row["loss"] for row in rows} == {38: None, 39: 0.0513, 40: None}
    logger = RunLogger(tmp_path, num_steps=4, step=0, device=CPU)
    for step in (2, 4, 4):
        logger.evaluation(step, scores.compute(), scores, {})
    logger.close()
    rows = read_records(tmp_path / "evaluations.jsonl")
    assert ([row["step"] for row in rows], rows[0]["classes"]["chair"]["ap50"]) == ([2, 4], 0.5)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.setitem(sys.modules, "wandb", None)
    refuses("train.tensorboard=true needs tensorboard, which is not installed; run", TensorBoardWriter, tmp_path, 0)
    refuses(r"train.wandb=rooms needs wandb, which is not installed", WandbWriter, "rooms", tmp_path, {})


def test_tensorboard(tmp_path: Path, scores: Scores) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def open_logger(step: int) -> RunLogger:
        writers = [TensorBoardWriter(tmp_path / "tb", step)]
        return RunLogger(tmp_path, num_steps=4, step=step, device=CPU, writers=writers)

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
    scalars, images = (set(events.Tags()[kind]) for kind in ("scalars", "images"))
    assert {f"train/{name}" for name in ("loss", "loss_ce", "lr", "rooms_per_second", "memory_gib")} <= scalars
    assert {"val/ap", "val/ap50", "val/ap25", "val/miou", "val/pq", "ap50_of_class/chair"} <= scalars
    assert "train/loss_ce_0" not in scalars
    assert "ap50_of_class/beam" not in scalars, "there is none, so there is no number"
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(1, 2.0), (2, 1.0)]
    assert [event.step for event in events.Scalars("train/grad_norm")] == [1]
    assert images == {"val/Area_5_office_1", "val/precision and recall"}
    picture = events.Images("val/Area_5_office_1")[0]
    assert (picture.width, picture.height) == (8, 6)


def test_wandb_calls(tmp_path: Path, scores: Scores, monkeypatch: pytest.MonkeyPatch) -> None:
    inits: list[dict[str, Any]] = []
    run, fake = Mock(id="abc123"), types.ModuleType("wandb")
    vars(fake).update(init=lambda **options: inits.append(options) or run, Image=lambda image: ("image", image.size))
    monkeypatch.setitem(sys.modules, "wandb", fake)
    for step in (0, 1):
        writer = WandbWriter("rooms", tmp_path, {"train": {"steps": 4}})
        logger = RunLogger(tmp_path, num_steps=4, step=step, device=CPU, writers=[writer])
        logger.step(_record(step + 1))
    logger.evaluation(2, scores.compute(), scores, {"room": Image.new("RGB", (8, 6))})
    logger.close()
    assert [options["id"] for options in inits] == [None, "abc123"], "a resumed run goes on under its id"
    assert (inits[0]["project"], inits[0]["config"]) == ("rooms", {"train": {"steps": 4}})
    values, steps = zip(*((call.args[0], call.kwargs["step"]) for call in run.log.call_args_list))
    assert (steps, values[0]["train/loss"]) == ((1, 2, 2, 2), 2.0)
    assert (values[2]["val/ap50"], values[3]["val/room"]) == (0.5, ("image", (8, 6)))
    run.finish.assert_called_once_with()
    vars(fake).update(init=Mock(side_effect=OSError("No API key configured.")), Error=OSError)
    message = r"train.wandb=rooms: .* does not start: No API key configured. To train without it, set"
    refuses(message, WandbWriter, "rooms", tmp_path, {})
