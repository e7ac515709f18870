"""Kernels that light a surface from its depth; call them through `pcseg.viz.raster`."""

import numpy as np

from pcseg.kernels import kernel


@kernel(nogil=True)
def copy(source, target):
    """Copies an image; an assignment of slices would take seconds to compile."""
    for y in range(source.shape[0]):
        for x in range(source.shape[1]):
            target[y, x] = source[y, x]


@kernel("f4[:,::1], i8, f4", nogil=True, error_model="numpy")
def smooth_depth(depth, steps, reach):
    """Averages the depth over neighbors of similar depth, along rows and then along columns.

    Args:
        depth: float32 (H, W), infinity where nothing is.
        steps: distance to the farthest neighbors, pixels.
        reach: largest difference of depth, as a fraction of the depth.

    Returns:
        float32 (H, W).
    """
    height, width = depth.shape
    # A border of infinity and whole rows in the innermost loops: they compile to vector instructions.
    source = np.full((height + 2 * steps, width + 2 * steps), np.inf, np.float32)
    inner = source[steps : steps + height, steps : steps + width]
    copy(depth, inner)
    out = np.empty_like(depth)
    total, count = np.empty(width, np.float32), np.empty(width, np.float32)
    for turn in range(2):
        for y in range(height):
            total[:], count[:] = 0.0, 0.0
            here = inner[y]
            for k in range(2 * steps + 1):
                there = source[y + steps, k : k + width] if turn == 0 else source[y + k, steps : steps + width]
                for x in range(width):
                    if abs(there[x] - here[x]) <= reach * here[x]:
                        total[x] += there[x]
                        count[x] += np.float32(1.0)
            for x in range(width):
                out[y, x] = total[x] / count[x] if here[x] < np.inf else np.float32(np.inf)
        copy(out, inner)
    return out


@kernel("f4[:,::1], i8, i8, f8, f8", nogil=True)
def eye_dome(depth, near_pixels, far_pixels, near_strength, far_strength):
    """Eye-dome lighting at two scales: pixels with nearer neighbors are darker.

    Args:
        depth: float32 (H, W), infinity where nothing is.
        near_pixels: distance to the neighbors that give outlines, pixels.
        far_pixels: distance to the neighbors that give shape, pixels.
        near_strength: weight of the outlines.
        far_strength: weight of the shape.

    Returns:
        float32 (H, W), from 0 (dark) to 1 (bright).
    """
    height, width = depth.shape
    rim = max(near_pixels, far_pixels)
    log_depth = np.full((height + 2 * rim, width + 2 * rim), np.inf, np.float32)
    for y in range(height):  # np.log of the whole array would take seconds to compile
        for x in range(width):
            log_depth[y + rim, x + rim] = np.log(depth[y, x])
    dark = np.zeros((height, width), np.float32)
    zero = np.float32(0.0)
    for scale in range(2):
        reach = near_pixels if scale == 0 else far_pixels
        limit = np.float32(0.02 if scale == 0 else 0.06)
        share = np.float32((near_strength if scale == 0 else far_strength) / 4)
        for dx, dy in ((reach, 0), (0, reach), (reach, reach), (reach, -reach)):
            for y in range(height):
                # Opposite neighbors together: on a slanted plane they cancel, and it stays bright.
                here = log_depth[y + rim, rim : rim + width]
                one = log_depth[y + rim + dy, rim + dx : rim + dx + width]
                other = log_depth[y + rim - dy, rim - dx : rim - dx + width]
                for x in range(width):
                    response = min(max(here[x] - one[x], -limit), limit) if one[x] < np.inf else zero
                    response += min(max(here[x] - other[x], -limit), limit) if other[x] < np.inf else zero
                    dark[y, x] += share * max(response, zero)
    shade = np.ones((height, width), np.float32)
    for y in range(height):
        for x in range(width):
            if depth[y, x] < np.inf:
                shade[y, x] = np.exp(-dark[y, x])
    return shade


@kernel("f4[:,::1], f8, f8, f8, f8[:,::1], f8[::1], f8", nogil=True)
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
    height, width = depth.shape
    out = np.ones((height, width), np.float32)
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
    return out
