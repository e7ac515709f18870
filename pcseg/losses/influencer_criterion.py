"""Trains a query decoder with the Influencer Loss: no matcher, the calling convention of Mask2Former's SetCriterion."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pcseg.losses.competitive import CompetitiveInfluencerLoss, CompetitiveOptions, unbalanced_sinkhorn
from pcseg.losses.criterion import Claims, LossTerm, PredictedScene, QueryCriterion, check_finite, scene_mean
from pcseg.losses.inputs import Segmentation
from pcseg.losses.mask_influencer import FirstPassOptions, MaskInfluencerLoss
from pcseg.losses.mask_sums import mask_sums
from pcseg.structures import MaskActivation

_FIRST_PASS = ("attractive", "repulsive", "background")


class InfluencerCriterion(QueryCriterion):
    """Masks by the Influencer Loss, classes by the responsibilities that follow from it.

    Args:
        num_classes: number of classes C, without no-object.
        options: which form of the loss, and its weights; the competitive one by default.
        mask_activation: how mask logits become probabilities in the competitive form; the first form has sigmoids.
        **settings: ``check_values`` and ``sum_counts`` of `Criterion`.
    """

    def __init__(
        self,
        num_classes: int,
        options: CompetitiveOptions | FirstPassOptions | None = None,
        mask_activation: MaskActivation = "sigmoid",
        **settings: Any,
    ) -> None:
        options = options or CompetitiveOptions()
        if isinstance(options, CompetitiveOptions):
            influencer = CompetitiveInfluencerLoss(options, mask_activation)
            mask_weights = {"loss_influencer": options.mask_weight}
        else:
            influencer = MaskInfluencerLoss(options)
            values = options.attr_weight, options.rep_weight, options.bg_weight
            mask_weights = {f"loss_{key}": value for key, value in zip(_FIRST_PASS, values, strict=True)}
        super().__init__(num_classes, options.weights, mask_weights, **settings)
        self.options = options
        self.influencer = influencer

    def mask_terms(self, scenes: Sequence[PredictedScene], progress: float) -> tuple[dict[str, LossTerm], list[Claims]]:
        """Losses of masks by key, and for each scene what classes are trained on."""
        loss, all_sums = self.influencer, []
        weight_tokens = isinstance(self.options, CompetitiveOptions) and self.options.weight_tokens
        truths = [scene.target.segmentation(weight_tokens) for scene in scenes]
        if isinstance(loss, CompetitiveInfluencerLoss):
            # Of all scenes in a row, forward and so backward: torch's threads spin between its operations.
            all_sums = [
                mask_sums(scene.masks, truth.segment, len(truth.labels), truth.weights, loss.mask_activation)
                for scene, truth in zip(scenes, truths, strict=True)
            ]
        losses, claims = [], []
        for index, (scene, truth) in enumerate(zip(scenes, truths, strict=True)):
            probability = scene.class_probability(truth.labels)
            if isinstance(loss, MaskInfluencerLoss):
                found, responsibilities = self._first_pass(loss, scene.masks, truth, probability)
                values = torch.stack(list(found.values()), 1)
            else:
                sums = all_sums[index]
                result = loss.from_sums(sums, truth.segment, probability, progress, scene.query_tokens)
                found, responsibilities = {"loss_influencer": result.loss}, result.responsibilities
                values = torch.cat([sums.total_log_off[:, None], sums.log_odds], 1)
            if scene.target.check_values:
                check_finite(values, "pred_masks", scene.target.name)
            losses.append(found)
            claims.append(Claims(responsibilities, truth.labels))
        return {key: scene_mean([found[key] for found in losses]) for key in losses[0]}, claims

    @staticmethod
    def _first_pass(
        loss: MaskInfluencerLoss, masks: list[Tensor], truth: Segmentation, probability: Tensor | None
    ) -> tuple[dict[str, Float[Tensor, "L"]], Float[Tensor, "L K M"]]:
        """Mask losses and responsibilities of one scene, these as in the competitive form by default."""
        pairs = [loss.with_profiles(mask, truth.segment, len(truth.labels)) for mask in masks]
        losses = {f"loss_{key}": torch.stack([terms[key] for terms, _ in pairs]) for key in _FIRST_PASS}
        defaults = CompetitiveOptions()
        with torch.no_grad():
            score = torch.stack([log_geomean for _, log_geomean in pairs])
            if probability is not None:
                score = score + defaults.class_weight * probability
            return losses, unbalanced_sinkhorn(score, defaults.responsibility_temperature, defaults.num_rounds)
