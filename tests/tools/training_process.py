"""Trainings in processes of their own, which tests may kill; importing torch is done once for all of them."""

import multiprocessing
import os
import resource
import sys
from pathlib import Path

import torch

from pcseg.cli import main
from pcseg.ops.superpoints import SuperpointOptions
from tests.tools import small

CONFIG_TEXT = """
data: {root: ROOMS, classes: s3dis, train: ["Area_[12]_*"], val: ["Area_3_*"], voxel_size: 0.3, features: [rgb, xyz]}
model: {decoder: {num_queries: 10, dropout: 0.1}}
augment: [{name: flip}, {name: rotate}]
optimizer: {lr: 1e-3}
train: {steps: 8, batch_size: 2, checkpoint_every: 1, evaluate_every: 3, ema_decay: 0.9}
"""


def write_config(folder: Path) -> Path:
    """Three small rooms, the third held out, and a config that uses everything that a checkpoint stores."""
    superpoints = SuperpointOptions(method="voxel", coarse_voxel_size=0.5)
    return small.write_config(folder, CONFIG_TEXT, 2000, superpoints=superpoints)


class Training:
    """pcseg train in a process, with a .log file beside the run folder; no file can grow beyond `file_size_limit`."""

    def __init__(self, config_file: Path, folder: Path, *options: object, file_size_limit: int | None = None) -> None:
        words = ["pcseg", "train", config_file, "--run", folder, "--device", "cpu", *options]
        self.log = folder.with_suffix(".log")
        context = multiprocessing.get_context("forkserver")
        # torch.optim imports torch._dynamo with the first optimizer, which takes as long as this training.
        context.set_forkserver_preload(["torch._dynamo", "pcseg.run", "tests.tools.training_process"])
        self.process = context.Process(target=_train, args=([str(word) for word in words], self.log, file_size_limit))
        self.process.start()

    def finish(self) -> tuple[int, str]:
        """Exit status, and what was printed."""
        self.process.join(120)
        assert self.process.exitcode is not None, f"it hangs: {self.log.read_text()}"
        return self.process.exitcode, self.log.read_text()

    def succeed(self) -> str:
        """What was printed by a training that ends well."""
        status, printed = self.finish()
        assert status == 0, printed
        return printed

    def fail(self) -> str:
        """The one-line error message of a training that ends with status 2."""
        status, printed = self.finish()
        errors = [line for line in printed.splitlines() if "error: " in line]
        assert (status, len(errors)) == (2, 1), printed
        assert "Traceback" not in printed
        return errors[0]


def _train(words: list[str], log: Path, file_size_limit: int | None) -> None:
    stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    sys.argv = words
    torch.set_num_threads(1)
    if file_size_limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size_limit, resource.RLIM_INFINITY))
    main()
