"""Sums of mask probabilities over instances, in one pass over the mask matrix for any number of instances.

Instances do not overlap, so a sum over the tokens of every instance is a segment sum: each token adds to one row. BCE
and dice of all K x M pairs follow from these sums; pairwise products, as in Hungarian criteria, cost K times as much.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from pcseg.kernels import mask_sums as kernels
from pcseg.ops.threads import for_each
from pcseg.structures import MaskActivation


class MaskSums(NamedTuple):
    """Weighted sums of L mask matrices that share one segmentation into K instances."""

    log_odds: Float[Tensor, "L K M"]  # over the tokens of instance k of log p - log(1 - p)
    log_off: Float[Tensor, "L K M"]  # over the tokens of instance k of log(1 - p)
    inside: Float[Tensor, "L K M"]  # over the tokens of instance k of p
    total_log_off: Float[Tensor, "L M"]  # over all tokens of log(1 - p)
    total: Float[Tensor, "L M"]  # over all tokens of p
    size: Float[Tensor, "K"]  # weight of the tokens of instance k
    num_tokens: Float[Tensor, ""]  # weight of all tokens that are not ignored, at least 1e-12

    def bce(self) -> Float[Tensor, "L K M"]:
        """Binary cross-entropy of every pair, mean over tokens."""
        return (self.log_odds + self.total_log_off[:, None]) / -self.num_tokens

    def arithmetic(self) -> Float[Tensor, "L K M"]:
        """Minus the log of the mean probability of being right, where `bce` has the mean of the logs."""
        right = 2 * self.inside - self.total[:, None] + (self.num_tokens - self.size)[:, None]
        return -(right / self.num_tokens).clamp(min=1e-6).log()

    def dice(self) -> Float[Tensor, "L K M"]:
        """Dice loss of every pair, smoothed by 1 as in Mask2Former."""
        return 1 - (2 * self.inside + 1) / (self.total[:, None] + (self.size + 1)[:, None])

    def repulsion(self, power: float) -> Float[Tensor, "L K M"]:
        """How much query m covers instances other than k, for every pair.

        The power norm over the other instances l of ``min(1, size_l / size_k) * c_l``. exp(-c_l) is the geometric mean
        of 1 - p over the tokens of l. An instance smaller than k counts in proportion to its size.
        """
        size = self.size.clamp(min=1e-12)
        covered = -self.log_off / size[:, None]
        share = (size / size[:, None]).clamp(max=1).fill_diagonal_(0)
        return _PowerNorm.apply(share.pow(power), covered, power)


class _PowerNorm(torch.autograd.Function):
    """``(share @ covered ** power) ** (1 / power)``; its slope is 0 where that is 0."""

    @staticmethod
    def forward(ctx: Any, share: Tensor, covered: Tensor, power: float) -> Tensor:
        total = share @ covered.pow(power)
        norm = total.log().div_(power).exp_()  # three times as fast as a root
        ctx.save_for_backward(share, covered, total, norm)
        ctx.power = power
        return norm

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        share, covered, total, norm = ctx.saved_tensors
        # The derivative of the root is norm / (power * total).
        root = (grad * norm).div_(total.clamp(min=torch.finfo(total.dtype).tiny))
        return None, (share.T @ root).mul_(covered.pow(ctx.power - 1)), None


def mask_sums(
    mask_logits: Sequence[Float[Tensor, "N M"]],
    segment: Int64[Tensor, "N"],
    num_instances: int,
    weights: Float[Tensor, "N"] | None,
    mask_activation: MaskActivation,
) -> MaskSums:
    """Sums over N tokens from which BCE and dice of every pair of K instances and M queries follow, for each layer.

    Sigmoid masks on the CPU in float32 are summed by compiled loops, all others by PyTorch.

    Args:
        mask_logits: logits (N, M) of each of L layers.
        segment: instance 0..K-1 of each token, K for background, -1 where it is ignored.
        num_instances: K, which may be 0.
        weights: weight of each token in all sums; None weighs each 1.
        mask_activation: ``sigmoid`` for independent queries, or ``softmax``, where the M queries and an empty choice of
            logit 0 share each token.

    Returns:
        The sums; float32 for half-precision logits.
    """
    dtype = torch.promote_types(mask_logits[0].dtype, torch.float32)
    weights = torch.ones_like(segment, dtype=dtype) if weights is None else weights.to(dtype)
    weights = weights.masked_fill(segment < 0, 0)
    # One row more than instances, for the background. It also takes ignored tokens, which weigh nothing.
    row = torch.where(segment < 0, num_instances, segment)
    size = weights.new_zeros(num_instances + 1).index_add_(0, row, weights)[:num_instances]
    if mask_activation == "sigmoid" and row.device.type == "cpu" and dtype == torch.float32:
        sums = _CompiledSums.apply(row, num_instances, weights, *mask_logits)
    else:
        logits = torch.stack([layer.to(dtype) for layer in mask_logits])
        terms = torch.stack(log_probabilities(logits, mask_activation)) * weights[:, None]
        rows = terms.new_zeros(*terms.shape[:2], num_instances + 1, terms.shape[3]).index_add(2, row, terms)
        sums = *rows[:, :, :num_instances], *rows[1:].sum(2)
    return MaskSums(*sums, size=size, num_tokens=weights.sum().clamp(min=1e-12))


def log_probabilities(
    logits: Float[Tensor, "*L N M"], activation: MaskActivation
) -> tuple[Float[Tensor, "*L N M"], Float[Tensor, "*L N M"], Float[Tensor, "*L N M"]]:
    """log p - log(1 - p), log(1 - p) and p of every token and query, by autograd."""
    if activation == "sigmoid":
        return logits, F.logsigmoid(-logits), torch.sigmoid(logits)
    first, rest, total = softmax_sums(logits)
    log_p = logits - total
    p = log_p.exp()
    # 1 - p would cancel for the first query of a token, the only one that may have p > 0.5: it is a sum of the others.
    log_off = torch.log1p(-p.scatter(-1, first, 0)).scatter_(-1, first, rest - total)
    return log_p - log_off, log_off, p


def softmax_sums(
    logits: Float[Tensor, "*L N M"],
) -> tuple[Int64[Tensor, "*L N 1"], Float[Tensor, "*L N 1"], Float[Tensor, "*L N 1"]]:
    """First query of each token, log of the sum of the others with the empty choice, and log of the whole sum."""
    first = logits.argmax(-1, keepdim=True)
    others = logits.scatter(-1, first, -torch.inf).logsumexp(-1, keepdim=True)
    rest = torch.logaddexp(others, torch.zeros_like(others))
    return first, rest, torch.logaddexp(rest, logits.gather(-1, first))


class _CompiledSums(torch.autograd.Function):
    """The first five sums of sigmoid masks, layer by layer: nothing of the size of a mask matrix is stored.

    Work arrays are numpy's, so that none of torch's threads spins beside the loops.
    """

    @staticmethod
    def forward(ctx: Any, row: Tensor, num_instances: int, weights: Tensor, *layers: Tensor) -> tuple[Tensor, ...]:
        sums = np.zeros((3, len(layers), num_instances + 1, layers[0].shape[1]), np.float32)

        def add(index: int) -> None:
            kernels.sigmoid_forward(_array(layers[index]), row.numpy(), weights.numpy(), *sums[:, index])

        for_each(add, range(len(layers)))
        ctx.save_for_backward(row, weights, *layers)
        totals = (torch.from_numpy(rows.sum(1)) for rows in sums[1:])
        return *(torch.from_numpy(rows[:, :num_instances].copy()) for rows in sums), *totals

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *d_sums: Tensor) -> Any:
        row, weights, *layers = ctx.saved_tensors
        *of_instances, d_total_off, d_total = (_array(each) for each in d_sums)
        # The gradient of each row, background included: of its own sum and of the total.
        num_layers, num_instances, num_queries = of_instances[0].shape
        d_rows = np.zeros((3, num_layers, num_instances + 1, num_queries), np.float32)
        d_rows[:, :, :num_instances] = of_instances
        d_rows[1] += d_total_off[:, None]
        d_rows[2] += d_total[:, None]
        grads = [torch.empty(layer.shape) for layer in layers]

        def differentiate(index: int) -> None:
            known = (_array(layers[index]), row.numpy(), weights.numpy(), *d_rows[:, index])
            kernels.sigmoid_backward(*known, grads[index].numpy())

        for_each(differentiate, range(len(layers)))
        return None, None, None, *(grad.to(layer.dtype) for grad, layer in zip(grads, layers, strict=True))


def _array(values: Tensor) -> np.ndarray:
    return values.detach().to(torch.float32).contiguous().numpy()
