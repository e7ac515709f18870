"""Trains a query decoder with the Influencer Loss: no matcher, the calling convention of Mask2Former's SetCriterion."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pcseg.losses.competitive import (
    CLASS_WEIGHT,
    NUM_ROUNDS,
    RESPONSIBILITY_TEMPERATURE,
    CompetitiveInfluencerLoss,
    instances_of_origin,
    unbalanced_sinkhorn,
)
from pcseg.losses.criterion import Criterion, LossTerm, scene_mean
from pcseg.losses.inputs import LossWeights, SceneTargets, decoder_layers, scene_targets, split_masks, stacked
from pcseg.losses.mask_influencer import MaskInfluencerLoss
from pcseg.losses.mask_sums import MaskSums, mask_sums
from pcseg.losses.terms import (
    check_finite,
    class_loss,
    class_probability,
    class_weights_of,
    named_losses,
    score_errors,
)


class InfluencerCriterion(Criterion):
    """Masks by the Influencer Loss, classes and predicted IoUs by the responsibilities that follow from it.

    Args:
        num_classes: C, without no-object.
        loss: ``competitive`` (`CompetitiveInfluencerLoss`) or ``first_pass`` (`MaskInfluencerLoss`).
        weight_dict: weight of each loss; those of ``loss_ce``, ``loss_influencer`` (or ``loss_attractive``,
            ``loss_repulsive``, ``loss_background``), ``loss_score``,
            ``loss_semantic`` and ``loss_center`` that are absent
            keep their defaults 0.5, 1, 0.5, 0.2 and 1.
        eos_coef: weight of no-object in the cross-entropy.
        weight_tokens: weigh tokens by the targets' ``point_counts`` (``competitive`` only).
        **loss_options: keywords of the loss.
    """

    def __init__(
        self,
        num_classes: int,
        loss: Literal["competitive", "first_pass"] = "competitive",
        weight_dict: Mapping[str, float] | None = None,
        eos_coef: float = 0.1,
        weight_tokens: bool = False,
        **loss_options: Any,
    ) -> None:
        super().__init__()
        if loss not in ("competitive", "first_pass"):
            raise ValueError(f"loss must be 'competitive' or 'first_pass', got {loss!r}")
        if weight_tokens and loss == "first_pass":
            raise ValueError("weight_tokens goes with loss 'competitive'; the first form has no token weights")
        self.num_classes = num_classes
        self.eos_coef = eos_coef
        self.weight_tokens = weight_tokens
        self.progress = 0.0
        weights = {"loss_ce": 0.5, "loss_score": 0.5, "loss_semantic": 0.2, "loss_center": 1.0}
        if loss == "competitive":
            self.influencer: nn.Module = CompetitiveInfluencerLoss(**loss_options)
            weights["loss_influencer"] = 1.0
        else:
            self.influencer = MaskInfluencerLoss(**loss_options)
            weights["loss_attractive"] = self.influencer.attr_weight
            weights["loss_repulsive"] = self.influencer.rep_weight
            weights["loss_background"] = self.influencer.bg_weight
        self.weight_dict = LossWeights.merged(weights, weight_dict)

    def set_progress(self, fraction: float) -> None:
        """Tells which fraction of training is done (0..1), for the temperature."""
        if not 0 <= fraction <= 1:
            raise ValueError(f"progress must be a fraction of training in 0..1, got {fraction}")
        self.progress = float(fraction)

    def forward(self, outputs: Mapping[str, Any], targets: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """All losses of a batch.

        Args:
            outputs: ``pred_masks`` (N, M), list of (N_b, M) or (B, M, H, W); where the model has them ``pred_logits``
                (B, M, C+1), ``pred_scores`` (B, M), ``pred_semantic`` list of
                (N_b, C), ``pred_centers`` list of (N_b, 3), ``query_tokens`` (B, M), the token that each query started
                from, and ``aux_outputs``.
            targets: for each scene ``labels`` (K,) with ``instance_labels`` (N,) or with ``masks`` (K, N) or (K, H, W).

        Returns:
            Unweighted scalars; keys of intermediate layer i end in ``_i``.

        Raises:
            ValueError: shapes that do not fit, overlapping target masks, or numbers that are not finite.
        """
        layers = decoder_layers(outputs)
        masks = [split_masks(layer["pred_masks"], len(targets)) for layer in layers]
        logits, scores = stacked(layers, "pred_logits"), stacked(layers, "pred_scores")
        all_masks = [[layer_masks[b] for layer_masks in masks] for b in range(len(targets))]
        scenes = [
            scene_targets(target, len(all_masks[b][0]), b, self.weight_tokens, self.check_values)
            for b, target in enumerate(targets)
        ]
        # The sums of all scenes in a row, forward and so backward: torch's threads spin between its operations.
        all_sums = [self._sums(of_layers, scene) for of_layers, scene in zip(all_masks, scenes, strict=True)]
        mask_losses: list[dict[str, Tensor]] = []
        class_weights, errors, counts = [], [], []
        for b, (scene, sums) in enumerate(zip(scenes, all_sums, strict=True)):
            probability = (
                None if logits is None else class_probability(logits[:, b], scene.labels, scene.name, self.check_values)
            )
            tokens = None if outputs.get("query_tokens") is None else outputs["query_tokens"][b]
            scene_losses, responsibilities, iou = self._scene(all_masks[b], sums, scene, probability, tokens)
            mask_losses.append(scene_losses)
            class_weights.append(class_weights_of(responsibilities, scene.labels, self.num_classes, self.eos_coef))
            if scores is not None:
                error, count = score_errors(scores[:, b], iou, responsibilities)
                errors.append(error)
                counts.append(count)
        terms = {key: scene_mean([s[key] for s in mask_losses]) for key in mask_losses[0]}
        if logits is not None:
            terms["loss_ce"] = class_loss(logits, torch.stack(class_weights, 1))
        if scores is not None:
            terms["loss_score"] = LossTerm(torch.stack(errors).sum(0), torch.stack(counts).sum(0))
        return named_losses(self, terms, layers, targets)

    def _sums(self, masks: list[Tensor], scene: SceneTargets) -> MaskSums:
        loss = self.influencer
        if isinstance(loss, CompetitiveInfluencerLoss):
            return mask_sums(masks, scene.segment, scene.num_instances, scene.weights, loss.mask_activation)
        with torch.no_grad():
            return mask_sums(masks, scene.segment, scene.num_instances, None, "sigmoid")

    def _scene(
        self,
        masks: list[Tensor],
        sums: MaskSums,
        scene: SceneTargets,
        probability: Tensor | None,
        query_tokens: Tensor | None,
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Mask losses (L,), responsibilities and IoU (L, K, M) of one scene."""
        loss = self.influencer
        if isinstance(loss, CompetitiveInfluencerLoss):
            if self.check_values:
                check_finite(sums.total_log_off, "pred_masks", scene.name)
                check_finite(sums.log_odds, "pred_masks", scene.name)
            origin = None
            if query_tokens is not None:
                origin = instances_of_origin(scene.segment, scene.num_instances, query_tokens)
            result = loss.from_sums(sums, probability, loss.temperature_at(self.progress), origin)
            return {"loss_influencer": result.loss}, result.responsibilities, result.iou
        assert isinstance(loss, MaskInfluencerLoss)
        labels = torch.where(scene.segment == scene.num_instances, 0, scene.segment + 1)
        labels = labels.masked_fill(scene.segment < 0, -1)
        pairs = [loss.with_profiles(mask, labels) for mask in masks]
        keys = ("attractive", "repulsive", "background")
        losses = {f"loss_{key}": torch.stack([terms[key] for terms, _ in pairs]) for key in keys}
        if self.check_values:
            check_finite(torch.stack(list(losses.values()), 1), "pred_masks", scene.name)
        with torch.no_grad():
            score = torch.stack([log_geomean for _, log_geomean in pairs])
            if probability is not None:
                score = score + CLASS_WEIGHT * probability
            responsibilities = unbalanced_sinkhorn(score, RESPONSIBILITY_TEMPERATURE, NUM_ROUNDS)
        return losses, responsibilities, sums.iou()
