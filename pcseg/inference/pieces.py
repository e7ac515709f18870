"""Connected pieces of masks, as one query often takes several objects that look alike."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float64, Int32
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

from pcseg.inference.filters import column_points
from pcseg.ops.neighbors import submanifold_map
from pcseg.ops.segment import group_rows
from pcseg.ops.voxelize import pair_superpoints, voxelize
from pcseg.prediction import Prediction, mask_rows
from pcseg.structures import Scene


class SuperpointCells(NamedTuple):
    """The cells of a grid that the points of each superpoint are in."""

    size: float  # edge of a cell in meters
    coords: Int32[np.ndarray, "V 3"]
    inside: coo_array  # (V, S), 1 where a superpoint has points in a cell


def superpoint_cells(scene: Scene, cell: float = 0.05) -> SuperpointCells:
    """Puts the superpoints of a scan on a grid.

    Args:
        scene: a scan with superpoints.
        cell: edge of the cells in meters.
    """
    assert scene.superpoint is not None
    grid = voxelize(scene.xyz, cell)
    voxel, superpoint, _ = pair_superpoints(grid.point_to_voxel, scene.superpoint, scene.num_superpoints)
    shape = (len(grid.coords), scene.num_superpoints)
    return SuperpointCells(cell, grid.coords, coo_array((np.ones(len(voxel), np.float32), (voxel, superpoint)), shape))


def superpoint_links(cells: SuperpointCells) -> csr_array:
    """Which superpoints touch: they have points in one cell of a grid, or in neighboring cells.

    Returns:
        Symmetric, (S, S), not 0 where two superpoints touch.
    """
    num_cells, inside = len(cells.coords), cells.inside
    pairs = submanifold_map(torch.from_numpy(np.pad(cells.coords, ((0, 0), (1, 0)))), 1)
    ends = (pairs.in_index.numpy(), pairs.out_index.numpy())
    near = coo_array((np.ones(len(ends[0]), np.float32), ends), shape=(num_cells, num_cells))
    return csr_array(inside.T @ (near.tocsr() @ inside.tocsr()))


def superpoint_areas(cells: SuperpointCells) -> Float64[np.ndarray, "S"]:
    """Area of each superpoint in square meters: its cells, which do not depend on the density of points."""
    return np.bincount(cells.inside.col) * cells.size**2


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
