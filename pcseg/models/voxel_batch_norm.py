"""Batch norm over the voxels of a batch, or of the batches of all processes together."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class Exchange:
    """The messages between processes about one part of a step, which all must send in one order.

    A process without a room of its own goes along with a stand-in, and adds zeros. One that runs out of memory is in
    the middle of that order, where the others wait for it: it goes through the part once more with a stand-in, to send
    what is missing. As all repeat the step afterwards, it does not matter what that is.
    """

    def __init__(self) -> None:
        self.begin()

    def begin(self, *, silent: bool = False) -> None:
        """Start a part; `silent` adds zeros to what the others send."""
        self.num_messages, self.num_sent_before, self.is_silent = 0, 0, silent

    def catch_up(self) -> None:
        """Start the part again; what was sent since `begin` is not sent a second time."""
        self.num_messages, self.num_sent_before = 0, self.num_messages

    @property
    def was_sent(self) -> bool:
        """Whether the next message was sent before `catch_up`."""
        return self.num_messages < self.num_sent_before

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes, with the same bits in each; without gradient."""
        total = values.detach().clone()
        if not self.was_sent:
            if self.is_silent:
                total.zero_()
            dist.all_reduce(total)
        self.num_messages += 1
        return total

    def gather(self, values: Tensor) -> list[Tensor]:
        """The values of all processes."""
        parts = [values]
        if not self.was_sent:
            parts = [torch.empty_like(values) for _ in range(dist.get_world_size())]
            dist.all_gather(parts, torch.zeros_like(values) if self.is_silent else values)
        self.num_messages += 1
        return parts


class VoxelBatchNorm(nn.BatchNorm1d):
    """Batch norm over voxels; a single voxel has no variance, so it is normalized by the running statistics."""

    recomputing = False  # a checkpointed block runs twice, and must count once in the running statistics
    exchange: Exchange | None = None  # set by `synchronize`

    def forward(self, input: Float[Tensor, "V C"]) -> Float[Tensor, "V C"]:
        if self.training and self.exchange is not None:
            return self._normalized_across_processes(input, self.exchange)
        if not self.training or (len(input) > 1 and not self.recomputing):
            return super().forward(input)
        assert self.running_mean is not None
        assert self.running_var is not None
        if len(input) > 1:
            statistics = self.running_mean.clone(), self.running_var.clone()
        else:
            statistics = self.running_mean, self.running_var
        return F.batch_norm(input, *statistics, self.weight, self.bias, training=len(input) > 1, eps=self.eps)

    def _normalized_across_processes(self, input: Float[Tensor, "V C"], exchange: Exchange) -> Float[Tensor, "V C"]:
        mean, variance, num = statistics_of_all(input, exchange)
        if not self.recomputing:
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            assert self.momentum is not None
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            unbiased = variance * num / (num - 1).clamp(min=1)
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)
            self.num_batches_tracked.add_(1)
        return _Normalize.apply(input, mean, (variance + self.eps).rsqrt(), num, self.weight, self.bias, exchange)


def synchronize(model: nn.Module) -> Exchange:
    """Makes every batch norm of a model take its statistics from the batches of all processes.

    From then on all processes must train in step. (torch.nn.SyncBatchNorm refuses tensors on the CPU.)

    Returns:
        What the batch norms exchange their statistics by.
    """
    exchange = Exchange()
    for module in model.modules():
        if isinstance(module, VoxelBatchNorm):
            module.exchange = exchange
    return exchange


def checkpoint_contexts(module: nn.Module) -> tuple[AbstractContextManager, AbstractContextManager]:
    """What the forward pass of a checkpointed module runs in, and what its repetition in backward does."""
    return nullcontext(), _recomputing(module)


@contextmanager
def _recomputing(module: nn.Module) -> Iterator[None]:
    norms = [m for m in module.modules() if isinstance(m, VoxelBatchNorm)]
    for norm in norms:
        norm.recomputing = True
    try:
        yield
    finally:
        for norm in norms:
            norm.recomputing = False


@torch.no_grad()
def statistics_of_all(
    input: Float[Tensor, "V C"], exchange: Exchange
) -> tuple[Float[Tensor, "C"], Float[Tensor, "C"], Float[Tensor, "1"]]:
    """Mean and variance over the rows of all processes, and the number of rows; each process has one, if a stand-in's.

    Source:
        Chan, Golub and LeVeque 1979, for the variance of parts, which does not cancel as the mean of squares does.
    """
    values = input.to(torch.promote_types(input.dtype, torch.float32))
    variance, mean = torch.var_mean(values, dim=0, correction=0)
    own = torch.cat([values.new_full((1,), len(values)), mean, variance])
    parts = torch.stack(exchange.gather(own))
    counts, means, variances = parts.split([1, len(mean), len(mean)], dim=1)
    num = counts.sum(0)
    mean = (counts * means).sum(0) / num
    return mean, (counts * (variances + (means - mean).square())).sum(0) / num, num


class _Normalize(torch.autograd.Function):
    """Normalization by statistics of all processes; gradients of weight and bias are those of this process' rows."""

    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        mean: Tensor,
        inverse_std: Tensor,
        num: Tensor,
        weight: Tensor,
        bias: Tensor,
        exchange: Exchange,
    ) -> Tensor:
        ctx.save_for_backward(input, mean, inverse_std, num, weight)
        ctx.exchange = exchange
        return ((input - mean) * (inverse_std * weight) + bias).to(input.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        input, mean, inverse_std, num, weight = ctx.saved_tensors
        grad = grad.to(mean.dtype)
        normalized = (input - mean) * inverse_std
        own = torch.stack([grad.sum(0), (grad * normalized).sum(0)])
        grad_mean, grad_product_mean = ctx.exchange.sum(own) / num
        grad_input = (grad - grad_mean - normalized * grad_product_mean) * (inverse_std * weight)
        return grad_input.to(input.dtype), None, None, None, own[1].to(weight.dtype), own[0].to(weight.dtype), None
