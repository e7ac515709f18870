"""Options of a training together, and failures in practice: each ends with one line or a correct result."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from pcseg import config as cfg
from pcseg import load_model
from pcseg.data.store import Source, read_room, write_room
from pcseg.files import read_records
from pcseg.run import Run
from pcseg.structures import SceneBatch
from pcseg.training.checkpoint import CheckpointError, load_checkpoint
from pcseg.training.loop import TooManySkippedError
from pcseg.training.reproducible import check_data, data_record
from tests.conftest import ROOT, refuses
from tests.tools.training_process import Training, write_config

OPTIONS = ("model.decoder.dropout=0", "train.steps=12", "train.evaluate_every=0", "train.keep_checkpoints=12")


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    """A config file whose rooms a test may damage."""
    return write_config(tmp_path)


def test_truncated_array(config_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "rooms" / "Area_1_office_1" / "rgb.npy"
    path.write_bytes(path.read_bytes()[:-100])
    error = Training(config_file, tmp_path / "run", "train.num_workers=1").fail()
    assert f"{path}: not an .npy file, or damaged" in error
    assert "run pcseg prepare with --force again" in error


def _run(config_file: Path, *overrides: str) -> Run:
    """A run that is about to make its first step."""
    run = Run(cfg.load(config_file, overrides), config_file.parent / "run", torch.device("cpu"))
    run.start()
    return run


@pytest.mark.parametrize("changes", [{"superpoint": 0}, {"semantic": -1, "instance": 0}])
def test_rooms_of_one_superpoint_or_without_a_label(config_file: Path, tmp_path: Path, changes: dict) -> None:
    """Without labels, there is nothing to learn or to measure, which is no error."""
    for folder in sorted((tmp_path / "rooms").iterdir()):
        scene = read_room(folder)
        arrays = {key: np.full(len(scene), value, np.int32) for key, value in changes.items()}
        write_room(tmp_path / "rooms", scene.with_(**arrays), "s3dis", Source("made", "1"))
    run = _run(config_file, "train.steps=3")
    run.train()
    records = read_records(run.folder / "metrics.jsonl")
    assert all(np.isfinite(record["loss"]) and not record["skipped"] for record in records)
    (evaluation,) = read_records(tmp_path / "run" / "evaluations.jsonl")
    assert evaluation["ap"] is None or "superpoint" in changes
    model = load_model(tmp_path / "run" / "last.pt").model
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


def test_config_of_another_version(config_file: Path, tmp_path: Path) -> None:
    run, path = _run(config_file), tmp_path / "run" / "last.pt"
    run.save("last.pt")
    content, other = load_checkpoint(path), "its config is of another version of pcseg: "
    for change, message in (
        ({"stepz": 3}, f"{other}unknown key 'train.stepz'; did you mean 'train.steps'?"),
        ({"batch_size": 1}, "written with another config: train.batch_size was 1, is 2; "),
        ({"seed": "x"}, f"{other}train.seed must be a whole number"),
    ):
        tree = yaml.safe_load(content["config"])
        tree["train"] |= change
        torch.save({**content, "config": yaml.safe_dump(tree)}, path)
        with pytest.raises(CheckpointError, match=rf"^{re.escape(f'{path}: {message}')}[^\n]*$"):
            run.resume()


def test_what_a_resumed_run_may_change_and_what_not(config_file: Path, tmp_path: Path) -> None:
    _run(config_file).save("last.pt")
    shutil.move(tmp_path / "rooms", tmp_path / "moved")
    changes = [f"data.root={tmp_path / 'moved'}", "train.checkpoint_every=4", "train.keep_checkpoints=1"]
    Run(cfg.load(config_file, changes), tmp_path / "run", torch.device("cpu")).resume()
    rooms, path = sorted((tmp_path / "moved").iterdir()), tmp_path / "data.json"
    check_data(path, data_record(rooms[:2], rooms[2:]))
    check_data(path, data_record(rooms[1::-1], rooms[2:]))
    refuses(r"the train rooms .* Area_3_office_1 was added; restore", check_data, path, data_record(rooms, rooms[2:]))
    refuses(r"the val rooms .* Area_3_office_1 is missing; restore", check_data, path, data_record(rooms[:2], []))
    path.write_text("{")
    refuses(r"data.json: damaged", check_data, path, data_record(rooms, []))


def test_all_options_together(config_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    loop = ("accumulate=2", "batch_size=4", "max_voxels=400", "precision=bf16", "log_every=2", "checkpoint_every=4")
    options = [f"train.{option}" for option in (*loop, "steps=6", "evaluate_every=0")]
    Training(config_file, folder, *options, "model.unet.checkpointing=true").succeed()
    records = read_records(folder / "metrics.jsonl")
    assert [record["step"] for record in records] == [1, 2, 3, 4, 5, 6]
    assert all(2 <= record["rooms"] <= 4 and np.isfinite(record["loss"]) for record in records)
    assert min(record["rooms"] for record in records) < 4, "the budget takes fewer rooms"
    assert (folder / "step_0000004.pt").exists()
    message = "train.checkpoint_every is 1; expected a multiple of train.log_every, which is 2"
    refuses(message, lambda: _run(config_file, "train.log_every=2").train())


def test_batch_that_is_not_finite_is_saved(config_file: Path) -> None:
    run = _run(config_file, "train.max_skipped=1", *OPTIONS)
    with torch.no_grad():
        run.model.unet.stem.weight.fill_(torch.nan)
    with pytest.raises(TooManySkippedError, match=r"step 2: loss_.* not finite on Area_.*process_0\.pt"):
        run.train()
    (content,) = torch.load(run.folder / "bad_batch" / "process_0.pt", weights_only=True)
    assert len(SceneBatch(**content)) == 2
    records = read_records(run.folder / "metrics.jsonl")
    assert [(record["loss"], record["skipped"]) for record in records] == [(None, 1), (None, 2)]


def _kill_a_worker(job: subprocess.Popen[str], when: Path) -> None:
    """Kills the last process that torchrun started, as soon as a file is there."""
    while not when.exists():
        assert job.poll() is None, job.communicate()[0]
        time.sleep(0.005)
    os.kill(int(Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()[-1]), signal.SIGKILL)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc lists processes on Linux only")
def test_killed_workers_and_elastic_restart(config_file: Path, tmp_path: Path) -> None:
    """The job goes on from its checkpoint after one death, and ends with a message at the next; nothing is lost."""
    whole, folder = tmp_path / "whole", tmp_path / "elastic"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=1"]
    command += ["--", str(ROOT / "tools" / "train.py"), str(config_file), *OPTIONS, "--run", str(folder)]
    command += ["--device", "cpu", "--auto-resume"]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "env": {**os.environ, "OMP_NUM_THREADS": "1"}}
    with subprocess.Popen(command, text=True, cwd=ROOT, **options) as job:
        try:
            _kill_a_worker(job, folder / "step_0000002.pt")
            _kill_a_worker(job, folder / "step_0000006.pt")
            output, _ = job.communicate(timeout=200)
        finally:
            job.kill()
    assert job.returncode != 0
    assert "exitcode: -9" in output
    assert output.count("2 processes on cpu") == 2, output
    for run in (folder, whole):
        Training(config_file, run, *OPTIONS, "--auto-resume").succeed()
    records = [read_records(run / "metrics.jsonl") for run in (folder, whole)]
    assert len(records[0]) == 12
    for found, expected in zip(*records, strict=True):
        assert (found["step"], found["rooms"]) == (expected["step"], expected["rooms"])
        assert found["loss"] == pytest.approx(expected["loss"], rel=1e-3)
