"""Base of all criteria: weights of losses, and sums that become means over the rooms of all processes."""

import re
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from pcseg.losses.inputs import SceneTarget, decoder_layers, masks_of_scenes

_AUX_SUFFIX = re.compile(r"_\d+$")
_NEVER = -1e4  # a logit of probability 0; 0 times a log probability of minus infinity would be NaN
SumCounts = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class LossWeights:
    """Weights of the losses that every criterion of a query decoder has; ``criterion.weights`` of a config."""

    classes: float = 0.5
    semantic: float = 0.2
    center: float = 1.0
    no_object: float = 0.1  # weight of no-object queries inside the class loss
    aux_layers: bool = True  # deep supervision: intermediate layers have losses too


class LossTerm(NamedTuple):
    """A loss before its division: a sum over the scenes at hand, and what to divide it by, of each layer."""

    sum: Float[Tensor, "L"]
    count: Float[Tensor, "L"]  # without gradient
    least: float = 1.0  # smallest divisor


class Claims(NamedTuple):
    """How much query m answers for instance k of a scene, and the class of each instance."""

    responsibilities: Float[Tensor, "L K M"]
    labels: Int64[Tensor, "K"]


class PredictedScene(NamedTuple):
    """The predictions of all layers for one scene, and its ground truth."""

    target: SceneTarget
    masks: list[Float[Tensor, "N M"]]
    class_logits: Float[Tensor, "L M classes"] | None  # the last column is no-object
    query_tokens: Int64[Tensor, "M"] | None

    def class_probability(self, labels: Int64[Tensor, "K"]) -> Float[Tensor, "L K M"] | None:
        """P(class of instance k | query m), without gradient; None where masks alone are trained.

        Raises:
            ValueError: labels out of range, or logits that are not finite, where values are checked.
        """
        if self.class_logits is None:
            return None
        logits = self.class_logits.detach()
        if self.target.check_values:
            check_finite(logits, "pred_logits", self.target.name)
        self.target.check_range("labels", labels, 0, logits.shape[2] - 2)
        dtype = torch.promote_types(logits.dtype, torch.float32)
        return logits.to(dtype).softmax(2).transpose(1, 2).index_select(1, labels)


