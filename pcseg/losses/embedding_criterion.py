"""Trains two embeddings of each superpoint with the original Influencer Loss."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from pcseg.losses.criterion import Criterion
from pcseg.losses.embedding_influencer import EXACT, EmbeddingCriterionOptions, EmbeddingInfluencerLoss
from pcseg.losses.inputs import SceneTarget, compact_instances
from pcseg.losses.terms import check_finite, scene_mean


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
        """All losses of a batch; see `Criterion.forward`. They do not depend on the progress.

        Args:
            outputs: ``pred_followers`` and ``pred_influencers``, lists of (N_b, D), ``pred_influence``, list of (N_b,);
                optional are ``pred_semantic``, list of (N_b, C), and ``pred_centers``, list of (N_b, 3).
            targets: background is one more group, which nothing attracts.
            progress: not used.
        """
        followers, influencers, influence = (
            outputs[key] for key in ("pred_followers", "pred_influencers", "pred_influence")
        )
        if len(followers) != len(targets):
            raise ValueError(f"pred_followers holds {len(followers)} scenes, targets {len(targets)}; give one for each")
        terms = []
        for index, target in enumerate(targets):
            scene = SceneTarget(target, index, len(followers[index]), self.check_values)
            labels = scene.instance_labels()
            if self.check_values:
                for key in ("pred_followers", "pred_influencers"):
                    check_finite(outputs[key][index][None], key, scene.name)
            terms.append(self._scene(followers[index], influencers[index], influence[index], labels))
        means = {key: scene_mean([scene[key][None] for scene in terms]) for key in terms[0]}
        return self.named_losses(means, [outputs], targets)

    def _scene(
        self,
        followers: Float[Tensor, "N D"],
        influencers: Float[Tensor, "N D"],
        influence: Float[Tensor, "N"],
        labels: Int64[Tensor, "N"],
    ) -> dict[str, Float[Tensor, ""]]:
        embedded = self.embedding(followers, influencers, labels)
        counted = labels >= 0
        iou = reached_iou(followers, influencers, labels, self.radius)
        total = F.binary_cross_entropy_with_logits(influence[counted], iou[counted], reduction="sum")
        return {
            "loss_followers": embedded["follower_influencer_loss"],
            "loss_influencers": embedded["influencer_influencer_loss"],
            "loss_influence": total / counted.sum().clamp(min=1),
        }


@torch.no_grad()
def reached_iou(
    followers: Float[Tensor, "N D"], influencers: Float[Tensor, "N D"], labels: Int64[Tensor, "N"], radius: float
) -> Float[Tensor, "N"]:
    """IoU of the followers within the radius of each influencer with its instance.

    Args:
        followers: embedding of each token as a follower.
        influencers: embedding of each token as an influencer.
        labels: instance ids from 1, 0 for background, -1 for ignored tokens.
        radius: radius of attraction.

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
