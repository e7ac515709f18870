"""Trains a query decoder with the Influencer Loss: no matcher, the calling convention of Mask2Former's SetCriterion."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pcseg.losses.competitive import (
    CompetitiveInfluencerLoss,
    CompetitiveOptions,
    instances_of_origin,
    unbalanced_sinkhorn,
)
from pcseg.losses.criterion import Criterion, SumCounts
from pcseg.losses.inputs import SceneTargets, decoder_layers, scene_targets, split_masks, stacked
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
        check_values: see `Criterion`.
        sum_counts: see `Criterion`.
    """

    def __init__(
        self,
        num_classes: int,
        options: CompetitiveOptions | FirstPassOptions | None = None,
        mask_activation: MaskActivation = "sigmoid",
        *,
        check_values: bool = True,
        sum_counts: SumCounts | None = None,
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
        super().__init__(weights, check_values=check_values, sum_counts=sum_counts)
        self.num_classes = num_classes
        self.options = options
        if isinstance(options, CompetitiveOptions):
            self.influencer = CompetitiveInfluencerLoss(options, mask_activation)
        else:
            self.influencer = MaskInfluencerLoss(options)

    def forward(
        self, outputs: Mapping[str, Any], targets: Sequence[Mapping[str, Any]], progress: float = 0.0
    ) -> dict[str, Float[Tensor, ""]]:
        """All losses of a batch.

        Args:
            outputs: ``pred_masks`` (N, M), list of (N_b, M) or (B, M, H, W); optional are ``pred_logits`` (B, M, C+1),
                ``pred_semantic`` list of (N_b, C), ``pred_centers`` list of (N_b, 3), ``query_tokens`` (B, M), the
                token that each query started from, and ``aux_outputs``, the same of intermediate layers.
            targets: for each scene ``labels`` (K,) with ``instance_labels`` (N,) or with ``masks`` (K, N) or (K, H, W).
            progress: fraction of training that is done, for the temperature.

        Returns:
            Unweighted scalars; keys of intermediate layer i end in ``_i``.

        Raises:
            ValueError: shapes that do not fit, overlapping target masks, or values that are not finite.
        """
        layers = decoder_layers(outputs, self.options.weights.aux_layers)
        logits = stacked(layers, "pred_logits")
        of_layers = [split_masks(layer["pred_masks"], len(targets)) for layer in layers]
        of_scenes = [list(masks) for masks in zip(*of_layers, strict=True)]
        weight_tokens = isinstance(self.options, CompetitiveOptions) and self.options.weight_tokens
        scenes = [
            scene_targets(target, len(masks[0]), index, weight_tokens, self.check_values)
            for index, (target, masks) in enumerate(zip(targets, of_scenes, strict=True))
        ]
        # The sums of all scenes in a row, forward and so backward: torch's threads spin between its operations.
        all_sums = [self._sums(masks, scene) for masks, scene in zip(of_scenes, scenes, strict=True)]
        mask_losses: list[dict[str, Tensor]] = []
        class_weights = []
        for index, scene in enumerate(scenes):
            probability = None
            if logits is not None:
                probability = class_probability(logits[:, index], scene.labels, scene.name, self.check_values)
            sums = all_sums[index]
            if sums is None:
                losses, responsibilities = self._first_pass(of_scenes[index], scene, probability)
            else:
                tokens = None if outputs.get("query_tokens") is None else outputs["query_tokens"][index]
                losses, responsibilities = self._competitive(sums, scene, probability, progress, tokens)
            mask_losses.append(losses)
            no_object = self.options.weights.no_object
            class_weights.append(class_weights_of(responsibilities, scene.labels, self.num_classes, no_object))
        terms = {key: scene_mean([losses[key] for losses in mask_losses]) for key in mask_losses[0]}
        if logits is not None:
            terms["loss_ce"] = class_loss(logits, torch.stack(class_weights, 1))
        return self.named_losses(terms, layers, targets)

    def _sums(self, masks: list[Tensor], scene: SceneTargets) -> MaskSums | None:
        if isinstance(self.influencer, MaskInfluencerLoss):
            return None
        return mask_sums(masks, scene.segment, len(scene.labels), scene.weights, self.influencer.mask_activation)

    def _competitive(
        self,
        sums: MaskSums,
        scene: SceneTargets,
        probability: Tensor | None,
        progress: float,
        query_tokens: Tensor | None,
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Mask losses (L,) and responsibilities (L, K, M) of one scene."""
        loss = self.influencer
        assert isinstance(loss, CompetitiveInfluencerLoss)
        if self.check_values:
            check_finite(sums.total_log_off, "pred_masks", scene.name)
            check_finite(sums.log_odds, "pred_masks", scene.name)
        origin = None
        if query_tokens is not None:
            origin = instances_of_origin(scene.segment, len(scene.labels), query_tokens)
        result = loss.from_sums(sums, probability, loss.temperature_at(progress), origin)
        return {"loss_influencer": result.loss}, result.responsibilities

    def _first_pass(
        self, masks: list[Tensor], scene: SceneTargets, probability: Tensor | None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """The same, with the class weights of the competitive form's defaults."""
        loss = self.influencer
        assert isinstance(loss, MaskInfluencerLoss)
        labels = torch.where(scene.segment == len(scene.labels), 0, scene.segment + 1)
        labels = labels.masked_fill(scene.segment < 0, -1)
        pairs = [loss.with_profiles(mask, labels) for mask in masks]
        keys = ("attractive", "repulsive", "background")
        losses = {f"loss_{key}": torch.stack([terms[key] for terms, _ in pairs]) for key in keys}
        if self.check_values:
            check_finite(torch.stack(list(losses.values()), 1), "pred_masks", scene.name)
        defaults = CompetitiveOptions()
        with torch.no_grad():
            score = torch.stack([log_geomean for _, log_geomean in pairs])
            if probability is not None:
                score = score + defaults.class_weight * probability
            return losses, unbalanced_sinkhorn(score, defaults.responsibility_temperature, defaults.num_rounds)
