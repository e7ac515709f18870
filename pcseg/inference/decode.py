"""From the outputs of a model, of queries or of two embeddings, to objects with class, score and mask."""

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor

from pcseg.classes import ClassSet
from pcseg.models.embedding_heads import EmbeddingHeadsOptions
from pcseg.models.query_decoder import QueryDecoderOptions
from pcseg.prediction import Prediction, mask_rows
from pcseg.structures import DecoderOutput, EmbeddingOutput, Scene

# Logit of the probability that a follower at the place of its influencer belongs to it.
_CLOSEST_LOGIT = 6.0
UNSURE = "other object"


@dataclass(frozen=True)
class DecodeOptions:
    """Options of `decode`; a part of the ``inference`` section of a config.

    Raises:
        ValueError: a negative number of points.
    """

    top_k: int = 200  # most objects of a room, or of each tile of a large room
    min_points: int = 100  # least number of points of an object
    unsure_below: float = 0.0  # objects whose class is less probable, given that they are objects, are "other object"
    iou_power: float = 5.0  # power of the expected IoU in the scores
    # Power of P(class) in the scores; P(an object of any class), or P(any surface), has the rest up to 1.
    class_power: float = 1.0
    mask_threshold: float = 0.5  # least probability of a superpoint inside a mask; 0.15 suits softmax masks
    one_class: bool = False  # only the best class of each query, not an object for each; views merge across classes

    def __post_init__(self) -> None:
        if self.min_points < 0:
            raise ValueError(f"min_points must be 0 or more, got {self.min_points}")


def greedy_clusters(
    followers: Float[Tensor, "S D"],
    influencers: Float[Tensor, "S D"],
    influence: Float[Tensor, "S"],
    *,
    radius: float,
    max_clusters: int,
) -> tuple[Int64[Tensor, "M"], Bool[Tensor, "S M"]]:
    """The most influential superpoint that is in no cluster gathers the free followers within the radius, and so on.

    Args:
        followers: embedding of each superpoint as a member of a cluster.
        influencers: embedding of each superpoint as the center of a cluster.
        influence: how influential each superpoint is; of equal ones the first goes first.
        radius: distance from an influencer below which followers join it, in units of the embeddings.
        max_clusters: most clusters to make.

    Returns:
        The influencer of each cluster, and its members; clusters do not overlap, and none is empty.
    """
    free = torch.ones(len(influence), dtype=torch.bool, device=influence.device)
    chosen, members = [], []
    for token in influence.argsort(descending=True, stable=True).tolist():
        if len(chosen) == max_clusters:
            break
        if not free[token]:
            continue
        gathered = free & ((followers - influencers[token]).square().sum(1) < radius**2)
        if gathered.any():
            free &= ~gathered
            chosen.append(token)
            members.append(gathered)
    rows = torch.tensor(chosen, dtype=torch.int64, device=influence.device)
    return rows, torch.stack(members, 1) if members else free[:, None][:, :0]


def _clusters(
    outputs: EmbeddingOutput, radius: float, max_clusters: int
) -> tuple[Float[Tensor, "M C"], Float[Tensor, "S M"]]:
    """Clusters of the first room of a batch.

    The probability of each class is the mean of the members, times the predicted IoU of the influencer. That of a
    superpoint is 0 outside the cluster. Inside, it falls with the squared distance from the influencer, from nearly 1
    to 0.5 at the radius.
    """
    # On the CPU: clustering reads a value at each superpoint.
    followers, influencers, influence, semantic = (
        outputs[key][0].float().cpu()
        for key in ("pred_followers", "pred_influencers", "pred_influence", "pred_semantic")
    )
    semantic = semantic.softmax(1)
    rows, members = greedy_clusters(followers, influencers, influence, radius=radius, max_clusters=max_clusters)
    distance = torch.cdist(followers, influencers[rows], compute_mode="donot_use_mm_for_euclid_dist")
    probability = members * (_CLOSEST_LOGIT * (1 - distance.square() / radius**2)).sigmoid()
    of_classes = (members.to(semantic.dtype) / members.sum(0)).T @ semantic
    return of_classes * influence[rows].sigmoid()[:, None], probability


