"""Coverage, precision and recall of instances as papers on S3DIS report them, in the three protocols in use."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64, Integer

from pcseg.metrics.histogram import SceneObjects, check_scene, count_overlaps, find_objects
from pcseg.metrics.matching import SceneMatches, assign, gather_scenes, match_scene, precision_recall, select_class
from pcseg.metrics.per_scene import PerScene

COLUMNS = (
    "mcov",
    "mwcov",
    "precision_confidence",
    "recall_confidence",
    "precision_best_f1",
    "recall_best_f1",
    "precision_partition",
    "recall_partition",
)


@dataclass(frozen=True)
class S3DISResult:
    """The S3DIS measures; fractions 0..1, nan for classes without ground truth.

    Args:
        mean: each of COLUMNS, averaged over the classes with ground truth.
        per_class: each of COLUMNS for each class.
    """

    mean: dict[str, float]
    per_class: dict[str, dict[str, float]]

    def summary(self) -> dict[str, float]:
        """The means by name."""
        return self.mean

    def classes(self) -> dict[str, dict[str, float]]:
        """The numbers of each class by name."""
        return self.per_class


@dataclass(frozen=True)
class PartitionCounts:
    """One scene after overlaps between predictions are resolved, per class.

    Args:
        num_true, num_pred: predictions that meet an object, and all predictions.
        coverage: mean over objects of the best IoU, nan without objects.
        weighted_coverage: the same, weighted by the points of the objects.
    """

    num_true: Int64[np.ndarray, "C"]
    num_pred: Int64[np.ndarray, "C"]
    coverage: Float64[np.ndarray, "C"]
    weighted_coverage: Float64[np.ndarray, "C"]


@dataclass(frozen=True)
class S3DISScene:
    """All that the S3DIS protocols need of one scene."""

    num_gt: Int64[np.ndarray, "C"]
    partition: PartitionCounts
    confident: PartitionCounts
    matches: SceneMatches


def partition_ids(
    masks: np.ndarray, scores: np.ndarray, superpoint: Integer[np.ndarray, "P"] | None, min_score: float
) -> Int64[np.ndarray, "P"]:
    """One prediction per point: where masks meet, the higher score wins, of equal scores the later prediction.

    Args:
        masks: bool (I, P), or (I, S) where `superpoint` is given.
        scores: confidence of each prediction, float (I,).
        superpoint: superpoint of each point.
        min_score: predictions that score less are left out.

    Returns:
        0 for no prediction, otherwise 1 + its row.
    """
    ids = np.zeros(masks.shape[1], np.int64)
    for row in np.argsort(scores, kind="stable"):
        if scores[row] >= min_score:
            ids[masks[row]] = row + 1
    return ids if superpoint is None else ids[superpoint]


def count_partition(
    ids: Int64[np.ndarray, "P"], labels: Integer[np.ndarray, "I"], objects: SceneObjects, num_classes: int
) -> PartitionCounts:
    """Compares a partition of the points with the objects of a scene, class by class.

    Args:
        ids: prediction of each point, 0 for none, from `partition_ids`.
        labels: class index of each prediction.
        objects: the ground truth; void points count in the union, as in the scripts.
        num_classes: C.

    Returns:
        PartitionCounts; predictions that lost all their points do not count.
    """
    num_columns = len(objects) + 1
    shape = (len(labels) + 1, num_columns)
    table = np.bincount(ids * num_columns + objects.of_point, minlength=shape[0] * shape[1]).reshape(shape)[1:]
    points = table.sum(axis=1)
    alive = points > 0
    labels, table, points = labels[alive], table[alive], points[alive]
    shared = table[:, 1:] * (labels[:, None] == objects.labels[None])
    iou = shared / (points[:, None] + objects.num_points[None] - shared)

    best_of_object = iou.max(axis=0, initial=0.0)
    num_gt = np.bincount(objects.labels, minlength=num_classes)
    gt_points = np.bincount(objects.labels, weights=objects.num_points, minlength=num_classes)
    covered = np.bincount(objects.labels, weights=best_of_object, minlength=num_classes)
    weighted = np.bincount(objects.labels, weights=best_of_object * objects.num_points, minlength=num_classes)
    has_gt = num_gt > 0
    nothing = np.full(num_classes, np.nan)
    return PartitionCounts(
        num_true=np.bincount(labels[iou.max(axis=1, initial=0.0) >= 0.5], minlength=num_classes),
        num_pred=np.bincount(labels, minlength=num_classes),
        coverage=np.divide(covered, num_gt, out=nothing.copy(), where=has_gt),
        weighted_coverage=np.divide(weighted, gt_points, out=nothing.copy(), where=has_gt),
    )


def s3dis_scene(
    masks: np.ndarray,
    labels: Integer[np.ndarray, "I"],
    scores: Float[np.ndarray, "I"],
    superpoint: Integer[np.ndarray, "P"] | None,
    objects: SceneObjects,
    matches: SceneMatches,
    counted: Bool[np.ndarray, "C"],
    *,
    min_confidence: float = 0.8,
) -> S3DISScene:
    """Reduces one scene to what the protocols need.

    Args:
        masks: bool (I, P), or (I, S) where `superpoint` is given.
        labels: class index of each prediction.
        scores: confidence of each prediction.
        superpoint: superpoint of each point.
        objects: the ground truth, from `find_objects`.
        matches: of the same scene, from `match_scene`.
        counted: which classes count.
        min_confidence: least confidence of the protocol `confidence`.

    Returns:
        S3DISScene, a few kilobytes.
    """
    keep = counted[labels]
    masks, labels, scores = masks[keep], labels[keep], scores[keep]

    def count(min_score: float) -> PartitionCounts:
        return count_partition(partition_ids(masks, scores, superpoint, min_score), labels, objects, len(counted))

    return S3DISScene(
        num_gt=np.bincount(objects.labels, minlength=len(counted)),
        partition=count(-np.inf),
        confident=count(min_confidence),
        matches=matches,
    )


class S3DISProtocols(PerScene[S3DISScene]):
    """Collects scenes for mCov, mWCov and for mPrec and mRec at IoU 0.5, per class, then averaged over classes.

    Coverage and the protocol `partition` give every point to the prediction with the highest score that holds it.
    A prediction is true where its best IoU with an object of its class is 0.5 or more; whatever the order, no object
    is used up. Coverage is the mean over objects of the best IoU with a prediction of the class (mWCov: weighted by
    points), per room, then averaged over the rooms that hold the class. Nothing is too small to count. So do ASIS
    (models/ASIS/eval_iou_accuracy.py) and ISBNet (isbnet/evaluation/s3dis_eval.py), but that ISBNet takes the points
    of no prediction for one more ceiling: here they are no prediction.

    The protocol `confidence` is the same on predictions of at least `min_confidence` alone, as in the paper of Mask3D
    (0.8), whose code (benchmark/evaluate_semantic_instance.py) makes the partition as well.

    The protocol `best_f1` matches as ScanNet's AP does (IoU greater than 0.5, predictions and objects of at least
    `min_points`, void, duplicates) and reports precision and recall where 2 P R / (P + R + 0.0001) is highest along
    the curve of each class, so OneFormer3D (oneformer3d/evaluate_semantic_instance.py).

    A class with objects but without predictions has precision 0 in all three (the first two scripts divide by zero
    there); a class without objects is nan and left out of the means.

    Args:
        class_names: name of each class index.
        counted_classes: class indices that count; objects of the others are void. All where None.
        min_confidence: least confidence of the protocol `confidence`.
        min_points: least size in the protocol `best_f1`.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        *,
        counted_classes: Sequence[int] | None = None,
        min_confidence: float = 0.8,
        min_points: int = 100,
    ) -> None:
        super().__init__()
        self.class_names = tuple(class_names)
        self.min_confidence = min_confidence
        self.min_points = min_points
        indices = np.arange(len(class_names))
        self._counted: Bool[np.ndarray, "C"] = np.isin(
            indices, indices if counted_classes is None else list(counted_classes)
        )

    def add(
        self,
        name: str,
        masks: np.ndarray,
        labels: Integer[np.ndarray, "I"],
        scores: Float[np.ndarray, "J"],
        gt_semantic: Integer[np.ndarray, "P"],
        gt_instance: Integer[np.ndarray, "Q"],
        superpoint: Integer[np.ndarray, "R"] | None = None,
    ) -> None:
        """Adds one scene; arguments and errors are those of `InstanceAP.add`."""
        self._check_new(name)
        num_classes = len(self.class_names)
        check_scene(name, masks, labels, scores, gt_semantic, gt_instance, superpoint, num_classes)
        objects = find_objects(gt_semantic, gt_instance, self._counted)
        overlaps = count_overlaps(masks, objects, superpoint)
        matches = match_scene(overlaps, labels, scores, objects, self._counted, self.min_points)
        self._scenes[name] = s3dis_scene(
            masks, labels, scores, superpoint, objects, matches, self._counted, min_confidence=self.min_confidence
        )

    def compute(self) -> S3DISResult:
        """The measures over the scenes added so far."""
        # In the order of names, so that processes which share the scenes add up to the same last digit.
        scenes = [self._scenes[name] for name in sorted(self._scenes)]
        zero = np.zeros((1, len(self.class_names)), np.int64)
        num_gt = np.concatenate([zero, *(scene.num_gt[None] for scene in scenes)]).sum(axis=0)
        matches = gather_scenes(scene.matches for scene in scenes)
        per_class: dict[str, dict[str, float]] = {}
        for label in np.flatnonzero(self._counted).tolist():
            values = (float("nan"),) * len(COLUMNS)
            if num_gt[label]:
                rooms = [scene.partition for scene in scenes if scene.num_gt[label]]
                values = (
                    float(np.mean([room.coverage[label] for room in rooms])),
                    float(np.mean([room.weighted_coverage[label] for room in rooms])),
                    *_rates([scene.confident for scene in scenes], label, int(num_gt[label])),
                    *best_f1(matches, label, self.min_points),
                    *_rates([scene.partition for scene in scenes], label, int(num_gt[label])),
                )
            per_class[self.class_names[label]] = dict(zip(COLUMNS, values))
        return S3DISResult(
            mean={column: _mean([row[column] for row in per_class.values()]) for column in COLUMNS},
            per_class=per_class,
        )


def best_f1(matches: SceneMatches, label: int, min_points: int) -> tuple[float, float]:
    """Precision and recall of one class at IoU 0.5 where F1 is highest; nan where it has no large enough object."""
    of_class = select_class(matches, label, min_points)
    if of_class.num_gt == 0:
        return float("nan"), float("nan")
    if len(of_class.pred_scores) == 0:
        return 0.0, 0.0
    precision, recall = precision_recall(*assign(of_class, 0.5), of_class.num_gt)
    best = int(np.argmax(2 * precision * recall / (precision + recall + 0.0001)))
    return float(precision[best]), float(recall[best])


def _rates(rooms: list[PartitionCounts], label: int, num_gt: int) -> tuple[float, float]:
    num_true = sum(int(room.num_true[label]) for room in rooms)
    num_pred = sum(int(room.num_pred[label]) for room in rooms)
    # Two halves of an object, at IoU 0.5 each, are both true: recall alone could pass 1.
    return num_true / num_pred if num_pred else 0.0, min(1.0, num_true / num_gt)


def _mean(values: list[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
