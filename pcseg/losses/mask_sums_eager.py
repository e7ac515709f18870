"""`mask_sums` in plain PyTorch, all layers at once: for GPUs and float64. Gradients are written out, to keep little."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor


def _segment_sum(values: Float[Tensor, "L N M"], row: Int64[Tensor, "N"], num_rows: int) -> Float[Tensor, "L rows M"]:
    shape = (len(values), num_rows, values.shape[2])
    return values.new_zeros(shape).index_add_(1, row, values)


def _stack(layers: Sequence[Tensor], dtype: torch.dtype) -> Float[Tensor, "L N M"]:
    return torch.stack([layer.to(dtype) for layer in layers])


class SigmoidSums(torch.autograd.Function):
    """log p - log(1 - p) is the logit itself, log(1 - p) = -softplus."""

    @staticmethod
    def forward(ctx: Any, row: Tensor, num_instances: int, weights: Tensor, *layers: Tensor) -> tuple[Tensor, ...]:
        x = _stack(layers, weights.dtype)
        w = weights[:, None]
        p = torch.sigmoid(x) * w
        hard = (x > 0).to(x.dtype) * w
        inside = _segment_sum(p, row, num_instances + 1)
        hard_inside = _segment_sum(hard, row, num_instances + 1)
        log_odds = _segment_sum(x * w, row, num_instances + 1)
        log_off = _segment_sum(F.logsigmoid(-x) * w, row, num_instances + 1)
        ctx.save_for_backward(row, weights, *layers)
        of_instances = (log_odds[:, :num_instances], log_off[:, :num_instances], inside[:, :num_instances])
        sums = (*of_instances, log_off.sum(1), inside.sum(1))
        hard_sums = (hard_inside[:, :num_instances], hard_inside.sum(1))
        ctx.mark_non_differentiable(*hard_sums)
        return *sums, *hard_sums

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:
        row, weights, *layers = ctx.saved_tensors
        p = torch.sigmoid(_stack(layers, weights.dtype))
        on, off, inside = (rows.index_select(1, row) for rows in row_gradients(*grads[:5]))
        grad = (on - off * p + inside * p * (1 - p)) * weights[:, None]
        return None, None, None, *(g.to(layer.dtype) for g, layer in zip(grad, layers, strict=True))


def row_gradients(
    d_odds: Float[Tensor, "L K M"],
    d_off: Float[Tensor, "L K M"],
    d_inside: Float[Tensor, "L K M"],
    d_total_off: Float[Tensor, "L M"],
    d_total: Float[Tensor, "L M"],
) -> tuple[Float[Tensor, "L rows M"], Float[Tensor, "L rows M"], Float[Tensor, "L rows M"]]:
    """Gradients of log p - log(1 - p), log(1 - p) and p for each row; the background, the last, has no log_odds."""
    odds, off, inside = (F.pad(each, (0, 0, 0, 1)) for each in (d_odds, d_off, d_inside))
    return odds, off + d_total_off[:, None], inside + d_total[:, None]


class SoftmaxSums(torch.autograd.Function):
    """Softmax over the queries and a dustbin logit of 0.

    At most one query of a token has p > 0.5, the first one; its 1 - p is the sum of the rest, since 1 - p would cancel.
    With z the log of the whole sum and r that of the sum without the first query a: log(1 - p_a) = r - z.
    """

    @staticmethod
    def forward(ctx: Any, row: Tensor, num_instances: int, weights: Tensor, *layers: Tensor) -> tuple[Tensor, ...]:
        x = _stack(layers, weights.dtype)
        w = weights[:, None]
        first, a = x.max(2, keepdim=True)
        others = x.scatter(2, a, -torch.inf)
        second = others.amax(2, keepdim=True).clamp(min=0)
        r = ((others - second).exp_().sum(2, keepdim=True) + (-second).exp()).log() + second
        z = torch.logaddexp(r, first)
        p = (x - z).exp_()
        log_off = torch.log1p(-p.scatter(2, a, 0)).scatter_(2, a, r - z)
        log_odds = (x - z).sub_(log_off).mul_(w)
        inside = _segment_sum(p * w, row, num_instances + 1)
        hard = torch.zeros_like(x).scatter_(2, a, (first > r).to(x.dtype)) * w
        hard_inside = _segment_sum(hard, row, num_instances + 1)
        ctx.save_for_backward(row, weights, a, r, z, *layers)
        log_odds, log_off = (_segment_sum(each, row, num_instances + 1) for each in (log_odds, log_off.mul_(w)))
        of_instances = (log_odds[:, :num_instances], log_off[:, :num_instances], inside[:, :num_instances])
        sums = (*of_instances, log_off.sum(1), inside.sum(1))
        hard_sums = (hard_inside[:, :num_instances], hard_inside.sum(1))
        ctx.mark_non_differentiable(*hard_sums)
        return *sums, *hard_sums

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:
        row, weights, a, r, z, *layers = ctx.saved_tensors
        x = _stack(layers, weights.dtype)
        on, off, inside = (rows.index_select(1, row) for rows in row_gradients(*grads[:5]))
        off.sub_(on)
        # Every term is a coefficient h_m times (delta_mj - p_j), but for log(1 - p) of the first query.
        share = (x - r).exp_().scatter_(2, a, 0)  # e_j / sum of the rest
        first_p = (x.gather(2, a) - z).exp_()
        p = (share * (r - z).exp()).scatter_(2, a, first_p)
        h = on + p * inside - (off * p / (1 - p)).scatter_(2, a, 0)
        c = off.gather(2, a) * first_p
        grad = (h - p * h.sum(2, keepdim=True) + c * share).scatter_add_(2, a, -c).mul_(weights[:, None])
        return None, None, None, *(g.to(layer.dtype) for g, layer in zip(grad, layers, strict=True))
