"""Segment reductions as plain loops over rows."""

import torch
from torch import Tensor


def segment_sum(values: Tensor, index: Tensor, num_segments: int) -> Tensor:
    return torch.stack([values[index == segment].sum(0) for segment in range(num_segments)])


def segment_mean(values: Tensor, index: Tensor, num_segments: int, weights: Tensor | None = None) -> Tensor:
    weights = torch.ones(len(values), dtype=values.dtype) if weights is None else weights
    rows = []
    for segment in range(num_segments):
        mine = index == segment
        total = weights[mine].sum()
        weighted = sum(value * weight for value, weight in zip(values[mine], weights[mine]))
        rows.append(weighted / total if total > 0 else torch.zeros_like(values[0]))
    return torch.stack(rows)
