"""Sums and means over segments: rows of one tensor gathered by an index, e.g. points to superpoints.

torch-scatter computes them where it is installed, torch alone otherwise; both give the same numbers.
"""

from importlib.util import find_spec

import numpy as np
import torch
from jaxtyping import Float, Int64, Integer
from torch import Tensor

USE_TORCH_SCATTER = find_spec("torch_scatter") is not None


def segment_sum(values: Float[Tensor, "N *D"], index: Int64[Tensor, "N"], num_segments: int) -> Float[Tensor, "S *D"]:
    """Sum of the rows of each segment, in any order; differentiable.

    Args:
        values: N rows to sum.
        index: segment of each row, 0..num_segments-1.
        num_segments: number of segments S.

    Returns:
        One row per segment, 0 where a segment is empty.

    >>> import torch
    >>> segment_sum(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([0, 2, 0]), 3)
    tensor([5., 0., 2.])
    """
    if values.dtype in (torch.float16, torch.bfloat16):
        # Thousands of rows do not add up in half precision.
        return segment_sum(values.float(), index, num_segments).to(values.dtype)
    if USE_TORCH_SCATTER:
        from torch_scatter import scatter_sum

        return scatter_sum(values, index, dim=0, dim_size=num_segments)
    return values.new_zeros((num_segments, *values.shape[1:])).index_add(0, index, values)


def segment_mean(
    values: Float[Tensor, "N *D"],
    index: Int64[Tensor, "N"],
    num_segments: int,
    weights: Float[Tensor, "N"] | None = None,
) -> Float[Tensor, "S *D"]:
    """Mean of the rows of each segment; differentiable in values and weights.

    Args:
        values: rows of any shape.
        index: segment of each row, 0..S-1.
        num_segments: S.
        weights: weight of each row, 0 or more; None weighs each 1.

    Returns:
        One row per segment, 0 where a segment is empty or its weights sum to 0.

    >>> import torch
    >>> segment_mean(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([0, 2, 0]), 3)
    tensor([2.5000, 0.0000, 2.0000])
    """
    dtype = values.dtype if values.dtype == torch.float64 else torch.float32
    weights = torch.ones_like(index, dtype=dtype) if weights is None else weights.to(dtype)
    column = (-1, *[1] * (values.ndim - 1))
    weighted = segment_sum(values.to(dtype) * weights.view(column), index, num_segments)
    total = segment_sum(weights, index, num_segments)
    # A safe divisor instead of a masked quotient: the gradient of 0 / 0 would be NaN even where it is not used.
    divisor = torch.where(total == 0, torch.ones_like(total), total)
    return (weighted / divisor.view(column)).to(values.dtype)


def group_rows(keys: Integer[np.ndarray, "N"]) -> list[Int64[np.ndarray, "_"]]:
    """Rows of each key that occurs, ascending, in the order of the keys.

    >>> [rows.tolist() for rows in group_rows(np.array([7, 2, 7, 2, 9]))]
    [[1, 3], [0, 2], [4]]
    """
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.diff(keys[order])) + 1
    return np.split(order, starts) if len(keys) else []
