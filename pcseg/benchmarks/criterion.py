"""Speed and memory of the criteria on random predictions."""

import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch

from pcseg.benchmarks import measure
from pcseg.losses.criterion import Criterion
from pcseg.losses.influencer_criterion import InfluencerCriterion
from pcseg.losses.set_criterion import SetCriterion

# Value checks are off, as in training.
CRITERIA: dict[str, Callable[[], Criterion]] = {
    "competitive": lambda: InfluencerCriterion(18, check_values=False),
    "Hungarian": lambda: SetCriterion(18, check_values=False),
}
CPU = torch.device("cpu")
# Number of queries, instances and mask tokens.
SIZES = ((100, 20, 2000), (100, 60, 2000), (400, 20, 2000), (400, 60, 2000), (400, 60, 20_000))


class _EndOfGraph(torch.autograd.Function):
    """Discards the computed gradients, as the mask product of a model does."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> None:
        return None


@lru_cache(maxsize=1)
def _predictions(
    num_queries: int, num_instances: int, num_tokens: int, device: torch.device
) -> tuple[list[dict[str, Any]], list[dict[str, torch.Tensor]]]:
    """Layers and targets for batch size 4 and 7 layers. The candidates share them to save memory."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).to(device).requires_grad_()

    def integers(below: int, count: int) -> torch.Tensor:
        return torch.randint(below, (count,), generator=generator).to(device)

    layers = []
    for _ in range(7):
        logits = normal(4, num_queries, 19)
        layers.append({"pred_logits": logits, "pred_masks": [normal(num_tokens, num_queries) for _ in range(4)]})
    instances = [integers(18, num_instances) for _ in range(4)]
    return layers, [{"labels": x, "instance_labels": integers(num_instances + 1, num_tokens)} for x in instances]


def criterion_step(
    name: str, num_queries: int, num_instances: int, num_tokens: int = 2000, device: torch.device = CPU
) -> measure.Step:
    """Makes a step that runs a criterion forward and backward on random predictions.

    Args:
        name: key of `CRITERIA`.
        num_queries: number of queries M.
        num_instances: number of instances K of each scene.
        num_tokens: number of mask tokens N of each scene.
        device: device of predictions and targets.
    """
    layers, targets = _predictions(num_queries, num_instances, num_tokens, device)
    criterion = CRITERIA[name]()

    def step() -> None:
        end = _EndOfGraph.apply
        ends: list[dict[str, Any]] = [
            {"pred_logits": end(x["pred_logits"]), "pred_masks": [end(masks) for masks in x["pred_masks"]]}
            for x in layers
        ]
        criterion.total(criterion({**ends[-1], "aux_outputs": ends[:-1]}, targets)).backward()
        measure.wait_for(device)

    return step


def _added_mb(name: str, num_queries: int, num_instances: int, num_tokens: int) -> float:
    """Peak that a step adds to the memory of this process, which should be a fresh one (Linux)."""
    torch.set_num_threads(1)
    criterion_step(name, num_queries, num_instances, 20)()  # to warm up
    step = criterion_step(name, num_queries, num_instances, num_tokens)
    before = measure.forget_peak()
    step()
    return measure.peak_mb() - before


def criterion(rounds: int) -> dict[str, Any]:
    """Times the criteria forward and backward in float32, with batch size 4 and 7 layers, on every device."""
    result: dict[str, Any] = {}
    for device in measure.devices():
        for size in SIZES:
            # Rounds of several seconds: two are enough.
            few = rounds if size[2] <= 2000 or device.type == "cuda" else min(rounds, 2)
            times = measure.median_ms({name: criterion_step(name, *size, device) for name in CRITERIA}, few)
            key = f"{device.type}, M {size[0]}, K {size[1]}, N {size[2]}"
            result[key], has_peak = {}, device.type == "cpu" and sys.platform == "linux"
            print(key)
            for name, ms in times.items():
                waits = measure.count_waits(criterion_step(name, *size, device), device)
                found: dict[str, float] = {"ms": ms, "waits": waits}
                if has_peak:
                    found["peak_mb"] = measure.in_own_process(_added_mb, name, *size)
                measure.print_row(name, found)
                result[key][name] = found
    return result
