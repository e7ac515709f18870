"""The Influencer Loss on a mask matrix, as first specified."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from pcseg.losses.inputs import compact_instances
from pcseg.ops.segment import segment_mean


class MaskInfluencerLoss(nn.Module):
    """The mask-matrix Influencer Loss as first specified; kept for comparison, `CompetitiveInfluencerLoss` trains.

    Attractive: a soft minimum over queries of the mean -log p over the tokens of an instance. Repulsive: a hinge on the
    distance between the profiles (geometric means over tokens, one number for each query) of every two instances.
    Background: the mean of p over tokens of label 0.

    Args:
        attr_weight: weight of the attractive term.
        rep_weight: weight of the repulsive term.
        bg_weight: weight of the background term.
        rep_margin: distance from which profiles no longer repel.
        temperature: T of the soft minimum ``-T logsumexp(. / T)``.
    """

    def __init__(
        self,
        attr_weight: float = 1.0,
        rep_weight: float = 1.0,
        bg_weight: float = 1.0,
        rep_margin: float = 1.0,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        self.attr_weight = attr_weight
        self.rep_weight = rep_weight
        self.bg_weight = bg_weight
        self.rep_margin = rep_margin
        self.temperature = temperature

    def forward(
        self, mask_logits: Float[Tensor, "N M"], instance_labels: Int64[Tensor, "N"]
    ) -> dict[str, Float[Tensor, ""]]:
        """The loss of one scene.

        Args:
            mask_logits: N tokens, M queries.
            instance_labels: any positive ids, 0 for background, -1 for ignored tokens.

        Returns:
            ``loss`` and its parts ``attractive``, ``repulsive`` and ``background``, unweighted.
        """
        terms, _ = self.with_profiles(mask_logits, instance_labels)
        return terms

    def with_profiles(
        self, mask_logits: Float[Tensor, "N M"], instance_labels: Int64[Tensor, "N"]
    ) -> tuple[dict[str, Float[Tensor, ""]], Float[Tensor, "K M"]]:
        """The same, and the mean log p of every instance and query, instances by ascending id."""
        segment, ids = compact_instances(instance_labels)
        kept = segment >= 0
        if not kept.all():
            mask_logits, segment = mask_logits[kept], segment[kept]
        log_p = F.logsigmoid(mask_logits)
        log_geomean = segment_mean(log_p, segment, len(ids) + 1)[: len(ids)]
        attractive = self._attractive(log_geomean)
        repulsive = self._repulsive(log_geomean.exp())
        background = segment == len(ids)
        if background.any():
            background_term = torch.sigmoid(mask_logits[background]).mean()
        else:
            background_term = mask_logits[:0].sum()
        loss = self.attr_weight * attractive + self.rep_weight * repulsive + self.bg_weight * background_term
        terms = {"loss": loss, "attractive": attractive, "repulsive": repulsive, "background": background_term}
        return terms, log_geomean

    def _attractive(self, log_geomean: Float[Tensor, "K M"]) -> Float[Tensor, ""]:
        if len(log_geomean) == 0:
            return log_geomean.sum()
        return -self.temperature * (log_geomean / self.temperature).logsumexp(1).mean()

    def _repulsive(self, profiles: Float[Tensor, "K M"]) -> Float[Tensor, ""]:
        num_instances = len(profiles)
        if num_instances < 2:
            return profiles[:0].sum()
        # Each pair once: the mean over ordered pairs is the same. pdist has a zero gradient where profiles coincide.
        return F.relu(self.rep_margin - F.pdist(profiles)).mean()
