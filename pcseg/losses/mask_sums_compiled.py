"""`mask_sums` on the CPU in float32 by compiled loops, layer by layer: nothing of the size of a mask matrix is kept."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pcseg.kernels import mask_sums as kernels
from pcseg.ops.threads import for_each


def _array(values: Tensor) -> np.ndarray:
    return values.detach().to(torch.float32).contiguous().numpy()


class _Sums:
    """Zeroed sums of L layers, the background as the last row.

    Numpy's, so that none of torch's threads is left spinning beside the kernels.
    """

    def __init__(self, num_layers: int, num_instances: int, num_queries: int) -> None:
        self.num_instances = num_instances
        self.rows = np.zeros((4, num_layers, num_instances + 1, num_queries), np.float32)

    def of_layer(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """What the kernels add to: log_odds, log_off, inside and hard_inside of each row."""
        log_odds, log_off, inside, hard_inside = self.rows[:, index]
        return log_odds, log_off, inside, hard_inside

    def results(self, ctx: Any) -> tuple[Tensor, ...]:
        log_odds, log_off, inside, hard_inside = (
            torch.from_numpy(rows[:, : self.num_instances].copy()) for rows in self.rows
        )
        total_log_off, total, hard_total = (torch.from_numpy(rows.sum(1)) for rows in self.rows[1:])
        ctx.mark_non_differentiable(hard_inside, hard_total)
        return log_odds, log_off, inside, total_log_off, total, hard_inside, hard_total


class CompiledSoftmaxSums(torch.autograd.Function):
    """Softmax over the queries and a dustbin logit of 0; see `SoftmaxSums`."""

    @staticmethod
    def forward(ctx: Any, row: Tensor, num_instances: int, weights: Tensor, *layers: Tensor) -> tuple[Tensor, ...]:
        num_layers, (num_tokens, num_queries) = len(layers), layers[0].shape
        sums = _Sums(num_layers, num_instances, num_queries)
        first = torch.zeros(num_layers, num_tokens, dtype=torch.int64)
        logs = torch.zeros(2, num_layers, num_tokens)
        rows, w, a, (rest, whole) = row.numpy(), weights.detach().numpy(), first.numpy(), logs.numpy()

        def add(i: int) -> None:
            kernels.softmax_forward(_array(layers[i]), rows, w, *sums.of_layer(i), a[i], rest[i], whole[i])

        for_each(add, range(num_layers))
        ctx.save_for_backward(row, weights, first, logs, *layers)
        return sums.results(ctx)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *d_sums: Tensor) -> Any:
        row, weights, first, logs, *layers = ctx.saved_tensors
        odds, off, inside, total_off, total = (_array(each) for each in d_sums[:5])
        rows, w, a, (rest, whole) = row.numpy(), weights.detach().numpy(), first.numpy(), logs.numpy()
        grads = [torch.empty(layer.shape) for layer in layers]

        def differentiate(i: int) -> None:
            saved, d_rows, d_totals = (a[i], rest[i], whole[i]), (odds[i], off[i], inside[i]), (total_off[i], total[i])
            kernels.softmax_backward(_array(layers[i]), rows, w, *saved, *d_rows, *d_totals, grads[i].numpy())

        for_each(differentiate, range(len(layers)))
        return None, None, None, *(grad.to(layer.dtype) for grad, layer in zip(grads, layers, strict=True))


class CompiledSigmoidSums(torch.autograd.Function):
    """A sigmoid for each query; see `SigmoidSums`."""

    @staticmethod
    def forward(ctx: Any, row: Tensor, num_instances: int, weights: Tensor, *layers: Tensor) -> tuple[Tensor, ...]:
        sums = _Sums(len(layers), num_instances, layers[0].shape[1])
        rows, w = row.numpy(), weights.detach().numpy()

        def add(i: int) -> None:
            kernels.sigmoid_forward(_array(layers[i]), rows, w, *sums.of_layer(i))

        for_each(add, range(len(layers)))
        ctx.save_for_backward(row, weights, *layers)
        return sums.results(ctx)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *d_sums: Tensor) -> Any:
        row, weights, *layers = ctx.saved_tensors
        odds, off, inside, total_off, total = (_array(each) for each in d_sums[:5])
        rows, w = row.numpy(), weights.detach().numpy()
        grads = [torch.empty(layer.shape) for layer in layers]

        def differentiate(i: int) -> None:
            d_rows, d_totals = (odds[i], off[i], inside[i]), (total_off[i], total[i])
            kernels.sigmoid_backward(_array(layers[i]), rows, w, *d_rows, *d_totals, grads[i].numpy())

        for_each(differentiate, range(len(layers)))
        return None, None, None, *(grad.to(layer.dtype) for grad, layer in zip(grads, layers, strict=True))
