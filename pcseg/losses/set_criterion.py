"""Cross-entropy, BCE and dice on Hungarian matches: the baseline that the Influencer Loss is compared with."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from pcseg.losses.criterion import Claims, LossTerm, LossWeights, PredictedScene, QueryCriterion
from pcseg.losses.inputs import SceneTarget
from pcseg.losses.mask_sums import log_probabilities, softmax_sums
from pcseg.losses.matcher import HungarianMatcher, claims_of_pairs
from pcseg.structures import MaskActivation


@dataclass(frozen=True)
class HungarianOptions:
    """Options of `SetCriterion`, SPFormer's weights by default; ``criterion`` of a config with kind ``hungarian``."""

    kind: Literal["hungarian"] = "hungarian"
    weights: LossWeights = field(default_factory=LossWeights)
    mask_weight: float = 1.0  # weight of the BCE of matched pairs
    dice_weight: float = 1.0
    cost_class: float = 0.5  # weights of the matching costs
    cost_mask: float = 1.0
    cost_dice: float = 1.0
    weight_tokens: bool = False  # weigh superpoints by their points in BCE and dice


class _Instances(NamedTuple):
    """Instances of one scene for pairwise costs; ignored tokens weigh nothing."""

    labels: Int64[Tensor, "K"]
    masks: Float[Tensor, "K N"]
    weights: Float[Tensor, "N"]


class SetCriterion(QueryCriterion):
    """Matches queries to instances by least cost and trains classes and masks on the matches.

    Args:
        num_classes: number of classes C, without no-object.
        options: weights and costs.
        mask_activation: ``sigmoid``, or ``softmax`` over queries and an empty choice of logit 0.
        **settings: ``check_values`` and ``sum_counts`` of `Criterion`.

    Source: Mask2Former (Cheng et al. 2022), with all tokens instead of sampled points; weights as in SPFormer (Sun et
    al. 2023); semantic loss as in OneFormer3D.
    """

    def __init__(
        self,
        num_classes: int,
        options: HungarianOptions | None = None,
        mask_activation: MaskActivation = "sigmoid",
        **settings: Any,
    ) -> None:
        options = options or HungarianOptions()
        mask_weights = {"loss_mask": options.mask_weight, "loss_dice": options.dice_weight}
        super().__init__(num_classes, options.weights, mask_weights, **settings)
        self.options = options
        self.mask_activation: MaskActivation = mask_activation
        self.matcher = HungarianMatcher(options.cost_class, options.cost_mask, options.cost_dice)

    def mask_terms(self, scenes: Sequence[PredictedScene], progress: float) -> tuple[dict[str, LossTerm], list[Claims]]:
        """Losses of masks by key, and for each scene what classes are trained on; the progress does not count."""
        pair_losses, claims = [], []
        for scene in scenes:
            truth = self._instances(scene.target, torch.promote_types(scene.masks[0].dtype, torch.float32))
            probability = scene.class_probability(truth.labels)
            bce, dice = self._pairs(scene.masks, truth)
            if not self.check_values:  # any match will do: the losses of the pairs are not finite either
                bce, dice = (torch.where(cost.isfinite(), cost, 0.0) for cost in (bce, dice))
                probability = None if probability is None else probability.nan_to_num()
            matches = self.matcher(bce, dice, probability, scene.target.name)
            matched = [self._matched(mask, truth, *match) for mask, match in zip(scene.masks, matches, strict=True)]
            pair_losses.append(torch.stack(matched, 1))
            claims.append(Claims(claims_of_pairs(matches, bce), truth.labels))
        num_instances = sum(len(truth.labels) for truth in claims)
        bce, dice = (LossTerm(sums, torch.full_like(sums, num_instances)) for sums in torch.stack(pair_losses).sum(0))
        return {"loss_mask": bce, "loss_dice": dice}, claims

    def _instances(self, scene: SceneTarget, dtype: torch.dtype) -> _Instances:
        labels = scene.target["labels"].long()
        weights = torch.ones(scene.num_tokens, dtype=dtype, device=labels.device)
        if self.options.weight_tokens:
            weights = scene.of_tokens("point_counts").to(dtype)
        if scene.has_masks:
            return _Instances(labels, scene.masks().to(dtype), weights.masked_fill(scene.ignored(), 0))
        ids = scene.instance_labels()
        # Instances without a token have no mask to learn.
        present = torch.unique(ids[ids > 0])
        return _Instances(labels[present - 1], (ids == present[:, None]).to(dtype), weights.masked_fill(ids < 0, 0))

    @torch.no_grad()
    def _pairs(self, layers: Sequence[Tensor], truth: _Instances) -> tuple[Tensor, Tensor]:
        """BCE and dice (L, K, M) of every pair, one matrix product each."""
        weights = truth.weights[:, None]
        masks = truth.masks * truth.weights
        size = masks.sum(1)[:, None]
        bce, dice = [], []
        for layer in layers:
            log_odds, log_off, p = log_probabilities(layer.to(masks.dtype), self.mask_activation)
            bce.append(-(masks @ log_odds + (log_off * weights).sum(0)) / weights.sum().clamp(min=1e-12))
            dice.append(1 - (2 * masks @ p + 1) / ((p * weights).sum(0) + size + 1))
        return torch.stack(bce), torch.stack(dice)

    def _matched(
        self, mask: Float[Tensor, "N M"], truth: _Instances, queries: Int64[Tensor, "_"], instances: Int64[Tensor, "_"]
    ) -> Float[Tensor, "2"]:
        """Sum of BCE and of dice over the matched pairs of one layer."""
        target = truth.masks[instances].T
        weights = truth.weights[:, None]
        logits = mask.to(target.dtype)
        if self.mask_activation == "sigmoid":
            chosen = logits[:, queries]
            bce = F.binary_cross_entropy_with_logits(chosen, target, reduction="none")
            p = torch.sigmoid(chosen)
        else:
            # log p and log(1 - p) of some queries, as `log_probabilities` computes them of all.
            first, rest, whole = softmax_sums(logits)
            log_p = logits[:, queries] - whole
            log_off = torch.log1p(-log_p.masked_fill(queries == first, -torch.inf).exp())
            log_off = torch.where(queries == first, rest - whole, log_off)
            bce = -(target * log_p + (1 - target) * log_off)
            p = log_p.exp()
        inside, total, size = ((values * weights).sum(0) for values in (p * target, p, target))
        bce_sum = (bce * weights).sum() / weights.sum().clamp(min=1e-12)
        return torch.stack([bce_sum, (1 - (2 * inside + 1) / (total + size + 1)).sum()])
