"""Measures of points from counts that are sums over scenes: IoU and accuracy of classes, and panoptic quality."""

import numpy as np
from jaxtyping import Bool, Float64, Int64, Integer

from pcseg.classes import ClassSet
from pcseg.metrics.overlaps import SceneObjects, find_objects
from pcseg.metrics.result import Result, nanmean
from pcseg.ops.overlap import OverlapTable, overlap_table


def semantic_iou(confusion: Int64[np.ndarray, "C C+1"], classes: ClassSet) -> Result:
    """IoU and accuracy of each class, their means miou and macc, and overall accuracy (oa).

    Means are over the classes with ground truth. A labeled point without a predicted class is wrong.

    Args:
        confusion: points by true class (row) and predicted class (column; the last column is no class), without void.
        classes: the dataset's classes.

    >>> classes = ClassSet.from_dict({"name": "mine", "names": ["floor", "chair"]})
    >>> semantic_iou(np.array([[3, 1, 0], [0, 4, 0]]), classes).per_class["floor"]
    {'iou': 0.75, 'acc': 0.75}
    """
    right = np.diagonal(confusion).astype(np.float64)
    in_truth = confusion.sum(axis=1)
    union = in_truth + confusion[:, :-1].sum(axis=0) - right
    has_gt = in_truth > 0
    iou, acc = (right / np.where(has_gt, size, np.nan) for size in (union, in_truth))
    oa = float(right.sum() / in_truth.sum()) if has_gt.any() else float("nan")
    return Result(
        {"miou": nanmean(iou), "macc": nanmean(acc), "oa": oa},
        {name: {"iou": float(iou[i]), "acc": float(acc[i])} for i, name in enumerate(classes.names)},
    )


def count_classes(pred: Integer[np.ndarray, "P"], gt: Integer[np.ndarray, "P"], num_classes: int) -> OverlapTable:
    """Points by true class (a) and predicted class (b; C for none), without void points.

    The sum of `dense(C, C + 1)` over scenes is the confusion matrix that `semantic_iou` takes.

    Args:
        pred: predicted class index of each point, -1 for none.
        gt: true class index of each point, -1 for void.
        num_classes: number of classes C.
    """
    known = gt >= 0
    return overlap_table(gt[known], np.where(pred < 0, num_classes, pred)[known])


def panoptic_quality(counts: Float64[np.ndarray, "C 4"], classes: ClassSet) -> Result:
    """PQ = SQ x RQ: mean IoU of matched segments times their F1.

    Args:
        counts: per class the sum of IoU over matches, matches (TP), unmatched predictions (FP), unmatched truths (FN).
        classes: the dataset's classes; those that are not stuff are things.

    Returns:
        pq, sq and rq; means over all classes, over things (pq_things) and over stuff (pq_stuff). Classes that neither
        ground truth nor prediction hold are nan and left out of the means.

    Source: Kirillov et al., Panoptic Segmentation, CVPR 2019.
    """
    total, matched, false_pred, missed = counts.T
    segments = matched + false_pred / 2 + missed / 2
    segments[segments == 0] = np.nan
    # Without a match SQ is 0, as in the paper's own program.
    sq = np.where(np.isnan(segments), np.nan, total / np.maximum(matched, 1))
    values = {"pq": total / segments, "sq": sq, "rq": matched / segments}
    is_stuff = classes.is_stuff
    subsets = {"": is_stuff | True, "_things": ~is_stuff, "_stuff": is_stuff}
    return Result(
        {key + suffix: nanmean(value[rows]) for suffix, rows in subsets.items() for key, value in values.items()},
        {name: {key: float(value[i]) for key, value in values.items()} for i, name in enumerate(classes.names)},
    )


def count_segments(
    pred: tuple[Integer[np.ndarray, "P"], Integer[np.ndarray, "P"]],
    gt: tuple[Integer[np.ndarray, "P"], Integer[np.ndarray, "P"]],
    is_stuff: Bool[np.ndarray, "C"],
) -> Float64[np.ndarray, "C 4"]:
    """Matches the segments of one scene.

    All points of a stuff class are one segment, for any instance id. A thing segment is one instance id of one
    class. Void are points without class, and points of a thing class without instance. IoU leaves out the void points
    of a prediction. A match needs IoU > 0.5. An unmatched prediction that is more than half void does not count.

    Args:
        pred: predicted class index of each point, -1 for none, and instance id, 0 for none.
        gt: true class index of each point, -1 for void, and instance id, 0 for none.
        is_stuff: whether each class is stuff.

    Returns:
        Counts, to be summed over scenes for `panoptic_quality`.

    Source: Kirillov et al., Panoptic Segmentation, CVPR 2019, and its program panopticapi for void.
    """
    found, truth = _segments(*pred, is_stuff), _segments(*gt, is_stuff)
    table = truth.shared_with(found.of_point, len(found))
    on_void, shared = table[:, 0], table[:, 1:] * (found.labels[:, None] == truth.labels[None])
    iou = shared / ((found.num_points - on_void)[:, None] + truth.num_points[None] - shared)
    rows, columns = np.nonzero(iou > 0.5)
    false_pred = 2 * on_void <= found.num_points
    false_pred[rows] = False
    matched, num_classes = found.labels[rows], len(is_stuff)
    counts = [np.bincount(matched, iou[rows, columns], num_classes)]
    for labels in (matched, found.labels[false_pred], np.delete(truth.labels, columns)):
        counts.append(np.bincount(labels, minlength=num_classes))
    return np.stack(counts, axis=1).astype(np.float64)


def _segments(
    semantic: Integer[np.ndarray, "P"], instance: Integer[np.ndarray, "P"], is_stuff: Bool[np.ndarray, "C"]
) -> SceneObjects:
    on_stuff = np.append(is_stuff, False)[semantic]  # class -1 reads the last entry
    return find_objects(semantic, np.where(on_stuff, 1, instance), np.ones_like(is_stuff))
