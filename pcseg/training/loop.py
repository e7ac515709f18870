"""The training loop: forward, loss, backward, clip, step, log."""

import itertools
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pcseg.losses.criterion import Criterion
from pcseg.ops.precision import Precision, autocast
from pcseg.structures import Batch
from pcseg.training.distributed import SINGLE_PROCESS, DistributedContext
from pcseg.training.optimizer import OptimizerOptions, WeightAverage, learning_rate

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainOptions:
    """A training run; also the `train` section of a config file.

    Raises:
        ValueError: no step.
    """

    steps: int = 10_000
    batch_size: int = 4  # rooms per step, over all processes
    accumulate: int = 1  # micro-batches per step in each process
    max_voxels: int = 0  # of a micro-batch, before augmentation: fewer rooms where they are large; 0 for any number
    precision: Precision = "float32"  # of the network's products
    max_skipped: int = 10  # consecutive skipped steps (non-finite, or out of memory) before the run stops
    seed: int = 0
    num_workers: int = 0  # loader processes
    checkpoint_every: int = 500  # steps
    log_every: int = 1  # steps after which losses are read from the device
    evaluate_every: int = 0  # steps; 0 evaluates only at the end
    keep_checkpoints: int = 2  # in addition to the last and the best
    ema_decay: float = 0.0  # evaluation uses averaged weights; 0 for none
    deterministic: bool = False  # the same bits on every run on one machine; slower on a GPU
    tensorboard: bool = False  # event files in the run's folder
    init: str = ""  # checkpoint whose weights the run starts from, or "builtin"; empty for fresh weights
    init_share: float = 0.0  # evaluation and prediction use so much of these, and the rest of the trained weights
    keep_absent: bool = False  # classes that no training room has are not trained, so that they are not unlearned
    wandb: str = ""  # project of Weights & Biases; empty for none

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps must be 1 or more, got {self.steps}")


@dataclass
class TrainState:
    """What a run carries from step to step, in addition to weights."""

    step: int = 0  # finished steps
    best_ap: float = -1.0  # highest AP of all evaluations
    seconds: float = 0.0  # time spent in steps
    skipped: int = 0  # steps that changed nothing, for lack of memory or of a finite loss and gradient
    skipped_in_a_row: int = 0  # consecutive skipped steps so far
    overflows: int = 0  # steps that fp16 gave up to find its scale
    left_out: dict[str, int] = field(default_factory=dict)  # how often memory ran out on each room


class TooManySkippedError(RuntimeError):
    """More than `max_skipped` consecutive steps were skipped; `batches` are those of the last one in this process."""

    def __init__(self, message: str, batches: list[Batch]) -> None:
        super().__init__(message)
        self.batches = batches


@dataclass
class _Step:
    """A finished step whose numbers are still on the device."""

    number: int
    rate: float
    batches: list[Batch]
    left_out: list[str]  # rooms that ran out of memory
    values: dict[str, Float[Tensor, ""]]  # grad_norm, loss, the losses, rooms
    loading_seconds: float
    seconds: float


