"""Objects of the ground truth and of a prediction, which of them match, and what is wrong at each point."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32, Int64, Integer

from pcseg.classes import ClassSet
from pcseg.ops.overlap import overlap_table, unique_ids
from pcseg.prediction import Prediction
from pcseg.structures import Scene

MATCH_IOU = 0.25  # the lowest threshold of the ScanNet benchmark
# Name, color and hint. Colors after Okabe and Ito (2008), except that what is right stays pale.
ERRORS = (
    ("no object", (226, 228, 232), "neither the truth nor the prediction has an object here"),
    ("correct", (157, 208, 190), "the matching object, with the right class"),
    ("wrong class", (230, 159, 0), "the matching object, with another class"),
    ("missed", (0, 114, 178), "an object that no prediction covers here"),
    ("false positive", (213, 94, 0), "a prediction where there is no object"),
    ("wrong object", (204, 121, 167), "a prediction that reaches into another object, or matches none"),
)


@dataclass(frozen=True)
class Objects:
    """Objects of a room; row 0 means no object.

    Args:
        ids: row of each point.
        numbers: id of each row in the scene, or 1 + its row in the prediction.
        labels: class of each row, -1 for none.
    """

    ids: Int32[np.ndarray, "P"]
    numbers: Int64[np.ndarray, "R"]
    labels: Int64[np.ndarray, "R"]

    @staticmethod
    def of_scene(scene: Scene) -> "Objects | None":
        """Objects of the ground truth with the most frequent class of their points; None without ground truth."""
        if scene.instance is None or scene.instance.max(initial=0) <= 0:
            return None
        numbers, ids = compact_ids(scene.instance)
        labels = np.full(len(numbers), -1, np.int64)
        if scene.semantic is not None:
            labels[1:] = overlap_table(ids, scene.semantic).majority(len(numbers), empty=-1)[1:]
        return Objects(ids, numbers, labels)

    @staticmethod
    def of_prediction(prediction: Prediction, threshold: float) -> "Objects | None":
        """Predicted objects with at least the threshold as score; None if no objects were predicted."""
        if not prediction.has_objects:
            return None
        numbers, ids = compact_ids(prediction.point_ids(threshold))
        return Objects(ids, numbers, np.append(-1, prediction.labels[numbers[1:] - 1]).astype(np.int64))


def compact_ids(ids: Integer[np.ndarray, "P"]) -> tuple[Int64[np.ndarray, "R"], Int32[np.ndarray, "P"]]:
    """The distinct ids in rising order, with 0 for none first, and the row of each point among them.

    Args:
        ids: id of each point; negative ids count as 0.

    >>> compact_ids(np.array([7, -1, 7, 3]))
    (array([0, 3, 7]), array([2, 0, 2, 1], dtype=int32))
    """
    numbers, rows, _ = unique_ids(np.append(0, np.maximum(ids, 0)))
    return numbers, rows[1:].astype(np.int32)


def match_objects(truth: Objects | None, predicted: Objects | None) -> list[tuple[int, int, float]]:
    """Pairs true and predicted objects one to one, the highest IoU first.

    Args:
        truth: objects of the ground truth.
        predicted: predicted objects of the same room.

    Returns:
        True row, predicted row and IoU (at least 0.25) of each pair.
    """
    if truth is None or predicted is None:
        return []
    table = overlap_table(truth.ids, predicted.ids)
    iou = table.iou()
    candidates = np.flatnonzero((table.a > 0) & (table.b > 0) & (iou >= MATCH_IOU))
    matches: list[tuple[int, int, float]] = []
    matched_true, matched_pred = set(), set()
    for k in candidates[np.argsort(-iou[candidates], kind="stable")]:
        a, b = int(table.a[k]), int(table.b[k])
        if a not in matched_true and b not in matched_pred:
            matched_true.add(a)
            matched_pred.add(b)
            matches.append((a, b, float(iou[k])))
    return matches


def point_errors(truth: Objects, predicted: Objects, classes: ClassSet) -> Int32[np.ndarray, "P"]:
    """What is wrong at each point; true objects of classes that are not scored count as none.

    Args:
        truth: objects of the ground truth.
        predicted: predicted objects of the same room.
        classes: classes of the objects.

    Returns:
        Row of ERRORS of each point.
    """
    # A room without any class labels still has objects to find.
    scored = np.isin(truth.labels, classes.instance_classes) | (truth.labels.max() < 0)
    scored[0] = False
    partner = np.zeros(len(predicted.labels), np.int64)  # true row of each prediction
    for a, b, _ in match_objects(truth, predicted):
        partner[b] = a
    has_true, has_pred = scored[truth.ids], predicted.ids > 0
    together = has_true & has_pred & (partner[predicted.ids] == truth.ids)
    true_label = truth.labels[truth.ids]
    same_class = (predicted.labels[predicted.ids] == true_label) | (true_label < 0)
    errors = np.zeros(len(truth.ids), np.int32)
    errors[has_true & ~has_pred] = 3
    errors[has_pred & (truth.ids == 0)] = 4
    errors[has_true & has_pred] = 5
    errors[together & ~same_class] = 2
    errors[together & same_class] = 1
    return errors
