"""Measures comparable times, memory peaks and device waits, and makes rooms for benchmarks."""

import ctypes
import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch.profiler import ProfilerActivity, profile

from pcseg.data.store import Source, write_room
from pcseg.ops.superpoints import over_segment
from pcseg.structures import Scene
from pcseg.synthetic import make_room

Step = Callable[[], Any]
Result = TypeVar("Result")
VOXEL_SIZE = 0.02

# Calls of the CUDA runtime in which the host waits for the device.
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "cudaMemcpy")
# Operations that read a tensor value on the host. They are free on the CPU; on CUDA the host waits.
READS = ("aten::_local_scalar_dense", "aten::nonzero", "aten::_unique2")


def keep_freed_memory() -> None:
    """Keeps freed memory in the process (glibc), because mapping it again in every round would distort the times."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
        mallopt(-3, 2**30)  # M_MMAP_THRESHOLD


def median_times(steps: dict[str, Step], rounds: int) -> dict[str, dict[str, float]]:
    """Median milliseconds of each step, wall (ms) and CPU (cpu_ms); steps take turns after one warm-up round.

    CPU time sums all threads of this process.
    """
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in steps}
    for turn in range(rounds + 1):
        for name, step in steps.items():
            start, start_cpu = time.perf_counter(), time.process_time()
            step()
            if turn:
                seconds[name].append((time.perf_counter() - start, time.process_time() - start_cpu))
    medians = {name: map(statistics.median, zip(*rows)) for name, rows in seconds.items()}
    return {name: {"ms": 1000 * wall, "cpu_ms": 1000 * cpu} for name, (wall, cpu) in medians.items()}


def median_ms(steps: dict[str, Step], rounds: int) -> dict[str, float]:
    """Median wall milliseconds of each step."""
    return {name: times["ms"] for name, times in median_times(steps, rounds).items()}


def medians(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """The median of each number over rounds."""
    return {key: statistics.median(row[key] for row in rows) for key in rows[0]}


def print_row(title: str, numbers: dict[str, float]) -> None:
    """Prints the numbers of one candidate; the name of each number is its unit."""
    print(f"  {title:<40}" + "".join(f"{value:>14,.1f} {key}" for key, value in numbers.items()), flush=True)


def in_own_process(function: Callable[..., Result], *args: Any) -> Result:
    """Calls a function in a fresh process and returns its result."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(function, *args).result()


def forget_peak() -> float:
    """Resets the peak of resident memory (Linux); returns the present memory in MB."""
    Path("/proc/self/clear_refs").write_text("5")
    return _resident_mb("VmRSS")


def peak_mb() -> float:
    """Peak of resident memory of this process (Linux) in MB."""
    return _resident_mb("VmHWM")


def _resident_mb(key: str) -> float:
    return int(Path("/proc/self/status").read_text().partition(f"{key}:")[2].split()[0]) / 1024


def devices() -> list[torch.device]:
    """The CPU, and CUDA if available."""
    return [torch.device(name) for name in ("cpu", "cuda")[: 1 + torch.cuda.is_available()]]


def wait_for(device: torch.device) -> None:
    """Waits until the device has finished all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def count_waits(step: Step, device: torch.device) -> int:
    """Number of times the host waits for the device in a step, from the profiler.

    On the CPU this is a lower bound: the number of values that the host reads. Reads in the optimizer do not count,
    because the fused optimizer has none on CUDA.
    """
    on_cuda = device.type == "cuda"
    step()  # the first call includes one-time work
    wait_for(device)
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_cuda else [])]) as record:
        step()
    events = record.events() or []
    if on_cuda:
        # The profiler itself waits for the device once, at the end.
        return sum(event.name in WAITS for event in events) - 1
    return sum(event.name in READS and not _is_of_optimizer(event) for event in events)


def _is_of_optimizer(event: Any) -> bool:
    while event is not None:
        if event.name.startswith("Optimizer.step"):
            return True
        event = event.cpu_parent
    return False


def segmented_room(index: int, num_points: int) -> Scene:
    """Makes a synthetic room with superpoints."""
    room = make_room(1, index, num_points=num_points)
    return room.with_(superpoint=over_segment(room.xyz, room.rgb))


def write_segmented_rooms(folder: Path, sizes: Sequence[int]) -> None:
    """Writes one processed room for each number of points; the names sort in this order."""
    for index, size in enumerate(sizes):
        write_room(folder, segmented_room(index, size).with_(name=f"room_{index}"), "s3dis", Source("", ""))
