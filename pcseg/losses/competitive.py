"""The Influencer Loss that trains: queries compete for instances and instances for queries, without a matcher."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from pcseg.losses.criterion import LossWeights
from pcseg.losses.inputs import compact_instances
from pcseg.losses.mask_sums import MaskSums, mask_sums
from pcseg.losses.matcher import cheapest_pairs, claims_of_pairs
from pcseg.structures import MaskActivation

_POWER = 3.0  # of the soft minimum


@dataclass(frozen=True)
class CompetitiveOptions:
    """Options of `CompetitiveInfluencerLoss` and of its criterion; ``criterion`` of a config."""

    kind: Literal["competitive"] = "competitive"
    weights: LossWeights = field(default_factory=LossWeights)
    mask_weight: float = 1.0  # weight of the mask loss
    temperature: float = 0.05  # T at the start of training
    final_temperature: float = 0.005
    anneal: float = 0.5  # fraction of training over which T falls
    bce_weight: float = 1.0
    dice_weight: float = 1.0
    rep_weight: float = 0.1  # weight of the repulsion from other instances, see `MaskSums.repulsion`
    rep_power: float = 3.0  # power of the norm over them: the higher, the more the one covered most decides
    mean: Literal["geometric", "arithmetic"] = "geometric"  # of the probabilities of being right
    class_weight: float = 0.5  # weight of the class probability in the claims
    origin_weight: float = 0.3  # weight of a superpoint query's start in the instance, in the claims
    # Dual softmax, unbalanced Sinkhorn at T, one softmax over queries and the claimed cost to the power 3, or one query
    # for each instance by a Hungarian matcher (also for classes).
    claims: Literal["dual", "sinkhorn", "softmin", "matching"] = "dual"
    responsibility_temperature: float = 0.01  # of the Sinkhorn rounds that share out classes
    num_rounds: int = 10  # Sinkhorn rounds
    weight_tokens: bool = False  # weigh superpoints by their points


class CompetitiveResult(NamedTuple):
    """Output of `CompetitiveInfluencerLoss` for one scene."""

    loss: Float[Tensor, "L"]  # of each layer, mean over instances; 0 without instances
    claims: Float[Tensor, "L K M"]  # how much instance k claims query m; rows sum to 1; no gradient
    responsibilities: Float[Tensor, "L K M"]  # how much query m answers for the class of instance k; no gradient


def dual_softmax(score: Float[Tensor, "L K M"], temperature: float) -> Float[Tensor, "L K M"]:
    """The instance's choice of query times the query's choice of instance; rows sum to 1.

    Args:
        score: how well query m suits instance k of layer l.
        temperature: unit of the score, positive; a lower one makes shares more decided.
    """
    score = score / temperature
    # log_softmax over m is the score less a constant of the row, which the outer softmax cancels.
    return score.mul(2).sub_(score.logsumexp(1, keepdim=True)).softmax(2)


def unbalanced_sinkhorn(score: Float[Tensor, "L K M"], temperature: float, num_rounds: int) -> Float[Tensor, "L K M"]:
    """Shares of queries for instances: rows sum to 1, columns to at most 1 as far as possible.

    A round scales rows to 1 and divides columns by max(1, their sum). Rows are scaled again at the end.

    Args:
        score: how well query m suits instance k of layer l.
        temperature: unit of the score, positive; a lower one makes shares more decided.
        num_rounds: number of rounds; 0 gives the softmax of each row.
    """
    # Products of scalings, not logarithms: a round is two matrix-vector products. Columns lose a factor K a round at
    # most, so what underflows here (e^-87 of a row's best) could not have come back.
    kernel = (score - score.amax(2, keepdim=True)).div_(temperature).exp_()
    columns = kernel.new_ones(kernel.shape[0], 1, kernel.shape[2])
    for _ in range(num_rounds):
        rows = (kernel * columns).sum(2, keepdim=True).reciprocal_()
        sums = torch.bmm(rows.transpose(1, 2), kernel).mul_(columns)
        columns = columns / sums.clamp_(min=1)
    plan = kernel.mul_(columns)
    return plan.div_(plan.sum(2, keepdim=True))


class CompetitiveInfluencerLoss(nn.Module):
    """Pulls masks toward instances by claims that both sides compete for.

    Each pair of instance k and query m has a mask score S = -BCE - dice - rep_weight * repulsion. Its claim score is
    C = S + class_weight * P(class of k | m) + origin_weight * (1 if m started in k). Instance k claims query m by
    ``softmax_m(log_softmax_m(C/T) + log_softmax_k(C/T))``. The loss is the mean over instances of the claimed -S.
    T falls exponentially from `temperature` to `final_temperature` over the first `anneal` of training. exp(-BCE) is
    the geometric mean over tokens of the probability of being right; ``mean: arithmetic`` takes the arithmetic mean.

    ``claims: softmin`` is the power soft-min of InfluencerFormer (github.com/murnanedaniel), on masks. Claims are the
    softmax of C/T over queries, without competition. Each instance adds its claimed -S to the power 3. Classes are
    trained on the same responsibilities as with the dual softmax.

    Args:
        options: weights and temperatures.
        mask_activation: ``sigmoid``, or ``softmax`` over queries and an empty choice of logit 0.
    """

    def __init__(self, options: CompetitiveOptions | None = None, mask_activation: MaskActivation = "sigmoid") -> None:
        super().__init__()
        self.options = options = options or CompetitiveOptions()
        self.mask_activation: MaskActivation = mask_activation
        temperatures = options.temperature, options.final_temperature, options.responsibility_temperature
        if min(temperatures) <= 0:
            raise ValueError(f"temperatures must be positive, got {', '.join(map(str, temperatures))}")
        if options.rep_power < 1:
            raise ValueError(f"rep_power must be 1 or more, got {options.rep_power}")

    def temperature_at(self, progress: float) -> float:
        """T at a fraction of training, 0..1."""
        if not 0 <= progress <= 1:
            raise ValueError(f"progress must be a fraction of training in 0..1, got {progress}")
        first, last, anneal = self.options.temperature, self.options.final_temperature, self.options.anneal
        return first * (last / first) ** (min(1.0, progress / anneal) if anneal > 0 else 1.0)

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
            class_probability: P(class of instance k | query m); None where masks alone are trained.
            token_weights: weight of each token in BCE and dice.
            progress: fraction of training that is done, for the temperature.
            query_tokens: token that each query started from; None for learned queries.
        """
        layers = [mask_logits] if isinstance(mask_logits, Tensor) and mask_logits.ndim == 2 else list(mask_logits)
        segment, ids = compact_instances(instance_labels)
        sums = mask_sums(layers, segment, len(ids), token_weights, self.mask_activation)
        return self.from_sums(sums, segment, class_probability, progress, query_tokens)

    def from_sums(
        self,
        sums: MaskSums,
        segment: Int64[Tensor, "N"],
        class_probability: Float[Tensor, "L K M"] | None,
        progress: float,
        query_tokens: Int64[Tensor, "M"] | None,
    ) -> CompetitiveResult:
        """The loss of one scene, from the sums of the mask logits of all layers; see `forward`.

        Args:
            sums: sums of L layers over K instances and M queries, from `mask_sums`.
            segment: instance 0..K-1 of each token, K for background, -1 where it is ignored.
            class_probability: P(class of instance k | query m) of each layer; None where masks alone are trained.
            progress: fraction of training that is done, 0..1, for the temperature.
            query_tokens: token that each query started from; None for learned queries.

        Raises:
            ValueError: `progress` is outside 0..1.
        """
        options = self.options
        disagreement = sums.bce() if options.mean == "geometric" else sums.arithmetic()
        cost = options.bce_weight * disagreement + options.dice_weight * sums.dice()
        if options.rep_weight:
            cost = cost + options.rep_weight * sums.repulsion(options.rep_power)
        if cost.shape[1] == 0:
            # Nothing to claim; the empty sum keeps the graph connected.
            return CompetitiveResult(cost.sum((1, 2)), cost.detach(), cost.detach())
        temperature = self.temperature_at(progress)
        with torch.no_grad():
            bonus = 0.0 if class_probability is None else options.class_weight * class_probability
            if query_tokens is not None:
                instances = torch.arange(cost.shape[1], device=segment.device)
                bonus = bonus + options.origin_weight * (segment[query_tokens] == instances[:, None])
            score = bonus - cost
            match options.claims:
                case "dual":
                    claims = dual_softmax(score, temperature)
                case "sinkhorn":
                    claims = unbalanced_sinkhorn(score, temperature, options.num_rounds)
                case "softmin":
                    claims = (score / temperature).softmax(2)
                case "matching":
                    # Any match will do where the score is not finite: neither is the loss.
                    claims = claims_of_pairs(cheapest_pairs(-score.nan_to_num()), score)
            rounds = options.responsibility_temperature, options.num_rounds
            responsibilities = claims if options.claims == "matching" else unbalanced_sinkhorn(score, *rounds)
        claimed = (claims * cost).sum(2)
        if options.claims == "softmin":
            claimed = claimed**_POWER
        return CompetitiveResult(claimed.mean(1), claims, responsibilities)
