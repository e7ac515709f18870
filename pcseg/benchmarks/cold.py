"""Cold start: what a user waits for on the command line, in fresh processes, without and with compiled kernels."""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from pcseg.benchmarks import measure
from pcseg.synthetic import make_room

# One step with the network of configs/scannet.yaml and the classes of synthetic rooms.
STEP = (
    *("data.classes=s3dis", 'data.train=["*"]', "data.val=[]", "train.steps=1", "train.batch_size=1"),
    *("train.num_workers=0", "train.evaluate_every=0", "train.log_every=1", "train.checkpoint_every=1"),
)


def cold(rounds: int, num_points: int = 80_000) -> dict[str, Any]:
    """Times help, compilation, prediction of a scan and one training step.

    Prediction and training are called with an empty kernel cache, then again: the median of up to 5 rounds. Python's
    byte code is compiled before, as pip does.
    """
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        room = make_room(1, 0, num_points=num_points)
        assert room.rgb is not None
        np.savez(folder / "scan.npz", xyz=room.xyz, rgb=room.rgb)
        measure.write_segmented_rooms(folder / "rooms", [num_points])
        predict: list[Any] = ["predict", folder / "scan.npz", "--out", folder / "out"]
        train: list[Any] = ["train", "scannet", "--run", folder / "run", f"data.root={folder / 'rooms'}", *STEP]
        _call(["--version"], folder)
        result["pcseg --help"] = measure.medians([_call(["--help"], folder) for _ in range(min(rounds, 5))])
        result["pcseg warm-up"] = _call(["warm-up"], folder / "all")
        for words in (predict, train):
            cache = folder / words[0]
            result[f"pcseg {words[0]}, empty kernel cache"] = _call(words, cache)
            result[f"pcseg {words[0]}"] = measure.medians([_call(words, cache) for _ in range(min(rounds, 5))])
    for key, numbers in result.items():
        measure.print_row(key, numbers)
    return {"points": num_points, **result}


def _call(words: list[Any], cache: Path) -> dict[str, float]:
    """Wall and CPU seconds of a command in a fresh process with this kernel cache."""
    run = cache.parent / "run"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "pcseg", *map(str, words)],
        env=environment | {"NUMBA_CACHE_DIR": str(cache)},
        capture_output=True,
        text=True,
    )
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"pcseg {words[0]} has failed:\n{done.stderr}")
    for path in run.glob("*.pt"):  # so that the same run can start again
        path.unlink()
    return {"s": wall, "CPU s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}
