"""Times, peaks of memory and waits for the device, measured so that they can be compared; rooms to measure on."""

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
# Operations that give the host a number of a tensor. They cost nothing on the CPU; on CUDA the host waits.
READS = ("aten::_local_scalar_dense", "aten::nonzero", "aten::_unique2")


def keep_freed_memory() -> None:
    """Makes freed memory stay with the process (glibc); mapping it again in every round would blur the times."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
        mallopt(-3, 2**30)  # M_MMAP_THRESHOLD


def median_times(steps: dict[str, Step], rounds: int) -> dict[str, tuple[float, float]]:
    """Median milliseconds of each step, by the clock and of the processor.

    The steps take turns, after one round to warm up. The second number adds up all threads and leaves out the time of
    other processes.
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
    """Median milliseconds of each step by the clock."""
    return {name: wall for name, (wall, _) in median_times(steps, rounds).items()}


def in_own_process(function: Callable[..., Result], *args: Any) -> Result:
    """Result of a function in a fresh process, which ends with it."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(function, *args).result()


def peak_memory_mb(make_step: Callable[..., Step], *args: Any) -> float | None:
    """Peak that one step adds to the resident memory of a fresh process; None if the system does not report it."""
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
    """Resident memory of this process (Linux): VmRSS now, or VmHWM, the peak."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"/proc/self/status has no {key}")


def devices() -> list[torch.device]:
    """The CPU, and CUDA if there is a device."""
    return [torch.device(name) for name in ("cpu", "cuda")[: 1 + torch.cuda.is_available()]]


def wait_for(device: torch.device) -> None:
    """Returns after the device has finished all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def count_waits(step: Step, device: torch.device) -> int:
    """Number of times that the host waits for the device in a step, by the profiler.

    On the CPU: a lower bound, the number of values that the host reads. Those of the optimizer do not count, because
    the fused one of CUDA reads none.
    """
    on_cuda = device.type == "cuda"
    step()  # the first call does work that happens once
    wait_for(device)
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_cuda else [])]) as record:
        step()
    events = record.events() or []
    if on_cuda:
        # The profiler itself waits for the device once, at its end.
        return sum(event.name in WAITS for event in events) - 1
    return sum(event.name in READS and not _is_of_optimizer(event) for event in events)


def _is_of_optimizer(event: Any) -> bool:
    while event is not None:
        if event.name.startswith("Optimizer.step"):
            return True
        event = event.cpu_parent
    return False


def segmented_room(index: int, num_points: int) -> Scene:
    """A synthetic room with superpoints."""
    room = make_room(1, index, num_points=num_points)
    return room.with_(superpoint=over_segment(room.xyz, room.rgb))


def write_segmented_rooms(folder: Path, sizes: Sequence[int]) -> list[Path]:
    """Writes one processed room for each number of points; names sort in their order."""
    rooms = (segmented_room(index, size).with_(name=f"room_{index}") for index, size in enumerate(sizes))
    return [write_room(folder, room, "s3dis", Source("", "")) for room in rooms]
