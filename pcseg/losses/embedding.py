"""The original Influencer Loss on two embeddings of each token, and the criterion that trains them with it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from pcseg.losses.criterion import Criterion, check_finite, scene_mean
from pcseg.losses.inputs import SceneTarget, compact_instances
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

    Source: InfluencerNet (Murnane 2023).
    """

    def __init__(self, options: EmbeddingCriterionOptions) -> None:
        super().__init__()
        self.options = options
        if min(margins := (options.follower_margin, options.influencer_margin)) <= 0:
            raise ValueError(f"margins must be positive, got {margins[0]} and {margins[1]}")

    def forward(
        self, followers: Float[Tensor, "N D"], influencers: Float[Tensor, "N D"], instance_labels: Int64[Tensor, "N"]
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


class EmbeddingCriterion(Criterion):
    """Embeddings by `EmbeddingInfluencerLoss`, influence by the IoU that each influencer reaches, classes and centers.

    Args:
        options: weights and margins.
        radius: how far an influencer attracts followers at inference.
        **settings: ``check_values`` and ``sum_counts`` of `Criterion`.
    """

    def __init__(self, options: EmbeddingCriterionOptions, radius: float, **settings: Any) -> None:
        weights = {f"loss_{name}": weight for name, weight in asdict(options.weights).items()}
        super().__init__(weights, **settings)
        if radius <= 0:
            raise ValueError(f"radius must be positive, got {radius}")
        self.options = options
        self.radius = radius
        self.embedding = EmbeddingInfluencerLoss(options)

    def forward(
        self, outputs: Mapping[str, Any], targets: Sequence[Mapping[str, Any]], progress: float = 0.0
    ) -> dict[str, Float[Tensor, ""]]:
        """All losses of a batch.

        Args:
            outputs: ``pred_followers`` and ``pred_influencers``, lists of (N_b, D), ``pred_influence``, list of (N_b,);
                optional are ``pred_semantic``, list of (N_b, C), and ``pred_centers``, list of (N_b, 3).
            targets: background is one more group, which nothing attracts.
            progress: not used.
        """
        keys = ("pred_followers", "pred_influencers", "pred_influence")
        if (num := len(outputs[keys[0]])) != len(targets):
            raise ValueError(f"pred_followers holds {num} scenes, targets {len(targets)}; give one for each")
        losses: dict[str, list[Tensor]] = {key: [] for key in ("loss_followers", "loss_influencers", "loss_influence")}
        for index, target in enumerate(targets):
            followers, influencers, influence = (outputs[key][index] for key in keys)
            scene = SceneTarget(target, index, len(followers), self.check_values)
            labels = scene.instance_labels()
            if self.check_values:
                for key in keys[:2]:
                    check_finite(outputs[key][index][None], key, scene.name)
            embedded = self.embedding(followers, influencers, labels)
            counted = labels >= 0
            iou = reached_iou(followers, influencers, labels, self.radius)
            total = F.binary_cross_entropy_with_logits(influence[counted], iou[counted], reduction="sum")
            losses["loss_followers"].append(embedded["follower_influencer_loss"][None])
            losses["loss_influencers"].append(embedded["influencer_influencer_loss"][None])
            losses["loss_influence"].append((total / counted.sum().clamp(min=1))[None])
        return self.named_losses({key: scene_mean(values) for key, values in losses.items()}, [outputs], targets)


@torch.no_grad()
def reached_iou(
    followers: Float[Tensor, "N D"], influencers: Float[Tensor, "N D"], labels: Int64[Tensor, "N"], radius: float
) -> Float[Tensor, "N"]:
    """IoU of the followers within the radius of each influencer with its instance.

    Args:
        followers: embedding of each token as a member of an instance.
        influencers: embedding of each token as the center of an instance.
        labels: instance ids from 1, 0 for background, -1 for ignored tokens.
        radius: distance below which followers count, in units of the embeddings.

    Returns:
        IoU of each influencer; 0 for influencers without an instance.
    """
    segment, ids = compact_instances(labels)
    near = (torch.cdist(influencers, followers, compute_mode=EXACT) < radius).to(influencers.dtype)
    # How many followers of each instance (background last, ignored nowhere) are near each influencer: one product.
    groups = F.one_hot(segment.clamp(min=0), len(ids) + 1).to(near) * (labels >= 0)[:, None]
    reached = near @ groups
    own = segment.clamp(min=0)[:, None]
    inside = reached.gather(1, own)[:, 0]
    iou = inside / (reached.sum(1) + groups.sum(0)[own[:, 0]] - inside)
    return torch.where(labels > 0, iou, torch.zeros_like(iou))
