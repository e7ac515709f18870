"""Sums and means over segments: rows of one tensor gathered by an index, e.g. points to superpoints.

Two backends give the same numbers: torch-scatter where it is installed, torch alone otherwise.
"""

from importlib.util import find_spec
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

HAVE_TORCH_SCATTER = find_spec("torch_scatter") is not None

Backend = Literal["auto", "torch", "scatter"]


def segment_sum(
    values: Float[Tensor, "N *D"], index: Int64[Tensor, "N"], num_segments: int, *, backend: Backend = "auto"
) -> Float[Tensor, "S *D"]:
    """Sum of the rows of each segment; differentiable.

    Args:
        values: one row per element.
        index: segment of each row, 0..num_segments-1, in any order.
        num_segments: S.
        backend: "scatter" is torch-scatter, "torch" is index_add, "auto" the former where it is installed.

    Returns:
        One row per segment, 0 where a segment is empty.

    Raises:
        ValueError: torch-scatter is asked for and not installed, or the rows of values and index differ in number.
    """
    _check(values, index)
    if values.dtype in (torch.float16, torch.bfloat16):
        # Thousands of rows do not add up in half precision.
        return segment_sum(values.float(), index, num_segments, backend=backend).to(values.dtype)
    if _use_scatter(backend):
        from torch_scatter import scatter_sum

        return scatter_sum(values, index, dim=0, dim_size=num_segments)
    return values.new_zeros((num_segments, *values.shape[1:])).index_add(0, index, values)


def segment_mean(
    values: Float[Tensor, "N *D"],
    index: Int64[Tensor, "N"],
    num_segments: int,
    weights: Float[Tensor, "N"] | None = None,
    *,
    backend: Backend = "auto",
) -> Float[Tensor, "S *D"]:
    """Mean of the rows of each segment, weighted where weights are given; differentiable in values and weights.

    Args:
        values: one row per element.
        index: segment of each row, 0..num_segments-1, in any order.
        num_segments: S.
        weights: what each row counts, >= 0; None counts every row once.
        backend: as in `segment_sum`.

    Returns:
        One row per segment, 0 where a segment is empty or its weights sum to 0.

    Raises:
        ValueError: as in `segment_sum`.
    """
    _check(values, index)
    column = (-1, *[1] * (values.ndim - 1))
    dtype = values.dtype if values.dtype == torch.float64 else torch.float32
    weights = torch.ones_like(index, dtype=dtype) if weights is None else weights.to(dtype)
    weighted = values.to(dtype) * weights.view(column)
    total = segment_sum(weights, index, num_segments, backend=backend)
    # A safe divisor instead of a masked quotient: the gradient of 0 / 0 would be NaN even where it is not used.
    divisor = torch.where(total == 0, torch.ones_like(total), total)
    return (segment_sum(weighted, index, num_segments, backend=backend) / divisor.view(column)).to(values.dtype)


def _use_scatter(backend: Backend) -> bool:
    if backend == "scatter" and not HAVE_TORCH_SCATTER:
        raise ValueError("backend 'scatter' needs torch-scatter, which is not installed; use 'torch' or 'auto'")
    return backend == "scatter" or (backend == "auto" and HAVE_TORCH_SCATTER)


def _check(values: Tensor, index: Tensor) -> None:
    if len(values) != len(index):
        raise ValueError(f"index must have one entry per row of values, got {len(index)} for {len(values)} rows")
