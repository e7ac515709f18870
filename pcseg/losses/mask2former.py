"""Mask2Former of transformers, or any model with its outputs, with the criteria of pcseg; see docs/images.md."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor


def mask2former_outputs(outputs: Any, size: tuple[int, int] | None = None) -> dict[str, Any]:
    """Outputs of transformers in the names of Mask2Former's SetCriterion, which the criteria of pcseg take.

    Args:
        outputs: has ``class_queries_logits`` (B, M, C+1) and ``masks_queries_logits`` (B, M, h, w). With
            ``output_auxiliary_logits=True`` it also has those of the intermediate layers, for deep supervision.
        size: height and width of the target masks, to which mask logits are interpolated; None leaves (h, w).

    Returns:
        ``pred_logits`` (B, M, C+1), ``pred_masks`` (B, M, H, W), and ``aux_outputs``, the same for each layer.
    """

    def layer(logits: Tensor, masks: Tensor) -> dict[str, Any]:
        if size is not None and masks.shape[-2:] != size:
            masks = F.interpolate(masks, size, mode="bilinear", align_corners=False)
        return {"pred_logits": logits, "pred_masks": masks}

    auxiliary = getattr(outputs, "auxiliary_logits", None) or ()
    aux_outputs = [layer(each["class_queries_logits"], each["masks_queries_logits"]) for each in auxiliary]
    return {**layer(outputs.class_queries_logits, outputs.masks_queries_logits), "aux_outputs": aux_outputs}
