"""Failures in practice: each ends with a one-line message or a correct result."""

import os
import re
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from pcseg import build
from pcseg import config as cfg
from pcseg.data.store import Source, read_room, write_room
from pcseg.files import read_records
from pcseg.run import Run
from pcseg.training.checkpoint import CheckpointError, load_checkpoint
from pcseg.training.reproducible import check_data, data_record
from tests.tools.training_process import Training, write_config


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    """A config file whose rooms a test may damage."""
    return write_config(tmp_path)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_truncated_array(config_file: Path, tmp_path: Path, num_workers: int) -> None:
    path = tmp_path / "rooms" / "Area_1_office_1" / "rgb.npy"
    path.write_bytes(path.read_bytes()[:-100])
    error = Training(config_file, tmp_path / "run", f"train.num_workers={num_workers}").fail()
    assert f"{path}: not an .npy file, or damaged" in error
    assert "run pcseg prepare with --force again" in error


def _run(config_file: Path, *overrides: str) -> Run:
    """A run that is about to make its first step."""
    run = Run(cfg.load(config_file, overrides), config_file.parent / "run", torch.device("cpu"))
    run.start()
    return run


def _change_rooms(tmp_path: Path, **changes: int) -> None:
    for folder in sorted((tmp_path / "rooms").iterdir()):
        scene = read_room(folder)
        arrays = {key: np.full(len(scene), value, np.int32) for key, value in changes.items()}
        write_room(tmp_path / "rooms", scene.with_(**arrays), "s3dis", Source("made", "1"))


def _train(config_file: Path) -> None:
    """Trains three steps in this process, and checks their losses."""
    run = _run(config_file, "train.steps=3")
    run.train()
    for record in read_records(run.folder / "metrics.jsonl"):
        assert np.isfinite(record["loss"])
        assert record["skipped"] == 0


def test_rooms_of_one_superpoint(config_file: Path, tmp_path: Path) -> None:
    _change_rooms(tmp_path, superpoint=0)
    _train(config_file)


def test_rooms_whose_labels_are_all_void(config_file: Path, tmp_path: Path) -> None:
    """There is nothing to learn or to measure, which is no error."""
    _change_rooms(tmp_path, semantic=-1, instance=0)
    _train(config_file)
    (evaluation,) = read_records(tmp_path / "run" / "evaluations.jsonl")
    assert evaluation["ap"] is None
    model = build.load_model(tmp_path / "run" / "last.pt").model
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())


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
    error = training.fail()
    assert "a loader process died" in error
    assert "lower train.num_workers, and continue with --resume" in error
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
    run, path = _run(config_file), tmp_path / "run" / "last.pt"
    run.save("last.pt")
    content = load_checkpoint(path)
    tree = yaml.safe_load(content["config"])
    tree["train"] |= change
    content["config"] = yaml.safe_dump(tree)
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=rf"^{re.escape(f'{path}: {message}')}") as caught:
        run.resume()
    assert "\n" not in str(caught.value)


def test_options_that_a_resumed_run_may_change(config_file: Path, tmp_path: Path) -> None:
    _run(config_file).save("last.pt")
    shutil.move(tmp_path / "rooms", tmp_path / "moved")
    changes = [f"data.root={tmp_path / 'moved'}", "train.checkpoint_every=4", "train.keep_checkpoints=1"]
    Run(cfg.load(config_file, changes), tmp_path / "run", torch.device("cpu")).resume()


def test_data_that_was_added_or_is_missing(config_file: Path, tmp_path: Path) -> None:
    rooms = sorted((tmp_path / "rooms").iterdir())
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
