"""What may be done to the objects of a scan after they are found."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float64
from scipy.sparse import csr_array, triu

from pcseg.inference.tiles import group_rows
from pcseg.structures import Prediction, mask_rows


def matrix_nms(prediction: Prediction, *, sigma: float = 0.3) -> Prediction:
    """Scores of objects that overlap better ones of their class fall, by a Gaussian of their IoU over points.

    Args:
        prediction: best first.
        sigma: width of the Gaussian; a smaller one lowers scores further.

    Returns:
        The same objects with their new scores, best first.

    Source:
        Wang et al., SOLOv2: Dynamic and Fast Instance Segmentation, NeurIPS 2020, section 3.3.
    """
    decay = np.ones(len(prediction))
    points = mask_points(prediction)
    size = points.sum(axis=1)
    for rows in group_rows(prediction.labels):
        mine = points[rows]
        inside = csr_array((np.ones_like(mine.data), mine.indices, mine.indptr), shape=mine.shape)
        # Of each object with the better ones, which come before; those that share no point with it change nothing.
        shared = triu(mine @ inside.T, k=1, format="coo")
        better, own = rows[shared.row], rows[shared.col]
        iou = shared.data / np.maximum(size[better] + size[own] - shared.data, 1)
        best = np.zeros(len(prediction))
        np.maximum.at(best, own, iou)
        np.minimum.at(decay, own, np.exp(-(iou**2 - best[better] ** 2) / sigma))
    scores = (prediction.scores * decay).astype(prediction.scores.dtype)
    return replace(prediction, scores=scores).select(np.argsort(-scores, kind="stable"))


def without_overlap(prediction: Prediction) -> Prediction:
    """Each superpoint, or point, is left to the best of its objects; objects that lose all are dropped.

    Args:
        prediction: best first.
    """
    free = np.ones(prediction.num_columns, np.bool_)
    columns = []
    for row in range(len(prediction)):
        mine = prediction.columns(row)
        columns.append(mine[free[mine]])
        free[mine] = False
    masks = mask_rows(columns, len(free))
    return replace(prediction, masks=masks).select(np.flatnonzero([len(left) > 0 for left in columns]))


def column_points(prediction: Prediction) -> Float64[np.ndarray, "S"]:
    """Points of each column of the masks."""
    if prediction.superpoint is None:
        return np.ones(prediction.num_columns)
    return np.bincount(prediction.superpoint, minlength=prediction.num_columns).astype(np.float64)


def mask_points(prediction: Prediction) -> csr_array:
    """Points of each column that is in a mask, float64, a row for each object."""
    masks = prediction.masks
    return csr_array((column_points(prediction)[masks.indices], masks.indices, masks.indptr), shape=masks.shape)


def keep(prediction: Prediction, *, min_points: int = 0, score_threshold: float = 0.0) -> Prediction:
    """Objects of at least so many points that score at least so much."""
    large = mask_points(prediction).sum(axis=1) >= min_points
    return prediction.select(np.flatnonzero(large & (prediction.scores >= score_threshold)))
