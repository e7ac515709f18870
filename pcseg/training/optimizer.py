"""AdamW, its learning rate over a run, and averaged weights."""

from dataclasses import dataclass
from inspect import unwrap
from typing import Any, Literal

import torch
from torch import nn


@dataclass(frozen=True)
class OptimizerOptions:
    """AdamW and its schedule; also the `optimizer` section of a config file."""

    lr: float = 1e-4  # the highest rate
    weight_decay: float = 0.05
    schedule: Literal["polynomial"] = "polynomial"  # falls as (1 - progress) ** 0.9
    warmup: float = 0.02  # fraction of the steps over which the rate rises
    clip_norm: float = 10.0  # largest norm of the gradients; 0 for none


class AdamW(torch.optim.AdamW):
    """AdamW without its wrappers for torch.compile, which import seconds of code."""

    add_param_group, zero_grad = unwrap(torch.optim.AdamW.add_param_group), unwrap(torch.optim.AdamW.zero_grad)
    state_dict, load_state_dict = unwrap(torch.optim.AdamW.state_dict), unwrap(torch.optim.AdamW.load_state_dict)
    step = torch.no_grad()(unwrap(torch.optim.AdamW.step))


def adamw(model: nn.Module, options: OptimizerOptions) -> AdamW:
    """The optimizer of a model, fused where it can be: faster, and CUDA need not wait to skip a non-finite step."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    fused = parameters[0].device.type in ("cpu", "cuda")
    return AdamW(parameters, lr=options.lr, weight_decay=options.weight_decay, fused=fused)


def learning_rate(step: int, num_steps: int, options: OptimizerOptions) -> float:
    """The learning rate of a step: a linear rise, above zero from the start, then a polynomial fall.

    Args:
        step: number of the step, from 0.
        num_steps: number of steps in training.
        options: give the highest rate and the length of the rise.

    >>> [round(learning_rate(step, 4, OptimizerOptions(lr=1.0, warmup=0.5)), 3) for step in range(4)]
    [0.222, 0.491, 0.414, 0.154]
    """
    progress = min(1.0, (step + 0.5) / num_steps)
    rise = progress / options.warmup if progress < options.warmup else 1.0
    return options.lr * (rise * (1 - progress) ** 0.9)


class WeightAverage:
    """Exponential moving average of a model's weights and buffers, which begins with the present ones.

    `decay` is the fraction of the old average that remains at each step; it is lower during the first steps.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.num_updates = 0
        self.weights = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average toward the model's weights; integer buffers are copied."""
        self.num_updates += 1
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                self.weights[name].lerp_(value, 1 - decay)
            else:
                self.weights[name].copy_(value)

    def state_dict(self) -> dict[str, Any]:
        return {"num_updates": self.num_updates, "weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.num_updates, self.weights = state["num_updates"], state["weights"]
