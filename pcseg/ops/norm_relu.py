"""Batch norm and ReLU of one training step in one operation, for float32 on the CPU."""

from typing import Any

import torch
from jaxtyping import Float32
from torch import Tensor
from torch.autograd.function import once_differentiable

from pcseg.kernels import norm as kernels


class _NormReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, running: tuple[Tensor, Tensor], *numbers: float):
        x, out, used = x.contiguous(), torch.empty_like(x, memory_format=torch.contiguous_format), x.new_empty(5, len(weight))
        arrays = [each.detach().numpy() for each in (x, weight, bias, *running)]
        kernels.norm_relu(*arrays, *numbers, used.numpy(), out.numpy())
        ctx.save_for_backward(x, used)
        ctx.share = numbers[1]
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, used = ctx.saved_tensors
        out, grad_affine = torch.empty_like(x), torch.empty_like(used[:2])
        arrays = [each.detach().numpy() for each in (x, grad.contiguous(), used)]
        kernels.norm_relu_grad(*arrays, ctx.share, grad_affine.numpy(), out.numpy())
        return out, *grad_affine, None, None, None, None


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
    """ReLU of the batch norm of x in training mode; all tensors are on the CPU.

    Args:
        x: a row per voxel, 2 or more.
        weight: factor of each channel after normalization.
        bias: added to each channel after that.
        running_mean: moved toward the mean of x, in place.
        running_var: moved toward the unbiased variance of x, in place.
        momentum: share of x in the running statistics from now on; 0 leaves them as they are.
        eps: added to the variance.
        share: share of x in the statistics that normalize; the rest are the running ones, without gradient.
    """
    return _NormReLU.apply(x, weight, bias, (running_mean, running_var), momentum, share, eps)
