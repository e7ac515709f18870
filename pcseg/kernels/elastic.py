"""Compiled loop of the elastic distortion."""

import numpy as np

from pcseg.kernels import kernel


@kernel("f4[:,::1], f4[::1], f4, f4[:,:,:,::1], f4")
def displaced(xyz, low, granularity, field, magnitude):
    """Moves points by a field on a grid, interpolated linearly between its nodes.

    Args:
        xyz: float32 (P, 3), meters; every point must be between nodes.
        low: float32 (3,), place of node (1, 1, 1).
        granularity: distance between nodes in meters.
        field: float32 (X, Y, Z, 3), shift of each node.
        magnitude: factor from the field to meters.

    Returns:
        float32 (P, 3).
    """
    moved = np.empty_like(xyz)
    for i in range(len(xyz)):
        px = (xyz[i, 0] - low[0]) / granularity + 1
        py = (xyz[i, 1] - low[1]) / granularity + 1
        pz = (xyz[i, 2] - low[2]) / granularity + 1
        x, y, z = int(px), int(py), int(pz)
        fx, fy, fz = px - x, py - y, pz - z
        for c in range(3):
            low_x = (field[x, y, z, c] * (1 - fz) + field[x, y, z + 1, c] * fz) * (1 - fy) + (
                field[x, y + 1, z, c] * (1 - fz) + field[x, y + 1, z + 1, c] * fz
            ) * fy
            high_x = (field[x + 1, y, z, c] * (1 - fz) + field[x + 1, y, z + 1, c] * fz) * (1 - fy) + (
                field[x + 1, y + 1, z, c] * (1 - fz) + field[x + 1, y + 1, z + 1, c] * fz
            ) * fy
            moved[i, c] = xyz[i, c] + magnitude * (low_x * (1 - fx) + high_x * fx)
    return moved
