"""Speed of training: rooms per second, time of each phase of a step, and number of host waits for the device."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from pcseg import config as cfg
from pcseg.benchmarks import measure
from pcseg.data.sampler import ResumableSampler
from pcseg.run import Run
from pcseg.structures import SceneBatch
from pcseg.training.loading import load_batches

PHASES: tuple[str, ...] = ("loading", "forward", "criterion", "backward", "optimizer")
UNREAD = ("train.log_every=1000", "train.checkpoint_every=1000", "train.evaluate_every=0")  # avoids reading losses
WARM_UP = 3  # unmeasured steps


def train(
    rounds: int, num_points: int = 60_000, num_rooms: int = 4, workers: Sequence[int] = (0, 1, 2), *overrides: str
) -> dict[str, Any]:
    """Measures training with configs/synthetic.yaml on synthetic rooms, on every device.

    Args:
        rounds: a quarter of the number of timed steps.
        num_points: number of points in each room.
        num_rooms: number of rooms to train on.
        workers: numbers of loader processes to compare; 0 loads in this process.
        *overrides: changes of the config, as ``a.b=value``.
    """
    result: dict[str, Any] = {"points": num_points, "steps": 4 * rounds}
    with tempfile.TemporaryDirectory() as folder:
        measure.write_segmented_rooms(Path(folder), [num_points] * num_rooms)
        for device in measure.devices():
            for num in workers:
                own = [f"data.root={folder}", 'data.train=["*"]', "data.val=[]", f"train.num_workers={num}", *UNREAD]
                title = f"{device.type}, {num} loader processes"
                result[title] = measure_training(cfg.load("synthetic", [*own, *overrides]), device, 4 * rounds)
                print(title)
                for key, value in result[title].items():
                    print(f"  {key:<30}{value:>10.3f}", flush=True)
    return result


def measure_training(config: cfg.Config, device: torch.device, num_steps: int) -> dict[str, float]:
    """Rooms per second, shares of the phases, and host waits of one step.

    Args:
        config: names the rooms, the model and the number of loader processes.
        device: device that trains.
        num_steps: number of timed steps, which follow WARM_UP others.
    """
    run = Run(config, Path("unused"), device)

    def batches() -> Iterator[SceneBatch]:
        sampler = ResumableSampler(len(run.rooms), config.train.batch_size, num_steps + WARM_UP, seed=0)
        return load_batches(run.rooms, sampler, config.train.num_workers)

    # The first pass does not time phases, because timing them waits for the device.
    start, waits, num_rooms = 0.0, [], 0

    def timed(loader: Iterator[SceneBatch]) -> Iterator[SceneBatch]:
        nonlocal start, num_rooms
        for number in range(-WARM_UP, num_steps):
            if number == 0:
                measure.wait_for(device)
                start = time.perf_counter()
            asked = time.perf_counter()
            batch = next(loader)
            if number >= 0:
                waits.append(time.perf_counter() - asked)
                num_rooms += len(batch)
            yield batch

    run.train_on(timed(batches()))
    measure.wait_for(device)
    seconds = time.perf_counter() - start
    shares = _phases(run, batches(), device)
    batch = next(batches())
    return {
        "rooms_per_second": num_rooms / seconds,
        "share_waiting_for_loader": sum(waits) / seconds,
        "longest_wait_ms": 1000 * max(waits),
        **{f"share_{phase}": share for phase, share in shares.items()},
        "waits": measure.count_waits(lambda: run.train_on([batch]), device),
    }


def _phases(run: Run, loader: Iterator[SceneBatch], device: torch.device) -> dict[str, float]:
    """Share of each phase in the step time, with a device wait between phases."""
    spent = dict.fromkeys(PHASES, 0.0)
    last = time.perf_counter()

    def mark(phase: str) -> None:
        nonlocal last
        measure.wait_for(device)
        spent[phase] += time.perf_counter() - last
        last = time.perf_counter()

    def marked(loader: Iterator[SceneBatch]) -> Iterator[SceneBatch]:
        for number, batch in enumerate(loader):
            mark("loading")
            yield batch
            mark("optimizer")
            if number == WARM_UP - 1:
                spent.update(dict.fromkeys(PHASES, 0.0))

    unscale = run.scaler.unscale_

    def after_backward(optimizer: torch.optim.Optimizer) -> None:
        mark("backward")
        unscale(optimizer)

    with (
        run.model.register_forward_hook(lambda *_: mark("forward")),
        run.criterion.register_forward_hook(lambda *_: mark("criterion")),
        patch.object(run.scaler, "unscale_", after_backward),  # called right after backward
    ):
        run.train_on(marked(loader))
    return {phase: seconds / sum(spent.values()) for phase, seconds in spent.items()}
