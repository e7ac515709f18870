"""The objects that pictures and pages show of a room: true ones, predicted ones, and which are one."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int32, Int64, Integer

from pcseg.ops.overlap import overlap_table, unique_ids
from pcseg.structures import Prediction
from pcseg.viz.errors import match_ids


@dataclass(frozen=True)
class MatchedObjects:
    """Two lists of objects, row 0 of both for none.

    Args:
        true_ids: row of each point among the true objects; None where the scene has none.
        true_numbers: id of each row in the scene.
        true_class: of each row, -1 where it has none.
        pred_ids: row of each point among the predicted objects that score enough; None without a prediction.
        pred_numbers: of each row, as `Prediction.point_ids` gives it.
        pred_class: of each row; row 0 is -1.
        pairs: rows (true, predicted) of objects that match, see `match_ids`.
        ious: of the pairs.
    """

    true_ids: Int32[np.ndarray, "P"] | None
    true_numbers: Int64[np.ndarray, "T"]
    true_class: Int64[np.ndarray, "T"]
    pred_ids: Int32[np.ndarray, "P"] | None
    pred_numbers: Int64[np.ndarray, "I"]
    pred_class: Int64[np.ndarray, "I"]
    pairs: Int64[np.ndarray, "N 2"]
    ious: Float64[np.ndarray, "N"]

    @classmethod
    def of(cls, prediction: Prediction, threshold: float) -> "MatchedObjects":
        """True and predicted objects of a scene; predictions that score less than the threshold are left out."""
        scene = prediction.scene
        true_ids = pred_ids = None
        true_numbers = pred_numbers = true_class = pred_class = np.zeros(1, np.int64)
        pairs, ious = np.zeros((0, 2), np.int64), np.zeros(0)
        if scene.instance is not None and scene.instance.max(initial=0) > 0:
            true_numbers, true_ids = compact_ids(scene.instance)
            true_class = np.full(len(true_numbers), -1, np.int64)
            if scene.semantic is not None:
                true_class[1:] = overlap_table(true_ids, scene.semantic).majority(len(true_numbers), empty=-1)[1:]
        if prediction.has_objects:
            pred_numbers, pred_ids = compact_ids(prediction.point_ids(threshold))
            pred_class = np.concatenate([[-1], prediction.labels[pred_numbers[1:] - 1]]).astype(np.int64)
        if true_ids is not None and pred_ids is not None:
            pairs, ious = match_ids(true_ids, pred_ids)
        return cls(true_ids, true_numbers, true_class, pred_ids, pred_numbers, pred_class, pairs, ious)


def compact_ids(ids: Integer[np.ndarray, "P"]) -> tuple[Int64[np.ndarray, "R"], Int32[np.ndarray, "P"]]:
    """The ids that occur, 0 first even where it does not, and the row of each point among them."""
    numbers, rows, _ = unique_ids(np.append(0, np.maximum(ids, 0)))
    return numbers, rows[1:].astype(np.int32)
