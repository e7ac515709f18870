"""Filters on masks as full matrices of bools, as the formulas read."""

import numpy as np


def dense_matrix_nms(
    masks: np.ndarray, labels: np.ndarray, scores: np.ndarray, points: np.ndarray, sigma: float
) -> np.ndarray:
    """New score of each object; see `pcseg.inference.filters.matrix_nms`."""
    shared = (masks * points) @ masks.T.astype(float)
    size = shared.diagonal()
    iou = np.triu(shared / np.maximum(size[:, None] + size - shared, 1), k=1)
    iou[labels[:, None] != labels] = 0
    best = iou.max(axis=0, initial=0)
    decay = np.exp(-(iou**2 - best[:, None] ** 2) / sigma)
    better = np.triu(labels[:, None] == labels, k=1)
    return scores * np.where(better, decay, 1).min(axis=0, initial=1)


def dense_without_overlap(masks: np.ndarray) -> np.ndarray:
    """Masks where each column is left to the first of its rows."""
    first = np.cumsum(masks, axis=0) == 1
    return masks & first
