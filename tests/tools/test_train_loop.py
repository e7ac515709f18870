"""Options of the training loop from the command line, and several processes that die and go on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from pcseg import config as cfg
from pcseg.files import read_records
from pcseg.run import Run
from pcseg.structures import SceneBatch
from pcseg.training.loop import TooManySkippedError
from tests.tools.commands import ROOT
from tests.tools.training_process import Training, write_config

OPTIONS = ("model.decoder.dropout=0", "train.steps=12", "train.evaluate_every=0", "train.keep_checkpoints=12")


@pytest.fixture(scope="module")
def config_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_config(tmp_path_factory.mktemp("loop"))


def test_all_options_together(config_file: Path) -> None:
    folder = config_file.parent / "options"
    loop = ("accumulate=2", "batch_size=4", "max_voxels=400", "precision=bf16", "log_every=2", "checkpoint_every=4")
    options = [f"train.{option}" for option in (*loop, "steps=6", "evaluate_every=0")]
    Training(config_file, folder, *options, "model.unet.checkpointing=true").succeed()
    records = read_records(folder / "metrics.jsonl")
    assert [record["step"] for record in records] == [1, 2, 3, 4, 5, 6]
    assert all(2 <= record["rooms"] <= 4 for record in records)
    assert min(record["rooms"] for record in records) < 4, "the budget takes fewer rooms"
    assert all(np.isfinite(record["loss"]) for record in records)
    assert (folder / "step_0000004.pt").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["train.accumulate=3"], r"train.batch_size 2 must be at least 3: one room for each of 1 processes times"),
        (["train.log_every=2"], "train.checkpoint_every is 1; expected a multiple of train.log_every, which is 2"),
    ],
)
def test_options_that_do_not_fit(config_file: Path, options: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Run(cfg.load(config_file, options), config_file.parent / "refused", torch.device("cpu")).train()


def test_batch_that_is_not_finite_is_saved(config_file: Path) -> None:
    config = cfg.load(config_file, ["train.max_skipped=1", *OPTIONS])
    run = Run(config, config_file.parent / "nan", torch.device("cpu"))
    run.start()
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
    end = time.monotonic() + 200
    while not when.exists():
        assert job.poll() is None, job.communicate()[0]
        assert time.monotonic() < end, f"{when} does not come"
        time.sleep(0.005)
    workers = Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()
    os.kill(int(workers[-1]), signal.SIGKILL)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc lists processes on Linux only")
def test_killed_workers_and_elastic_restart(config_file: Path) -> None:
    """The job goes on from its checkpoint after one death, and ends with a message at the next; nothing is lost."""
    whole, folder = config_file.parent / "whole", config_file.parent / "elastic"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=1"]
    words = [ROOT / "tools" / "train.py", config_file, *OPTIONS, "--run", folder, "--device", "cpu", "--auto-resume"]
    command = [*launcher, "--", *map(str, words)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, env=environment
    ) as job:
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
