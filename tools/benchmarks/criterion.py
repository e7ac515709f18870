"""Speed and memory of the criteria on random predictions."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch

from pcseg.losses.criterion import Criterion
from pcseg.losses.influencer_criterion import InfluencerCriterion
from pcseg.losses.set_criterion import SetCriterion
from tools.benchmarks.measure import Step, count_waits, devices, median_ms, peak_memory_mb, wait_for

# Value checks are off, as in training.
CRITERIA: dict[str, Callable[[], Criterion]] = {
    "competitive (sigmoid)": lambda: InfluencerCriterion(18, check_values=False),
    "Hungarian (sigmoid)": lambda: SetCriterion(18, check_values=False),
    "competitive (softmax)": lambda: InfluencerCriterion(18, mask_activation="softmax", check_values=False),
    "Hungarian (softmax)": lambda: SetCriterion(18, mask_activation="softmax", check_values=False),
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
    batch_size, num_layers, num_classes = 4, 7, 18
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).to(device).requires_grad_()

    layers = [
        {
            "pred_logits": normal(batch_size, num_queries, num_classes + 1),
            "pred_masks": [normal(num_tokens, num_queries) for _ in range(batch_size)],
        }
        for _ in range(num_layers)
    ]
    targets = [
        {
            "labels": torch.randint(num_classes, (num_instances,), generator=generator).to(device),
            "instance_labels": torch.randint(num_instances + 1, (num_tokens,), generator=generator).to(device),
        }
        for _ in range(batch_size)
    ]
    return layers, targets


def criterion_step(
    name: str,
    num_queries: int,
    num_instances: int,
    num_tokens: int = 2000,
    device: torch.device = CPU,
    warm_up: bool = False,
) -> Step:
    """Makes a step that runs a criterion forward and backward on random predictions.

    Args:
        name: key of CRITERIA.
        num_queries: number of queries.
        num_instances: number of instances per room.
        num_tokens: number of tokens per mask.
        device: device of the tensors.
        warm_up: whether to use 20 tokens instead of `num_tokens`.
    """
    layers, targets = _predictions(num_queries, num_instances, 20 if warm_up else num_tokens, device)
    criterion = CRITERIA[name]()

    def step() -> None:
        end = _EndOfGraph.apply
        ends: list[dict[str, Any]] = [
            {"pred_logits": end(x["pred_logits"]), "pred_masks": [end(masks) for masks in x["pred_masks"]]}
            for x in layers
        ]
        criterion.total(criterion({**ends[-1], "aux_outputs": ends[:-1]}, targets)).backward()
        wait_for(device)

    return step


def criterion(rounds: int) -> dict[str, Any]:
    """Times the criteria forward and backward in float32, with batch size 4 and 7 layers, on every device."""
    result: dict[str, Any] = {}
    for device in devices():
        title = f"{device.type}: ms (peak MB; host waits)"
        print(f"{title:<50}" + "".join(f"{name:>24}" for name in CRITERIA))
        for num_queries, num_instances, num_tokens in SIZES:
            size = (num_queries, num_instances, num_tokens, device)
            # Rounds of several seconds: two are enough.
            few = rounds if num_tokens <= 2000 or device.type == "cuda" else min(rounds, 2)
            times = median_ms({name: criterion_step(name, *size) for name in CRITERIA}, few)
            row = {
                name: {
                    "ms": ms,
                    "peak_mb": peak_memory_mb(criterion_step, name, *size) if device.type == "cpu" else None,
                    "waits": count_waits(criterion_step(name, *size), device),
                }
                for name, ms in times.items()
            }
            cells = []
            for found in row.values():
                peak = f"{found['peak_mb']:.0f}; " if found["peak_mb"] is not None else ""
                cells.append(f"{found['ms']:.1f} ({peak}{found['waits']})")
            title = f"N {num_tokens}, M {num_queries}, K {num_instances}"
            print(f"{title:<50}" + "".join(f"{cell:>24}" for cell in cells), flush=True)
            key = f"M{num_queries}_K{num_instances}" + ("" if num_tokens == 2000 else f"_N{num_tokens}")
            result[key if device.type == "cpu" else f"{device.type}_{key}"] = row
    return result
