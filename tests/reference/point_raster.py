"""The point of each pixel, written down plainly: every pixel asks every point."""

import numpy as np

from pcseg.viz.view import View


def nearest_points(
    xyz: np.ndarray, radius: np.ndarray, view: View, width: int, height: int
) -> tuple[np.ndarray, np.ndarray]:
    """Point and depth of each pixel for discs that face the camera, -1 and infinity where there is none.

    Args:
        xyz: (P, 3), meters.
        radius: (P,), meters.
        view: the camera.
        width: pixels.
        height: pixels.
    """
    focal = height / 2 / np.tan(np.radians(view.fov) / 2)
    index, depth = np.full((height, width), -1), np.full((height, width), np.inf)
    key = np.full((height, width), np.inf)
    for i, point in enumerate(xyz.astype(np.float64)):
        x, y, z = view.rotation @ (point - view.eye)
        if (view.cut is not None and point[2] > view.cut) or -z < 0.05:
            continue
        u, v, r = width / 2 - focal * x / z, height / 2 + focal * y / z, -focal * radius[i] / z
        r = min(max(r, 0.75), max(2.0, height / 30))
        for row in range(height):
            for column in range(width):
                off = (column + 0.5 - u) ** 2 + (row + 0.5 - v) ** 2
                here = -z + 0.5 * (r * -z / focal) * off / r**2
                if off <= r**2 and here < key[row, column]:
                    key[row, column], depth[row, column], index[row, column] = here, -z, i
    return index, depth
