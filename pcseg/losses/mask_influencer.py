"""The Influencer Loss on a mask matrix, as first specified."""

from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from pcseg.losses.criterion import LossWeights
from pcseg.losses.inputs import compact_instances
from pcseg.ops.segment import segment_mean


@dataclass(frozen=True)
class FirstPassOptions:
    """Options of `MaskInfluencerLoss` and of its criterion; ``criterion`` of a config with kind ``first_pass``."""

    kind: Literal["first_pass"] = "first_pass"
    weights: LossWeights = field(default_factory=LossWeights)
    attr_weight: float = 1.0
    rep_weight: float = 1.0
    bg_weight: float = 1.0
    rep_margin: float = 1.0  # distance from which profiles no longer repel
    temperature: float = 1.0  # T of the soft minimum ``-T logsumexp(. / T)``


class MaskInfluencerLoss(nn.Module):
    """The mask-matrix Influencer Loss as first specified, for comparison; `CompetitiveInfluencerLoss` trains.

    Attractive: a soft minimum over queries of the mean -log p over the tokens of an instance. Repulsive: a hinge on the
    distance between the profiles (geometric means over tokens, one number for each query) of every two instances.
    Background: the mean of p over tokens of label 0.

    Args:
        options: weights, margin and temperature.
        **keywords: fields of `FirstPassOptions`, instead of `options`.

    >>> loss = MaskInfluencerLoss(temperature=0.5)
    >>> terms = loss(torch.zeros(4, 2), torch.tensor([1, 1, 2, 0]))
    >>> {name: round(float(value), 3) for name, value in terms.items()}
    {'loss': 1.847, 'attractive': 0.347, 'repulsive': 1.0, 'background': 0.5}
    """

    def __init__(self, options: FirstPassOptions | None = None, **keywords: float) -> None:
        super().__init__()
        self.options = options or FirstPassOptions(**keywords)  # type: ignore[arg-type]
        if self.options.temperature <= 0:
            raise ValueError(f"temperature must be positive, got {self.options.temperature}")

    def forward(
        self, mask_logits: Float[Tensor, "N M"], instance_labels: Int64[Tensor, "N"]
    ) -> dict[str, Float[Tensor, ""]]:
        """The loss of one scene.

        Args:
            mask_logits: logits of N tokens for M queries.
            instance_labels: any positive ids, 0 for background, -1 for ignored tokens.

        Returns:
            ``loss`` and its parts ``attractive``, ``repulsive`` and ``background``, unweighted.
        """
        segment, ids = compact_instances(instance_labels)
        return self.with_profiles(mask_logits, segment, len(ids))[0]

    def with_profiles(
        self, mask_logits: Float[Tensor, "N M"], segment: Int64[Tensor, "N"], num_instances: int
    ) -> tuple[dict[str, Float[Tensor, ""]], Float[Tensor, "K M"]]:
        """The same as `forward`, and the mean log p of every instance and query.

        Args:
            mask_logits: logits of N tokens for M queries.
            segment: instance 0..K-1 of each token, K for background, -1 for ignored.
            num_instances: number of instances K; each has tokens.
        """
        options, counted = self.options, segment >= 0
        if not counted.all():
            mask_logits, segment = mask_logits[counted], segment[counted]
        log_p = F.logsigmoid(mask_logits)
        log_geomean = segment_mean(log_p, segment, num_instances + 1)[:num_instances]
        temperature, profiles = options.temperature, log_geomean.exp()
        attractive, repulsive = log_geomean.sum(), profiles[:0].sum()  # 0 and connected, where there is nothing
        if num_instances:
            attractive = -temperature * (log_geomean / temperature).logsumexp(1).mean()
        if num_instances > 1:
            # Each pair once: the same mean. The gradient of pdist is 0 where profiles coincide.
            repulsive = F.relu(options.rep_margin - F.pdist(profiles)).mean()
        of_background = mask_logits[segment == num_instances]
        background = torch.sigmoid(of_background).mean() if len(of_background) else of_background.sum()
        loss = options.attr_weight * attractive + options.rep_weight * repulsive + options.bg_weight * background
        terms = {"loss": loss, "attractive": attractive, "repulsive": repulsive, "background": background}
        return terms, log_geomean
