"""Which predictions meet which ground-truth objects, as ScanNet's evaluator pairs them."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64, Integer

from pcseg.metrics.histogram import SceneObjects


@dataclass(frozen=True)
class SceneMatches:
    """All that average precision needs of one scene; a few kilobytes, whatever the number of points.

    Predictions under the least number of points, and those of classes that do not count, are left out already.

    Args:
        gt_labels, gt_points: class index and points of each ground-truth object.
        pred_labels, pred_scores, pred_points: class index, confidence and points of each prediction, in their order.
        pred_void: points of each prediction on void.
        pair_pred, pair_gt, pair_points: prediction and object of the same class that share points, and how many.
    """

    gt_labels: Int64[np.ndarray, "K"]
    gt_points: Int64[np.ndarray, "K"]
    pred_labels: Int64[np.ndarray, "I"]
    pred_scores: Float64[np.ndarray, "I"]
    pred_points: Int64[np.ndarray, "I"]
    pred_void: Int64[np.ndarray, "I"]
    pair_pred: Int64[np.ndarray, "E"]
    pair_gt: Int64[np.ndarray, "E"]
    pair_points: Int64[np.ndarray, "E"]


def match_scene(
    overlaps: Int64[np.ndarray, "I objects"],
    labels: Integer[np.ndarray, "I"],
    scores: np.ndarray,
    objects: SceneObjects,
    counted: Bool[np.ndarray, "C"],
    min_points: int,
) -> SceneMatches:
    """Reduces the overlaps of one scene to what average precision needs.

    Args:
        overlaps: points shared with void (column 0) and with each object.
        labels: class index of each prediction.
        scores: confidence of each prediction, float (I,).
        objects: the ground truth.
        counted: which classes count.
        min_points: predictions with fewer points are dropped.

    Returns:
        SceneMatches.
    """
    num_points = overlaps.sum(axis=1)
    keep = np.flatnonzero((num_points >= min_points) & (num_points > 0) & counted[labels])
    overlaps, labels = overlaps[keep], labels[keep].astype(np.int64)
    shared = overlaps[:, 1:] * (labels[:, None] == objects.labels[None])
    pair_pred, pair_gt = np.nonzero(shared)
    return SceneMatches(
        gt_labels=objects.labels,
        gt_points=objects.num_points,
        pred_labels=labels,
        pred_scores=scores[keep].astype(np.float64),
        pred_points=num_points[keep],
        pred_void=overlaps[:, 0].copy(),
        pair_pred=pair_pred.astype(np.int64),
        pair_gt=pair_gt.astype(np.int64),
        pair_points=shared[pair_pred, pair_gt],
    )


@dataclass(frozen=True)
class ClassMatches:
    """The matches of one class over all scenes.

    Args:
        num_gt: objects of at least `min_points` points.
        pred_scores: confidence of each prediction.
        pred_best_iou: its highest IoU with an object of the class, too small ones included; 0 for none.
        pred_ignored: its share of points on void or on objects of the class that are too small.
        pair_gt, pair_pred, pair_iou: pairs with an object that is large enough, sorted by object, then by prediction.
    """

    num_gt: int
    pred_scores: Float64[np.ndarray, "I"]
    pred_best_iou: Float64[np.ndarray, "I"]
    pred_ignored: Float64[np.ndarray, "I"]
    pair_gt: Int64[np.ndarray, "E"]
    pair_pred: Int64[np.ndarray, "E"]
    pair_iou: Float64[np.ndarray, "E"]


def gather_scenes(scenes: Iterable[SceneMatches]) -> SceneMatches:
    """One SceneMatches that holds several scenes side by side; objects and predictions of two scenes never pair."""
    scenes = list(scenes)
    num_pred = np.cumsum([0] + [len(scene.pred_labels) for scene in scenes])
    num_gt = np.cumsum([0] + [len(scene.gt_labels) for scene in scenes])

    def joined(key: str, dtype: type = np.int64) -> np.ndarray:
        return np.concatenate([np.zeros(0, dtype), *(getattr(scene, key) for scene in scenes)])

    pairs = [len(scene.pair_pred) for scene in scenes]
    return SceneMatches(
        gt_labels=joined("gt_labels"),
        gt_points=joined("gt_points"),
        pred_labels=joined("pred_labels"),
        pred_scores=joined("pred_scores", np.float64),
        pred_points=joined("pred_points"),
        pred_void=joined("pred_void"),
        pair_pred=joined("pair_pred") + np.repeat(num_pred[:-1], pairs),
        pair_gt=joined("pair_gt") + np.repeat(num_gt[:-1], pairs),
        pair_points=joined("pair_points"),
    )


def select_class(scenes: SceneMatches, label: int, min_points: int) -> ClassMatches:
    """The matches of one class.

    Args:
        scenes: all scenes, from `gather_scenes`.
        label: class index.
        min_points: objects with fewer points are ignored.

    Returns:
        ClassMatches.
    """
    preds = np.flatnonzero(scenes.pred_labels == label)
    row_of_pred = np.full(len(scenes.pred_labels), -1, np.int64)
    row_of_pred[preds] = np.arange(len(preds))
    pairs = np.flatnonzero(scenes.pred_labels[scenes.pair_pred] == label)
    pred, gt, shared = row_of_pred[scenes.pair_pred[pairs]], scenes.pair_gt[pairs], scenes.pair_points[pairs]
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


def assign(matches: ClassMatches, threshold: float) -> tuple[Float64[np.ndarray, "true"], Float64[np.ndarray, "false"]]:
    """Confidences of the true and of the false positives of one class at one IoU threshold.

    Objects choose in their order among the predictions in theirs: the first free one whose IoU is greater than the
    threshold is taken. Each further one that is free counts as a false positive with the lower of the two
    confidences, the object keeps the higher; it stays free, so another object may still take it. Predictions without
    any such IoU are false positives unless more than `threshold` of their points are void or on too small objects.

    Args:
        matches: from `select_class`.
        threshold: IoU must be strictly greater.

    Returns:
        Confidences of true positives and of false positives. Objects without prediction are `num_gt` less the former.

    Source:
        evaluate_semantic_instance.py of the ScanNet benchmark.
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
    duplicates = np.array(false, np.float64)
    return np.array(list(true.values()), np.float64), np.append(duplicates, matches.pred_scores[unmatched])


def precision_recall(
    true: Float64[np.ndarray, "true"], false: Float64[np.ndarray, "false"], num_gt: int
) -> tuple[Float64[np.ndarray, "steps"], Float64[np.ndarray, "steps"]]:
    """Precision and recall where everything from a confidence on is kept, for each confidence in rising order.

    Args:
        true: confidences of true positives.
        false: confidences of false positives.
        num_gt: ground-truth objects, more than 0.

    Returns:
        Precision and recall, each ending with the point (1, 0) where nothing is kept.
    """
    scores = np.concatenate([true, false])
    order = np.argsort(scores, kind="stable")
    hits = np.zeros(len(scores) + 1, np.int64)
    np.cumsum(order < len(true), out=hits[1:])
    ranked = scores[order]
    is_first = np.ones(len(ranked), np.bool_)
    np.not_equal(ranked[1:], ranked[:-1], out=is_first[1:])
    first = np.flatnonzero(is_first)
    num_true = len(true) - hits[first]
    precision, recall = np.ones(len(first) + 1), np.zeros(len(first) + 1)
    np.divide(num_true, len(scores) - first, out=precision[:-1])
    np.divide(num_true, num_gt, out=recall[:-1])
    return precision, recall
