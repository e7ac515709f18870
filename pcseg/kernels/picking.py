"""Kernel that finds the point under the mouse; call it through `pcseg.viz.viewer`."""

import numpy as np

from pcseg.kernels import kernel


@kernel("f4[:,::1], b1[::1], f8[:,::1], f8, f8, i8, i8, f8, f8")
def nearest_on_screen(xyz, shown, matrix, x, y, width, height, reach, slack):
    """The point of the frontmost surface near a pixel that is closest to the pixel.

    Args:
        xyz: float32 (P, 3), meters.
        shown: bool (P,), False for points that cannot be picked.
        matrix: float64 (4, 4), projection times view of OpenGL.
        x: pixel, to the right from the left edge.
        y: pixel, down from the upper edge.
        width: width of the image, pixels.
        height: height of the image, pixels.
        reach: largest distance from the pixel, pixels.
        slack: points this fraction of the depth behind the frontmost one are on the same surface.

    Returns:
        Row of the point, -1 for none.
    """
    # First the depth of the frontmost point within reach, then the closest point of its surface.
    front, best, least = np.inf, -1, np.inf
    for turn in range(2):
        for i in range(xyz.shape[0]):
            if not shown[i]:
                continue
            px, py, pz = xyz[i, 0], xyz[i, 1], xyz[i, 2]
            depth = matrix[3, 0] * px + matrix[3, 1] * py + matrix[3, 2] * pz + matrix[3, 3]
            if depth <= 0.0 or (turn == 1 and depth > front * (1.0 + slack)):
                continue
            u = (matrix[0, 0] * px + matrix[0, 1] * py + matrix[0, 2] * pz + matrix[0, 3]) / depth
            v = (matrix[1, 0] * px + matrix[1, 1] * py + matrix[1, 2] * pz + matrix[1, 3]) / depth
            across, down = (u + 1.0) * 0.5 * width - x, (1.0 - v) * 0.5 * height - y
            distance = across * across + down * down
            if distance > reach * reach:
                continue
            if turn == 0:
                front = min(front, depth)
            elif distance < least:
                best, least = i, distance
    return best
