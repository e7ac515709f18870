"""The point of each pixel, found and painted pixel by pixel."""

import numpy as np


def splat(xyz, normal, hidden, radius, rotation, eye, focal, max_pixels, width, height):
    """Depth and point of each pixel for discs that face the camera; `normal` must be zero."""
    assert not normal.any()
    depth, index = np.full((height, width), np.inf), np.full((height, width), -1)
    nearest = np.full((height, width), np.inf)
    for i in np.flatnonzero(~hidden):
        x, y, z = rotation @ (xyz[i].astype(np.float64) - eye)
        if -z < 0.05:
            continue
        u, v = width / 2 - focal * x / z, height / 2 + focal * y / z
        r = min(max(-focal * radius[i] / z, 0.75), max_pixels)
        for row in range(height):
            for column in range(width):
                squared = (column + 0.5 - u) ** 2 + (row + 0.5 - v) ** 2
                bulged = -z + 0.5 * (r * -z / focal) * squared / r**2
                if squared <= r**2 and bulged < nearest[row, column]:
                    nearest[row, column], depth[row, column], index[row, column] = bulged, -z, i
    return depth, index


def fill_holes(depth: np.ndarray, index: np.ndarray, reach: int, gap: float) -> None:
    """Changes `index` in place where seven of the eight pixels around a pixel lie in front of it."""
    height, width = depth.shape
    before = index.copy()
    for y in range(reach, height - reach):
        for x in range(reach, width - reach):
            limit = depth[y, x] * (1 - gap)
            ring = [(y + dy, x + dx) for dy in (-reach, 0, reach) for dx in (-reach, 0, reach)]
            nearer = [place for place in ring if depth[place] < limit]
            beside = depth[y, x - reach] < limit or depth[y, x + reach] < limit
            if beside and len(nearer) >= 7:
                index[y, x] = before[max(nearer, key=lambda place: depth[place])]


def paint(index: np.ndarray, shade: np.ndarray, colors: np.ndarray, background: np.ndarray, factor: int) -> np.ndarray:
    """Means of blocks of lit pixels, before rounding."""
    lit = colors[index] * np.kron(shade, np.ones((factor, factor)))[..., None]
    lit = np.where(index[..., None] < 0, background, np.minimum(lit, 255))
    height, width = shade.shape
    return lit.reshape(height, factor, width, factor, 3).mean(axis=(1, 3))
