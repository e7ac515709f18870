"""Speed and memory of the criteria on random predictions."""

from collections.abc import Callable
from typing import Any

import torch

from pcseg.losses.influencer_criterion import InfluencerCriterion
from pcseg.losses.set_criterion import SetCriterion
from tools.benchmarks.timing import Step, median_ms, peak_memory_mb

CRITERIA: dict[str, Callable[[], torch.nn.Module]] = {
    "competitive (softmax)": lambda: InfluencerCriterion(18),
    "Hungarian (sigmoid)": lambda: SetCriterion(18),
    "Hungarian (softmax)": lambda: SetCriterion(18, mask_activation="softmax"),
    "competitive (sigmoid)": lambda: InfluencerCriterion(18, mask_activation="sigmoid"),
}


class _EndOfGraph(torch.autograd.Function):
    """Lets gradients go once they are computed, as the product behind mask logits does in a model."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> None:
        return None


def criterion_step(name: str, num_queries: int, num_instances: int, warm_up: bool = False) -> Step:
    """Forward and backward of a criterion on random predictions: batch 4, 7 layers, 2000 superpoints."""
    batch_size, num_layers, num_tokens, num_classes = 4, 7, 20 if warm_up else 2000, 18
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).requires_grad_()

    layers = [
        {
            "pred_logits": normal(batch_size, num_queries, num_classes + 1),
            "pred_scores": normal(batch_size, num_queries),
            "pred_masks": [normal(num_tokens, num_queries) for _ in range(batch_size)],
        }
        for _ in range(num_layers)
    ]
    targets = [
        {
            "labels": torch.randint(num_classes, (num_instances,), generator=generator),
            "instance_labels": torch.randint(num_instances + 1, (num_tokens,), generator=generator),
        }
        for _ in range(batch_size)
    ]
    criterion = CRITERIA[name]()

    def step() -> None:
        ends: list[dict[str, Any]] = [
            {
                k: [_EndOfGraph.apply(m) for m in v] if isinstance(v, list) else _EndOfGraph.apply(v)
                for k, v in x.items()
            }
            for x in layers
        ]
        criterion.total(criterion({**ends[-1], "aux_outputs": ends[:-1]}, targets)).backward()  # type: ignore[operator]

    return step


def criterion(rounds: int) -> dict[str, Any]:
    """The criteria, forward and backward, float32: batch 4, 7 layers, N 2000."""
    result: dict[str, Any] = {}
    print(f"{'criterion, ms (and MB at the peak)':<40}" + "".join(f"{name:>24}" for name in CRITERIA))
    for num_queries in (100, 400):
        for num_instances in (20, 60):
            steps = {name: criterion_step(name, num_queries, num_instances) for name in CRITERIA}
            times = median_ms(steps, rounds)
            memory = {name: peak_memory_mb(criterion_step, name, num_queries, num_instances) for name in CRITERIA}
            cells = [
                f"{times[name]:.1f} ({memory[name]:.0f})" if memory[name] else f"{times[name]:.1f}" for name in times
            ]
            print(f"{f'M {num_queries}, K {num_instances}':<40}" + "".join(f"{cell:>24}" for cell in cells), flush=True)
            result[f"M{num_queries}_K{num_instances}"] = {
                name: {"ms": times[name], "peak_mb": memory[name]} for name in CRITERIA
            }
    return result