def train(
    model: nn.Module,
    criterion: Criterion,
    optimizer: torch.optim.Optimizer,
    loader: Iterable[Batch],
    options: TrainOptions,
    optimizer_options: OptimizerOptions,
    *,
    state: TrainState,
    scaler: torch.amp.GradScaler,
    average: WeightAverage | None = None,
    processes: DistributedContext = SINGLE_PROCESS,
    log: Callable[[dict[str, Any]], None] = lambda record: None,
    after_log: Callable[[], None] = lambda: None,
) -> None:
    """Train from `state.step` to `options.steps`, or until the loader ends.

    A step without a finite loss and gradient changes nothing: not the weights, the optimizer or the buffers. No step
    waits for the device, except to read the losses every `options.log_every` steps, in one transfer.

    Args:
        model: takes a batch on its own device.
        criterion: loss of the model's outputs.
        optimizer: optimizer of the model's parameters.
        loader: micro-batches on the CPU, `options.accumulate` of them for each step.
        options: settings of the run.
        optimizer_options: schedule and largest gradient norm.
        state: changed in place.
        scaler: from `grad_scaler`.
        average: averaged weights to update after each step.
        processes: processes that share the rooms of each step.
        log: called for each step in order. It gets step, lr, grad_norm, loss (the weighted sum), the losses, rooms,
            seconds, loading_seconds (waiting for the loader) and skipped (so far). Non-finite values are NaN.
        after_log: called each time that losses were read, to save or to evaluate.

    Raises:
        TooManySkippedError: more than `options.max_skipped` consecutive steps were skipped.
        ValueError: memory ran out in one of several processes.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    buffers = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
    device, unread = parameters[0].device, list[_Step]()
    num_steps = max(0, options.steps - state.step)

    def backward(batch: Batch, share: float) -> dict[str, Tensor]:
        """Adds to the gradients and returns the share of losses; a failure frees all memory, as nothing outlives it."""
        batch = batch.to(device)
        with autocast(device, options.precision):
            outputs = model(batch)
        losses = criterion(outputs, batch.targets, progress=state.step / options.steps)
        loss = criterion.total(losses)
        # The gradients of a loss that is not finite are NaN, so that the scaler skips the step.
        scaler.scale(share * (loss * torch.where(loss.detach().isfinite(), 1.0, torch.nan))).backward()
        return {name: share * value.detach() for name, value in {"loss": loss, **losses}.items()}

    for batches, loading_seconds in itertools.islice(_timed(loader, options.accumulate), num_steps):
        start, left_out = time.perf_counter(), list[str]()
        model.train()
        rate = learning_rate(state.step, options.steps, optimizer_options)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad(set_to_none=True)
        with _without_tiny_numbers():
            before, values, shares = _flat(buffers), dict[str, Tensor](), _shares(batches, processes)
            try:
                for batch, share in zip(batches, shares, strict=True):
                    for name, value in backward(batch, share).items():
                        values[name] = values.get(name, 0) + value
            except (RuntimeError, MemoryError) as error:
                left_out = _rooms_out_of_memory(error, batch, processes)
            if left_out:
                nan = torch.full((), torch.nan, device=device)
                values = {"grad_norm": nan, "loss": nan}
                _copy(before, buffers)
            else:
                values["rooms"] = torch.full_like(values["loss"], sum(map(len, batches)))
                _sum_over_processes(parameters, values, processes)
                scaler.unscale_(optimizer)
                norm = nn.utils.clip_grad_norm_(parameters, optimizer_options.clip_norm or torch.inf)
                scaler.step(optimizer)  # takes no step if a gradient is not finite
                scaler.update(None if options.precision == "fp16" else 1.0)
                _copy(torch.where(norm.isfinite(), _flat(buffers), before), buffers)
                values = {"grad_norm": norm, **values}
        if average is not None:
            average.update(model)
        state.step += 1
        unread.append(_Step(state.step, rate, batches, left_out, values, loading_seconds, time.perf_counter() - start))
        if state.step % options.log_every == 0 or state.step == options.steps:
            for step, numbers in zip(unread, _read(unread, start), strict=True):
                _account(step, numbers, state, options, scaler, log)
            unread.clear()
            after_log()


@contextmanager
def _without_tiny_numbers() -> Iterator[None]:
    """The CPU takes numbers below 1e-38 as 0.

    It multiplies them 100 times slower, and gradients of masks that are sure are so small. Afterwards it must not, as
    scipy's KDTree would crash.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def grad_scaler(device: torch.device, precision: Precision) -> torch.amp.GradScaler:
    """What multiplies the loss against underflow of fp16 gradients, and skips steps whose gradients are not finite.

    Other precisions keep a scale of 1.
    """
    return torch.amp.GradScaler(device.type, init_scale=2.0**16 if precision == "fp16" else 1.0)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on a GPU or on the CPU, for which torch has no error class."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)


def _timed(loader: Iterable[Batch], num: int) -> Iterator[tuple[list[Batch], float]]:
    """The micro-batches of each step, and the seconds that the step waited for them."""
    rooms, start = iter(loader), time.perf_counter()
    while batches := list(itertools.islice(rooms, num)):
        yield batches, time.perf_counter() - start
        start = time.perf_counter()


