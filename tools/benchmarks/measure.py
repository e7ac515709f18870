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


def median_times(steps: dict[str, Step], rounds: int) -> dict[str, tuple[float, float]]:
    """Median wall and CPU milliseconds of each step.

    The steps take turns after one warm-up round. CPU time sums all threads of this process.

    Args:
        steps: functions to time, by name.
        rounds: number of measured rounds.
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
    """Median wall milliseconds of each step.

    Args:
        steps: functions to time, by name.
        rounds: number of measured rounds.
    """
    return {name: wall for name, (wall, _) in median_times(steps, rounds).items()}


def in_own_process(function: Callable[..., Result], *args: Any) -> Result:
    """Calls a function in a fresh process and returns its result."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(function, *args).result()


def peak_memory_mb(make_step: Callable[..., Step], *args: Any) -> float | None:
    """Peak resident memory in MB that one step adds in a fresh process; None if the system does not report it."""
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
    """Resets VmHWM (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def resident_mb(key: str) -> float:
    """Resident memory of this process in MB (Linux): VmRSS is the current value, VmHWM the peak."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"/proc/self/status has no {key}")


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
    because the fused CUDA optimizer has none.

    Args:
        step: function to profile, called twice.
        device: device of the step.
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


def write_segmented_rooms(folder: Path, sizes: Sequence[int]) -> list[Path]:
    """Writes one processed room for each number of points; the names sort in this order."""
    rooms = (segmented_room(index, size).with_(name=f"room_{index}") for index, size in enumerate(sizes))
    return [write_room(folder, room, "s3dis", Source("", "")) for room in rooms]
