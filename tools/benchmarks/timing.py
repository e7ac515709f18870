"""Times and peaks, measured so that they can be compared."""

import ctypes
import multiprocessing
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

Step = Callable[[], Any]


def keep_freed_memory() -> None:
    """Has freed memory stay with the process (glibc); mapping it anew in every round would blur the times."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
        mallopt(-3, 2**30)  # M_MMAP_THRESHOLD


def median_ms(steps: dict[str, Step], rounds: int) -> dict[str, float]:
    """Median milliseconds of each step; the steps take turns, after one round to warm up."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if turn:
                times[name].append(time.perf_counter() - start)
    return {name: 1000 * statistics.median(values) for name, values in times.items()}


def peak_memory_mb(make_step: Callable[..., Step], *args: Any) -> float | None:
    """What one step adds to the resident memory of a fresh process at most; None where the system does not tell."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_in_this_process, (make_step, *args))


def _peak_in_this_process(make_step: Callable[..., Step], *args: Any) -> float | None:
    torch.set_num_threads(1)
    if not Path("/proc/self/clear_refs").exists():
        return None
    make_step(*args, warm_up=True)()
    step = make_step(*args)
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    before = _resident_kb("VmRSS")
    step()
    return (_resident_kb("VmHWM") - before) / 1024


def _resident_kb(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1])
    raise ValueError(f"/proc/self/status has no {key}")
