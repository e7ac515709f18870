"""The Influencer Loss that trains: queries compete for instances and instances for queries, without a matcher."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from pcseg.losses.inputs import compact_instances
from pcseg.losses.mask_sums import MaskActivation, MaskSums, mask_sums
from pcseg.losses.matcher import cheapest_pairs

# Of the class probability and of a query's origin in the score of a pair, and of the Sinkhorn rounds that share out
# classes.
CLASS_WEIGHT = 0.5
ORIGIN_WEIGHT = 0.3
RESPONSIBILITY_TEMPERATURE = 0.01
NUM_ROUNDS = 10


class CompetitiveResult(NamedTuple):
    """What `CompetitiveInfluencerLoss` gives for one scene.

    Args:
        loss: one value for each layer, mean over instances; 0 where there are none.
        claims: how much instance k claims query m; rows sum to 1. No gradient.
        responsibilities: how much query m answers for the class of instance k. No gradient.
        iou: hard IoU of every pair. No gradient.
    """

    loss: Float[Tensor, "L"]
    claims: Float[Tensor, "L K M"]
    responsibilities: Float[Tensor, "L K M"]
    iou: Float[Tensor, "L K M"]


def dual_softmax(score: Float[Tensor, "L K M"], temperature: float) -> Float[Tensor, "L K M"]:
    """The instance's choice of query times the query's choice of instance; rows sum to 1."""
    score = score / temperature
    # log_softmax over m is the score less a constant of the row, which the outer softmax takes away.
    return score.mul(2).sub_(score.logsumexp(1, keepdim=True)).softmax(2)


def unbalanced_sinkhorn(score: Float[Tensor, "L K M"], temperature: float, num_rounds: int) -> Float[Tensor, "L K M"]:
    """Shares out queries: rows sum to 1, columns to 1 at most as far as that goes.

    A round scales rows to 1 and divides columns by max(1, their sum); rows are scaled once more at the end.

    Args:
        score: the higher, the better query m suits instance k.
        temperature: unit of the score.
        num_rounds: how many rounds.

    Returns:
        Responsibilities.
    """
    # Products of scalings, not logarithms: a round is two matrix-vector products. Columns lose a factor K a round at
    # most, so what underflows here (e^-87 of a row's best) could not have come back.
    if score.shape[1] == 0:
        return score
    kernel = (score - score.amax(2, keepdim=True)).div_(temperature).exp_()
    columns = kernel.new_ones(kernel.shape[0], 1, kernel.shape[2])
    for _ in range(num_rounds):
        rows = (kernel * columns).sum(2, keepdim=True).reciprocal_()
        sums = torch.bmm(rows.transpose(1, 2), kernel).mul_(columns)
        columns = columns / sums.clamp_(min=1)
    plan = kernel.mul_(columns)
    return plan.div_(plan.sum(2, keepdim=True))


def matching(score: Float[Tensor, "L K M"]) -> Float[Tensor, "L K M"]:
    """1 for the pairs that a Hungarian matcher takes, 0 for the rest; to compare with claims."""
    claims = torch.zeros_like(score)
    # Any match will do where the score is not finite: neither is the loss.
    for layer, (queries, instances) in zip(claims, cheapest_pairs(-score.nan_to_num()), strict=True):
        layer[instances, queries] = 1
    return claims


def instances_of_origin(
    segment: Int64[Tensor, "N"], num_instances: int, query_tokens: Int64[Tensor, "M"]
) -> Bool[Tensor, "K M"]:
    """Whether query m started from a token of instance k.

    Args:
        segment: instance 0..K-1 of each token; anything else for the rest.
        num_instances: K.
        query_tokens: the token that each query started from.
    """
    return segment[query_tokens] == torch.arange(num_instances, device=segment.device)[:, None]


class CompetitiveInfluencerLoss(nn.Module):
    """Pulls masks towards instances by claims that both sides compete for.

    With S = -BCE - dice - rep_weight * repulsion of every pair of instance k and query m, and C = S + class_weight *
    P(class of k | m) + origin_weight * (whether m started from a token of k), instance k claims query m by
    ``softmax_m(log_softmax_m(C/T) + log_softmax_k(C/T))``; the loss is the mean over instances of the claimed -S. T
    falls exponentially from `temperature` to `final_temperature` over the first `anneal` of training.

    Args:
        mask_activation: ``sigmoid``, or ``softmax`` over queries and a dustbin logit of 0.
        temperature: T at the start.
        final_temperature: T from `anneal` on.
        anneal: fraction of training over which T falls.
        bce_weight: weight of BCE in S.
        dice_weight: weight of dice in S.
        rep_weight: weight in S of what the query covers of other instances, see `MaskSums.repulsion`.
        rep_power: of the norm over the other instances; the higher, the more the one that is covered most decides.
        mean: exp(-BCE) is the geometric mean over tokens of the probability of being right; ``arithmetic`` puts the
            arithmetic mean in its place.
        class_weight: weight of the class probability in C.
        origin_weight: weight in C of a query's start in the instance, where the model tells it.
        claims: ``dual`` as above; ``sinkhorn``: by unbalanced Sinkhorn at T; ``none``: ``softmax_m(C/T)``;
            ``matching``: one query each by a Hungarian matcher, classes as well, to compare.
        differentiable_claims: minimize ``-T logsumexp_m(C/T + log_softmax_k(C/T))`` instead (with ``none``, without the
            second term), whose gradient passes through the claims.
        responsibility_temperature: temperature of the Sinkhorn rounds that share out classes.
        num_rounds: how many of them.
    """

    def __init__(
        self,
        mask_activation: MaskActivation = "sigmoid",
        temperature: float = 0.05,
        final_temperature: float = 0.005,
        anneal: float = 0.5,
        bce_weight: float = 1.0,
        dice_weight: float = 1.0,
        rep_weight: float = 0.1,
        rep_power: float = 3.0,
        mean: Literal["geometric", "arithmetic"] = "geometric",
        class_weight: float = CLASS_WEIGHT,
        origin_weight: float = ORIGIN_WEIGHT,
        claims: Literal["dual", "sinkhorn", "none", "matching"] = "dual",
        differentiable_claims: bool = False,
        responsibility_temperature: float = RESPONSIBILITY_TEMPERATURE,
        num_rounds: int = NUM_ROUNDS,
    ) -> None:
        super().__init__()
        if min(temperature, final_temperature, responsibility_temperature) <= 0:
            raise ValueError(
                f"temperatures must be positive, got {temperature}, {final_temperature}, {responsibility_temperature}"
            )
        if rep_power < 1:
            raise ValueError(f"rep_power must be 1 or more, got {rep_power}")
        if claims not in ("dual", "sinkhorn", "none", "matching"):
            raise ValueError(f"claims must be 'dual', 'sinkhorn', 'none' or 'matching', got {claims!r}")
        if mean not in ("geometric", "arithmetic"):
            raise ValueError(f"mean must be 'geometric' or 'arithmetic', got {mean!r}")
        if differentiable_claims and claims not in ("dual", "none"):
            raise ValueError(f"differentiable_claims goes with claims 'dual' or 'none', got {claims!r}")
        self.mask_activation: MaskActivation = mask_activation
        self.temperature = temperature
        self.final_temperature = final_temperature
        self.anneal = anneal
        self.bce_weight = bce_weight
        self.dice_weight = dice_weight
        self.rep_weight = rep_weight
        self.rep_power = rep_power
        self.mean = mean
        self.class_weight = class_weight
        self.origin_weight = origin_weight
        self.claims = claims
        self.differentiable_claims = differentiable_claims
        self.responsibility_temperature = responsibility_temperature
        self.num_rounds = num_rounds

    def temperature_at(self, progress: float) -> float:
        """T at a fraction of training, 0..1."""
        if not 0 <= progress <= 1:
            raise ValueError(f"progress must be a fraction of training in 0..1, got {progress}")
        fraction = min(1.0, progress / self.anneal) if self.anneal > 0 else 1.0
        return self.temperature * (self.final_temperature / self.temperature) ** fraction

    def forward(
        self,
        mask_logits: Tensor | Sequence[Tensor],
        instance_labels: Int64[Tensor, "N"],
        class_probability: Float[Tensor, "L K M"] | None = None,
        token_weights: Float[Tensor, "N"] | None = None,
        progress: float = 0.0,
        query_tokens: Int64[Tensor, "M"] | None = None,
    ) -> CompetitiveResult:
        """The loss of one scene.

        Args:
            mask_logits: (N, M), or one such matrix for each of L layers.
            instance_labels: any positive ids, 0 for background, -1 for ignored; row k is the k-th smallest id.
            class_probability: P(class of instance k | query m); none where masks alone are trained.
            token_weights: weight of each token in BCE and dice.
            progress: fraction of training done, for the temperature.
            query_tokens: the token that each query started from; none where queries are learned.

        Returns:
            Loss, claims, responsibilities and IoU for each layer.
        """
        layers = [mask_logits] if isinstance(mask_logits, Tensor) and mask_logits.ndim == 2 else list(mask_logits)
        segment, ids = compact_instances(instance_labels)
        sums = mask_sums(layers, segment, len(ids), token_weights, self.mask_activation)
        origin = None if query_tokens is None else instances_of_origin(segment, len(ids), query_tokens)
        return self.from_sums(sums, class_probability, self.temperature_at(progress), origin)

    def from_sums(
        self,
        sums: MaskSums,
        class_probability: Float[Tensor, "L K M"] | None,
        temperature: float,
        origin: Bool[Tensor, "K M"] | None = None,
    ) -> CompetitiveResult:
        """The loss of one scene from its segment sums and `instances_of_origin`; the rest as `forward`."""
        disagreement = sums.bce() if self.mean == "geometric" else sums.arithmetic()
        cost = self.bce_weight * disagreement + self.dice_weight * sums.dice()
        if self.rep_weight:
            cost = cost + self.rep_weight * sums.repulsion(self.rep_power)
        if cost.shape[1] == 0:
            # Nothing to claim; the empty sum keeps the graph connected.
            empty = cost.detach()
            return CompetitiveResult(cost.sum((1, 2)), empty, empty, empty)
        with torch.no_grad():
            bonus = 0.0 if class_probability is None else self.class_weight * class_probability
            if origin is not None:
                bonus = bonus + self.origin_weight * origin
            score = bonus - cost
            claims = self._claims(score, temperature)
            responsibilities = (
                claims
                if self.claims == "matching"
                else unbalanced_sinkhorn(score, self.responsibility_temperature, self.num_rounds)
            )
            iou = sums.iou()
        if self.differentiable_claims:
            scaled = (bonus - cost) / temperature
            competition = scaled.log_softmax(1) if self.claims == "dual" else 0.0
            loss = -temperature * (scaled + competition).logsumexp(2)
        else:
            loss = (claims * cost).sum(2)
        return CompetitiveResult(loss.mean(1), claims, responsibilities, iou)

    def _claims(self, score: Float[Tensor, "L K M"], temperature: float) -> Float[Tensor, "L K M"]:
        if self.claims == "sinkhorn":
            return unbalanced_sinkhorn(score, temperature, self.num_rounds)
        if self.claims == "none":
            return (score / temperature).softmax(2)
        if self.claims == "matching":
            return matching(score)
        return dual_softmax(score, temperature)
