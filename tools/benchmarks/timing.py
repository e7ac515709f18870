"""Times and peaks, measured so that they can be compared."""

import ctypes
import multiprocessing
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import torch

Step = Callable[[], Any]
Result = TypeVar("Result")


def keep_freed_memory() -> None:
    """Has freed memory stay with the process (glibc); mapping it anew in every round would blur the times."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
        mallopt(-3, 2**30)  # M_MMAP_THRESHOLD


def median_times(steps: dict[str, Step], rounds: int) -> dict[str, tuple[float, float]]:
    """Median milliseconds of each step, by the clock and of the processor.

    The steps take turns, after one round to warm up. The second number adds up all threads, and leaves out
    the time in which other processes had the processor.
    """
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in steps}
    for turn in range(rounds + 1):
        for name, step in steps.items():
            start, start_cpu = time.perf_counter(), time.process_time()
            step()
            if turn:
                times[name].append((time.perf_counter() - start, time.process_time() - start_cpu))
    wall, cpu = ({k: 1000 * statistics.median(t[i] for t in v) for k, v in times.items()} for i in (0, 1))
    return {name: (wall[name], cpu[name]) for name in steps}


def median_ms(steps: dict[str, Step], rounds: int) -> dict[str, float]:
    """The clock's part of `median_times`."""
    return {name: wall for name, (wall, _) in median_times(steps, rounds).items()}


def in_own_process(function: Callable[..., Result], *args: Any) -> Result:
    """What a function gives in a fresh process, which ends with it."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(function, *args).result()


def peak_memory_mb(make_step: Callable[..., Step], *args: Any) -> float | None:
    """What one step adds to the resident memory of a fresh process at most; None where the system does not tell."""
    return in_own_process(_peak_in_this_process, make_step, *args)


def _peak_in_this_process(make_step: Callable[..., Step], *args: Any) -> float | None:
    torch.set_num_threads(1)
    if not Path("/proc/self/clear_refs").exists():
        return None
    make_step(*args, warm_up=True)()
    step = make_step(*args)
    forget_peak()
    before = resident_mb("VmRSS")
    step()
    return resident_mb("VmHWM") - before


def forget_peak() -> None:
    """Has VmHWM begin anew (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def resident_mb(key: str) -> float:
    """Resident memory of this process (Linux): VmRSS now, or VmHWM, the peak."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"/proc/self/status has no {key}")
