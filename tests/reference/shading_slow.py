"""Holes, smoothing and eye-dome lighting written down plainly, pixel by pixel."""

import math

import numpy as np


def filled(depth: np.ndarray, index: np.ndarray, reach: int, gap: float) -> np.ndarray:
    """Point of each pixel after those that lie behind seven of the eight pixels around them took one of theirs."""
    height, width = depth.shape
    out = index.copy()
    for y in range(reach, height - reach):
        for x in range(reach, width - reach):
            limit = depth[y, x] * (1 - gap)
            ring = [(y + dy, x + dx) for dy in (-reach, 0, reach) for dx in (-reach, 0, reach)]
            nearer = [place for place in ring if depth[place] < limit]
            beside = depth[y, x - reach] < limit or depth[y, x + reach] < limit
            if beside and len(nearer) >= 7:
                out[y, x] = index[max(nearer, key=lambda place: depth[place])]
    return out


def smooth(depth: np.ndarray, steps: int, reach: float) -> np.ndarray:
    """Means of the depth along rows, then along columns, of pixels whose depth is alike."""
    for axis in (1, 0):
        out = depth.copy()
        for place in np.argwhere(np.isfinite(depth)):
            here = depth[tuple(place)]
            alike = []
            for k in range(-steps, steps + 1):
                other = place.copy()
                other[axis] += k
                if 0 <= other[axis] < depth.shape[axis] and abs(depth[tuple(other)] - here) <= reach * here:
                    alike.append(depth[tuple(other)])
            out[tuple(place)] = sum(alike) / len(alike)
        depth = out
    return depth


def eye_dome(depth: np.ndarray, reaches: tuple[int, int], strengths: tuple[float, float]) -> np.ndarray:
    """Brightness where pixels are darker the farther they lie behind pairs of opposite neighbors."""
    height, width = depth.shape
    shade = np.ones(depth.shape)
    for y, x in np.argwhere(np.isfinite(depth)):
        dark = 0.0
        for reach, strength, limit in zip(reaches, strengths, (0.02, 0.06)):
            for dy, dx in ((0, 1), (1, 0), (1, 1), (-1, 1)):
                response = 0.0
                for sign in (-1, 1):
                    yy, xx = y + sign * reach * dy, x + sign * reach * dx
                    if 0 <= yy < height and 0 <= xx < width and math.isfinite(depth[yy, xx]):
                        behind = math.log(depth[y, x]) - math.log(depth[yy, xx])
                        response += min(max(behind, -limit), limit)
                dark += strength / 4 * max(response, 0.0)
        shade[y, x] = math.exp(-dark)
    return shade
