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


def _parts(num_rows: int) -> list[tuple[int, int]]:
    return [(first, min(first + PART, num_rows)) for first in range(0, num_rows, PART)]


def _sums(add: Callable[..., None], x: np.ndarray, *args: np.ndarray) -> np.ndarray:
    """Two sums of each column, in float64."""
    parts = _parts(len(x))
    sums = np.zeros((len(parts), 2, x.shape[1]))
    for_each(lambda i: add(x, *args, *parts[i], sums[i]), range(len(parts)))
    return sums.sum(0)


def _rows(write: Callable[..., None], x: np.ndarray, *args: np.ndarray) -> Tensor:
    """What a kernel writes for each row of x."""
    out = torch.empty(x.shape)
    for_each(lambda part: write(x, *args, *part, out.numpy()), _parts(len(x)))
    return out


class _NormReLU(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, input: Tensor, weight: Tensor, bias: Tensor, running: tuple[Tensor, Tensor], *numbers: float
    ) -> Tensor:
        momentum, share, eps = numbers
        x = input.detach().contiguous().numpy()
        first, second = _sums(kernels.add_moments, x, x[0]) / len(x)
        own = x[0] + first, np.maximum(second - first**2, 0)  # mean and variance of x
        for each, value in zip(running, (own[0], own[1] * len(x) / (len(x) - 1))):
            each.lerp_(torch.from_numpy(value).float(), momentum)
        mean, variance = (each.numpy() * (1 - share) + share * value for each, value in zip(running, own))
        inverse = 1 / np.sqrt(variance + eps)
        scale = weight.detach().numpy() * inverse
        used = np.stack([scale, bias.detach().numpy() - mean * scale, own[0]], dtype=np.float32)
        ctx.save_for_backward(input)
        ctx.constants = used, own[0] - mean, inverse, share
        return _rows(kernels.scale_shift_relu, x, used)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, given = (each.detach().contiguous().numpy() for each in (*ctx.saved_tensors, grad))
        used, distance, inverse, share = ctx.constants
        total, moment = _sums(kernels.add_grad_moments, x, given, used)
        grad_weight = inverse * (moment + distance * total)
        per_row = -used[0] * share / len(x)
        used = np.stack([*used, per_row * inverse * grad_weight, per_row * total], dtype=np.float32)
        grad_affine = torch.from_numpy(np.stack([grad_weight, total])).float()
        return _rows(kernels.scale_shift_relu_grad, x, given, used), *grad_affine, *[None] * 4


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
