"""Training: one visible loop."""

import itertools
import logging
import math
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pcseg.files import atomic_open
from pcseg.structures import SceneBatch
from pcseg.training.optimizer import WeightAverage
from pcseg.training.stepper import Outcome, Precision, Stepper

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainOptions:
    """A training run; also the `train` section of a config file."""

    steps: int = 10_000
    batch_size: int = 4  # rooms per step, over all processes
    accumulate: int = 1  # micro-batches per step in each process
    max_voxels: int = 0  # of a micro-batch, before augmentation: fewer rooms where they are large; 0 for any number
    precision: Precision = "float32"  # of the network's products
    max_skipped: int = 10  # consecutive non-finite steps before the run stops
    seed: int = 0
    num_workers: int = 0  # loader processes
    checkpoint_every: int = 500  # steps
    log_every: int = 1  # steps after which losses are read from the device
    evaluate_every: int = 0  # steps; 0 evaluates only at the end
    keep_checkpoints: int = 2  # in addition to the last and the best
    ema_decay: float = 0.0  # evaluation uses averaged weights; 0 for none
    deterministic: bool = False  # the same bits on every run on one machine; slower on a GPU
    tensorboard: bool = False  # event files in the run's folder
    init: str = ""  # checkpoint of another run whose weights this one starts from; empty for fresh weights
    wandb: str = ""  # project of Weights & Biases; empty for none


class NotFiniteError(RuntimeError):
    """Too many steps in a row gave no finite loss and gradients, or had no room left.

    Args:
        message: names the step and the rooms.
        parts: the last batch, as the loader gave it to this process.
    """

    def __init__(self, message: str, parts: list[SceneBatch]) -> None:
        super().__init__(message)
        self.parts = parts


@dataclass
class TrainState:
    """What a run carries from step to step besides weights.

    Args:
        step: steps that are done.
        best_ap: of all evaluations.
        seconds: spent in steps.
        skipped: steps that changed nothing, because loss or gradients were not finite or no room was left.
        skipped_in_a_row: the last of them, without a good step after.
        overflows: steps that fp16 gave up because its scale was too high, which is how it finds the scale.
        left_out: how many times each room was left out of a step because the memory could not hold it.
    """

    step: int = 0
    best_ap: float = -1.0
    seconds: float = 0.0
    skipped: int = 0
    skipped_in_a_row: int = 0
    overflows: int = 0
    left_out: dict[str, int] = field(default_factory=dict)


@dataclass
class _Step:
    """A step whose numbers are still on the device."""

    step: int
    rate: float
    loading_seconds: float
    seconds: float
    parts: list[SceneBatch]
    outcome: Outcome


def train(
    stepper: Stepper,
    loader: Iterable[SceneBatch],
    state: TrainState,
    *,
    num_steps: int,
    rate: Callable[[int], float],
    accumulate: int = 1,
    ema: WeightAverage | None = None,
    max_skipped: int = 0,
    log_every: int = 1,
    log: Callable[[dict[str, Any]], None] | None = None,
    after_read: Callable[[TrainState], None] | None = None,
) -> None:
    """Train until `num_steps`, from wherever `state` stands.

    Args:
        stepper: model, criterion and optimizer.
        loader: gives the parts of the steps that remain, `accumulate` of them for each.
        state: changed in place.
        num_steps: of the whole run.
        rate: learning rate of a step, counted from 0.
        accumulate: parts of a batch, trained on one after another.
        ema: averaged weights to keep up to date.
        max_skipped: how many steps in a row may be skipped.
        log_every: steps after which losses are read from the device, in one transfer.
        log: called for each step, in order: step, lr, grad_norm, loss (the weighted sum), the losses, rooms, seconds,
            loading_seconds (spent waiting for the loader), skipped (steps up to here). What is not finite is NaN.
        after_read: called with the state each time that losses were read, to save or to evaluate.

    Raises:
        NotFiniteError: more than `max_skipped` steps in a row were skipped.
    """
    parts_of_all = iter(loader)
    unread: list[_Step] = []
    while state.step < num_steps:
        asked = time.perf_counter()
        parts = list(itertools.islice(parts_of_all, accumulate))
        if not parts:
            break
        start = time.perf_counter()
        stepper.model.train()
        stepper.progress = state.step / num_steps
        for group in stepper.optimizer.param_groups:
            group["lr"] = rate(state.step)
        outcome = stepper.step(parts)
        if ema is not None:
            ema.update(stepper.model)
        state.step += 1
        unread.append(_Step(state.step, rate(state.step - 1), start - asked, 0.0, parts, outcome))
        is_time = state.step % log_every == 0 or state.step == num_steps
        numbers = torch.cat([done.outcome.values for done in unread]).tolist() if is_time else []
        unread[-1].seconds = time.perf_counter() - start
        if is_time:
            for done in unread:
                count = len(done.outcome.values)
                _account(done, numbers[:count], stepper, state, max_skipped, log)
                del numbers[:count]
            unread.clear()
            if after_read is not None:
                after_read(state)


def _account(
    done: _Step,
    numbers: list[float],
    stepper: Stepper,
    state: TrainState,
    max_skipped: int,
    log: Callable[[dict[str, Any]], None] | None,
) -> None:
    """Takes the numbers of one step into the state and the log."""
    values = dict(zip(done.outcome.names, numbers, strict=True))
    grad_norm, loss = values["grad_norm"], values["loss"]
    state.seconds += max(done.seconds, 0.0)  # a clock may be set back
    for name in done.outcome.left_out:
        state.left_out[name] = state.left_out.get(name, 0) + 1
    fine = math.isfinite(grad_norm) and math.isfinite(loss)
    # A scale under 1 is none that fp16 needs: then the gradients themselves are not finite.
    overflow = math.isfinite(loss) and not fine and stepper.precision == "fp16" and stepper.scaler.get_scale() >= 1
    state.overflows += overflow
    state.skipped += not fine and not overflow
    state.skipped_in_a_row = 0 if fine or overflow else state.skipped_in_a_row + 1
    if log is not None:
        record = {"step": done.step, "lr": done.rate, **values, "rooms": int(values["rooms"])}
        times = {"seconds": done.seconds, "loading_seconds": done.loading_seconds}
        log({**record, **times, "skipped": state.skipped})
    if fine or overflow:
        return
    rooms = ", ".join(name for part in done.parts for name in part.names)
    bad = [name for name, value in values.items() if name.startswith("loss_") and not math.isfinite(value)]
    what = f"{', '.join(bad) or 'the gradients'} not finite" if values["rooms"] else "no memory for any room"
    message = f"step {done.step}: {what} on {rooms}"
    if state.skipped_in_a_row > max_skipped:
        raise NotFiniteError(f"{message}; {state.skipped_in_a_row} steps in a row could not be taken", done.parts)
    logger.warning("%s; the step is skipped", message)


def save_batch(path: Path, parts: Sequence[SceneBatch]) -> None:
    """Write batches for study; ``SceneBatch(**torch.load(path)[i])`` is one of them again."""
    with atomic_open(path) as file:
        torch.save([asdict(part) for part in parts], file)


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - libraries may use the global generator
    torch.manual_seed(seed)
