"""Failures in practice: each ends with a one-line message or a correct result."""

import json
import os
import re
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from pcseg import build
from pcseg import config as cfg
from pcseg.data.store import Source, read_room, write_room
from pcseg.run import Run
from pcseg.training.checkpoint import CheckpointError, load_checkpoint
from pcseg.training.reproducible import check_data, data_record
from tests.tools.training_process import Training, write_config

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_config(tmp_path_factory.mktemp("origin")).parent


@pytest.fixture
def config_file(origin: Path, tmp_path: Path) -> Path:
    """A config file whose rooms a test may damage."""
    shutil.copytree(origin / "rooms", tmp_path / "rooms")
    path = tmp_path / "small.yaml"
    path.write_text((origin / "small.yaml").read_text().replace(str(origin), str(tmp_path)))
    return path


def _refused(printed: str, *texts: str) -> None:
    """One sentence, and no traceback."""
    assert "Traceback" not in printed
    errors = [line for line in printed.splitlines() if "error: " in line]
    assert len(errors) == 1, printed
    for text in texts:
        assert text in errors[0]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_truncated_array(config_file: Path, tmp_path: Path, num_workers: int) -> None:
    path = tmp_path / "rooms" / "Area_1_office_1" / "rgb.npy"
    path.write_bytes(path.read_bytes()[:-100])
    status, printed = Training(config_file, tmp_path / "run", f"train.num_workers={num_workers}").finish()
    assert status == 2
    _refused(printed, f"{path}: damaged", "run tools/preprocess_*.py with --force again")


def _train(config_file: Path, folder: Path, *overrides: str) -> list[dict[str, Any]]:
    """Trains three steps in this process; gives the records of the steps."""
    run = Run(cfg.load(config_file, ["train.steps=3", *overrides]), folder, CPU)
    run.start()
    run.train()
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def _change_rooms(tmp_path: Path, **changes: int) -> None:
    for folder in sorted((tmp_path / "rooms").iterdir()):
        scene = read_room(folder)
        arrays = {key: np.full(len(scene), value, np.int32) for key, value in changes.items()}
        write_room(tmp_path / "rooms", scene.with_(**arrays), "s3dis", Source("made", "1"))


def test_rooms_of_one_superpoint(config_file: Path, tmp_path: Path) -> None:
    _change_rooms(tmp_path, superpoint=0)
    records = _train(config_file, tmp_path / "run")
    assert all(np.isfinite(record["loss"]) for record in records)
    assert all(record["skipped"] == 0 for record in records)


def test_rooms_whose_labels_are_all_void(config_file: Path, tmp_path: Path) -> None:
    """There is nothing to learn or to measure, which is no error."""
    _change_rooms(tmp_path, semantic=-1, instance=0)
    records = _train(config_file, tmp_path / "run")
    assert all(np.isfinite(record["loss"]) for record in records)
    evaluation = json.loads((tmp_path / "run" / "evaluations.jsonl").read_text())
    assert evaluation["ap"] is None
    segmenter = build.load_model(tmp_path / "run" / "last.pt")
    assert all(torch.isfinite(value).all() for value in segmenter.model.state_dict().values())


def test_loader_process_that_dies(config_file: Path, tmp_path: Path) -> None:
    training = Training(config_file, tmp_path / "run", "train.num_workers=1", "train.steps=100000")
    children = Path(f"/proc/{training.process.pid}/task/{training.process.pid}/children")
    if not children.exists():
        training.process.kill()
        pytest.skip("this system does not list the children of a process")
    while not (tmp_path / "run" / "last.pt").exists():
        assert training.process.is_alive(), training.log.read_text()
        time.sleep(0.01)
    os.kill(int(children.read_text().split()[0]), signal.SIGKILL)
    status, printed = training.finish()
    assert status == 2
    _refused(printed, "a loader process died", "lower train.num_workers, and continue with --resume")
    assert load_checkpoint(tmp_path / "run" / "last.pt")["state"]["step"] >= 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stepz": 3}, "its config is of another version of pcseg: unknown key 'train.stepz'; did you mean 'steps'?"),
        ({"batch_size": 1}, "written with another config: train.batch_size was 1, is 2; "),
        ({"seed": "x"}, "its config is of another version of pcseg: train.seed must be int"),
    ],
)
def test_config_of_another_version(config_file: Path, tmp_path: Path, change: dict[str, object], message: str) -> None:
    folder = tmp_path / "run"
    run = Run(cfg.load(config_file, []), folder, CPU)
    run.start()
    run.save("last.pt")
    content = load_checkpoint(folder / "last.pt")
    tree = yaml.safe_load(content["config"])
    tree["train"] |= change
    content["config"] = yaml.safe_dump(tree)
    torch.save(content, folder / "last.pt")
    with pytest.raises(CheckpointError, match=rf"^{re.escape(f'{folder}/last.pt: {message}')}") as caught:
        run.resume()
    assert "\n" not in str(caught.value)


def test_options_that_a_resumed_run_may_change(config_file: Path, tmp_path: Path) -> None:
    run = Run(cfg.load(config_file, []), tmp_path / "run", CPU)
    run.start()
    run.save("last.pt")
    shutil.move(tmp_path / "rooms", tmp_path / "moved")
    changes = [f"data.root={tmp_path / 'moved'}", "train.checkpoint_every=4", "train.keep_checkpoints=1"]
    Run(cfg.load(config_file, changes), tmp_path / "run", CPU).resume()


def test_data_that_was_added_or_is_missing(origin: Path, tmp_path: Path) -> None:
    rooms = sorted((origin / "rooms").iterdir())
    path = tmp_path / "data.json"
    check_data(path, data_record(rooms[:2], rooms[2:]))
    check_data(path, data_record(rooms[1::-1], rooms[2:]))
    with pytest.raises(ValueError, match=r"the train rooms .* Area_3_office_1 was added; restore"):
        check_data(path, data_record(rooms, rooms[2:]))
    with pytest.raises(ValueError, match=r"the val rooms .* Area_3_office_1 is missing; restore"):
        check_data(path, data_record(rooms[:2], []))
    path.write_text("{")
    with pytest.raises(ValueError, match=r"data.json: damaged"):
        check_data(path, data_record(rooms, []))
