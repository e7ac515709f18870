"""Smoothing, eye-dome lighting and lights, pixel by pixel."""

import math

import numpy as np


def smooth_depth(depth: np.ndarray, steps: int, reach: float) -> np.ndarray:
    """Means of similar depths along rows, then along columns."""
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


def eye_dome(depth, near_pixels, far_pixels, near_strength, far_strength):
    """Pixels are darker the farther they lie behind pairs of opposite neighbors."""
    scales = ((near_pixels, near_strength, 0.02), (far_pixels, far_strength, 0.06))
    height, width = depth.shape
    shade = np.ones(depth.shape)
    for y, x in np.argwhere(np.isfinite(depth)):
        dark = 0.0
        for reach, strength, limit in scales:
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


def light(depth, focal, center_x, center_y, directions, weights, ambient):
    """Lambertian light on the normal of the surface through each pixel and its flatter neighbors two pixels away."""

    def place(y: float, x: float, z: float) -> np.ndarray:
        return z * np.array([(x + 0.5 - center_x) / focal, -(y + 0.5 - center_y) / focal, -1.0])

    height, width = depth.shape
    out = np.ones(depth.shape)
    for y, x in np.argwhere(np.isfinite(depth)):
        here = depth[y, x]
        slopes = []
        for before, after in (
            (depth[y, max(x - 2, 0)], depth[y, min(x + 2, width - 1)]),
            (depth[max(y - 2, 0), x], depth[min(y + 2, height - 1), x]),
        ):
            slopes.append(after - here if abs(after - here) < abs(before - here) else here - before)
        if max(map(abs, slopes)) >= 0.2:
            continue
        step = 1e-4
        right = place(y, x + step, here + step * slopes[0] / 2) - place(y, x, here)
        down = place(y + step, x, here + step * slopes[1] / 2) - place(y, x, here)
        normal = np.cross(down, right)
        cosines = directions @ (normal / np.linalg.norm(normal))
        out[y, x] = ambient + weights @ np.maximum(cosines, 0)
    return out
