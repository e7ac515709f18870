"""Training: one visible loop."""

import json
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from pcseg.structures import SceneBatch


class NotFiniteError(RuntimeError):
    """The loss became NaN or infinite; the message names the step and the rooms."""


@dataclass
class TrainState:
    """What a run carries from step to step besides weights."""

    step: int = 0
    best_ap: float = -1.0
    seconds: float = 0.0
    averages: dict[str, float] = field(default_factory=dict)


def train(
    model: nn.Module,
    criterion: nn.Module,
    loader: Iterable[SceneBatch],
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
    state: TrainState,
    *,
    num_steps: int,
    clip_norm: float = 0.0,
    deep_supervision: bool = True,
    ema: "WeightAverage | None" = None,
    log: Path | None = None,
    after_step: Callable[[TrainState], None] | None = None,
) -> None:
    """Train until `num_steps`, from wherever `state` stands.

    Args:
        model: takes a SceneBatch on its own device.
        criterion: outputs and targets to a dict of losses, with `total` and `set_progress`.
        loader: gives the batches of the steps that remain.
        optimizer: over the parameters of the model.
        scheduler: stepped once after every step.
        state: changed in place.
        num_steps: of the whole run.
        clip_norm: largest gradient norm; 0 for any.
        deep_supervision: whether intermediate layers are trained directly.
        ema: averaged weights to keep up to date.
        log: one JSON line a step is appended here.
        after_step: called with the state after each step, to save or to evaluate.

    Raises:
        NotFiniteError: the loss is NaN or infinite.
    """
    device = next(model.parameters()).device
    parameters = [p for p in model.parameters() if p.requires_grad]
    progress = tqdm(initial=state.step, total=num_steps, unit="step", desc="train", mininterval=1.0)
    lines = log.open("a") if log is not None else None
    try:
        for batch in loader:
            start = time.perf_counter()
            model.train()
            batch = batch.to(device)
            criterion.set_progress(state.step / num_steps)  # type: ignore[operator]
            outputs = model(batch)
            if not deep_supervision:
                outputs.pop("aux_outputs")
            losses = criterion(outputs, batch.targets)
            total = criterion.total(losses)  # type: ignore[operator]
            if not torch.isfinite(total):
                bad = [name for name, value in losses.items() if not torch.isfinite(value)]
                raise NotFiniteError(
                    f"step {state.step}: {', '.join(bad)} not finite on rooms {', '.join(batch.names)}"
                )
            optimizer.zero_grad(set_to_none=True)
            total.backward()
            norm = nn.utils.clip_grad_norm_(parameters, clip_norm or torch.inf)
            optimizer.step()
            rate = float(scheduler.get_last_lr()[0])
            scheduler.step()
            if ema is not None:
                ema.update(model)
            state.step += 1
            state.seconds += time.perf_counter() - start
            values = {"loss": total.item(), **{k: v.item() for k, v in losses.items()}}
            _show(progress, state, values, rate)
            if lines is not None:
                record = {"step": state.step, "lr": rate, "grad_norm": norm.item(), **values}
                lines.write(json.dumps({k: _short(v) for k, v in record.items()}) + "\n")
                lines.flush()
            if after_step is not None:
                after_step(state)
    finally:
        progress.close()
        if lines is not None:
            lines.close()


class WeightAverage:
    """Exponential moving average of a model's weights and buffers.

    Args:
        model: where to start from.
        decay: share of the old average that stays at each step; lower during the first steps.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.num_updates = 0
        self.weights = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take one step towards the model's weights; whole-number buffers are copied."""
        self.num_updates += 1
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                self.weights[name].lerp_(value, 1 - decay)
            else:
                self.weights[name].copy_(value)

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"num_updates": self.num_updates, "weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From a checkpoint."""
        self.num_updates = state["num_updates"]
        self.weights = state["weights"]


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - libraries may use the global generator
    torch.manual_seed(seed)


def _show(progress: tqdm, state: TrainState, values: dict[str, float], rate: float) -> None:
    for name, value in values.items():
        state.averages[name] = 0.95 * state.averages.get(name, value) + 0.05 * value
    main = {k.removeprefix("loss_"): f"{v:.3f}" for k, v in state.averages.items() if not k[-1].isdigit()}
    progress.set_postfix({**main, "lr": f"{rate:.1e}"}, refresh=False)
    progress.update()


def _short(value: float) -> float:
    return float(f"{value:.7g}") if isinstance(value, float) else value