class Criterion(nn.Module):
    """Base of the criteria: ``losses = criterion(outputs, targets, progress)``, then ``criterion.total(losses)``.

    Args:
        weight_dict: weight of each loss, also used for the intermediate layers.
        check_values: whether values that are not finite and labels out of range raise an error that names the scene,
            which waits for the device. Otherwise they make a loss that is not finite. Shapes are always checked.
        sum_counts: function that sums counts over all processes. Each process divides by the sum, so losses and
            gradients add up to the values of one process with all rooms.
        absent: classes that the training data lacks. Their logits get no gradient, so that fine-tuning does not unlearn
            what it never sees.
    """

    def __init__(
        self,
        weight_dict: Mapping[str, float],
        *,
        check_values: bool = True,
        sum_counts: SumCounts | None = None,
        absent: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.absent = list(absent)
        self.weight_dict = dict(weight_dict)
        self.check_values = check_values
        self.sum_counts = sum_counts

    def total(self, losses: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """Weighted sum of the losses that the criterion returned."""
        return torch.stack([self.weight_dict[_AUX_SUFFIX.sub("", key)] * loss for key, loss in losses.items()]).sum()

    def without_absent(self, logits: Float[Tensor, "*shape classes"]) -> Float[Tensor, "*shape classes"]:
        """Class logits whose softmax leaves out the absent classes."""
        if not self.absent:
            return logits
        return logits.index_fill(-1, torch.tensor(self.absent, device=logits.device), _NEVER)

    def named_losses(
        self, terms: Mapping[str, LossTerm], layers: Sequence[Mapping[str, Any]], targets: Sequence[Mapping[str, Any]]
    ) -> dict[str, Float[Tensor, ""]]:
        """Means under the keys of Mask2Former, with the losses of superpoints of each layer that predicts them.

        Args:
            terms: losses by key, such as ``loss_mask``, with one value for each layer in the order of `layers`.
            layers: outputs of the last layer, then those of the intermediate ones, as from `decoder_layers`.
            targets: ground truth of each scene, for the losses of superpoints.

        Returns:
            ``loss_x`` for the last layer, ``loss_x_i`` for intermediate layer i.
        """
        suffixes = ["", *(f"_{index}" for index in range(len(layers) - 1))]
        terms, layered = dict(terms), list(terms)
        for suffix, layer in zip(suffixes, layers, strict=True):
            if layer.get("pred_semantic") is not None:
                present = [self.without_absent(logits) for logits in layer["pred_semantic"]]
                terms["loss_semantic" + suffix] = semantic_loss(present, targets, self.check_values)
            if layer.get("pred_centers") is not None:
                terms["loss_center" + suffix] = center_loss(layer["pred_centers"], targets)
        counts = torch.cat([term.count for term in terms.values()])
        if self.sum_counts is not None:  # one message for all of them
            counts = self.sum_counts(counts)
        parts = counts.split([len(term.count) for term in terms.values()])
        means = {key: term.sum / part.clamp(min=term.least) for (key, term), part in zip(terms.items(), parts)}
        named = {key + suffix: means[key][index] for index, suffix in enumerate(suffixes) for key in layered}
        return named | {key: mean[0] for key, mean in means.items() if key not in layered}


class QueryCriterion(Criterion):
    """Base of the criteria of a query decoder: a subclass has the losses of masks, and what classes follow from them.

    Args:
        num_classes: number of classes C, without no-object.
        weights: weights of the losses that all have.
        mask_weights: weights of the losses of masks, by key.
        **settings: ``check_values`` and ``sum_counts`` of `Criterion`.
    """

    def __init__(
        self, num_classes: int, weights: LossWeights, mask_weights: Mapping[str, float], **settings: Any
    ) -> None:
        of_all = {"loss_ce": weights.classes, "loss_semantic": weights.semantic, "loss_center": weights.center}
        super().__init__({**of_all, **mask_weights}, **settings)
        self.num_classes = num_classes
        self.weights = weights

    def forward(
        self, outputs: Mapping[str, Any], targets: Sequence[Mapping[str, Any]], progress: float = 0.0
    ) -> dict[str, Float[Tensor, ""]]:
        """All losses of a batch.

        Args:
            outputs: ``pred_masks`` (N, M), list of (N_b, M) or (B, M, H, W). Optional: ``pred_logits`` (B, M, C+1),
                ``pred_semantic`` list of (N_b, C), and ``pred_centers`` list of (N_b, 3). Also ``query_tokens`` (B, M),
                the initial token of each query, and ``aux_outputs``, the same for the intermediate layers.
            targets: for each scene ``labels`` (K,) with ``instance_labels`` (N,) or with ``masks`` (K, N) or (K, H, W).
            progress: fraction of training that is done, 0..1.

        Returns:
            Unweighted scalars; keys of intermediate layer i end in ``_i``.

        Raises:
            ValueError: shapes that do not fit, target masks that overlap, or values that are not finite.
        """
        layers = decoder_layers(outputs, self.weights.aux_layers)
        logits = None if outputs.get("pred_logits") is None else torch.stack([each["pred_logits"] for each in layers])
        tokens = outputs.get("query_tokens")
        scenes = [
            PredictedScene(
                SceneTarget(targets[index], index, len(masks[0]), self.check_values),
                masks,
                None if logits is None else logits[:, index],
                None if tokens is None else tokens[index],
            )
            for index, masks in enumerate(masks_of_scenes(layers, len(targets)))
        ]
        terms, claims = self.mask_terms(scenes, progress)
        if logits is not None:
            terms["loss_ce"] = self._class_loss(logits, claims)
        return self.named_losses(terms, layers, targets)

    @abstractmethod
    def mask_terms(self, scenes: Sequence[PredictedScene], progress: float) -> tuple[dict[str, LossTerm], list[Claims]]:
        """Losses of masks by key, and for each scene what classes are trained on.

        Args:
            scenes: predictions of all layers and ground truth of each scene.
            progress: fraction of training that is done, 0..1.
        """

    def _class_loss(self, logits: Float[Tensor, "L B M classes"], claims: Sequence[Claims]) -> LossTerm:
        """Cross-entropy, divided by the sum of the weights: what a query answers for, no-object for the remainder."""
        scenes = []
        for responsibilities, labels in claims:
            weights = responsibilities.new_zeros(len(logits), self.num_classes + 1, logits.shape[2])
            weights.index_add_(1, labels, responsibilities)
            weights[:, -1] = self.weights.no_object * (1 - responsibilities.sum(1)).clamp(min=0)
            scenes.append(weights.transpose(1, 2))
        weights = torch.stack(scenes, 1)
        log_p = self.without_absent(logits.to(weights.dtype)).log_softmax(-1)
        return LossTerm(-(weights * log_p).sum((1, 2, 3)), weights.sum((1, 2, 3)), least=1e-12)


def scene_mean(values: Sequence[Float[Tensor, "L"]]) -> LossTerm:
    """A loss that every scene has a value of."""
    total = torch.stack(list(values)).sum(0)
    return LossTerm(total, torch.full_like(total, len(values)))


def check_finite(values: Tensor, what: str, name: str) -> None:
    """Check values before NaN or infinity spreads.

    Args:
        values: one row per layer, the last layer first.
        what: name of the values, for the message.
        name: name of the scene, for the message.

    Raises:
        ValueError: a value is not finite; the message names values, layer and scene.
    """
    finite = values.detach().isfinite().flatten(1).all(1).tolist()
    if not all(finite):
        layer = finite.index(False)
        which = "the last layer" if layer == 0 else f"aux layer {layer - 1}"
        found = "got NaN or infinity; lower the learning rate or clip gradients"
        raise ValueError(f"{name}: {what} of {which} must be finite, {found}")


def semantic_loss(
    pred_semantic: Sequence[Float[Tensor, "_ C"]], targets: Sequence[Mapping[str, Any]], check_values: bool = True
) -> LossTerm:
    """Cross-entropy of the class of each superpoint, -1 ignored, mean over the superpoints of the batch.

    Args:
        pred_semantic: class logits of each scene.
        targets: ground truth of each scene, with ``semantic_labels`` (N_b,).
        check_values: whether labels out of range raise a ValueError.
    """
    labels = []
    for index, (logits, target) in enumerate(zip(pred_semantic, targets, strict=True)):
        scene = SceneTarget(target, index, len(logits), check_values)
        labels.append(scene.of_tokens("semantic_labels").long())
        scene.check_range("semantic_labels", labels[-1], -1, logits.shape[1] - 1)
    classes, logits = torch.cat(labels), torch.cat(list(pred_semantic))
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    total = F.cross_entropy(logits, classes, ignore_index=-1, reduction="sum")
    return LossTerm(total[None], (classes >= 0).sum(dtype=total.dtype)[None])


def center_loss(pred_centers: Sequence[Float[Tensor, "_ 3"]], targets: Sequence[Mapping[str, Any]]) -> LossTerm:
    """Distance in meters from each superpoint's vote to the center of its instance, mean over those with an instance.

    Args:
        pred_centers: votes of each scene in meters.
        targets: ground truth of each scene, with ``instance_labels`` (N_b,) and ``centers`` (K, 3) in meters.

    Source: Qi et al. 2019 (VoteNet) and Jiang et al. 2020 (PointGroup), who shift points to the center of their object.
    """
    distances = []
    for index, (votes, target) in enumerate(zip(pred_centers, targets, strict=True)):
        scene = SceneTarget(target, index, len(votes))
        labels = scene.of_tokens("instance_labels")
        if "centers" not in target:
            raise ValueError(f"{scene.name}: pred_centers needs centers in the target, it has {sorted(target)}")
        inside = (labels > 0).nonzero().squeeze(1)  # once: on a GPU the host waits for it
        centers = target["centers"].to(votes.dtype)[labels[inside] - 1]
        # The small constant keeps the gradient finite where a vote hits its center.
        distances.append(((votes[inside] - centers).square().sum(1) + 1e-6).sqrt())
    every = torch.cat(distances)
    return LossTerm(every.sum()[None], every.new_full((1,), len(every)))