def _rooms_out_of_memory(error: Exception, batch: Batch, processes: DistributedContext) -> list[str]:
    """The rooms of a micro-batch that did not fit; raises any other error again."""
    if not is_out_of_memory(error):
        raise error
    if processes.world > 1:  # the others wait for what this process can no longer send
        raise ValueError(
            f"process {processes.rank}: out of memory on {', '.join(batch.names)}; crop the rooms (crop_points in "
            "augment), lower train.max_voxels or raise train.accumulate, and continue with --resume"
        ) from None
    return batch.names


def _shares(batches: Sequence[Batch], processes: DistributedContext) -> list[float]:
    """Fraction of the step's rooms in each micro-batch, over all processes."""
    if len(batches) == 1:
        return [1.0]
    num_rooms = processes.sum(torch.tensor([float(len(batch)) for batch in batches]))
    return (num_rooms / num_rooms.sum()).tolist()


def _sum_over_processes(
    parameters: Sequence[nn.Parameter], values: dict[str, Tensor], processes: DistributedContext
) -> None:
    """Sum gradients and values over all processes, in place.

    One message after backward serves any number of micro-batches. DistributedDataParallel sends during backward, among
    the messages of the batch norms, in an order that differs where a room without instances gives no gradient.
    """
    if processes.world == 1:
        return
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    tensors = [*(parameter.grad for parameter in parameters if parameter.grad is not None), *values.values()]
    _copy(processes.sum(_flat(tensors)), tensors)


def _flat(tensors: Sequence[Tensor]) -> Float[Tensor, "total"]:
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors]) if tensors else torch.empty(0)


@torch.no_grad()
def _copy(flat: Float[Tensor, "total"], tensors: Sequence[Tensor]) -> None:
    """Fill tensors from what `_flat` gave of them."""
    for tensor, values in zip(tensors, flat.split([t.numel() for t in tensors]) if tensors else (), strict=True):
        tensor.copy_(values.view_as(tensor))


def _read(steps: Sequence[_Step], start: float) -> list[dict[str, float]]:
    """The values of steps as numbers, in one transfer; the last step takes until then."""
    numbers = iter(torch.stack([value for step in steps for value in step.values.values()]).tolist())
    steps[-1].seconds = time.perf_counter() - start
    return [{name: next(numbers) for name in step.values} for step in steps]


def _account(
    step: _Step,
    numbers: dict[str, float],
    state: TrainState,
    options: TrainOptions,
    scaler: torch.amp.GradScaler,
    log: Callable[[dict[str, Any]], None],
) -> None:
    """Enter the numbers of a step into the state and the log."""
    finite = math.isfinite(numbers["loss"])
    taken = finite and math.isfinite(numbers["grad_norm"])
    # fp16 tries scales; if even a scale below 1 overflows, the gradients themselves are not finite.
    overflow = finite and not taken and options.precision == "fp16" and scaler.get_scale() >= 1
    skipped = not taken and not overflow
    state.seconds += step.seconds
    state.overflows += overflow
    state.skipped += skipped
    state.skipped_in_a_row = state.skipped_in_a_row + 1 if skipped else 0
    for name in step.left_out:
        state.left_out[name] = state.left_out.get(name, 0) + 1
    times = {"seconds": step.seconds, "loading_seconds": step.loading_seconds, "skipped": state.skipped}
    log({"step": step.number, "lr": step.rate, **numbers, "rooms": int(numbers.get("rooms", 0)), **times})
    if not skipped:
        return
    if step.left_out:
        problem = f"out of memory on {', '.join(step.left_out)}"
    else:
        bad = [name for name, value in numbers.items() if name.startswith("loss_") and not math.isfinite(value)]
        names = ", ".join(name for batch in step.batches for name in batch.names)
        problem = f"{', '.join(bad) or 'the gradients'} not finite on {names}"
    message = f"step {step.number}: {problem}; the step is skipped, {state.skipped} so far"
    if state.skipped_in_a_row > options.max_skipped:
        raise TooManySkippedError(f"{message}, {state.skipped_in_a_row} consecutively", step.batches)
    logger.warning(message)
