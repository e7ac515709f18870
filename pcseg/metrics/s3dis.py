"""Coverage, precision and recall of instances as papers on S3DIS report them, in the three protocols in use.

* `partition` (ASIS, ISBNet): every point goes to the prediction with the highest score that holds it. A prediction is
  true if its best IoU with an object of its class is 0.5 or more. No object is used up, and none is too small.
* `confidence` (Mask3D): the same on predictions that score at least 0.8.
* `best_f1` (OneFormer3D): matches like ScanNet's AP, at the highest 2 P R / (P + R + 0.0001) on the curve of a class.

Coverage uses the partition. Each object of a room counts with its best IoU with a prediction of the class. Coverage is
the mean over these objects (mWCov: weighted by points), averaged over the rooms with the class. A class with objects
but without predictions has precision 0, where the scripts divide by zero. A class without objects is nan and left out
of the means.

Source: models/ASIS/eval_iou_accuracy.py; isbnet/evaluation/s3dis_eval.py, which counts the points of no prediction as
one more ceiling; evaluate_semantic_instance.py of Mask3D and of OneFormer3D.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from pcseg.classes import ClassSet
from pcseg.metrics.matching import SceneMatches, precision_recall, select_class
from pcseg.metrics.overlaps import SceneObjects, SceneOverlaps
from pcseg.metrics.result import Result, nanmean
from pcseg.prediction import Prediction

PROTOCOLS = ("confidence", "best_f1", "partition")
COLUMNS = ("mcov", "mwcov", *(f"{rate}_{protocol}" for protocol in PROTOCOLS for rate in ("precision", "recall")))
# Least score in the protocol `confidence`.
CONFIDENT = 0.8


@dataclass(frozen=True)
class PartitionCounts:
    """One scene with one prediction per point: true predictions, all predictions and coverages of each class."""

    num_true: Int64[np.ndarray, "C"]
    num_pred: Int64[np.ndarray, "C"]
    coverage: Float64[np.ndarray, "C"]
    weighted_coverage: Float64[np.ndarray, "C"]


@dataclass(frozen=True)
class S3DISScene:
    """Number of objects per class, and counts of the protocols `partition` and `confidence`, of one scene."""

    num_gt: Int64[np.ndarray, "C"]
    partition: PartitionCounts
    confident: PartitionCounts


def s3dis_scene(overlaps: SceneOverlaps) -> S3DISScene:
    """Reduces one scene to what the protocols need."""
    objects, counted = overlaps.objects, overlaps.counted
    prediction = overlaps.prediction.select(np.flatnonzero(counted[overlaps.prediction.labels]))
    partition, confident = (
        _count_partition(prediction, least, objects, len(counted)) for least in (-np.inf, CONFIDENT)
    )
    return S3DISScene(np.bincount(objects.labels, minlength=len(counted)), partition, confident)


def s3dis_protocols(
    scenes: Sequence[S3DISScene], matches: SceneMatches, classes: ClassSet, *, min_points: int = 100
) -> Result:
    """mCov, mWCov, and precision and recall in each protocol: each of COLUMNS.

    Args:
        scenes: one record per scene.
        matches: the same scenes, from `gather_scenes`.
        classes: the dataset's classes; instance classes are reported.
        min_points: least size in the protocol `best_f1`.
    """
    num_gt = sum((scene.num_gt for scene in scenes), np.zeros(len(classes), np.int64))
    per_class: dict[str, dict[str, float]] = {}
    for label in sorted(classes.instance_classes):
        values = (float("nan"),) * len(COLUMNS)
        if num_gt[label]:
            rooms = [scene.partition for scene in scenes if scene.num_gt[label]]
            values = (
                float(np.mean([room.coverage[label] for room in rooms])),
                float(np.mean([room.weighted_coverage[label] for room in rooms])),
                *_rates([scene.confident for scene in scenes], label, int(num_gt[label])),
                *_best_f1(matches, label, min_points),
                *_rates([scene.partition for scene in scenes], label, int(num_gt[label])),
            )
        per_class[classes.names[label]] = dict(zip(COLUMNS, values))
    return Result({key: nanmean([row[key] for row in per_class.values()]) for key in COLUMNS}, per_class)


def _best_f1(matches: SceneMatches, label: int, min_points: int) -> tuple[float, float]:
    """Precision and recall of one class at IoU 0.5, where F1 is highest."""
    of_class = select_class(matches, label, min_points)
    if of_class.num_gt == 0:  # no object is large enough
        return float("nan"), float("nan")
    if len(of_class.pred_scores) == 0:
        return 0.0, 0.0
    curve = precision_recall(of_class, 0.5)
    best = int(np.argmax(2 * curve.precision * curve.recall / (curve.precision + curve.recall + 0.0001)))
    return float(curve.precision[best]), float(curve.recall[best])


def _count_partition(
    prediction: Prediction, min_score: float, objects: SceneObjects, num_classes: int
) -> PartitionCounts:
    """Compares one prediction per point with the objects; void points count in the union, as in the scripts."""
    table = objects.shared_with(prediction.point_rows(min_score, min_points=0), len(prediction))
    alive = table.any(axis=1)  # a prediction that lost all its points does not count
    labels, table = prediction.labels[alive], table[alive]
    points = table.sum(axis=1)
    shared = table[:, 1:] * (labels[:, None] == objects.labels[None])
    iou = shared / (points[:, None] + objects.num_points[None] - shared)

    best_of_object = iou.max(axis=0, initial=0.0)
    num_gt = np.bincount(objects.labels, minlength=num_classes)
    gt_points = np.bincount(objects.labels, weights=objects.num_points, minlength=num_classes)
    covered = np.bincount(objects.labels, weights=best_of_object, minlength=num_classes)
    weighted = np.bincount(objects.labels, weights=best_of_object * objects.num_points, minlength=num_classes)
    has_gt = num_gt > 0
    return PartitionCounts(
        num_true=np.bincount(labels[iou.max(axis=1, initial=0.0) >= 0.5], minlength=num_classes),
        num_pred=np.bincount(labels, minlength=num_classes),
        coverage=covered / np.where(has_gt, num_gt, np.nan),
        weighted_coverage=weighted / np.where(has_gt, gt_points, np.nan),
    )


def _rates(rooms: list[PartitionCounts], label: int, num_gt: int) -> tuple[float, float]:
    num_true = sum(int(room.num_true[label]) for room in rooms)
    num_pred = sum(int(room.num_pred[label]) for room in rooms)
    # Two halves of an object, at IoU 0.5 each, are both true: recall alone could pass 1.
    return num_true / num_pred if num_pred else 0.0, min(1.0, num_true / num_gt)
