"""Base of all criteria: weights of losses, and sums that become means over the rooms of all processes."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pcseg.losses.terms import LossTerm, center_loss, semantic_loss

_AUX_SUFFIX = re.compile(r"_\d+$")
SumCounts = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class LossWeights:
    """Weights of the losses that every criterion of a query decoder has; ``criterion.weights`` of a config."""

    classes: float = 0.5
    semantic: float = 0.2
    center: float = 1.0
    no_object: float = 0.1  # weight of no-object queries inside the class loss
    aux_layers: bool = True  # deep supervision: intermediate layers have losses too

    def named(self, **masks: float) -> dict[str, float]:
        """Weight of each loss by its key, including the mask losses."""
        return {"loss_ce": self.classes, "loss_semantic": self.semantic, "loss_center": self.center, **masks}


class Criterion(nn.Module):
    """Base of the criteria: ``losses = criterion(outputs, targets, progress)``, then ``criterion.total(losses)``.

    Args:
        weight_dict: weight of each loss, also used for the intermediate layers.
        check_values: whether values that are not finite and labels out of range raise an error that names the scene,
            which waits for the device. Otherwise they make a loss that is not finite. Shapes are always checked.
        sum_counts: function that sums counts over all processes. Each process divides by the sum, so losses and
            gradients add up to the values of one process with all rooms.
    """

    def __init__(
        self, weight_dict: Mapping[str, float], *, check_values: bool = True, sum_counts: SumCounts | None = None
    ) -> None:
        super().__init__()
        self.weight_dict = dict(weight_dict)
        self.check_values = check_values
        self.sum_counts = sum_counts

    def forward(
        self, outputs: Mapping[str, Any], targets: Sequence[Mapping[str, Any]], progress: float = 0.0
    ) -> dict[str, Float[Tensor, ""]]:
        """All losses of a batch.

        Args:
            outputs: ``pred_masks`` (N, M), list of (N_b, M) or (B, M, H, W). Optional: ``pred_logits`` (B, M, C+1),
                ``pred_semantic`` list of (N_b, C), ``pred_centers`` list of (N_b, 3), ``query_tokens`` (B, M), the
                initial token of each query, and ``aux_outputs``, the same for the intermediate layers.
            targets: for each scene ``labels`` (K,) with ``instance_labels`` (N,) or with ``masks`` (K, N) or (K, H, W).
            progress: fraction of training that is done, 0..1.

        Returns:
            Unweighted scalars; keys of intermediate layer i end in ``_i``.

        Raises:
            ValueError: shapes that do not fit, target masks that overlap, or values that are not finite.
        """
        raise NotImplementedError

    def total(self, losses: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """Weighted sum of the losses that `forward` returned."""
        return torch.stack([self.weight_dict[_AUX_SUFFIX.sub("", key)] * loss for key, loss in losses.items()]).sum()

    def named_losses(
        self,
        terms: Mapping[str, LossTerm],
        layers: Sequence[Mapping[str, Any]],
        targets: Sequence[Mapping[str, Any]],
    ) -> dict[str, Float[Tensor, ""]]:
        """Means under the keys of Mask2Former, with the losses of superpoints of each layer that predicts them.

        Args:
            terms: sums with one value for each layer, the last layer first.
            layers: predictions, in the same order.
            targets: ground truth of each scene.

        Returns:
            ``loss_x`` for the last layer, ``loss_x_i`` for intermediate layer i.
        """
        suffixes = ["", *(f"_{index}" for index in range(len(layers) - 1))]
        terms, layered = dict(terms), list(terms)
        for suffix, layer in zip(suffixes, layers, strict=True):
            if layer.get("pred_semantic") is not None:
                terms["loss_semantic" + suffix] = semantic_loss(layer["pred_semantic"], targets, self.check_values)
            if layer.get("pred_centers") is not None:
                terms["loss_center" + suffix] = center_loss(layer["pred_centers"], targets)
        counts = torch.cat([term.count for term in terms.values()])
        if self.sum_counts is not None:  # one message for all of them
            counts = self.sum_counts(counts)
        parts = counts.split([len(term.count) for term in terms.values()])
        means = {key: term.sum / part.clamp(min=term.least) for (key, term), part in zip(terms.items(), parts)}
        named = {key + suffix: means[key][index] for index, suffix in enumerate(suffixes) for key in layered}
        return named | {key: mean[0] for key, mean in means.items() if key not in layered}
