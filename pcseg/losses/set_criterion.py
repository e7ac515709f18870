"""Cross-entropy, BCE and dice on Hungarian matches: the baseline that the Influencer Loss is compared with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from pcseg.losses.criterion import Criterion, LossWeights, SumCounts
from pcseg.losses.inputs import (
    decoder_layers,
    instance_labels_of,
    of_tokens,
    scene_name,
    split_masks,
    stacked,
    target_masks,
)
from pcseg.losses.mask_sums import log_probabilities, softmax_sums
from pcseg.losses.matcher import HungarianMatcher
from pcseg.losses.terms import LossTerm, class_loss, class_probability, class_weights_of
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


class _Scene(NamedTuple):
    """Ground truth of one scene for pairwise costs; ignored tokens weigh nothing."""

    name: str
    labels: Int64[Tensor, "K"]
    masks: Float[Tensor, "K N"]
    weights: Float[Tensor, "N"]


class SetCriterion(Criterion):
    """Matches queries to instances by least cost and trains classes and masks on the matches.

    Args:
        num_classes: number of classes C, without no-object.
        options: weights and costs.
        mask_activation: ``sigmoid``, or ``softmax`` over queries and an empty choice of logit 0.
        matcher: another matcher than a `HungarianMatcher` with the costs of the options.
        check_values: see `Criterion`.
        sum_counts: see `Criterion`.

    Source:
        Mask2Former (Cheng et al. 2022), with all tokens instead of sampled points; weights as in SPFormer (Sun et al.
        2023); semantic loss as in OneFormer3D.
    """

    def __init__(
        self,
        num_classes: int,
        options: HungarianOptions | None = None,
        mask_activation: MaskActivation = "sigmoid",
        matcher: HungarianMatcher | None = None,
        *,
        check_values: bool = True,
        sum_counts: SumCounts | None = None,
    ) -> None:
        options = options or HungarianOptions()
        weights = options.weights.named(loss_mask=options.mask_weight, loss_dice=options.dice_weight)
        super().__init__(weights, check_values=check_values, sum_counts=sum_counts)
        self.num_classes = num_classes
        self.options = options
        self.mask_activation: MaskActivation = mask_activation
        self.matcher = matcher or HungarianMatcher(options.cost_class, options.cost_mask, options.cost_dice)

    def forward(
        self, outputs: Mapping[str, Any], targets: Sequence[Mapping[str, Any]], progress: float = 0.0
    ) -> dict[str, Float[Tensor, ""]]:
        """All losses of a batch.

        Args:
            outputs: ``pred_masks`` (N, M), list of (N_b, M) or (B, M, H, W); optional are ``pred_logits`` (B, M, C+1),
                ``pred_semantic`` list of (N_b, C), ``pred_centers`` list of (N_b, 3) and ``aux_outputs``, the same of
                intermediate layers.
            targets: for each scene ``labels`` (K,) with ``instance_labels`` (N,) or with ``masks`` (K, N) or (K, H, W).
            progress: not used.

        Returns:
            Unweighted scalars; keys of intermediate layer i end in ``_i``.

        Raises:
            ValueError: shapes that do not fit, or costs that are not finite.
        """
        layers = decoder_layers(outputs, self.options.weights.aux_layers)
        of_layers = [split_masks(layer["pred_masks"], len(targets)) for layer in layers]
        logits = stacked(layers, "pred_logits")
        pair_losses: list[Tensor] = []
        class_weights, num_masks = [], 0
        for index, target in enumerate(targets):
            masks = [scenes[index] for scenes in of_layers]
            scene = self._scene(target, masks[0], index)
            num_masks += len(scene.labels)
            probability = None
            if logits is not None:
                probability = class_probability(logits[:, index], scene.labels, scene.name, self.check_values)
            bce, dice = self._pairs(masks, scene)
            if not self.check_values:  # any match will do: the losses of the pairs are not finite either
                bce, dice = (torch.where(cost.isfinite(), cost, 0.0) for cost in (bce, dice))
                probability = None if probability is None else probability.nan_to_num()
            matches = self.matcher(bce, dice, probability, scene.name)
            matched = [self._matched(mask, scene, *match) for mask, match in zip(masks, matches, strict=True)]
            pair_losses.append(torch.stack(matched, 1))
            if logits is not None:
                chosen = torch.zeros_like(bce)
                for layer, (queries, instances) in enumerate(matches):
                    chosen[layer, instances, queries] = 1
                no_object = self.options.weights.no_object
                class_weights.append(class_weights_of(chosen, scene.labels, self.num_classes, no_object))
        terms = {}
        for key, total in zip(("loss_mask", "loss_dice"), torch.stack(pair_losses).sum(0), strict=True):
            terms[key] = LossTerm(total, torch.full_like(total, num_masks, requires_grad=False))
        if logits is not None:
            terms["loss_ce"] = class_loss(logits, torch.stack(class_weights, 1))
        return self.named_losses(terms, layers, targets)

    def _scene(self, target: Mapping[str, Any], masks: Float[Tensor, "N M"], index: int) -> _Scene:
        name = scene_name(target, index)
        num_tokens = len(masks)
        dtype = torch.promote_types(masks.dtype, torch.float32)
        labels = target["labels"].long()
        weights = masks.new_ones(num_tokens, dtype=dtype)
        if self.options.weight_tokens:
            weights = of_tokens(target, "point_counts", num_tokens, name).to(dtype)
        if "instance_labels" not in target:
            return _Scene(name, labels, target_masks(target, num_tokens, name).to(dtype), weights)
        ids = instance_labels_of(target, num_tokens, name, self.check_values)
        # Instances without a token have no mask to learn.
        present = torch.unique(ids[ids > 0])
        return _Scene(name, labels[present - 1], (ids == present[:, None]).to(dtype), weights.masked_fill(ids < 0, 0))

    @torch.no_grad()
    def _pairs(self, layers: Sequence[Tensor], scene: _Scene) -> tuple[Float[Tensor, "L K M"], Float[Tensor, "L K M"]]:
        """BCE and dice of every pair, one matrix product each."""
        weights = scene.weights[:, None]
        masks = scene.masks * scene.weights
        size = masks.sum(1)[:, None]
        bce, dice = [], []
        for layer in layers:
            log_odds, log_off, p = log_probabilities(layer.to(masks.dtype), self.mask_activation)
            bce.append(-(masks @ log_odds + (log_off * weights).sum(0)) / weights.sum().clamp(min=1e-12))
            dice.append(1 - (2 * masks @ p + 1) / ((p * weights).sum(0) + size + 1))
        return torch.stack(bce), torch.stack(dice)

    def _matched(
        self,
        mask: Float[Tensor, "N M"],
        scene: _Scene,
        queries: Int64[Tensor, "pairs"],
        instances: Int64[Tensor, "pairs"],
    ) -> Float[Tensor, "2"]:
        """Sum of BCE and of dice over the matched pairs of one layer."""
        target = scene.masks[instances].T
        weights = scene.weights[:, None]
        logits = mask.to(target.dtype)
        if self.mask_activation == "sigmoid":
            chosen = logits[:, queries]
            bce = F.binary_cross_entropy_with_logits(chosen, target, reduction="none")
            p = torch.sigmoid(chosen)
        else:
            log_p, log_off = softmax_log_probabilities(logits, queries)
            bce = -(target * log_p + (1 - target) * log_off)
            p = log_p.exp()
        inside, total, size = ((values * weights).sum(0) for values in (p * target, p, target))
        bce_sum = (bce * weights).sum() / weights.sum().clamp(min=1e-12)
        return torch.stack([bce_sum, (1 - (2 * inside + 1) / (total + size + 1)).sum()])


def softmax_log_probabilities(
    logits: Float[Tensor, "N M"], queries: Int64[Tensor, "pairs"]
) -> tuple[Float[Tensor, "N pairs"], Float[Tensor, "N pairs"]]:
    """log p and log(1 - p) of some queries, as `log_probabilities` computes them of all."""
    first, rest, total = softmax_sums(logits)
    log_p = logits[:, queries] - total
    is_first = queries == first
    log_off = torch.log1p(-log_p.masked_fill(is_first, -torch.inf).exp())
    return log_p, torch.where(is_first, rest - total, log_off)
