"""From a decoder's queries to objects with class, score and mask."""

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from pcseg.classes import ClassSet
from pcseg.structures import DecoderOutput, Prediction, Scene, mask_rows


@torch.no_grad()
def mask_probabilities(logits: Float[Tensor, "N M"], activation: str) -> Float[Tensor, "N M"]:
    """Probability of every token under every query; softmax counts one empty choice with logit 0."""
    if activation == "sigmoid":
        return logits.sigmoid()
    return torch.cat([logits, logits.new_zeros(len(logits), 1)], dim=1).softmax(1)[:, :-1]


@torch.no_grad()
def to_instances(
    outputs: DecoderOutput,
    scene: Scene,
    classes: ClassSet,
    *,
    room: int = 0,
    mask_activation: str = "sigmoid",
    mask_threshold: float = 0.5,
    top_k: int = 200,
    min_points: int = 100,
    score_threshold: float = 0.0,
    iou_power: float = 5.0,
) -> Prediction:
    """Objects of one room: the best of queries x classes.

    Args:
        outputs: of the model.
        scene: the room, with superpoints.
        classes: those of the model; objects have only those that instance AP counts.
        room: which room of the batch.
        mask_activation: what the model was trained with.
        mask_threshold: a mask is where its probability is higher.
        top_k: how many pairs of query and class are kept.
        min_points: smaller masks are dropped, as benchmarks do.
        score_threshold: objects that score less are dropped.
        iou_power: of the expected IoU in the scores; masks are surer of themselves than they should be.

    Returns:
        Objects with masks over superpoints, best first. The score is class probability x expected IoU ** iou_power, of
        clusters x predicted IoU. Were each point of the object with its probability, alone, the mask would share with
        it the points that are expected inside; their union is the mask and what is expected outside.

    Raises:
        ValueError: the scene has no superpoints, or not as many as the masks.
    """
    masks = outputs["pred_masks"][room].float()
    if scene.superpoint is None or scene.num_superpoints != len(masks):
        raise ValueError(
            f"scene {scene.name} has {scene.num_superpoints} superpoints, the masks are over {len(masks)} of them"
        )
    probability = mask_probabilities(masks, mask_activation)
    on = probability > mask_threshold
    counts = torch.from_numpy(np.bincount(scene.superpoint, minlength=len(masks))).to(masks.device).float()
    size = counts @ on.float()
    expected = probability * counts[:, None]
    shared = (expected * on).sum(0)
    expected_iou = shared / (size + expected.sum(0) - shared).clamp(min=1)

    class_probability = outputs["pred_logits"][room].float().softmax(-1)[:, :-1]
    scores = class_probability * expected_iou[:, None] ** iou_power
    if "pred_scores" in outputs:
        scores = scores * outputs["pred_scores"][room].float().clamp(0, 1)[:, None]
    allowed = torch.zeros_like(scores, dtype=torch.bool)
    allowed[:, list(classes.instance_classes)] = True
    allowed &= (size >= min_points)[:, None] & (scores >= score_threshold)
    candidates = allowed.flatten().nonzero()[:, 0]
    order = scores.flatten()[candidates].argsort(descending=True, stable=True)[:top_k]
    chosen = candidates[order]
    query, label = chosen // scores.shape[1], chosen % scores.shape[1]
    return Prediction(
        scene,
        masks=mask_rows([np.flatnonzero(mask) for mask in on[:, query].T.contiguous().cpu().numpy()], len(masks)),
        labels=label.cpu().numpy(),
        scores=scores.flatten()[chosen].cpu().numpy().astype(np.float32),
        classes=classes,
        superpoint=scene.superpoint,
    )


@torch.no_grad()
def semantic_probabilities(outputs: DecoderOutput, *, room: int = 0) -> Float32[np.ndarray, "S C"]:
    """Probability of each class for every superpoint, by the semantic head."""
    if "pred_semantic" not in outputs:
        raise ValueError("the model predicts no class of superpoints (pred_semantic)")
    return outputs["pred_semantic"][room].float().softmax(1).cpu().numpy()
