"""Connected pieces of masks, as one query often takes several objects that look alike."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float64, Int32
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

from pcseg.ops.neighbors import submanifold_map
from pcseg.ops.segment import group_rows
from pcseg.ops.voxelize import pair_superpoints, voxelize
from pcseg.prediction import NO_IDS, Prediction, mask_rows
from pcseg.structures import Scene


class SuperpointCells(NamedTuple):
    """The cells of a grid that the points of each superpoint are in."""

    size: float  # edge of a cell in meters
    coords: Int32[np.ndarray, "V 3"]
    inside: coo_array  # (V, S), 1 where a superpoint has points in a cell


def superpoint_cells(scene: Scene, cell: float = 0.05) -> SuperpointCells:
    """Puts the superpoints of a scan on a grid with cells of `cell` meters."""
    assert scene.superpoint is not None
    grid = voxelize(scene.xyz, cell)
    voxel, superpoint, _ = pair_superpoints(grid.point_to_voxel, scene.superpoint)
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
    """Makes an object of each connected piece of a mask over superpoints.

    The score of a piece is that of its object times the square root of its share of the points.

    Args:
        prediction: objects with masks over the S superpoints of a scene.
        links: which superpoints touch, (S, S), from `superpoint_links`.
        min_points: least number of points in a piece; smaller pieces are dropped.

    Returns:
        The pieces, best first.
    """
    columns, num_columns = prediction.masks.indices, prediction.num_columns
    # All objects at once: a node for each column of each mask, an edge between linked columns of one mask.
    owner = np.repeat(np.arange(len(prediction)), np.diff(prediction.masks.indptr))
    node, near = owner * num_columns + columns, links[columns]
    tail = np.repeat(np.arange(len(node)), np.diff(near.indptr))
    linked = owner[tail] * num_columns + near.indices
    head = np.minimum(np.searchsorted(node, linked), len(node) - 1)
    inside = node[head] == linked
    graph = coo_array((np.ones(inside.sum(), np.bool_), (tail[inside], head[inside])), shape=(len(node), len(node)))
    piece = connected_components(graph, directed=False)[1] if len(node) else owner
    # The points of each object and each piece, and the object of each piece.
    counts = prediction.column_points[columns]
    whole, size = np.bincount(owner, counts), np.bincount(piece, counts)
    of = np.zeros(len(size), np.int64)
    of[piece] = owner
    scores = (prediction.scores[of] * np.sqrt(size / whole[of])).astype(prediction.scores.dtype)
    masks = mask_rows([columns[nodes] for nodes in group_rows(piece)], num_columns)
    pieces = replace(prediction, masks=masks, labels=prediction.labels[of], scores=scores, ids=NO_IDS)
    order = np.argsort(-scores, kind="stable")
    return pieces.select(order[size[order] >= min_points])
