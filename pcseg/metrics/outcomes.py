"""Outcome of each object: found, taken for another class, split, merged or missed; and of each prediction."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64, Integer

from pcseg.metrics.overlaps import SceneObjects, SceneOverlaps

OBJECT_OUTCOMES = ("found", "wrong class", "split", "merged", "missed")
PREDICTION_OUTCOMES = ("right", "duplicate", "wrong class", "no object")
FOUND, WRONG_CLASS, SPLIT, MERGED, MISSED = range(5)
RIGHT, DUPLICATE, OTHER_CLASS, NO_OBJECT = range(4)


@dataclass(frozen=True)
class SceneOutcomes:
    """Outcomes of one scene."""

    object_class: Int64[np.ndarray, "K"]  # class index of each object that is large enough
    object_outcome: Int64[np.ndarray, "K"]  # index into OBJECT_OUTCOMES
    object_taken_for: Int64[np.ndarray, "K"]  # class of the prediction that covers it best with IoU > 0.5; -1 for none
    pred_class: Int64[np.ndarray, "I"]  # class index of each prediction that counts
    pred_outcome: Int64[np.ndarray, "I"]  # index into PREDICTION_OUTCOMES


@dataclass(frozen=True)
class OutcomeResult:
    """Counts over scenes, with a row per class."""

    class_names: tuple[str, ...]  # name of each class index
    objects: Int64[np.ndarray, "C 5"]  # number of objects, by OBJECT_OUTCOMES
    predictions: Int64[np.ndarray, "C 4"]  # number of predictions, by PREDICTION_OUTCOMES
    # Number of objects by class (row) and by the class they were taken for (column; the last is "not found"); the last
    # row counts predictions without any object.
    confusion: Int64[np.ndarray, "C+1 C+1"]

    def to_json(self) -> dict[str, Any]:
        """Counts by name, of all objects and of each class that has any."""

        def counts(rows: Any) -> dict[str, int]:
            objects, predictions = self.objects[rows].sum(axis=0), self.predictions[rows].sum(axis=0)
            return {
                **{name.replace(" ", "_"): int(count) for name, count in zip(OBJECT_OUTCOMES, objects)},
                "duplicate_predictions": int(predictions[DUPLICATE]),
                "predictions_without_object": int(predictions[NO_OBJECT]),
            }

        used = np.flatnonzero(self.objects.any(axis=1) | self.predictions.any(axis=1))
        return {**counts(slice(None)), "classes": {self.class_names[i]: counts([i]) for i in used}}

    def to_text(self) -> str:
        """One line."""
        counts = self.to_json()
        objects = ", ".join(f"{counts[name.replace(' ', '_')]} {name}" for name in OBJECT_OUTCOMES)
        return (
            f"objects: {objects}; predictions beyond them: "
            f"{counts['duplicate_predictions']} duplicates, {counts['predictions_without_object']} without object"
        )


def object_outcomes(
    overlaps: SceneOverlaps, partition: Integer[np.ndarray, "P"], *, min_points: int, min_score: float
) -> SceneOutcomes:
    """Finds the outcome of each object of a scene.

    An object is found if a prediction of its class covers it with IoU > 0.5. It has the wrong class if only predictions
    of other classes do. Otherwise, an object is merged if one part of the partition covers more than half of it and of
    another object. It is split if at least two parts have more than half of their points in it and together cover more
    than half of it. The rest is missed. A prediction is a duplicate if one with a higher score has found its object
    already.

    Args:
        overlaps: the prediction compared with the ground truth.
        partition: 1 + the prediction of each point, 0 for none; `Prediction.point_rows` with the same
            `min_score` and no `min_points`.
        min_points: smaller objects and predictions are left out.
        min_score: predictions that score less are left out.

    Source: Over- and under-segmentation after Hoover et al., An experimental comparison of range image segmentation
    algorithms, PAMI 1996, with tolerance 0.5.
    """
    objects, labels, scores = overlaps.objects, overlaps.prediction.labels, overlaps.prediction.scores
    num_points = overlaps.points.sum(axis=1)
    keep = (scores >= min_score) & (num_points >= max(min_points, 1)) & overlaps.counted[labels]
    # Sorted by falling score, so that the first prediction on an object is the one that found it.
    rows = np.flatnonzero(keep)[np.argsort(-scores[keep], kind="stable")]
    shared, points, pred_class = overlaps.points[rows, 1:], num_points[rows], labels[rows].astype(np.int64)
    iou = shared / (points[:, None] + objects.num_points[None] - shared)
    near = iou > 0.5
    right = near & (pred_class[:, None] == objects.labels[None])
    large = objects.num_points >= min_points

    outcome = np.full(len(objects), MISSED)
    merged, split = _merged_and_split(partition, len(labels), objects)
    outcome[split] = SPLIT
    outcome[merged] = MERGED
    outcome[near.any(axis=0)] = WRONG_CLASS
    outcome[right.any(axis=0)] = FOUND
    # The class of the best overlap, but its own if that was found.
    taken_for = np.full(len(objects), -1)
    if len(rows):
        taken_for = np.where(near.any(axis=0), pred_class[iou.argmax(axis=0)], -1)
    taken_for[outcome == FOUND] = objects.labels[outcome == FOUND]

    pred_outcome = np.full(len(rows), NO_OBJECT)
    pred_outcome[near.any(axis=1)] = OTHER_CLASS
    pred_outcome[right.any(axis=1)] = DUPLICATE
    is_finder = right & (right.cumsum(axis=0) == 1)
    pred_outcome[is_finder.any(axis=1)] = RIGHT
    # As in AP, a prediction mostly on void or on too small objects is no error.
    ignored = overlaps.points[rows, 0] + shared[:, ~large].sum(axis=1) > 0.5 * points
    counts = ~(ignored & (pred_outcome == NO_OBJECT)) & ~(near[:, ~large].any(axis=1) & ~near[:, large].any(axis=1))
    return SceneOutcomes(
        object_class=objects.labels[large],
        object_outcome=outcome[large].astype(np.int64),
        object_taken_for=taken_for[large].astype(np.int64),
        pred_class=pred_class[counts],
        pred_outcome=pred_outcome[counts].astype(np.int64),
    )


def count_outcomes(scenes: Iterable[SceneOutcomes], class_names: Sequence[str]) -> OutcomeResult:
    """Adds up scenes; `class_names` has the name of each class index."""
    num_classes = len(class_names)
    objects = np.zeros((num_classes, len(OBJECT_OUTCOMES)), np.int64)
    predictions = np.zeros((num_classes, len(PREDICTION_OUTCOMES)), np.int64)
    confusion = np.zeros((num_classes + 1, num_classes + 1), np.int64)
    for scene in scenes:
        np.add.at(objects, (scene.object_class, scene.object_outcome), 1)
        np.add.at(predictions, (scene.pred_class, scene.pred_outcome), 1)
        # -1, not found, is the last column.
        np.add.at(confusion, (scene.object_class, scene.object_taken_for), 1)
        np.add.at(confusion[-1], scene.pred_class[scene.pred_outcome == NO_OBJECT], 1)
    return OutcomeResult(tuple(class_names), objects, predictions, confusion)


def _merged_and_split(
    partition: Integer[np.ndarray, "P"], num_preds: int, objects: SceneObjects
) -> tuple[Bool[np.ndarray, "K"], Bool[np.ndarray, "K"]]:
    table = objects.shared_with(partition, num_preds)
    shared, points = table[:, 1:], table.sum(axis=1)
    covers = 2 * shared > objects.num_points[None]
    merged = (covers & (covers.sum(axis=1) > 1)[:, None]).any(axis=0)
    inside = (2 * shared > points[:, None]) & (shared > 0)
    split = (inside.sum(axis=0) > 1) & (2 * np.where(inside, shared, 0).sum(axis=0) > objects.num_points)
    return merged, split
