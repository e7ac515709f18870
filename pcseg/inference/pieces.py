"""Connected pieces: of masks, as one query often takes several objects that look alike, and of surfaces."""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float32, Float64
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

from pcseg.inference.filters import column_points
from pcseg.ops.neighbors import submanifold_map
from pcseg.ops.segment import group_rows
from pcseg.ops.voxelize import pair_superpoints, voxelize
from pcseg.prediction import Prediction, mask_rows
from pcseg.structures import Scene


def superpoint_links(scene: Scene, cell: float = 0.05) -> csr_array:
    """Which superpoints touch: they have points in one cell of a grid, or in neighboring cells.

    Args:
        scene: a scan with superpoints.
        cell: edge of the cells in meters.

    Returns:
        Symmetric, (S, S), not 0 where two superpoints touch.
    """
    assert scene.superpoint is not None
    grid = voxelize(scene.xyz, cell)
    num_cells, num_superpoints = len(grid.coords), scene.num_superpoints
    voxel, superpoint, _ = pair_superpoints(grid.point_to_voxel, scene.superpoint, num_superpoints)
    inside = coo_array((np.ones(len(voxel), np.float32), (voxel, superpoint)), shape=(num_cells, num_superpoints))
    coords = torch.from_numpy(np.pad(grid.coords, ((0, 0), (1, 0))))
    pairs = submanifold_map(coords, 1)
    ends = (pairs.in_index.numpy(), pairs.out_index.numpy())
    near = coo_array((np.ones(len(ends[0]), np.float32), ends), shape=(num_cells, num_cells))
    return csr_array(inside.T @ (near.tocsr() @ inside.tocsr()))


def split_pieces(prediction: Prediction, links: csr_array, *, min_points: int = 0) -> Prediction:
    """Makes an object of each connected piece of a mask.

    The score of a piece is that of its object times the square root of its share of the points.

    Args:
        prediction: objects with masks over superpoints.
        links: `superpoint_links` of the scene.
        min_points: smaller pieces are dropped.

    Returns:
        The pieces, best first.
    """
    counts = column_points(prediction)
    columns, owner, scores = [], [], []
    for row in range(len(prediction)):
        mine = prediction.columns(row)
        for piece in group_rows(connected_components(links[mine][:, mine], directed=False)[1]):
            size = counts[mine[piece]].sum()
            if size >= min_points:
                columns.append(mine[piece])
                owner.append(row)
                scores.append(prediction.scores[row] * np.sqrt(size / counts[mine].sum()))
    masks = mask_rows(columns, prediction.num_columns)
    scores = np.array(scores, prediction.scores.dtype)
    pieces = replace(prediction, masks=masks, labels=prediction.labels[np.array(owner, np.int64)], scores=scores)
    return pieces.select(np.argsort(-scores, kind="stable"))


def with_surfaces(
    prediction: Prediction,
    semantic: Float32[np.ndarray, "S C"],
    links: csr_array,
    *,
    min_points: int = 0,
    max_angle: float = 25.0,
) -> Prediction:
    """Adds walls, floors and ceilings as objects: connected superpoints of one stuff class that face the same way.

    Args:
        prediction: objects with masks over superpoints, and classes.
        semantic: class probabilities of each superpoint.
        links: `superpoint_links` of the scene.
        min_points: smaller surfaces are left out.
        max_angle: largest angle between neighboring superpoints of a surface, in degrees.

    Returns:
        The objects and the surfaces, whose score is their mean probability, best first.
    """
    assert prediction.classes is not None
    counts = column_points(prediction)
    normal, label = _normals(prediction.scene), semantic.argmax(axis=1)
    columns, labels, scores = [], [], []
    for index in map(prediction.classes.index, sorted(prediction.classes.stuff)):
        mine = np.flatnonzero(label == index)
        near = coo_array(links[mine][:, mine])
        first, second = near.coords
        flat = np.abs((normal[mine[first]] * normal[mine[second]]).sum(axis=1)) > np.cos(np.radians(max_angle))
        graph = coo_array((np.ones(flat.sum()), (first[flat], second[flat])), shape=near.shape)
        for piece in group_rows(connected_components(graph, directed=False)[1]) if len(mine) else []:
            rows = mine[piece]
            if counts[rows].sum() >= min_points:
                columns.append(rows)
                labels.append(index)
                scores.append(semantic[rows, index] @ counts[rows] / counts[rows].sum())
    order = np.argsort(-np.concatenate([prediction.scores, scores]), kind="stable")
    every = [*(prediction.columns(row) for row in range(len(prediction))), *columns]
    return replace(
        prediction,
        masks=mask_rows(every, prediction.num_columns),
        labels=np.concatenate([prediction.labels, np.array(labels, np.int64)]),
        scores=np.concatenate([prediction.scores, np.array(scores, prediction.scores.dtype)]),
    ).select(order)


def _normals(scene: Scene) -> Float64[np.ndarray, "S 3"]:
    """Direction in which the points of each superpoint vary least."""
    assert scene.superpoint is not None
    count = np.bincount(scene.superpoint)
    mean = [np.bincount(scene.superpoint, scene.xyz[:, axis]) / count for axis in range(3)]
    away = [scene.xyz[:, axis] - mean[axis][scene.superpoint] for axis in range(3)]
    spread = [[np.bincount(scene.superpoint, a * b) for b in away] for a in away]
    return np.linalg.eigh(np.moveaxis(np.array(spread), 2, 0))[1][:, :, 0]
