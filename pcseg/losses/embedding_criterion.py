"""Trains two embeddings of each superpoint with the original Influencer Loss, called as the other criteria are."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from pcseg.losses.criterion import Criterion, scene_mean
from pcseg.losses.embedding_influencer import EXACT, EmbeddingInfluencerLoss, pairs_within
from pcseg.losses.inputs import LossWeights, compact_instances, instance_labels_of, scene_name
from pcseg.losses.terms import check_finite, named_losses


class EmbeddingCriterion(Criterion):
    """Embeddings by `EmbeddingInfluencerLoss`, influence by the IoU that each influencer reaches, classes and centers.

    Args:
        pairs: tokens of different instances that repel each other: ``radius`` those within the margin, ``all`` all.
        radius: how far an influencer attracts followers at inference.
        follower_margin: of the loss.
        influencer_margin: of the loss.
        neg_ratio: of the loss.
        weight_dict: weight of each loss; those of ``loss_followers``, ``loss_influencers``, ``loss_influence``,
            ``loss_semantic`` and ``loss_center`` that are absent keep their default 1.
    """

    def __init__(
        self,
        pairs: Literal["radius", "all"] = "radius",
        radius: float = 0.9,
        follower_margin: float = 1.0,
        influencer_margin: float = 1.0,
        neg_ratio: float = 1.0,
        weight_dict: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        if pairs not in ("radius", "all"):
            raise ValueError(f"pairs must be 'radius' or 'all', got {pairs!r}")
        if radius <= 0:
            raise ValueError(f"radius must be positive, got {radius}")
        self.embedding = EmbeddingInfluencerLoss(follower_margin, influencer_margin, neg_ratio)
        self.pairs = pairs
        self.radius = radius
        names = ("followers", "influencers", "influence", "semantic", "center")
        self.weight_dict = LossWeights.merged({f"loss_{name}": 1.0 for name in names}, weight_dict)

    def forward(self, outputs: Mapping[str, Any], targets: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """All losses of a batch.

        Args:
            outputs: ``pred_followers`` and ``pred_influencers``, lists of (N_b, D), ``pred_influence`` list of (N_b,);
                where the model has them ``pred_semantic`` list of (N_b, C) and ``pred_centers`` list of (N_b, 3).
            targets: for each scene ``labels`` (K,) with ``instance_labels`` (N,); background is one more group, which
                nothing attracts.

        Returns:
            Unweighted scalars.

        Raises:
            ValueError: shapes that do not fit, or numbers that are not finite.
        """
        followers, influencers, influence = (
            outputs[key] for key in ("pred_followers", "pred_influencers", "pred_influence")
        )
        if len(followers) != len(targets):
            raise ValueError(f"pred_followers holds {len(followers)} scenes, targets {len(targets)}; give one for each")
        terms = []
        for b, target in enumerate(targets):
            name = scene_name(target, b)
            labels = instance_labels_of(target, len(followers[b]), name, self.check_values)
            if self.check_values:
                for key in ("pred_followers", "pred_influencers"):
                    check_finite(outputs[key][b][None], key, name)
            terms.append(self._scene(followers[b], influencers[b], influence[b], labels))
        means = {key: scene_mean([scene[key][None] for scene in terms]) for key in terms[0]}
        return named_losses(self, means, [outputs], targets)

    def _scene(
        self,
        followers: Float[Tensor, "N D"],
        influencers: Float[Tensor, "N D"],
        influence: Float[Tensor, "N"],
        labels: Int64[Tensor, "N"],
    ) -> dict[str, Float[Tensor, ""]]:
        loss, near = self.embedding, (None, None)
        if self.pairs == "radius":
            near = (
                pairs_within(followers, influencers, loss.follower_margin),
                pairs_within(influencers, influencers, loss.influencer_margin),
            )
        found = loss(followers, influencers, labels, *near)
        kept = labels >= 0
        iou = reached_iou(followers, influencers, labels, self.radius)
        return {
            "loss_followers": found["follower_influencer_loss"],
            "loss_influencers": found["influencer_influencer_loss"],
            "loss_influence": F.binary_cross_entropy_with_logits(influence[kept], iou[kept], reduction="sum")
            / kept.sum().clamp(min=1),
        }


@torch.no_grad()
def reached_iou(
    followers: Float[Tensor, "N D"], influencers: Float[Tensor, "N D"], labels: Int64[Tensor, "N"], radius: float
) -> Float[Tensor, "N"]:
    """IoU between the followers within the radius of each influencer and its instance.

    Args:
        followers: embedding of each token as a follower.
        influencers: embedding of each token as an influencer.
        labels: instance ids from 1, 0 for background, -1 for tokens that count nowhere.
        radius: of attraction.

    Returns:
        0 for influencers that are of no instance.
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
