"""The original Influencer Loss, on two embeddings of each token."""

from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from pcseg.losses.inputs import compact_instances
from pcseg.ops.segment import segment_mean

# Under the square root, so that the gradient of a distance of 0 is finite.
_EPSILON = 1e-12
# By differences: the way through products rounds otherwise from run to run, and pairs at a radius come and go.
EXACT = "donot_use_mm_for_euclid_dist"


@dataclass(frozen=True)
class EmbeddingLossWeights:
    """Weights of the losses of `EmbeddingCriterion`; ``criterion.weights`` of a config with kind ``embedding``."""

    followers: float = 1.0
    influencers: float = 1.0
    influence: float = 1.0
    semantic: float = 1.0
    center: float = 1.0


@dataclass(frozen=True)
class EmbeddingCriterionOptions:
    """Options of `EmbeddingInfluencerLoss` and its criterion; ``criterion`` of a config with kind ``embedding``."""

    kind: Literal["embedding"] = "embedding"
    weights: EmbeddingLossWeights = field(default_factory=EmbeddingLossWeights)
    # Pairs of different instances that repel each other: those within the margin, or all.
    pairs: Literal["radius", "all"] = "radius"
    follower_margin: float = 1.0  # unit of the positive term, reach of the negative one
    influencer_margin: float = 1.0  # reach of the repulsion among influencers
    neg_ratio: float = 1.0  # weight of the negative term


class EmbeddingInfluencerLoss(nn.Module):
    """Followers of an instance gather round one of its influencers; influencers of different instances keep apart.

    Positive: mean over instances of the geometric mean over influencers of the mean over followers of the same instance
    of d^2 / follower_margin^2. Negative: mean over pairs of a follower and an influencer of different instances of
    max(0, follower_margin - d)^2. Influencers: mean over pairs of influencers of different instances of
    max(0, influencer_margin - d). d is the Euclidean distance.

    Args:
        options: margins and weights.

    Source:
        InfluencerNet (Murnane 2023).
    """

    def __init__(self, options: EmbeddingCriterionOptions) -> None:
        super().__init__()
        self.options = options
        margins = options.follower_margin, options.influencer_margin
        if min(margins) <= 0:
            raise ValueError(f"margins must be positive, got {margins[0]} and {margins[1]}")

    def forward(
        self,
        followers: Float[Tensor, "N D"],
        influencers: Float[Tensor, "N D"],
        instance_labels: Int64[Tensor, "N"],
        follower_pairs: Int64[Tensor, "2 E"] | None = None,
        influencer_pairs: Int64[Tensor, "2 R"] | None = None,
    ) -> dict[str, Float[Tensor, ""]]:
        """The loss of one scene.

        Args:
            followers: embedding of each token as a follower.
            influencers: embedding of each token as an influencer.
            instance_labels: every id is an instance, 0 as well; -1 for tokens to leave out.
            follower_pairs: rows (follower, influencer) among which the negative term looks for pairs of different
                instances, e.g. those within a radius; None for all.
            influencer_pairs: the same for pairs of influencers.

        Returns:
            ``loss`` and its two parts ``follower_influencer_loss`` (positive and negative) and
            ``influencer_influencer_loss``; a mean over no pairs is 0.
        """
        options = self.options
        positive = self._positive(followers, influencers, instance_labels)
        distance = _distances(followers, influencers, instance_labels, follower_pairs)
        negative = _mean(F.relu(options.follower_margin - distance) ** 2)
        distance = _distances(influencers, influencers, instance_labels, influencer_pairs)
        apart = _mean(F.relu(options.influencer_margin - distance))
        follower_influencer = positive + options.neg_ratio * negative
        return {
            "loss": follower_influencer + apart,
            "follower_influencer_loss": follower_influencer,
            "influencer_influencer_loss": apart,
        }

    def _positive(
        self, followers: Float[Tensor, "N D"], influencers: Float[Tensor, "N D"], instance_labels: Int64[Tensor, "N"]
    ) -> Float[Tensor, ""]:
        kept = instance_labels >= 0
        followers, influencers = followers[kept], influencers[kept]
        segment, ids = compact_instances(instance_labels[kept] + 1)
        # Mean square distance to all followers = their variance + square distance to their center: no pairs are needed.
        center = segment_mean(followers, segment, len(ids))
        own_center = center.index_select(0, segment)
        spread = ((followers - own_center) ** 2).sum(1)
        variance = segment_mean(spread, segment, len(ids))
        square = ((influencers - own_center) ** 2).sum(1) + variance.index_select(0, segment) + _EPSILON
        return _mean(segment_mean((square / self.options.follower_margin**2).log(), segment, len(ids)).exp())


@torch.no_grad()
def pairs_within(a: Float[Tensor, "N D"], b: Float[Tensor, "N D"], radius: float) -> Int64[Tensor, "2 E"]:
    """Pairs (row of a, row of b) at most `radius` apart, beyond which a margin of that size has no gradient."""
    return (torch.cdist(a, b, compute_mode=EXACT) <= radius).nonzero().T


def _distances(
    a: Float[Tensor, "N D"], b: Float[Tensor, "N D"], labels: Int64[Tensor, "N"], pairs: Int64[Tensor, "2 E"] | None
) -> Float[Tensor, "R"]:
    """Distances of the pairs of different instances."""
    if pairs is None:
        kept = labels >= 0
        different = (labels[:, None] != labels) & kept[:, None] & kept
        distance = torch.cdist(a, b, compute_mode=EXACT)[different]
        return (distance**2 + _EPSILON).sqrt()
    first, second = pairs
    different = (labels[first] != labels[second]) & (labels[first] >= 0) & (labels[second] >= 0)
    first, second = first[different], second[different]
    # index_select: its gradient adds up in one order, that of a[first] in any order of the threads.
    return (((a.index_select(0, first) - b.index_select(0, second)) ** 2).sum(1) + _EPSILON).sqrt()


def _mean(values: Float[Tensor, "R"]) -> Float[Tensor, ""]:
    return values.mean() if len(values) else values.sum()
