"""Cross-entropy, BCE and dice on Hungarian matches: the baseline that the Influencer Loss is compared with."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from pcseg.losses.criterion import Criterion, LossTerm
from pcseg.losses.inputs import (
    LossWeights,
    decoder_layers,
    instance_labels_of,
    scene_name,
    split_masks,
    stacked,
    target_masks,
    token_weights,
)
from pcseg.losses.mask_sums import MaskActivation
from pcseg.losses.matcher import HungarianMatcher
from pcseg.losses.terms import class_loss, class_probability, class_weights_of, named_losses


class _Scene(NamedTuple):
    """Ground truth of one scene as pairwise costs take it; ignored tokens weigh nothing."""

    name: str
    labels: Int64[Tensor, "K"]
    masks: Float[Tensor, "K N"]
    weights: Float[Tensor, "N"]


class _Matched(NamedTuple):
    """Losses of the matched pairs of one layer."""

    bce: Float[Tensor, ""]
    dice: Float[Tensor, ""]
    iou: Float[Tensor, "pairs"]


class SetCriterion(Criterion):
    """Matches queries to instances by least cost and trains classes and masks on the matches.

    Args:
        num_classes: C, without no-object.
        matcher: `HungarianMatcher` with costs of 1 where not given.
        weight_dict: weight of each loss; those of ``loss_ce``, ``loss_mask``, ``loss_dice``, ``loss_score`` and
            ``loss_semantic`` and ``loss_center`` that are absent keep their defaults 0.5, 1, 1, 0.5, 0.2 and 1.
        eos_coef: weight of no-object in the cross-entropy.
        mask_activation: ``sigmoid``, or ``softmax`` over queries and a dustbin logit of 0.
        weight_tokens: weigh tokens by the targets' ``point_counts`` in BCE and dice.

    Source:
        Mask2Former (Cheng et al. 2022), with all tokens in the place of sampled points; predicted IoUs as in SPFormer
        (Sun et al. 2023), whose weights are the defaults; semantic loss as in OneFormer3D.
    """

    def __init__(
        self,
        num_classes: int,
        matcher: HungarianMatcher | None = None,
        weight_dict: Mapping[str, float] | None = None,
        eos_coef: float = 0.1,
        mask_activation: MaskActivation = "sigmoid",
        weight_tokens: bool = False,
    ) -> None:
        super().__init__()
        if mask_activation not in ("softmax", "sigmoid"):
            raise ValueError(f"mask_activation must be 'softmax' or 'sigmoid', got {mask_activation!r}")
        self.num_classes = num_classes
        self.matcher = HungarianMatcher() if matcher is None else matcher
        self.eos_coef = eos_coef
        self.mask_activation: MaskActivation = mask_activation
        self.weight_tokens = weight_tokens
        defaults = {
            "loss_ce": 0.5,
            "loss_mask": 1.0,
            "loss_dice": 1.0,
            "loss_score": 0.5,
            "loss_semantic": 0.2,
            "loss_center": 1.0,
        }
        self.weight_dict = LossWeights.merged(defaults, weight_dict)

    def forward(self, outputs: Mapping[str, Any], targets: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """All losses of a batch.

        Args:
            outputs: ``pred_masks`` (N, M), list of (N_b, M) or (B, M, H, W); where the model has them ``pred_logits``
                (B, M, C+1), ``pred_scores`` (B, M), ``pred_semantic`` list of
                (N_b, C), ``pred_centers`` list of (N_b, 3) and ``aux_outputs``.
            targets: for each scene ``labels`` (K,) with ``instance_labels`` (N,) or with ``masks`` (K, N) or (K, H, W).

        Returns:
            Unweighted scalars; keys of intermediate layer i end in ``_i``.

        Raises:
            ValueError: shapes that do not fit, or costs that are not finite.
        """
        layers = decoder_layers(outputs)
        all_masks = [split_masks(layer["pred_masks"], len(targets)) for layer in layers]
        logits, scores = stacked(layers, "pred_logits"), stacked(layers, "pred_scores")
        sums: dict[str, list[Tensor]] = {"loss_mask": [], "loss_dice": [], "error": [], "count": []}
        class_weights, num_masks = [], 0
        for b, target in enumerate(targets):
            masks = [layer_masks[b] for layer_masks in all_masks]
            scene = self._scene(target, masks[0], b)
            num_masks += len(scene.labels)
            probability = (
                None if logits is None else class_probability(logits[:, b], scene.labels, scene.name, self.check_values)
            )
            bce, dice = self._pairs(masks, scene)
            if not self.check_values:  # any match will do: the losses of the pairs are not finite either
                bce, dice = (torch.where(cost.isfinite(), cost, 0.0) for cost in (bce, dice))
                probability = None if probability is None else probability.nan_to_num()
            matches = self.matcher(bce, dice, probability, scene.name)
            matched = [self._matched(mask, scene, *match) for mask, match in zip(masks, matches, strict=True)]
            sums["loss_mask"].append(torch.stack([pair.bce for pair in matched]))
            sums["loss_dice"].append(torch.stack([pair.dice for pair in matched]))
            if logits is not None:
                chosen = torch.zeros_like(bce)
                for layer, (queries, instances) in enumerate(matches):
                    chosen[layer, instances, queries] = 1
                class_weights.append(class_weights_of(chosen, scene.labels, self.num_classes, self.eos_coef))
            if scores is not None:
                good = [pair.iou > 0.5 for pair in matched]
                errors = [
                    (ok * (scores[layer, b, match[0]] - pair.iou) ** 2).sum()
                    for layer, (ok, pair, match) in enumerate(zip(good, matched, matches, strict=True))
                ]
                sums["error"].append(torch.stack(errors))
                sums["count"].append(torch.stack([ok.sum() for ok in good]))
        terms = {}
        for key in ("loss_mask", "loss_dice"):
            total = torch.stack(sums[key]).sum(0)
            terms[key] = LossTerm(total, torch.full_like(total, num_masks, requires_grad=False))
        if logits is not None:
            terms["loss_ce"] = class_loss(logits, torch.stack(class_weights, 1))
        if scores is not None:
            error = torch.stack(sums["error"]).sum(0)
            terms["loss_score"] = LossTerm(error, torch.stack(sums["count"]).sum(0).to(error.dtype))
        return named_losses(self, terms, layers, targets)

    def _scene(self, target: Mapping[str, Any], masks: Float[Tensor, "N M"], index: int) -> _Scene:
        name = scene_name(target, index)
        num_tokens = len(masks)
        dtype = torch.promote_types(masks.dtype, torch.float32)
        labels = target["labels"].long()
        weights = token_weights(target, num_tokens, name) if self.weight_tokens else masks.new_ones(num_tokens)
        weights = weights.to(dtype)
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
            logits = layer.to(masks.dtype)
            if self.mask_activation == "sigmoid":
                log_odds, log_off, p = logits, -F.softplus(logits), torch.sigmoid(logits)
            else:
                first, _, r, z = softmax_sums(logits)
                log_p = logits - z
                p = log_p.exp()
                log_off = torch.log1p(-p.scatter(1, first, 0)).scatter_(1, first, r - z)
                log_odds = log_p - log_off
            bce.append(-(masks @ log_odds + (log_off * weights).sum(0)) / weights.sum().clamp(min=1e-12))
            dice.append(1 - (2 * masks @ p + 1) / ((p * weights).sum(0) + size + 1))
        return torch.stack(bce), torch.stack(dice)

    def _matched(
        self,
        mask: Float[Tensor, "N M"],
        scene: _Scene,
        queries: Int64[Tensor, "pairs"],
        instances: Int64[Tensor, "pairs"],
    ) -> _Matched:
        """Sum of BCE and of dice over the matched pairs of one layer, and their IoU."""
        target = scene.masks[instances].T
        weights = scene.weights[:, None]
        logits = mask.to(target.dtype)
        if self.mask_activation == "sigmoid":
            chosen = logits[:, queries]
            bce = F.binary_cross_entropy_with_logits(chosen, target, reduction="none")
            p, hard = torch.sigmoid(chosen), chosen.detach() > 0
        else:
            log_p, log_off = softmax_log_probabilities(logits, queries)
            bce = -(target * log_p + (1 - target) * log_off)
            p = log_p.exp()
            hard = log_p.detach() > log_off.detach()
        inside, total, size = ((v * weights).sum(0) for v in (p * target, p, target))
        hard_inside, either = (((hard & (target > 0)) * weights).sum(0), ((hard | (target > 0)) * weights).sum(0))
        return _Matched(
            (bce * weights).sum() / weights.sum().clamp(min=1e-12),
            (1 - (2 * inside + 1) / (total + size + 1)).sum(),
            hard_inside / either.clamp(min=1e-12),
        )


def softmax_sums(
    logits: Float[Tensor, "N M"],
) -> tuple[Int64[Tensor, "N 1"], Float[Tensor, "N 1"], Float[Tensor, "N 1"], Float[Tensor, "N 1"]]:
    """The first query of each token and its logit, the log of the sum of the others (dustbin included) and of all."""
    first = logits.argmax(1, keepdim=True)
    top = logits.gather(1, first)
    others = logits.scatter(1, first, -torch.inf).logsumexp(1, keepdim=True)
    rest = torch.logaddexp(others, torch.zeros_like(others))
    return first, top, rest, torch.logaddexp(rest, top)


def softmax_log_probabilities(
    logits: Float[Tensor, "N M"], queries: Int64[Tensor, "pairs"]
) -> tuple[Float[Tensor, "N pairs"], Float[Tensor, "N pairs"]]:
    """log p and log(1 - p) of some queries, softmax over all queries and a dustbin logit of 0.

    1 - p cancels for the first query of a token, the only one that may have p > 0.5: there the others are summed.
    """
    first, _, rest, total = softmax_sums(logits)
    log_p = logits[:, queries] - total
    is_first = queries == first
    log_off = torch.log1p(-log_p.masked_fill(is_first, -torch.inf).exp())
    return log_p, torch.where(is_first, rest - total, log_off)
