"""The loops that estimate how points are drawn, compiled by numba; `splats` is the module to call."""

import numpy as np
from numba import njit


@njit(cache=True)
def cell_covariances(xyz, cell, num_cells):
    """Covariance of the points of each cell.

    Args:
        xyz: float32 (P, 3).
        cell: int (P,), 0..num_cells-1; no cell is empty.
        num_cells: how many there are.

    Returns:
        float64 (num_cells, 3, 3).
    """
    count = np.zeros(num_cells)
    mean = np.zeros((num_cells, 3))
    for i in range(xyz.shape[0]):
        c = cell[i]
        count[c] += 1.0
        for k in range(3):
            mean[c, k] += xyz[i, k]
    for c in range(num_cells):
        for k in range(3):
            mean[c, k] /= count[c]
    out = np.zeros((num_cells, 3, 3))
    for i in range(xyz.shape[0]):
        c = cell[i]
        x, y, z = xyz[i, 0] - mean[c, 0], xyz[i, 1] - mean[c, 1], xyz[i, 2] - mean[c, 2]
        out[c, 0, 0] += x * x
        out[c, 0, 1] += x * y
        out[c, 0, 2] += x * z
        out[c, 1, 1] += y * y
        out[c, 1, 2] += y * z
        out[c, 2, 2] += z * z
    for c in range(num_cells):
        for j in range(3):
            for k in range(j, 3):
                out[c, j, k] /= count[c]
                out[c, k, j] = out[c, j, k]
    return out


@njit(cache=True)
def take_cells(cell, counts, roughness, direction, most, flattest, normal):
    """Gives each point the count of its cell where that is greater, and its normal where the cell is flatter.

    Args:
        cell: int (P,).
        counts: int64 (cells,), points in each.
        roughness: float64 (cells,).
        direction: float64 (cells, 3), unit normals.
        most: int64 (P,), changed in place.
        flattest: float64 (P,), changed in place.
        normal: float32 (P, 3), changed in place.
    """
    for i in range(len(cell)):
        c = cell[i]
        most[i] = max(most[i], counts[c])
        if roughness[c] < flattest[i]:
            flattest[i] = roughness[c]
            for k in range(3):
                normal[i, k] = direction[c, k]
