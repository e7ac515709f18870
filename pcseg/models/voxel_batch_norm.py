"""Batch norm over the voxels of a batch, or of the batches of all processes together."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from pcseg.ops.norm_relu import norm_relu

RUNNING_WEIGHT = 20_000  # voxels that the running statistics count for, beside those of a scan

Sum = Callable[[Tensor], Tensor]  # over all processes, without gradient


class VoxelBatchNorm(nn.BatchNorm1d):
    """Batch norm over voxels; a single voxel has no variance, so it is normalized by the running statistics."""

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float
    recomputing = False  # a checkpointed block runs twice, and must count once in the running statistics
    sum_over_processes: Sum | None = None  # set by `synchronize`
    adapts = False  # whether evaluation also takes statistics from its input; set by `adapt`
    mixes = False  # whether training also takes the running statistics; set by `mix`

    def forward(self, input: Float[Tensor, "V C"]) -> Float[Tensor, "V C"]:
        if self.training and (self.sum_over_processes is not None or (self.mixes and len(input) > 1)):
            return self._normalized(input)
        if not self.training and self.adapts:
            scale, shift = self.scale_and_shift(input)
            return torch.addcmul(shift, input, scale).to(input.dtype)
        if not self.training or (len(input) > 1 and not self.recomputing):
            return super().forward(input)
        statistics = self.running_mean.clone(), self.running_var.clone()  # which this pass does not change
        return F.batch_norm(input, *statistics, self.weight, self.bias, training=len(input) > 1, eps=self.eps)

    def relu(self, input: Float[Tensor, "V C"]) -> Float[Tensor, "V C"]:
        """ReLU of `forward`."""
        by_kernel = self.training and len(input) > 1 and self.sum_over_processes is None
        if not by_kernel or input.device.type != "cpu" or input.dtype != torch.float32:
            return F.relu(self(input), inplace=True)
        momentum = 0.0 if self.recomputing else self.momentum
        self.num_batches_tracked.add_(not self.recomputing)
        share = float(torch.rand(())) if self.mixes else 1.0
        affine = self.weight, self.bias
        return norm_relu(input, *affine, self.running_mean, self.running_var, momentum, self.eps, share)

    def scale_and_shift(self, input: Float[Tensor, "V C"]) -> Float[Tensor, "2 C"]:
        """What the norm does to each channel in evaluation mode; only one that adapts looks at its input."""
        mean, variance = self.running_mean, self.running_var
        if self.adapts and len(input) > 1:
            share = len(input) / (len(input) + RUNNING_WEIGHT)
            own_variance, own_mean = torch.var_mean(input.to(mean.dtype), 0)
            mean, variance = mean.lerp(own_mean, share), variance.lerp(own_variance, share)
        return self._affine(mean, variance)

    def _affine(self, mean: Tensor, variance: Tensor) -> Float[Tensor, "2 C"]:
        """Scale and shift that normalize by these statistics."""
        scale = self.weight * (variance + self.eps).rsqrt()
        return torch.stack([scale, self.bias - mean * scale])

    def _normalized(self, input: Float[Tensor, "V C"]) -> Float[Tensor, "V C"]:
        """Training across processes, or with mixed statistics."""
        values = input.to(torch.promote_types(input.dtype, torch.float32))
        total = self._sum(torch.cat([values.sum(0), values.new_full((1,), len(values))]))
        num = total[-1:].detach()
        mean = total[:-1] / num
        variance = self._sum((values - mean).square().sum(0)) / num  # torch.var_mean takes several times as long
        if not self.recomputing:
            self._update_running_statistics(mean, variance, num)
        if self.mixes:
            share = torch.rand((), device=mean.device)
            mean, variance = self.running_mean.lerp(mean, share), self.running_var.lerp(variance, share)
        scale, shift = self._affine(mean, variance)
        return torch.addcmul(shift, values, scale).to(input.dtype)

    def _sum(self, values: Tensor) -> Tensor:
        """The sum over all processes that share their statistics."""
        sum = self.sum_over_processes
        return values if sum is None else _SumOverProcesses.apply(values, sum)

    @torch.no_grad()
    def _update_running_statistics(self, mean: Tensor, variance: Tensor, num: Tensor) -> None:
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        unbiased = variance * num / (num - 1).clamp(min=1)
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)
        self.num_batches_tracked.add_(1)


class _SumOverProcesses(torch.autograd.Function):
    """A sum over all processes whose gradient is the sum of the gradients of all processes."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, sum: Sum) -> Tensor:
        ctx.sum = sum
        return sum(values)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return ctx.sum(grad), None


def _norms(model: nn.Module) -> list[VoxelBatchNorm]:
    return [module for module in model.modules() if isinstance(module, VoxelBatchNorm)]


def synchronize(model: nn.Module, sum: Sum) -> None:
    """Make every batch norm of a model take its statistics from the batches of all processes.

    From then on all processes must train in step; `sum` gives each the sum of a tensor over all, without gradient.
    (torch.nn.SyncBatchNorm refuses tensors on the CPU.)
    """
    for norm in _norms(model):
        norm.sum_over_processes = sum


def adapt(model: nn.Module, on: bool) -> None:
    """Make every batch norm of a model take its statistics from the scan in evaluation, mixed with the running ones.

    Training normalizes by the statistics of a batch. On scans that differ from all in training, the running ones
    differ from these. Deep levels have few voxels of the scan, so the running statistics count as much as 20,000.
    Off, they count alone.

    Source: Schneider et al., Improving Robustness against Common Corruptions by Covariate Shift Adaptation, 2020.
    """
    for norm in _norms(model):
        norm.adapts = on


def mix(model: nn.Module) -> None:
    """Make training normalize by a mix of the statistics of the batch and the running ones.

    Each norm draws a new share at each step, so the network meets statistics that do not fit, as scans of another
    kind have. The running ones change slowly, so that they are not those of the last rooms.

    Source: after Kou et al., Stochastic Normalization, NeurIPS 2020, who choose one of the two for each channel.
    """
    for norm in _norms(model):
        norm.mixes, norm.momentum = True, 0.02


@contextmanager
def recomputing(module: nn.Module) -> Iterator[None]:
    """For the repetition of a checkpointed module in backward: it does not count in the running statistics."""
    norms = _norms(module)
    for norm in norms:
        norm.recomputing = True
    try:
        yield
    finally:
        for norm in norms:
            norm.recomputing = False
