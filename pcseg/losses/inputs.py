"""What every criterion takes: outputs and targets in the calling convention of Mask2Former's SetCriterion."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


def decoder_layers(outputs: Mapping[str, Any], aux_layers: bool = True) -> list[Mapping[str, Any]]:
    """The last layer and, after it, the intermediate ones where they are trained.

    Raises:
        ValueError: no masks, or layers that do not predict the same things.
    """
    layers = [outputs, *(outputs.get("aux_outputs", ()) if aux_layers else ())]
    for key in ("pred_masks", "pred_logits"):
        have = [layer.get(key) is not None for layer in layers]
        if not all(have) and (key == "pred_masks" or any(have)):
            raise ValueError(f"outputs and all aux_outputs must have {key}, {have.count(False)} of {len(have)} do not")
    return layers


def stacked(layers: Sequence[Mapping[str, Any]], key: str) -> Tensor | None:
    """Predictions of all layers in one tensor, None if the model has none."""
    return None if layers[0].get(key) is None else torch.stack([layer[key] for layer in layers])


def split_masks(pred_masks: Tensor | Sequence[Tensor], num_scenes: int) -> list[Float[Tensor, "_ M"]]:
    """Mask logits of each scene, tokens first.

    Args:
        pred_masks: (N, M) for one scene, a list of (N_b, M), or (B, M, H, W) for images, whose pixels are tokens.
        num_scenes: number of targets B.

    Raises:
        ValueError: another shape, or another number of scenes than targets.
    """
    if isinstance(pred_masks, Tensor) and pred_masks.ndim == 4:
        pred_masks = list(pred_masks.flatten(2).transpose(1, 2))
    masks = [pred_masks] if isinstance(pred_masks, Tensor) else list(pred_masks)
    for index, mask in enumerate(masks):
        if mask.ndim != 2:
            raise ValueError(
                f"scene {index}: pred_masks must be (N, M), a list of (N_b, M) or (B, M, H, W), got {tuple(mask.shape)}"
            )
    if len(masks) != num_scenes:
        raise ValueError(f"pred_masks holds {len(masks)} scenes, targets {num_scenes}; give one target for each scene")
    return masks


def scene_name(target: Mapping[str, Any], index: int) -> str:
    """Name of a scene in messages: its index, and its name if the target has one."""
    return f"scene {index} ({target['name']})" if "name" in target else f"scene {index}"


@dataclass(frozen=True)
class SceneTargets:
    """Ground truth of one scene, without instances that have no tokens.

    Args:
        name: name in messages.
        labels: class of each instance.
        segment: instance 0..K-1 of each token, K for background, -1 for ignored.
        weights: weight of each token; None where all weigh 1.
    """

    name: str
    labels: Int64[Tensor, "K"]
    segment: Int64[Tensor, "N"]
    weights: Float[Tensor, "N"] | None


def compact_instances(instance_labels: Int64[Tensor, "N"]) -> tuple[Int64[Tensor, "N"], Int64[Tensor, "K"]]:
    """Renumber instances to 0..K-1.

    Args:
        instance_labels: any positive ids, 0 for background, -1 for ignored.

    Returns:
        Segment of each token (K for background, -1 for ignored), and the ids that occur, ascending.

    >>> compact_instances(torch.tensor([7, 0, 3, -1, 7]))
    (tensor([ 1,  2,  0, -1,  1]), tensor([3, 7]))
    """
    ids, inverse = torch.unique(instance_labels, return_inverse=True)
    num_others = int((ids <= 0).sum())
    segment = torch.where(instance_labels == 0, len(ids) - num_others, inverse - num_others)
    return segment.masked_fill(instance_labels < 0, -1), ids[num_others:]


def target_masks(target: Mapping[str, Any], num_tokens: int, name: str) -> Bool[Tensor, "K N"]:
    """Target masks with tokens (or pixels) flattened.

    Args:
        target: ground truth of one scene.
        num_tokens: number of tokens N of pred_masks.
        name: name of the scene in messages.

    Raises:
        ValueError: no masks, or masks of another size than the predictions.
    """
    if "masks" not in target:
        raise ValueError(f"{name}: the target has neither instance_labels nor masks, only {sorted(target)}; add one")
    masks = target["masks"].flatten(1)
    if len(masks) != len(target["labels"]):
        raise ValueError(f"{name}: the target has {len(target['labels'])} labels for {len(masks)} masks")
    if masks.shape[1] != num_tokens:
        raise ValueError(
            f"{name}: target masks have {masks.shape[1]} tokens, pred_masks {num_tokens}; resize one to the other"
        )
    return masks > 0.5 if masks.is_floating_point() else masks != 0


def instance_labels_of(
    target: Mapping[str, Any], num_tokens: int, name: str, check_values: bool = True
) -> Int64[Tensor, "N"]:
    """Instance of each token: 1..K, 0 for background, -1 for ignored; from masks if necessary.

    Args:
        target: ground truth of one scene.
        num_tokens: number of tokens N of pred_masks.
        name: name of the scene in messages.
        check_values: refuse ids beyond the labels, which waits for the device.

    Raises:
        ValueError: wrong shapes, ids beyond the labels, or masks that overlap.
    """
    if "instance_labels" not in target:
        masks = target_masks(target, num_tokens, name)
        if (overlaps := int((masks.sum(0) > 1).sum())) > 0:
            raise ValueError(
                f"{name}: target masks overlap at {overlaps} of {num_tokens} tokens; the Influencer Loss needs "
                "instances that do not overlap: give each token to one of them, or train with SetCriterion"
            )
        return torch.einsum("kn,k->n", masks.long(), torch.arange(1, len(masks) + 1, device=masks.device))
    ids = of_tokens(target, "instance_labels", num_tokens, name)
    if check_values:
        check_range(ids, -1, len(target["labels"]), "instance_labels", name)
    return ids.long()


def of_tokens(target: Mapping[str, Any], key: str, num_tokens: int, name: str) -> Tensor:
    """A target with one value for each token.

    Args:
        target: ground truth of one scene.
        key: which value.
        num_tokens: number of tokens of the predictions.
        name: name of the scene in messages.

    Raises:
        ValueError: the target has none, or another number of them.
    """
    if key not in target:
        raise ValueError(f"{name}: the target needs {key}, it has only {sorted(target)}")
    if target[key].shape != (num_tokens,):
        shape = tuple(target[key].shape)
        raise ValueError(f"{name}: {key} must have shape ({num_tokens},), one for each token, got {shape}")
    return target[key]


def check_range(values: Tensor, low: int, high: int, key: str, name: str) -> None:
    """Refuse labels out of range, which waits for the device.

    Args:
        values: labels.
        low: smallest one.
        high: largest one.
        key: name of the labels in messages.
        name: name of the scene in messages.

    Raises:
        ValueError: a label below `low` or above `high`.
    """
    if len(values) and (int(values.min()) < low or int(values.max()) > high):
        found = f"{int(values.min())}..{int(values.max())}"
        raise ValueError(f"{name}: {key} must be in {low}..{high}, got {found}")


def scene_targets(
    target: Mapping[str, Any], num_tokens: int, index: int, weight_tokens: bool = False, check_values: bool = True
) -> SceneTargets:
    """Read one target for a criterion whose instances do not overlap.

    Args:
        target: ``labels`` (K,) with ``instance_labels`` (N,) or ``masks`` (K, N) or (K, H, W).
        num_tokens: number of tokens N of pred_masks.
        index: index of the scene in the batch, for messages.
        weight_tokens: weigh tokens by ``point_counts``.
        check_values: see `instance_labels_of`; if False, every instance of ``instance_labels`` must have a token.
    """
    name = scene_name(target, index)
    instance_labels = instance_labels_of(target, num_tokens, name, check_values)
    labels = target["labels"].long()
    if check_values or "instance_labels" not in target:
        segment, ids = compact_instances(instance_labels)
        labels = labels[ids - 1]
    else:
        segment = torch.where(instance_labels == 0, len(labels), instance_labels - 1)
        segment = segment.masked_fill(instance_labels < 0, -1)
    weights = of_tokens(target, "point_counts", num_tokens, name) if weight_tokens else None
    return SceneTargets(name, labels, segment, weights)
