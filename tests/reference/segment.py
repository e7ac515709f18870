"""Segment reductions as plain loops over rows."""

import torch
from torch import Tensor


def segment_sum(values: Tensor, index: Tensor, num_segments: int) -> Tensor:
    rows = [torch.zeros_like(values[:1].sum(0)) for _ in range(num_segments)]
    for value, segment in zip(values, index.tolist()):
        rows[segment] = rows[segment] + value
    return torch.stack(rows)


def segment_mean(values: Tensor, index: Tensor, num_segments: int, weights: Tensor | None = None) -> Tensor:
    weights = torch.ones(len(values), dtype=values.dtype) if weights is None else weights
    rows = []
    for segment in range(num_segments):
        mine = [i for i in range(len(values)) if index[i] == segment]
        total = sum(weights[i] for i in mine)
        if total == 0:
            rows.append(torch.zeros_like(values[:1].sum(0)))
        else:
            rows.append(sum(values[i] * weights[i] for i in mine) / total)
    return torch.stack(rows)
