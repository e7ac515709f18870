"""The original Influencer Loss, on two embeddings of each token."""

from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from pcseg.losses.inputs import compact_instances
from pcseg.ops.segment import segment_mean

# Added under the square root, so that the gradient of a distance of 0 is finite.
_EPSILON = 1e-12
# Distances from differences: those from products differ in the last bits from run to run, and so do pairs at a radius.
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
    """Followers of an instance gather around its influencers; influencers of different instances repel each other.

    Positive: mean over instances of the geometric mean over influencers of the mean over followers of the same instance
    of d^2 / follower_margin^2. Negative: mean over pairs of a follower and an influencer of different instances of
    max(0, follower_margin - d)^2. Influencers: mean over pairs of influencers of different instances of
    max(0, influencer_margin - d). d is the Euclidean distance. The pairs are those within the margin, or all of them.

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
    ) -> dict[str, Float[Tensor, ""]]:
        """The loss of one scene.

        Args:
            followers: embedding of each token as a follower.
            influencers: embedding of each token as an influencer.
            instance_labels: every id is an instance, including 0; -1 for ignored tokens.

        Returns:
            ``loss`` and its two parts ``follower_influencer_loss`` (positive and negative) and
            ``influencer_influencer_loss``; a mean over no pairs is 0.
        """
        options = self.options
        positive = self._positive(followers, influencers, instance_labels)
        distance = self._distances(followers, influencers, instance_labels, options.follower_margin)
        negative = _mean(F.relu(options.follower_margin - distance) ** 2)
        distance = self._distances(influencers, influencers, instance_labels, options.influencer_margin)
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
        counted = instance_labels >= 0
        followers, influencers = followers[counted], influencers[counted]
        segment, ids = compact_instances(instance_labels[counted] + 1)
        # Mean square distance to all followers = their variance + square distance to their center: no pairs are needed.
        center = segment_mean(followers, segment, len(ids))
        own_center = center.index_select(0, segment)
        spread = ((followers - own_center) ** 2).sum(1)
        variance = segment_mean(spread, segment, len(ids))
        square = ((influencers - own_center) ** 2).sum(1) + variance.index_select(0, segment) + _EPSILON
        return _mean(segment_mean((square / self.options.follower_margin**2).log(), segment, len(ids)).exp())

    def _distances(
        self, first: Float[Tensor, "N D"], second: Float[Tensor, "N D"], labels: Int64[Tensor, "N"], margin: float
    ) -> Float[Tensor, "pairs"]:
        """Distances of the pairs of different instances; beyond the margin they have no gradient."""
        counted = labels >= 0
        if self.options.pairs == "all":
            different = (labels[:, None] != labels) & counted[:, None] & counted
            return (torch.cdist(first, second, compute_mode=EXACT)[different] ** 2 + _EPSILON).sqrt()
        with torch.no_grad():
            rows, columns = (torch.cdist(first, second, compute_mode=EXACT) <= margin).nonzero().T
            different = (labels[rows] != labels[columns]) & counted[rows] & counted[columns]
            rows, columns = rows[different], columns[different]
        # index_select has a deterministic gradient; first[rows] sums in any order of the threads.
        return (((first.index_select(0, rows) - second.index_select(0, columns)) ** 2).sum(1) + _EPSILON).sqrt()


def _mean(values: Float[Tensor, "R"]) -> Float[Tensor, ""]:
    return values.mean() if len(values) else values.sum()
