"""Kernels that light a surface from its depth; call them through `pcseg.viz.raster`."""

import numpy as np

from pcseg.kernels import kernel


def smooth_depth(depth, steps, reach):
    """Averages the depth over neighbors of similar depth, along rows and then along columns.

    Args:
        depth: float32 (H, W), infinity where nothing is.
        steps: how far away neighbors are, at most, in pixels.
        reach: how much neighbors differ, at most, as a fraction of the depth.

    Returns:
        float32 (H, W).
    """
    total, count = np.empty((2, depth.shape[1]), np.float32)
    out = np.empty_like(depth)
    for turn in range(2):
        # A border of infinity and whole rows in the innermost loop: it compiles to vector instructions.
        _smooth(
            np.pad(depth if turn == 0 else out, steps, constant_values=np.inf), steps, reach, turn, total, count, out
        )
    return out


@kernel("f4[:,::1], i8, f4, i8, f4[::1], f4[::1], f4[:,::1]", error_model="numpy")
def _smooth(source, steps, reach, turn, total, count, out):
    """One of the two turns; `source` has a border, `total` and `count` are for work."""
    height, width = out.shape
    for y in range(height):
        for x in range(width):
            total[x], count[x] = 0.0, 0.0
        here = source[y + steps, steps : steps + width]
        for k in range(2 * steps + 1):
            there = source[y + steps, k : k + width] if turn == 0 else source[y + k, steps : steps + width]
            for x in range(width):
                if abs(there[x] - here[x]) <= reach * here[x]:
                    total[x] += there[x]
                    count[x] += np.float32(1.0)
        for x in range(width):
            out[y, x] = total[x] / count[x] if here[x] < np.inf else np.float32(np.inf)


def eye_dome(depth, near_pixels, far_pixels, near_strength, far_strength):
    """Eye-dome lighting at two scales: pixels with nearer neighbors are darker.

    Near neighbors give outlines, far ones shape.

    Args:
        depth: float32 (H, W), infinity where nothing is.
        near_pixels: distance of the near neighbors in pixels.
        far_pixels: distance of the far neighbors in pixels.
        near_strength: how much the near neighbors darken; 0 is not at all.
        far_strength: how much the far neighbors darken.

    Returns:
        float32 (H, W), from 0 (dark) to 1 (bright).
    """
    rim = max(near_pixels, far_pixels)
    log_depth = np.pad(np.log(depth), rim, constant_values=np.inf)
    dark = np.zeros_like(depth)
    for reach, limit, strength in ((near_pixels, 0.02, near_strength), (far_pixels, 0.06, far_strength)):
        for dx, dy in ((reach, 0), (0, reach), (reach, reach), (reach, -reach)):
            _darken(log_depth, rim, dx, dy, np.float32(limit), np.float32(strength / 4), dark)
    return np.where(depth < np.inf, np.exp(-dark), np.float32(1))


@kernel("f4[:,::1], i8, i8, i8, f4, f4, f4[:,::1]")
def _darken(log_depth, rim, dx, dy, limit, share, dark):
    """Adds the response to two opposite neighbors: on a slanted plane they cancel, and it stays bright."""
    height, width = dark.shape
    zero = np.float32(0.0)
    for y in range(height):
        here = log_depth[y + rim, rim : rim + width]
        one = log_depth[y + rim + dy, rim + dx : rim + dx + width]
        other = log_depth[y + rim - dy, rim - dx : rim - dx + width]
        for x in range(width):
            response = min(max(here[x] - one[x], -limit), limit) if one[x] < np.inf else zero
            response += min(max(here[x] - other[x], -limit), limit) if other[x] < np.inf else zero
            dark[y, x] += share * max(response, zero)


def light(depth, focal, center_x, center_y, directions, weights, ambient):
    """Soft light from fixed directions on the surface of a depth image.

    Args:
        depth: float32 (H, W), smooth.
        focal: pixels per unit of tan(angle).
        center_x: column of the optical axis, pixels.
        center_y: row of the optical axis, pixels.
        directions: float64 (L, 3), unit vectors to the lights in camera axes.
        weights: float64 (L,), brightness of the lights.
        ambient: brightness without lights.

    Returns:
        float32 (H, W), brightness.
    """
    out = np.ones_like(depth)
    _light(depth, focal, center_x, center_y, directions, weights, ambient, out)
    return out


@kernel("f4[:,::1], f8, f8, f8, f8[:,::1], f8[::1], f8, f4[:,::1]")
def _light(depth, focal, center_x, center_y, directions, weights, ambient, out):
    height, width = depth.shape
    step = 2
    for y in range(height):
        for x in range(width):
            here = depth[y, x]
            if not np.isfinite(here):
                continue
            left, right = depth[y, max(x - step, 0)] - here, depth[y, min(x + step, width - 1)] - here
            above, below = depth[max(y - step, 0), x] - here, depth[min(y + step, height - 1), x] - here
            slope_x = right if abs(right) < abs(left) else -left  # the flatter side, because an edge is no slope
            slope_y = below if abs(below) < abs(above) else -above
            if not (abs(slope_x) < 0.2 and abs(slope_y) < 0.2):
                continue
            slope_x, slope_y = slope_x / step, slope_y / step
            # Normal of the surface (u, v) -> depth * ((u - cx) / f, -(v - cy) / f, -1).
            a, b = (x + 0.5 - center_x) / focal, (y + 0.5 - center_y) / focal
            tx0, tx1, tx2 = slope_x * a + here / focal, -slope_x * b, -slope_x
            ty0, ty1, ty2 = slope_y * a, -slope_y * b - here / focal, -slope_y
            n0, n1, n2 = ty1 * tx2 - ty2 * tx1, ty2 * tx0 - ty0 * tx2, ty0 * tx1 - ty1 * tx0
            norm = np.sqrt(n0 * n0 + n1 * n1 + n2 * n2)
            total = ambient
            for k in range(directions.shape[0]):
                cosine = (n0 * directions[k, 0] + n1 * directions[k, 1] + n2 * directions[k, 2]) / norm
                total += weights[k] * max(cosine, 0.0)
            out[y, x] = total
