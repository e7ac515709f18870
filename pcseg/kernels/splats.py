"""Kernels that estimate the surface around points; call them through `pcseg.viz.raster`."""

import numpy as np

from pcseg.kernels import kernel


def cell_covariances(xyz, cell, num_cells):
    """Covariance of the points of each cell.

    Args:
        xyz: float32 (P, 3), points.
        cell: int32 (P,), cell of each point, 0..num_cells-1; no cell is empty.
        num_cells: number of cells.

    Returns:
        float64 (num_cells, 3, 3).
    """
    mean, out = np.zeros((num_cells, 3)), np.zeros((num_cells, 3, 3))
    _add_covariances(xyz, cell, np.zeros(num_cells), mean, out)
    return out


@kernel("f4[:,::1], i4[::1], f8[::1], f8[:,::1], f8[:,:,::1]")
def _add_covariances(xyz, cell, count, mean, out):
    num_cells = len(count)
    for i in range(xyz.shape[0]):
        c = cell[i]
        count[c] += 1.0
        for k in range(3):
            mean[c, k] += xyz[i, k]
    for c in range(num_cells):
        for k in range(3):
            mean[c, k] /= count[c]
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


def flattest_directions(covariance, counts, min_points):
    """Direction of the smallest variance of each cell, and the ratio of the smallest to the second smallest variance.

    Args:
        covariance: float64 (C, 3, 3).
        counts: int (C,), points per cell.
        min_points: cells with fewer points have an unknown shape.

    Returns:
        roughness: float64 (C,), infinity where the shape is unknown, a line or a ball.
        direction: float64 (C, 3), unit vectors, zero where the shape is unknown.

    Source:
        Smith 1961, "Eigenvalues of a symmetric 3 x 3 matrix".
    """
    roughness, direction = np.full(len(covariance), np.inf), np.zeros((len(covariance), 3))
    _find_flattest(covariance, counts, min_points, roughness, direction)
    return roughness, direction


@kernel("f8[:,:,::1], i4[::1], i8, f8[::1], f8[:,::1]", error_model="numpy")
def _find_flattest(covariance, counts, min_points, roughness, direction):
    for c in range(len(covariance)):
        if counts[c] < min_points:
            continue
        xx, yy, zz = covariance[c, 0, 0], covariance[c, 1, 1], covariance[c, 2, 2]
        xy, xz, yz = covariance[c, 0, 1], covariance[c, 0, 2], covariance[c, 1, 2]
        mean = (xx + yy + zz) / 3
        xx, yy, zz = xx - mean, yy - mean, zz - mean
        p = np.sqrt((xx * xx + yy * yy + zz * zz + 2 * (xy * xy + xz * xz + yz * yz)) / 6)
        if not p > 1e-9 * mean:
            continue
        det = xx * (yy * zz - yz * yz) - xy * (xy * zz - yz * xz) + xz * (xy * yz - yy * xz)
        angle = np.arccos(min(max(det / (2 * p * p * p), -1.0), 1.0)) / 3
        least, most = 2 * p * np.cos(angle + 2 * np.pi / 3), 2 * p * np.cos(angle)
        second = mean - least - most
        if second < 1e-7 * (most + mean):  # a line; rounding alone gives about 1e-8
            continue
        # Rows of (covariance - least) span the plane; the pair with the longest cross product is the safest.
        xx, yy, zz = xx - least, yy - least, zz - least
        longest = 0.0
        for x, y, z in (
            (xy * yz - xz * yy, xz * xy - xx * yz, xx * yy - xy * xy),
            (xy * zz - xz * yz, xz * xz - xx * zz, xx * yz - xy * xz),
            (yy * zz - yz * yz, yz * xz - xy * zz, xy * yz - yy * xz),
        ):
            length = np.sqrt(x * x + y * y + z * z)
            if length > longest:
                longest = length
                direction[c, 0], direction[c, 1], direction[c, 2] = x / length, y / length, z / length
        if longest > 0:
            roughness[c] = max(mean + least, 0.0) / second
