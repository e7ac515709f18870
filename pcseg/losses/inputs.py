"""Inputs of every criterion: outputs and targets in the calling convention of Mask2Former's SetCriterion."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


def decoder_layers(outputs: Mapping[str, Any], aux_layers: bool = True) -> list[Mapping[str, Any]]:
    """The last layer and, after it, the intermediate ones if `aux_layers`.

    Raises:
        ValueError: no masks, or layers that do not predict the same things.
    """
    layers = [outputs, *(outputs.get("aux_outputs", ()) if aux_layers else ())]
    for key in ("pred_masks", "pred_logits"):
        have = [layer.get(key) is not None for layer in layers]
        if not all(have) and (key == "pred_masks" or any(have)):
            raise ValueError(f"outputs and all aux_outputs must have {key}, {have.count(False)} of {len(have)} do not")
    return layers


def masks_of_scenes(layers: Sequence[Mapping[str, Any]], num_scenes: int) -> list[list[Float[Tensor, "_ M"]]]:
    """Mask logits of each scene, one matrix for each layer, tokens first.

    Args:
        layers: their ``pred_masks`` are (N, M) for one scene, a list of (N_b, M), or (B, M, H, W) for images, whose
            pixels are tokens.
        num_scenes: number of targets B.

    Raises:
        ValueError: another shape, or another number of scenes than targets.
    """
    all_masks = []
    for layer in layers:
        masks = layer["pred_masks"]
        if isinstance(masks, Tensor):
            masks = list(masks.flatten(2).transpose(1, 2)) if masks.ndim == 4 else [masks]
        for index, mask in enumerate(masks):
            if mask.ndim != 2:
                expected = "must be (N, M), a list of (N_b, M) or (B, M, H, W)"
                raise ValueError(f"scene {index}: pred_masks {expected}, got {tuple(mask.shape)}")
        if len(masks) != num_scenes:
            raise ValueError(f"pred_masks holds {len(masks)} scenes, targets {num_scenes}; give one target for each")
        all_masks.append(masks)
    return [list(of_scene) for of_scene in zip(*all_masks, strict=True)]


class Segmentation(NamedTuple):
    """Instances of one scene that do not overlap and have tokens."""

    labels: Int64[Tensor, "K"]  # class of each instance
    segment: Int64[Tensor, "N"]  # instance 0..K-1 of each token, K for background, -1 for ignored
    weights: Float[Tensor, "N"] | None  # weight of each token; None where all weigh 1


class SceneTarget:
    """Ground truth of one scene; errors name the scene.

    Args:
        target: ``labels`` (K,) with ``instance_labels`` (N,) or ``masks`` (K, N) or (K, H, W). With masks there may be
            ``ignored`` (N,) or (H, W), bool, True at tokens that do not count.
        index: index of the scene in the batch.
        num_tokens: number of tokens N of the predictions.
        check_values: whether labels out of range raise an error, which waits for the device.
    """

    def __init__(self, target: Mapping[str, Any], index: int, num_tokens: int, check_values: bool = True) -> None:
        self.target, self.num_tokens, self.check_values = target, num_tokens, check_values
        self.name = f"scene {index} ({target['name']})" if "name" in target else f"scene {index}"
        self.has_masks = "instance_labels" not in target

    def of_tokens(self, key: str) -> Tensor:
        """A target with one value for each token; a ValueError if there is none, or it has another length."""
        if key not in self.target:
            raise ValueError(f"{self.name}: the target needs {key}, it has only {sorted(self.target)}")
        values = self.target[key]
        if values.shape != (expected := (self.num_tokens,)):
            raise ValueError(f"{self.name}: {key} must have shape {expected}, got {tuple(values.shape)}")
        return values

    def check_range(self, key: str, values: Tensor, low: int, high: int) -> None:
        """Check labels, if values are checked at all.

        Args:
            key: name of the labels in the target, for the message.
            values: labels to check.
            low: least valid label.
            high: greatest valid label.

        Raises:
            ValueError: a label is out of range.
        """
        if self.check_values and len(values) and (int(values.min()) < low or int(values.max()) > high):
            found = f"{int(values.min())}..{int(values.max())}"
            raise ValueError(f"{self.name}: {key} must be in {low}..{high}, got {found}")

    def masks(self) -> Bool[Tensor, "K N"]:
        """Target masks with tokens (or pixels) flattened; a ValueError if they do not fit the predictions."""
        if "masks" not in self.target:
            found = f"the target has neither instance_labels nor masks, only {sorted(self.target)}"
            raise ValueError(f"{self.name}: {found}; add one")
        masks, num_labels = self.target["masks"].flatten(1), len(self.target["labels"])
        if len(masks) != num_labels:
            raise ValueError(f"{self.name}: the target has {num_labels} labels for {len(masks)} masks")
        if masks.shape[1] != self.num_tokens:
            found = f"target masks have {masks.shape[1]} tokens, pred_masks {self.num_tokens}"
            raise ValueError(f"{self.name}: {found}; resize one to the other")
        return masks > 0.5 if masks.is_floating_point() else masks != 0

    def ignored(self) -> Bool[Tensor, "N"]:
        """Tokens that do not count, of a target with masks; a ValueError if they do not fit the predictions."""
        if "ignored" not in self.target:
            return self.target["labels"].new_zeros(self.num_tokens, dtype=torch.bool)
        ignored = self.target["ignored"].flatten()
        if len(ignored) != self.num_tokens:
            raise ValueError(f"{self.name}: ignored has {len(ignored)} tokens, pred_masks {self.num_tokens}")
        return ignored

    def instance_labels(self) -> Int64[Tensor, "N"]:
        """Instance of each token: 1..K, 0 for background, -1 for ignored; from masks if necessary.

        Raises:
            ValueError: wrong shapes, ids beyond the labels, or masks that overlap.
        """
        if self.has_masks:
            masks = self.masks()
            if (overlaps := int((masks.sum(0) > 1).sum())) > 0:
                raise ValueError(
                    f"{self.name}: target masks overlap at {overlaps} of {self.num_tokens} tokens; the Influencer Loss "
                    "needs instances that do not overlap: give each token to one of them, or train with SetCriterion"
                )
            ids = torch.einsum("kn,k->n", masks.long(), torch.arange(1, len(masks) + 1, device=masks.device))
            return ids.masked_fill(self.ignored(), -1)
        ids = self.of_tokens("instance_labels")
        self.check_range("instance_labels", ids, -1, len(self.target["labels"]))
        return ids.long()

    def segmentation(self, weight_tokens: bool) -> Segmentation:
        """The instances that have tokens, which may weigh as their ``point_counts``.

        If values are not checked, every instance of ``instance_labels`` must have a token.
        """
        instance_labels = self.instance_labels()
        labels = self.target["labels"].long()
        if self.check_values or self.has_masks:
            segment, ids = compact_instances(instance_labels)
            labels = labels[ids - 1]
        else:
            segment = torch.where(instance_labels == 0, len(labels), instance_labels - 1)
            segment = segment.masked_fill(instance_labels < 0, -1)
        return Segmentation(labels, segment, self.of_tokens("point_counts") if weight_tokens else None)


def compact_instances(instance_labels: Int64[Tensor, "N"]) -> tuple[Int64[Tensor, "N"], Int64[Tensor, "K"]]:
    """Renumber instances, any positive ids, to 0..K-1; 0 is background, -1 ignored.

    Returns:
        Segment of each token (K for background, -1 for ignored), and the ids that occur, ascending.

    >>> compact_instances(torch.tensor([7, 0, 3, -1, 7]))
    (tensor([ 1,  2,  0, -1,  1]), tensor([3, 7]))
    """
    ids, inverse = torch.unique(instance_labels, return_inverse=True)
    num_others = int((ids <= 0).sum())
    segment = torch.where(instance_labels == 0, len(ids) - num_others, inverse - num_others)
    return segment.masked_fill(instance_labels < 0, -1), ids[num_others:]
