"""Terms that the criteria share: classes of queries, semantics and centers of superpoints."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from pcseg.losses.inputs import SceneTarget


class LossTerm(NamedTuple):
    """A loss before its division: a sum over the scenes at hand, and what to divide it by.

    Args:
        sum: one value for each layer.
        count: divisor of each, without gradient.
        least: smallest divisor.
    """

    sum: Float[Tensor, "L"]
    count: Float[Tensor, "L"]
    least: float = 1.0


def scene_mean(values: Sequence[Float[Tensor, "L"]]) -> LossTerm:
    """A loss that every scene has a value of."""
    total = torch.stack(list(values)).sum(0)
    return LossTerm(total, torch.full_like(total, len(values), requires_grad=False))


def class_probability(
    class_logits: Float[Tensor, "L M classes"], labels: Int64[Tensor, "K"], scene: SceneTarget
) -> Float[Tensor, "L K M"]:
    """P(class of instance k | query m), without gradient.

    Args:
        class_logits: logits of one scene; the last column is no-object.
        labels: class of each instance.
        scene: target that the labels are from.

    Raises:
        ValueError: labels out of range, or logits that are not finite, where values are checked.
    """
    logits = class_logits.detach()
    if scene.check_values:
        check_finite(logits, "pred_logits", scene.name)
    scene.check_range("labels", labels, 0, logits.shape[2] - 2)
    dtype = torch.promote_types(logits.dtype, torch.float32)
    return logits.to(dtype).softmax(2).transpose(1, 2).index_select(1, labels)


def check_finite(values: Tensor, what: str, name: str) -> None:
    """Raise an error before NaN spreads.

    Args:
        values: one row for each layer, the last layer first.
        what: name of the values in messages.
        name: name of the scene in messages.

    Raises:
        ValueError: NaN or infinity.
    """
    finite = values.detach().isfinite().flatten(1).all(1)
    if not finite.all():
        layer = int((~finite).nonzero()[0])
        which = "the last layer" if layer == 0 else f"aux layer {layer - 1}"
        raise ValueError(
            f"{name}: {what} of {which} must be finite, got NaN or infinity; lower the learning rate or clip gradients"
        )


def class_weights_of(
    responsibilities: Float[Tensor, "L K M"], labels: Int64[Tensor, "K"], num_classes: int, no_object: float
) -> Float[Tensor, "L M classes"]:
    """Weights for `class_loss`: the classes that a query answers for, and no-object for the remainder.

    Args:
        responsibilities: how much query m answers for instance k.
        labels: class of each instance.
        num_classes: number of classes C.
        no_object: weight of no-object.
    """
    num_layers, _, num_queries = responsibilities.shape
    weights = responsibilities.new_zeros(num_layers, num_classes + 1, num_queries)
    weights.index_add_(1, labels, responsibilities)
    weights[:, num_classes] = no_object * (1 - responsibilities.sum(1)).clamp(min=0)
    return weights.transpose(1, 2)


def class_loss(class_logits: Float[Tensor, "L B M classes"], class_weights: Float[Tensor, "L B M classes"]) -> LossTerm:
    """Weighted cross-entropy, divided by the sum of the weights as in torch.

    Args:
        class_logits: logits; the last column is no-object.
        class_weights: weight of each class for each query.

    Returns:
        One value for each layer, over all scenes.
    """
    log_p = class_logits.to(class_weights.dtype).log_softmax(-1)
    return LossTerm(-(class_weights * log_p).sum((1, 2, 3)), class_weights.sum((1, 2, 3)), least=1e-12)


def semantic_loss(
    pred_semantic: Sequence[Float[Tensor, "_ C"]], targets: Sequence[Mapping[str, Any]], check_values: bool = True
) -> LossTerm:
    """Cross-entropy of the class of each superpoint, -1 ignored, mean over the superpoints of the batch.

    Args:
        pred_semantic: class logits of each scene.
        targets: ground truth of each scene, with ``semantic_labels`` (N_b,).
        check_values: whether labels out of range raise an error.

    Raises:
        ValueError: no semantic_labels, or some out of range.
    """
    if len(pred_semantic) != len(targets):
        raise ValueError(f"pred_semantic holds {len(pred_semantic)} scenes, targets {len(targets)}; give one for each")
    labels = []
    for index, (logits, target) in enumerate(zip(pred_semantic, targets, strict=True)):
        scene = SceneTarget(target, index, len(logits), check_values)
        labels.append(scene.of_tokens("semantic_labels").long())
        scene.check_range("semantic_labels", labels[-1], -1, logits.shape[1] - 1)
    classes = torch.cat(labels)
    logits = torch.cat(list(pred_semantic)).to(torch.promote_types(pred_semantic[0].dtype, torch.float32))
    total = F.cross_entropy(logits, classes, ignore_index=-1, reduction="sum")
    return LossTerm(total[None], (classes >= 0).sum(dtype=total.dtype)[None])


def center_loss(pred_centers: Sequence[Float[Tensor, "_ 3"]], targets: Sequence[Mapping[str, Any]]) -> LossTerm:
    """Distance in meters from each superpoint's vote to the center of its instance, mean over those with an instance.

    Args:
        pred_centers: votes of each scene in meters.
        targets: ground truth of each scene, with ``instance_labels`` (N_b,) and ``centers`` (K, 3) in meters.

    Raises:
        ValueError: no centers or no instance_labels, or votes for another number of superpoints.

    Source:
        Qi et al. 2019 (VoteNet) and Jiang et al. 2020 (PointGroup), who shift points to the center of their object.
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
