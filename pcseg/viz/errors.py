"""Which predicted object stands for which true one, and what is wrong at each point."""

import numpy as np
from jaxtyping import Float64, Int32, Int64

from pcseg.classes import ClassSet
from pcseg.ops.overlap import overlap_table

MATCH_IOU = 0.25  # the loosest threshold of the ScanNet benchmark
ERROR_NAMES = ("no object", "correct", "wrong class", "missed", "false positive", "wrong object")
# After Okabe and Ito (2008), whose colors are told apart by all eyes; what is right stays quiet.
ERROR_COLORS = ((226, 228, 232), (157, 208, 190), (230, 159, 0), (0, 114, 178), (213, 94, 0), (204, 121, 167))
ERROR_HINTS = (
    "neither truth nor prediction has an object here",
    "the matching object, with the right class",
    "the matching object, with another class",
    "an object that no prediction covers here",
    "a prediction where there is no object",
    "a prediction that reaches into another object, or matches none",
)


def match_ids(
    true_ids: Int32[np.ndarray, "P"], pred_ids: Int32[np.ndarray, "P"]
) -> tuple[Int64[np.ndarray, "N 2"], Float64[np.ndarray, "N"]]:
    """Pairs true and predicted objects one to one, from the best overlap down.

    Args:
        true_ids: true object of each point, 0 for none.
        pred_ids: predicted object of each point, 0 for none.

    Returns:
        Rows (true id, predicted id), and the IoU of each pair, from high to low; at least 0.25.
    """
    table = overlap_table(true_ids, pred_ids)
    iou = table.iou()
    keep = np.flatnonzero((table.a > 0) & (table.b > 0) & (iou >= MATCH_IOU))
    pairs: list[tuple[int, int]] = []
    values: list[float] = []
    used_true: set[int] = set()
    used_pred: set[int] = set()
    for k in keep[np.argsort(-iou[keep], kind="stable")]:
        row, column = int(table.a[k]), int(table.b[k])
        if row not in used_true and column not in used_pred:
            used_true.add(row)
            used_pred.add(column)
            pairs.append((row, column))
            values.append(float(iou[k]))
    return np.array(pairs, np.int64).reshape(-1, 2), np.array(values, np.float64)


def object_errors(
    true_ids: Int32[np.ndarray, "P"],
    pred_ids: Int32[np.ndarray, "P"],
    true_class: Int64[np.ndarray, "T"],
    pred_class: Int64[np.ndarray, "I"],
    pairs: Int64[np.ndarray, "N 2"],
    classes: ClassSet,
) -> Int32[np.ndarray, "P"]:
    """What is wrong at each point; true objects whose class is not scored, or unknown, count as none.

    Args:
        true_ids: true object of each point, 0 for none.
        pred_ids: predicted object of each point, 0 for none.
        true_class: class of each true object, -1 where it has none; row 0 is none.
        pred_class: class of each prediction; row 0 is none.
        pairs: as `match_ids` gives them.
        classes: which classes are scored.

    Returns:
        Row of ERROR_NAMES for each point.
    """
    # A room without any class labels still has objects to find.
    scored = np.isin(true_class, classes.instance_classes) | (true_class.max() < 0)
    scored[0] = False
    counterpart = np.zeros(len(pred_class), np.int64)  # true object of each prediction
    counterpart[pairs[:, 1]] = pairs[:, 0]
    has_true, has_pred = scored[true_ids], pred_ids > 0
    together = has_true & has_pred & (counterpart[pred_ids] == true_ids)
    same_class = (pred_class[pred_ids] == true_class[true_ids]) | (true_class[true_ids] < 0)
    errors = np.zeros(len(true_ids), np.int32)
    errors[has_true & ~has_pred] = 3
    void = (true_ids > 0) & ~has_true
    errors[~has_true & has_pred & ~void] = 4
    errors[has_true & has_pred] = 5
    errors[together & ~same_class] = 2
    errors[together & same_class] = 1
    return errors
