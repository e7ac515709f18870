"""Trains a query decoder with the Influencer Loss: no matcher, the calling convention of Mask2Former's SetCriterion."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pcseg.losses.competitive import CompetitiveInfluencerLoss, CompetitiveOptions, unbalanced_sinkhorn
from pcseg.losses.criterion import Criterion
from pcseg.losses.inputs import SceneTarget, Segmentation, decoder_layers, masks_of_scenes, stacked_logits
from pcseg.losses.mask_influencer import FirstPassOptions, MaskInfluencerLoss
from pcseg.losses.mask_sums import MaskSums, mask_sums
from pcseg.losses.terms import check_finite, class_loss, class_probability, class_weights_of, scene_mean
from pcseg.structures import MaskActivation


class InfluencerCriterion(Criterion):
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
            weights = options.weights.named(loss_influencer=options.mask_weight)
        else:
            weights = options.weights.named(
                loss_attractive=options.attr_weight,
                loss_repulsive=options.rep_weight,
                loss_background=options.bg_weight,
            )
        super().__init__(weights, **settings)
        self.num_classes = num_classes
        self.options = options
        if isinstance(options, CompetitiveOptions):
            self.influencer = CompetitiveInfluencerLoss(options, mask_activation)
        else:
            self.influencer = MaskInfluencerLoss(options)

    def forward(
        self, outputs: Mapping[str, Any], targets: Sequence[Mapping[str, Any]], progress: float = 0.0
    ) -> dict[str, Float[Tensor, ""]]:
        """All losses of a batch; see `Criterion.forward`."""
        layers = decoder_layers(outputs, self.options.weights.aux_layers)
        logits = stacked_logits(layers)
        all_masks = masks_of_scenes(layers, len(targets))
        scenes = [
            SceneTarget(target, index, len(masks[0]), self.check_values)
            for index, (target, masks) in enumerate(zip(targets, all_masks, strict=True))
        ]
        weight_tokens = isinstance(self.options, CompetitiveOptions) and self.options.weight_tokens
        truths = [scene.segmentation(weight_tokens) for scene in scenes]
        # The sums of all scenes in a row, forward and so backward: torch's threads spin between its operations.
        all_sums = [self._sums(masks, truth) for masks, truth in zip(all_masks, truths, strict=True)]
        mask_losses, class_weights = [], []
        for index, (scene, truth, sums) in enumerate(zip(scenes, truths, all_sums, strict=True)):
            probability = None if logits is None else class_probability(logits[:, index], truth.labels, scene)
            if isinstance(self.influencer, MaskInfluencerLoss):
                losses, responsibilities = self._first_pass(self.influencer, all_masks[index], truth, probability)
                values = torch.stack(list(losses.values()), 1)
            else:
                assert sums is not None
                tokens = None if outputs.get("query_tokens") is None else outputs["query_tokens"][index]
                result = self.influencer.from_sums(sums, truth.segment, probability, progress, tokens)
                losses, responsibilities = {"loss_influencer": result.loss}, result.responsibilities
                values = torch.cat([sums.total_log_off[:, None], sums.log_odds], 1)
            if self.check_values:
                check_finite(values, "pred_masks", scene.name)
            mask_losses.append(losses)
            if logits is not None:
                no_object = self.options.weights.no_object
                class_weights.append(class_weights_of(responsibilities, truth.labels, self.num_classes, no_object))
        terms = {key: scene_mean([losses[key] for losses in mask_losses]) for key in mask_losses[0]}
        if logits is not None:
            terms["loss_ce"] = class_loss(logits, torch.stack(class_weights, 1))
        return self.named_losses(terms, layers, targets)

    def _sums(self, masks: list[Tensor], truth: Segmentation) -> MaskSums | None:
        if isinstance(self.influencer, MaskInfluencerLoss):
            return None
        return mask_sums(masks, truth.segment, len(truth.labels), truth.weights, self.influencer.mask_activation)

    @staticmethod
    def _first_pass(
        loss: MaskInfluencerLoss, masks: list[Tensor], truth: Segmentation, probability: Tensor | None
    ) -> tuple[dict[str, Float[Tensor, "L"]], Float[Tensor, "L K M"]]:
        """Mask losses and responsibilities of one scene, these as in the competitive form by default."""
        labels = torch.where(truth.segment == len(truth.labels), 0, truth.segment + 1)
        labels = labels.masked_fill(truth.segment < 0, -1)
        pairs = [loss.with_profiles(mask, labels) for mask in masks]
        keys = ("attractive", "repulsive", "background")
        losses = {f"loss_{key}": torch.stack([terms[key] for terms, _ in pairs]) for key in keys}
        defaults = CompetitiveOptions()
        with torch.no_grad():
            score = torch.stack([log_geomean for _, log_geomean in pairs])
            if probability is not None:
                score = score + defaults.class_weight * probability
            return losses, unbalanced_sinkhorn(score, defaults.responsibility_temperature, defaults.num_rounds)
