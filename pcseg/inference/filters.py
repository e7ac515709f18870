"""What may be done to the objects of a scan after they are found."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float64
from scipy.sparse import csr_array

from pcseg.inference.tiles import group_rows
from pcseg.structures import Instances


def matrix_nms(instances: Instances, *, sigma: float = 0.5) -> Instances:
    """Scores of objects that overlap better ones of their class fall, by a Gaussian of their IoU over points.

    Args:
        instances: best first.
        sigma: width of the Gaussian; a smaller one lowers scores further.

    Returns:
        The same objects with their new scores, best first.

    Source:
        Wang et al., SOLOv2: Dynamic and Fast Instance Segmentation, NeurIPS 2020, section 3.3.
    """
    decay = np.ones(len(instances))
    points = mask_points(instances)
    for rows in group_rows(instances.labels):
        mine = points[rows]
        inside = csr_array((np.ones_like(mine.data), mine.indices, mine.indptr), shape=mine.shape)
        shared = (mine @ inside.T).toarray()
        size = shared.diagonal()
        union = size[:, None] + size - shared
        # Of each object with the better ones: those that come before.
        iou = np.triu(shared / np.maximum(union, 1), k=1)
        best = iou.max(axis=0, initial=0)
        ratio = np.exp(-(iou**2 - best[:, None] ** 2) / sigma)
        better = np.triu(np.ones_like(ratio, bool), k=1)
        decay[rows] = np.where(better, ratio, 1).min(axis=0, initial=1)
    scores = (instances.scores * decay).astype(instances.scores.dtype)
    return select(replace(instances, scores=scores), np.argsort(-scores, kind="stable"))


def without_overlap(instances: Instances) -> Instances:
    """Each superpoint, or point, is left to the best of its objects; objects that lose all are dropped.

    Args:
        instances: best first.
    """
    masks = np.zeros_like(instances.masks)
    if len(instances):
        columns = np.flatnonzero(instances.masks.any(axis=0))
        masks[instances.masks.argmax(axis=0)[columns], columns] = True
    return select(replace(instances, masks=masks), np.flatnonzero(masks.any(axis=1)))


def column_points(instances: Instances) -> Float64[np.ndarray, "S"]:
    """Points of each column of the masks."""
    columns = instances.masks.shape[1]
    if instances.superpoint is None:
        return np.ones(columns)
    return np.bincount(instances.superpoint, minlength=columns).astype(np.float64)


def mask_points(instances: Instances) -> csr_array:
    """Points of each column that is in a mask, float64, a row for each object."""
    # Row by row: the nonzero of a row is many times faster than that of the matrix.
    columns = [np.flatnonzero(mask) for mask in instances.masks]
    starts = np.cumsum([0, *map(len, columns)])
    inside = np.concatenate([np.zeros(0, np.int64), *columns])
    return csr_array((column_points(instances)[inside], inside, starts), shape=instances.masks.shape)


def select(instances: Instances, rows: np.ndarray) -> Instances:
    """Some of the objects, in the order of `rows`."""
    return replace(instances, masks=instances.masks[rows], labels=instances.labels[rows], scores=instances.scores[rows])


def keep(instances: Instances, *, min_points: int = 0, score_threshold: float = 0.0) -> Instances:
    """Objects of at least so many points that score at least so much."""
    large = mask_points(instances).sum(axis=1) >= min_points
    good = large & (instances.scores >= score_threshold)
    # Masks of a large scan may take gigabytes, which need not be copied for nothing.
    return instances if good.all() else select(instances, np.flatnonzero(good))
