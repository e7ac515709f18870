"""Batch norm and ReLU in training in one operation, for float32 on the CPU."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor
from torch.autograd.function import once_differentiable

from pcseg.kernels import norm as kernels
from pcseg.ops.threads import for_each

PART = 4096  # rows that one thread takes at a time; sums do not depend on the number of threads


def _for_parts(work: Callable[..., None], num_rows: int, *args: Any) -> None:
    """Calls work(*args, first, last, out) for parts of the rows; of a three-dimensional `out`, each has its own."""
    *args, out = args
    parts = [(first, min(first + PART, num_rows)) for first in range(0, num_rows, PART)]
    for_each(lambda i: work(*args, *parts[i], out[i] if out.ndim == 3 else out), range(len(parts)))


def _sums(work: Callable[..., None], x: np.ndarray, *args: np.ndarray) -> np.ndarray:
    """Two sums of each column."""
    sums = np.zeros((-(-len(x) // PART), 2, x.shape[1]))
    _for_parts(work, len(x), x, *args, sums)
    return sums.sum(0)


class _NormReLU(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, input: Tensor, weight: Tensor, bias: Tensor, running: tuple[Tensor, Tensor], *numbers: float
    ) -> Tensor:
        momentum, share, eps = numbers
        x, out = input.detach().contiguous().numpy(), np.empty(input.shape, np.float32)
        center, (first, second) = x[0].copy(), _sums(kernels.add_moments, x, x[0])
        distance = first / len(x)
        own = center + distance, np.maximum(second / len(x) - distance**2, 0)
        unbiased = own[0], own[1] * len(x) / (len(x) - 1)
        for each, value in zip(running, unbiased):
            each.lerp_(torch.from_numpy(value).to(each.dtype), momentum)
        mean, variance = (each.numpy() * (1 - share) + share * value for each, value in zip(running, own))
        inverse = 1 / np.sqrt(variance + eps)
        scale = weight.detach().numpy() * inverse
        used = np.stack([scale, bias.detach().numpy() - mean * scale, own[0]], dtype=np.float32)
        _for_parts(kernels.scale_shift_relu, len(x), x, used, out)
        ctx.save_for_backward(input)
        ctx.constants = used, own[0] - mean, inverse, share
        return torch.from_numpy(out)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, given = ctx.saved_tensors[0].detach().contiguous().numpy(), grad.contiguous().numpy()
        used, distance, inverse, share = ctx.constants
        total, moment = _sums(kernels.add_grad_moments, x, given, used)
        grad_weight = inverse * (moment + distance * total)
        scale = -used[0] * share / len(x)
        used = np.concatenate([used, [scale * inverse * grad_weight, scale * total]], dtype=np.float32)
        out = np.empty_like(x)
        _for_parts(kernels.scale_shift_relu_grad, len(x), x, given, used, out)
        return *(torch.from_numpy(each.astype(np.float32, copy=False)) for each in (out, grad_weight, total)), *[None] * 4


def norm_relu(
    x: Float32[Tensor, "V C"],
    weight: Float32[Tensor, "C"],
    bias: Float32[Tensor, "C"],
    running_mean: Float32[Tensor, "C"],
    running_var: Float32[Tensor, "C"],
    momentum: float,
    eps: float,
    share: float = 1.0,
) -> Float32[Tensor, "V C"]:
    """ReLU of the batch norm of x in training; all tensors are on the CPU.

    Args:
        x: a row per voxel, 2 or more.
        weight: factor of each channel after normalization.
        bias: added to each channel after that.
        running_mean: moved toward the mean of x, in place.
        running_var: moved toward the unbiased variance of x, in place.
        momentum: share of x in the running statistics from now on; 0 leaves them as they are.
        eps: added to the variance.
        share: share of x in the statistics that normalize; the rest is of the running ones, without gradient.
    """
    return _NormReLU.apply(x, weight, bias, (running_mean, running_var), momentum, share, eps)
