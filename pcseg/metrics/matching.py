"""Pairs of predictions and ground-truth objects, as ScanNet's evaluator matches them."""

from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float64, Int64

from pcseg.metrics.overlaps import SceneOverlaps


@dataclass(frozen=True)
class SceneMatches:
    """Everything that average precision needs of one scene: a few kilobytes, for any number of points.

    Predictions with too few points or of classes that do not count are already left out.
    """

    gt_labels: Int64[np.ndarray, "K"]  # class index of each ground-truth object
    gt_points: Int64[np.ndarray, "K"]
    pred_labels: Int64[np.ndarray, "I"]
    pred_scores: Float64[np.ndarray, "I"]
    pred_points: Int64[np.ndarray, "I"]
    pred_void: Int64[np.ndarray, "I"]  # points of each prediction on void
    pair_pred: Int64[np.ndarray, "E"]  # a prediction and an object of the same class that share points
    pair_gt: Int64[np.ndarray, "E"]
    pair_points: Int64[np.ndarray, "E"]  # number of shared points


def match_scene(
    overlaps: SceneOverlaps, min_points: int, counts_as: Int64[np.ndarray, "C"] | None = None
) -> SceneMatches:
    """Reduces one scene to what average precision needs.

    Args:
        overlaps: a prediction compared with the ground truth.
        min_points: predictions with fewer points are dropped.
        counts_as: index that the objects of each class get; None keeps that of the class.
    """
    prediction, objects = overlaps.prediction, overlaps.objects
    counts_as = np.arange(len(overlaps.counted)) if counts_as is None else counts_as
    num_points = overlaps.points.sum(axis=1)
    keep = np.flatnonzero((num_points >= min_points) & (num_points > 0) & overlaps.counted[prediction.labels])
    points, labels, gt_labels = overlaps.points[keep], counts_as[prediction.labels[keep]], counts_as[objects.labels]
    shared = points[:, 1:] * (labels[:, None] == gt_labels[None])
    pair_pred, pair_gt = np.nonzero(shared)
    return SceneMatches(
        gt_labels=gt_labels,
        gt_points=objects.num_points,
        pred_labels=labels,
        pred_scores=prediction.scores[keep].astype(np.float64),
        pred_points=num_points[keep],
        pred_void=points[:, 0].copy(),
        pair_pred=pair_pred.astype(np.int64),
        pair_gt=pair_gt.astype(np.int64),
        pair_points=shared[pair_pred, pair_gt],
    )


@dataclass(frozen=True)
class ClassMatches:
    """The matches of one class over all scenes; pairs are sorted by object, then by prediction."""

    num_gt: int  # objects of at least `min_points` points
    pred_scores: Float64[np.ndarray, "I"]
    pred_best_iou: Float64[np.ndarray, "I"]  # with an object of the class, too small ones included; 0 for none
    pred_ignored: Float64[np.ndarray, "I"]  # share of its points on void, or on objects of the class that are too small
    pair_gt: Int64[np.ndarray, "E"]  # of objects that are large enough
    pair_pred: Int64[np.ndarray, "E"]
    pair_iou: Float64[np.ndarray, "E"]


def gather_scenes(scenes: Iterable[SceneMatches]) -> SceneMatches:
    """Puts several scenes side by side; objects and predictions of two scenes never pair."""
    nothing = {f.name: np.zeros(0, np.float64 if f.name == "pred_scores" else np.int64) for f in fields(SceneMatches)}
    scenes = [SceneMatches(**nothing), *scenes]
    parts = {name: [getattr(scene, name) for scene in scenes] for name in nothing}
    for pairs, owners in (("pair_pred", "pred_labels"), ("pair_gt", "gt_labels")):
        starts = np.cumsum([0, *map(len, parts[owners])])
        parts[pairs] = [rows + start for rows, start in zip(parts[pairs], starts)]
    return SceneMatches(**{name: np.concatenate(arrays) for name, arrays in parts.items()})


def select_class(scenes: SceneMatches, label: int, min_points: int) -> ClassMatches:
    """The matches of one class.

    Args:
        scenes: matches of all classes, from `gather_scenes`.
        label: index of the class.
        min_points: least number of points of a ground-truth object; smaller ones are ignored.
    """
    preds = np.flatnonzero(scenes.pred_labels == label)
    pairs = np.flatnonzero(scenes.pred_labels[scenes.pair_pred] == label)
    pred, gt, shared = np.searchsorted(preds, scenes.pair_pred[pairs]), scenes.pair_gt[pairs], scenes.pair_points[pairs]
    points = scenes.pred_points[preds]
    iou = shared / (scenes.gt_points[gt] + points[pred] - shared)

    best_iou = np.zeros(len(preds))
    np.maximum.at(best_iou, pred, iou)
    small = scenes.gt_points[gt] < min_points
    ignored = scenes.pred_void[preds].copy()
    np.add.at(ignored, pred[small], shared[small])

    gt, pred, iou = gt[~small], pred[~small], iou[~small]
    order = np.lexsort((pred, gt))
    return ClassMatches(
        num_gt=int(np.count_nonzero((scenes.gt_labels == label) & (scenes.gt_points >= min_points))),
        pred_scores=scenes.pred_scores[preds],
        pred_best_iou=best_iou,
        pred_ignored=ignored / points,
        pair_gt=gt[order],
        pair_pred=pred[order],
        pair_iou=iou[order],
    )


def _assign(
    matches: ClassMatches, threshold: float
) -> tuple[Float64[np.ndarray, "true"], Float64[np.ndarray, "false"]]:
    """Scores of the true and of the false positives of one class, after evaluate_semantic_instance.py of ScanNet.

    Objects choose in their order among the predictions in theirs. Each takes the first free prediction whose IoU is
    greater than the threshold. Each further free one counts as a false positive with the lower of the two scores, and
    the object keeps the higher. That prediction stays free, so another object may still take it. Predictions without
    any such IoU are false positives, unless more than `threshold` of their points are void or on objects that are too
    small.
    """
    true: dict[int, float] = {}
    false: list[float] = []
    taken: set[int] = set()
    near = matches.pair_iou > threshold
    scores = matches.pred_scores.tolist()
    for gt, pred in zip(matches.pair_gt[near].tolist(), matches.pair_pred[near].tolist()):
        if pred in taken:
            continue
        if gt in true:
            false.append(min(true[gt], scores[pred]))
            true[gt] = max(true[gt], scores[pred])
        else:
            true[gt] = scores[pred]
            taken.add(pred)
    unmatched = (matches.pred_best_iou <= threshold) & (matches.pred_ignored <= threshold)
    return np.array(list(true.values()), np.float64), np.append(false, matches.pred_scores[unmatched])


@dataclass(frozen=True)
class Curve:
    """Precision and recall of the predictions from each score on, for rising scores; the last point is (1, 0)."""

    precision: Float64[np.ndarray, "steps"]  # share of these predictions that are right
    recall: Float64[np.ndarray, "steps"]  # share of the objects that they find


def precision_recall(matches: ClassMatches, threshold: float) -> Curve:
    """Precision over recall of one class.

    Args:
        matches: matches of the class, with at least one ground-truth object.
        threshold: IoU of a match must be above it, 0..1.
    """
    true, false = _assign(matches, threshold)
    scores = np.sort(np.concatenate([true, false]))
    levels = np.unique(scores)
    num_true = len(true) - np.searchsorted(np.sort(true), levels)
    precision = num_true / (len(scores) - np.searchsorted(scores, levels))
    return Curve(np.append(precision, 1.0), np.append(num_true / matches.num_gt, 0.0))
