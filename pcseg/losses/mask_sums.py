"""Sums of mask probabilities over instances, in one pass over the mask matrix whatever the number of instances.

Instances do not overlap, so a sum over the tokens of every instance is a segment sum: each token adds to one row. BCE
and dice of all K x M pairs follow from these sums; pairwise products, as Hungarian criteria take them, cost K times as
much.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from pcseg.losses.mask_sums_compiled import CompiledSigmoidSums, CompiledSoftmaxSums
from pcseg.losses.mask_sums_eager import SigmoidSums, SoftmaxSums

MaskActivation = Literal["softmax", "sigmoid"]

_EAGER = {"softmax": SoftmaxSums, "sigmoid": SigmoidSums}
_COMPILED = {"softmax": CompiledSoftmaxSums, "sigmoid": CompiledSigmoidSums}


class MaskSums(NamedTuple):
    """Weighted sums of L mask matrices that share one segmentation into K instances.

    Args:
        log_odds: sum over the tokens of instance k of log p - log(1 - p).
        log_off: sum over the tokens of instance k of log(1 - p).
        inside: sum over the tokens of instance k of p.
        total_log_off: sum over all tokens of log(1 - p).
        total: sum over all tokens of p.
        hard_inside: weight of the tokens of instance k where p > 0.5; no gradient.
        hard_total: weight of all tokens where p > 0.5; no gradient.
        size: weight of the tokens of instance k.
        num_tokens: weight of all tokens that are not ignored, at least 1e-12.
    """

    log_odds: Float[Tensor, "L K M"]
    log_off: Float[Tensor, "L K M"]
    inside: Float[Tensor, "L K M"]
    total_log_off: Float[Tensor, "L M"]
    total: Float[Tensor, "L M"]
    hard_inside: Float[Tensor, "L K M"]
    hard_total: Float[Tensor, "L M"]
    size: Float[Tensor, "K"]
    num_tokens: Float[Tensor, ""]

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

        The root of the sum over the others l of ``(min(1, size_l / size_k) * c_l) ** power``, where exp(-c_l) is the
        geometric mean over the tokens of l of 1 - p. To k, an instance that is smaller matters as much as its share.
        """
        size = self.size.clamp(min=1e-12)
        covered = -self.log_off / size[:, None]
        share = (size / size[:, None]).clamp(max=1).fill_diagonal_(0)
        return _PowerNorm.apply(share.pow(power), covered, power)

    def iou(self) -> Float[Tensor, "L K M"]:
        """IoU of every pair with masks on where p > 0.5."""
        union = self.hard_total[:, None] + self.size[:, None] - self.hard_inside
        return self.hard_inside / union.clamp(min=1e-12)


class _PowerNorm(torch.autograd.Function):
    """``(share @ covered ** power) ** (1 / power)``; where that is 0 its slope is 0 as well."""

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
    """Sums from which BCE, dice and IoU of every pair of instance and query follow.

    With ``softmax`` the M queries and a dustbin logit of 0 share each token; with ``sigmoid`` each query is alone.

    Args:
        mask_logits: one matrix for each of L layers.
        segment: instance 0..K-1 of each token, K for background, -1 for ignored tokens.
        num_instances: K.
        weights: weight of each token; None where all weigh 1.
        mask_activation: how logits become probabilities.

    Returns:
        The sums; float32 for half-precision logits.
    """
    if mask_activation not in ("softmax", "sigmoid"):
        raise ValueError(f"mask_activation must be 'softmax' or 'sigmoid', got {mask_activation!r}")
    dtype = torch.promote_types(mask_logits[0].dtype, torch.float32)
    weights = torch.ones_like(segment, dtype=dtype) if weights is None else weights.to(dtype)
    weights = weights.masked_fill(segment < 0, 0)
    # One row more than instances for the background, which also takes what is ignored: that weighs nothing.
    row = torch.where(segment < 0, num_instances, segment)
    functions = _COMPILED if row.device.type == "cpu" and dtype == torch.float32 else _EAGER
    sums = functions[mask_activation].apply(row, num_instances, weights, *mask_logits)
    size = weights.new_zeros(num_instances + 1).index_add_(0, row, weights)
    return MaskSums(*sums, size=size[:num_instances], num_tokens=weights.sum().clamp(min=1e-12))
