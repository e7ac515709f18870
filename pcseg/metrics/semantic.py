"""Semantic segmentation: IoU and accuracy of each class from one confusion matrix."""

import numpy as np
from jaxtyping import Int64, Integer

from pcseg.classes import ClassSet
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
    iou, acc = (np.divide(right, size, out=np.full(len(right), np.nan), where=has_gt) for size in (union, in_truth))
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
        num_classes: C.
    """
    known = gt >= 0
    return overlap_table(gt[known], np.where(pred < 0, num_classes, pred)[known])