def _probabilities(
    outputs: DecoderOutput | EmbeddingOutput, decoder: QueryDecoderOptions | EmbeddingHeadsOptions, max_clusters: int
) -> tuple[Float[Tensor, "M C"], Float[Tensor, "S M"]]:
    """Probability of each class and of each superpoint, by query or by cluster of embeddings."""
    if isinstance(decoder, EmbeddingHeadsOptions):
        return _clusters(cast(EmbeddingOutput, outputs), decoder.radius, max_clusters)
    queries = cast(DecoderOutput, outputs)
    of_classes = queries["pred_logits"][0].float().softmax(-1)[:, :-1]  # the last one is "no object"
    logits = queries["pred_masks"][0].float()
    if decoder.mask_activation == "sigmoid":
        return of_classes, logits.sigmoid()
    # The queries and one empty choice with logit 0 compete for each superpoint.
    return of_classes, torch.cat([logits, logits.new_zeros(len(logits), 1)], dim=1).softmax(1)[:, :-1]


def _expected_iou(
    probability: Float[Tensor, "S M"], inside: Bool[Tensor, "S M"], counts: Float[Tensor, "S"]
) -> Float[Tensor, "M"]:
    """The IoU that each mask can be expected to have with its object, counted in points.

    Were each point of the object with its probability, they share the points expected inside; their union adds those
    expected outside.
    """
    expected = probability * counts[:, None]
    shared = (expected * inside).sum(0)
    return shared / (counts @ inside.float() + expected.sum(0) - shared).clamp(min=1)


@torch.no_grad()
def decode(
    outputs: DecoderOutput | EmbeddingOutput,
    scene: Scene,
    classes: ClassSet,
    decoder: QueryDecoderOptions | EmbeddingHeadsOptions,
    options: DecodeOptions,
) -> tuple[Prediction, Float32[np.ndarray, "S C"]]:
    """Objects of one room: the best pairs of query and class.

    Args:
        outputs: outputs of the model for a batch of this room alone.
        scene: the room, with superpoints.
        classes: classes of the model; only those that instance AP counts get objects.
        decoder: options of the decoder that gave the outputs.
        options: thresholds; `unsure_below` needs a set with the class `UNSURE`.

    Returns:
        Objects with masks over superpoints, best first, and the class probabilities of every superpoint.
    """
    assert scene.superpoint is not None
    class_probability, probability = _probabilities(outputs, decoder, options.top_k)
    counts = torch.from_numpy(np.bincount(scene.superpoint)).to(probability.device).float()
    inside = probability > options.mask_threshold
    size = counts @ inside.float()
    counted = np.isin(np.arange(class_probability.shape[1]), classes.instance_classes)
    same_kind = counted[:, None] & (classes.is_stuff[:, None] == classes.is_stuff)
    counted, same_kind = (torch.from_numpy(values).to(probability.device) for values in (counted, same_kind))
    of_kind = class_probability @ same_kind.to(class_probability.dtype)
    # Masks are surer of themselves than they should be, therefore the power.
    quality = _expected_iou(probability, inside, counts)[:, None] ** options.iou_power
    scores = class_probability**options.class_power * of_kind ** (1 - options.class_power) * quality

    # The best pairs, without small masks and classes that do not count.
    allowed = counted & (size >= options.min_points)[:, None]
    if options.one_class:
        allowed = allowed & (class_probability == (class_probability * counted).amax(1, keepdim=True))
    pairs = allowed.flatten().nonzero()[:, 0]
    pairs = pairs[scores.flatten()[pairs].argsort(descending=True, stable=True)[: options.top_k]]
    query, labels = pairs // scores.shape[1], pairs % scores.shape[1]
    best_scores = scores[query, labels]
    if options.unsure_below > 0 and UNSURE in classes.names:
        probability_of = class_probability[query] * counted
        share = probability_of.gather(1, labels[:, None])[:, 0] / probability_of.sum(1)
        labels = torch.where(share < options.unsure_below, classes.index(UNSURE), labels)
    masks = [np.flatnonzero(mask) for mask in inside[:, query].T.contiguous().cpu().numpy()]
    objects = mask_rows(masks, len(probability)), labels.cpu().numpy(), best_scores.cpu().numpy()
    prediction = Prediction(scene, *objects, classes=classes, superpoint=scene.superpoint)
    assert "pred_semantic" in outputs
    return prediction, outputs["pred_semantic"][0].float().softmax(1).cpu().numpy()
