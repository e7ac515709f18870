"""What benchmarks need to know of the device: which there are, when it is done, and how often the host waits for it."""

from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from tools.benchmarks.timing import Step

# What the CUDA runtime is asked for when the host waits until the device is done.
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "cudaMemcpy")
# What gives the host a number of a tensor. On the CPU it costs nothing; on CUDA the same line of code waits.
READS = ("aten::_local_scalar_dense", "aten::nonzero", "aten::_unique2")


def devices() -> list[torch.device]:
    """The CPU, and CUDA where it can be had."""
    return [torch.device(name) for name in ("cpu", "cuda")[: 1 + torch.cuda.is_available()]]


def wait_for(device: torch.device) -> None:
    """Return once the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def count_waits(step: Step, device: torch.device) -> int:
    """How often a step makes the host wait for the device, by the profiler.

    On the CPU: how often it would at least, by the numbers that the host reads. Those of the optimizer are left out,
    as the fused one of CUDA reads none.
    """
    on_cuda = device.type == "cuda"
    step()  # what happens once, at the first call, does not count
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
