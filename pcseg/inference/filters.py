"""Post-processing of predicted objects: suppression, overlap removal, and least size and score."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float64
from scipy.sparse import csr_array, triu

from pcseg.prediction import Prediction, mask_rows


def matrix_nms(prediction: Prediction, *, sigma: float = 0.3, unnamed: int | None = None) -> Prediction:
    """Lowers the scores of objects that overlap better ones of their class, by a Gaussian of their IoU over points.

    Args:
        prediction: objects, best first.
        sigma: width of the Gaussian; a smaller one lowers scores further.
        unnamed: class of objects without a certain name, which compete with those of all classes.

    Returns:
        The same objects with new scores, best first.

    Source: Wang et al., SOLOv2: Dynamic and Fast Instance Segmentation, NeurIPS 2020, section 3.3.
    """
    label, points = prediction.labels, mask_points(prediction)
    size = points.sum(axis=1)
    # Only pairs of an object and a better one, which comes before it; those that share no point change nothing.
    shared = triu(points @ prediction.masks.T.astype(np.float64), k=1, format="coo")
    compete = (label[shared.row] == label[shared.col]) | (label[shared.row] == unnamed) | (label[shared.col] == unnamed)
    better, own, both = shared.row[compete], shared.col[compete], shared.data[compete]
    iou = both / np.maximum(size[better] + size[own] - both, 1)
    best, decay = np.zeros(len(prediction)), np.ones(len(prediction))
    np.maximum.at(best, own, iou)
    np.minimum.at(decay, own, np.exp(-(iou**2 - best[better] ** 2) / sigma))
    return _lowered(prediction, decay)


def without_overlap(prediction: Prediction) -> Prediction:
    """Leaves each superpoint, or point, to the best of its objects; objects that lose all of them are dropped."""
    free = np.ones(prediction.num_columns, np.bool_)
    columns = []
    for row in range(len(prediction)):
        mine = prediction.columns(row)
        columns.append(mine[free[mine]])
        free[mine] = False
    masks = mask_rows(columns, len(free))
    return replace(prediction, masks=masks).select(np.flatnonzero([len(left) > 0 for left in columns]))


def keep(prediction: Prediction, *, min_points: int = 0, score_threshold: float = 0.0) -> Prediction:
    """Drops objects.

    Args:
        prediction: objects.
        min_points: least number of points of an object.
        score_threshold: least score of an object.
    """
    large = prediction.masks @ prediction.column_points >= min_points
    return prediction.select(np.flatnonzero(large & (prediction.scores >= score_threshold)))


def trust_large(prediction: Prediction, areas: Float64[np.ndarray, "columns"], whole_area: float) -> Prediction:
    """Lowers the scores of objects with a small surface, as more of them are wrong.

    Args:
        prediction: objects.
        areas: area of each column of the masks in square meters.
        whole_area: area from which on scores stay as they are; those of smaller objects fall with the root of the area.

    Returns:
        The same objects with new scores, best first.
    """
    return _lowered(prediction, np.sqrt(np.minimum(1, prediction.masks @ areas / whole_area)))


def _lowered(prediction: Prediction, factor: Float64[np.ndarray, "K"]) -> Prediction:
    """The objects with their scores times a factor, best first."""
    scores = (prediction.scores * factor).astype(prediction.scores.dtype)
    return replace(prediction, scores=scores).select(np.argsort(-scores, kind="stable"))


def mask_points(prediction: Prediction) -> csr_array:
    """Number of points of each column inside a mask, float64, a row for each object."""
    masks = prediction.masks
    return csr_array((prediction.column_points[masks.indices], masks.indices, masks.indptr), shape=masks.shape)
