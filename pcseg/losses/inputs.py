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
    """Predictions of all layers in one tensor, None where the model has none."""
    return None if layers[0].get(key) is None else torch.stack([layer[key] for layer in layers])


def split_masks(pred_masks: Tensor | Sequence[Tensor], num_scenes: int) -> list[Float[Tensor, "_ M"]]:
    """Mask logits of each scene, tokens first.

    Args:
        pred_masks: (N, M) for one scene, a list of (N_b, M), or (B, M, H, W) for images.
        num_scenes: B, the number of targets.

    Returns:
        (N_b, M) for each scene; a pixel is a token.

    Raises:
        ValueError: another shape, or another number of scenes than targets.
    """
    if isinstance(pred_masks, Tensor):
        if pred_masks.ndim == 2:
            masks = [pred_masks]
        elif pred_masks.ndim == 4:
            masks = list(pred_masks.flatten(2).transpose(1, 2))
        else:
            raise ValueError(
                "pred_masks must be (N, M), a list of (N_b, M) or (B, M, H, W), got a tensor of shape "
                f"{tuple(pred_masks.shape)}; give one (N_b, M) for each scene"
            )
    else:
        masks = list(pred_masks)
    if len(masks) != num_scenes:
        raise ValueError(f"pred_masks holds {len(masks)} scenes, targets {num_scenes}; give one target for each scene")
    for index, mask in enumerate(masks):
        if mask.ndim != 2:
            raise ValueError(f"scene {index}: pred_masks must have shape (N, M), got {tuple(mask.shape)}")
    return masks


def scene_name(target: Mapping[str, Any], index: int) -> str:
    """How messages call a scene: its index, and its name where the target has one."""
    return f"scene {index} ({target['name']})" if "name" in target else f"scene {index}"


@dataclass(frozen=True)
class SceneTargets:
    """Ground truth of one scene, instances without tokens left out.

    Args:
        name: for messages.
        labels: class of each instance; -1 where the target has none.
        segment: instance 0..K-1 of each token, K for background, -1 for ignored.
        weights: weight of each token, 0 where it is ignored.
    """

    name: str
    labels: Int64[Tensor, "K"]
    segment: Int64[Tensor, "N"]
    weights: Float[Tensor, "N"] | None

    @property
    def num_instances(self) -> int:
        """K."""
        return len(self.labels)


def compact_instances(instance_labels: Int64[Tensor, "N"]) -> tuple[Int64[Tensor, "N"], Int64[Tensor, "K"]]:
    """Renumbers instances to 0..K-1.

    Args:
        instance_labels: any positive ids, 0 for background, -1 for ignored.

    Returns:
        Segment of each token (K for background, -1 for ignored), and the ids that occur, ascending.
    """
    ids, inverse = torch.unique(instance_labels, return_inverse=True)
    num_others = int((ids <= 0).sum())
    segment = inverse - num_others
    segment = torch.where(instance_labels == 0, len(ids) - num_others, segment)
    return segment.masked_fill(instance_labels < 0, -1), ids[num_others:]


def _check_length(value: Tensor, num_tokens: int, key: str, name: str) -> None:
    if value.shape != (num_tokens,):
        raise ValueError(
            f"{name}: {key} must have shape ({num_tokens},), one for each token of pred_masks, got {tuple(value.shape)}"
        )


def target_masks(target: Mapping[str, Any], num_tokens: int, name: str) -> Bool[Tensor, "K N"]:
    """Target masks with tokens (or pixels) flattened.

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
    """Instance of each token: 1..K, 0 for background, -1 for ignored; from masks where need be.

    Args:
        target: of one scene.
        num_tokens: N of pred_masks.
        name: of the scene, for messages.
        check_values: refuse ids beyond the labels, which waits for the device.

    Raises:
        ValueError: wrong shapes, ids beyond the labels, or masks that overlap.
    """
    if "instance_labels" not in target:
        masks = target_masks(target, num_tokens, name)
        depth = masks.sum(0)
        if (depth > 1).any():
            raise ValueError(
                f"{name}: target masks overlap at {int((depth > 1).sum())} of {num_tokens} tokens; the Influencer Loss "
                "needs instances that do not overlap: give each token to one of them, or train with SetCriterion"
            )
        return torch.einsum("kn,k->n", masks.long(), torch.arange(1, len(masks) + 1, device=masks.device))
    ids = target["instance_labels"]
    _check_length(ids, num_tokens, "instance_labels", name)
    if check_values and num_tokens and (int(ids.max()) > len(target["labels"]) or int(ids.min()) < -1):
        raise ValueError(
            f"{name}: instance_labels must lie in -1..{len(target['labels'])}, the number of labels, got "
            f"{int(ids.min())}..{int(ids.max())}"
        )
    return ids.long()


def token_weights(target: Mapping[str, Any], num_tokens: int, name: str) -> Float[Tensor, "N"]:
    """Points of each token.

    Raises:
        ValueError: the target has no point_counts, or of another length.
    """
    if "point_counts" not in target:
        raise ValueError(f"{name}: weight_tokens needs point_counts in the target, it has only {sorted(target)}")
    _check_length(target["point_counts"], num_tokens, "point_counts", name)
    return target["point_counts"]


def scene_targets(
    target: Mapping[str, Any], num_tokens: int, index: int, weight_tokens: bool = False, check_values: bool = True
) -> SceneTargets:
    """Reads one target for a criterion whose instances do not overlap.

    Args:
        target: ``labels`` (K,) with ``instance_labels`` (N,) or ``masks`` (K, N) or (K, H, W).
        num_tokens: N of pred_masks.
        index: which scene of the batch, for messages.
        weight_tokens: weigh tokens by ``point_counts``.
        check_values: as in `instance_labels_of`; False takes it for granted as well that every instance of
            ``instance_labels`` has a token.

    Returns:
        The instances that have tokens.
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
    weights = token_weights(target, num_tokens, name) if weight_tokens else None
    return SceneTargets(name, labels, segment, weights)
