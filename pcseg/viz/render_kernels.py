"""The loops of the point renderer, compiled by numba; `render` is the module to call."""

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def splat(xyz, normal, hidden, radius, rotation, eye, focal, center_x, center_y, max_pixels, key, depth, index):
    """Draws points as discs into a z-buffer.

    Discs bulge towards the viewer in the middle, so that where discs of one surface overlap each pixel takes the
    nearest point instead of the last one drawn.

    Args:
        xyz: float32 (P, 3), metres.
        normal: float32 (P, 3), unit vectors of either sign, or zero where unknown.
        hidden: bool (P,), points to leave out.
        radius: float32 (P,), metres.
        rotation: float64 (3, 3): rows are the camera's right, up and backward axes.
        eye: float64 (3,).
        focal: pixels per unit of tan(angle).
        center_x, center_y: pixel of the optical axis.
        max_pixels: greatest radius on the screen.
        key: float32 (H, W), filled with infinity; becomes the depth of the discs with their bulge, metres.
        depth: float32 (H, W), filled with infinity; becomes the depth without it, along the optical axis, metres.
        index: int32 (H, W), filled with -1; becomes the point of each pixel.
    """
    height, width = depth.shape
    for i in range(xyz.shape[0]):
        if hidden[i]:
            continue
        dx, dy, dz = xyz[i, 0] - eye[0], xyz[i, 1] - eye[1], xyz[i, 2] - eye[2]
        z = -(rotation[2, 0] * dx + rotation[2, 1] * dy + rotation[2, 2] * dz)
        if z < 0.05:
            continue
        scale = focal / z
        u = center_x + scale * (rotation[0, 0] * dx + rotation[0, 1] * dy + rotation[0, 2] * dz)
        v = center_y - scale * (rotation[1, 0] * dx + rotation[1, 1] * dy + rotation[1, 2] * dz)
        r = min(max(radius[i] * scale, 0.75), max_pixels)
        if u + r < 0 or v + r < 0 or u - r >= width or v - r >= height:
            continue
        extent = r / scale
        bulge = 0.5 * extent / (r * r)
        r2 = r * r
        # The disc lies in the plane n.q = n.p: slope of its depth per pixel, held where the disc is seen edge-on.
        n0 = rotation[0, 0] * normal[i, 0] + rotation[0, 1] * normal[i, 1] + rotation[0, 2] * normal[i, 2]
        n1 = rotation[1, 0] * normal[i, 0] + rotation[1, 1] * normal[i, 1] + rotation[1, 2] * normal[i, 2]
        n2 = rotation[2, 0] * normal[i, 0] + rotation[2, 1] * normal[i, 1] + rotation[2, 2] * normal[i, 2]
        facing = n0 * (u - center_x) / focal - n1 * (v - center_y) / focal - n2
        slope_x, slope_y = 0.0, 0.0
        if abs(facing) > 1e-6:
            slope_x, slope_y = -z * n0 / (focal * facing), z * n1 / (focal * facing)
            steep = np.sqrt(slope_x * slope_x + slope_y * slope_y) * scale
            if steep > 5.0:
                slope_x, slope_y = slope_x * 5.0 / steep, slope_y * 5.0 / steep
        for y in range(max(0, int(np.ceil(v - r - 0.5))), min(height, int(np.floor(v + r - 0.5)) + 1)):
            y2 = (y + 0.5 - v) ** 2
            for x in range(max(0, int(np.ceil(u - r - 0.5))), min(width, int(np.floor(u + r - 0.5)) + 1)):
                d2 = (x + 0.5 - u) ** 2 + y2
                if d2 <= r2:
                    here = z + slope_x * (x + 0.5 - u) + slope_y * (y + 0.5 - v)
                    if here + bulge * d2 < key[y, x]:
                        key[y, x] = here + bulge * d2
                        depth[y, x] = here
                        index[y, x] = i


@njit(cache=True, nogil=True)
def fill_holes(depth, index, reach, gap):
    """Closes pinholes: a pixel that almost all pixels around it lie in front of takes the point of one of them.

    Args:
        depth: float32 (H, W), changed in place.
        index: int32 (H, W), changed in place.
        reach: pixels to the ring of eight that is asked.
        gap: how much nearer the ring must be, as a share of the depth.
    """
    height, width = depth.shape
    old_depth, old_index = depth.copy(), index.copy()
    for y in range(reach, height - reach):
        for x in range(reach, width - reach):
            limit = old_depth[y, x] * (1.0 - gap)
            nearer = 0
            # The first two of a ring decide most pixels.
            if not (old_depth[y, x - reach] < limit or old_depth[y, x + reach] < limit):
                continue
            best, best_y, best_x = np.float32(0.0), y, x
            for dy in range(-1, 2):
                for dx in range(-1, 2):
                    there = old_depth[y + dy * reach, x + dx * reach]
                    if there < limit:
                        nearer += 1
                        if there > best:
                            best, best_y, best_x = there, y + dy * reach, x + dx * reach
            if nearer >= 7:
                depth[y, x] = best
                index[y, x] = old_index[best_y, best_x]


@njit(cache=True, nogil=True)
def shrink(depth, factor):
    """The nearest depth of each square of `factor` x `factor` pixels."""
    height, width = depth.shape[0] // factor, depth.shape[1] // factor
    out = np.full((height, width), np.inf, np.float32)
    for y in range(height * factor):
        for x in range(width * factor):
            if depth[y, x] < out[y // factor, x // factor]:
                out[y // factor, x // factor] = depth[y, x]
    return out


@njit(cache=True, nogil=True)
def smooth_depth(depth, steps, reach):
    """Averages the depth over neighbours that lie within `reach` (a share of the depth), `steps` pixels each way."""
    height, width = depth.shape
    across = depth.copy()
    out = depth.copy()
    for turn in range(2):
        source = depth if turn == 0 else across
        target = across if turn == 0 else out
        for y in range(height):
            for x in range(width):
                here = source[y, x]
                if not np.isfinite(here):
                    continue
                limit = reach * here
                total, count = np.float32(0.0), 0
                for k in range(-steps, steps + 1):
                    yy, xx = (y, x + k) if turn == 0 else (y + k, x)
                    if 0 <= yy < height and 0 <= xx < width:
                        there = source[yy, xx]
                        if abs(there - here) <= limit:
                            total += there
                            count += 1
                target[y, x] = total / count
    return out


@njit(cache=True, nogil=True)
def eye_dome(depth, near_pixels, far_pixels, near_strength, far_strength):
    """Eye-dome lighting at two scales: pixels with nearer neighbours are darker.

    Args:
        depth: float32 (H, W), infinity where nothing is.
        near_pixels: distance of the neighbours that give outlines.
        far_pixels: distance of the neighbours that give shape.
        near_strength, far_strength: how dark.

    Returns:
        float32 (H, W), 0 dark to 1 bright.
    """
    height, width = depth.shape
    log_depth = np.log(depth)
    shade = np.ones((height, width), np.float32)
    steps = np.array([(1, 0), (0, 1), (1, 1), (1, -1)])
    for y in range(height):
        for x in range(width):
            here = log_depth[y, x]
            if not np.isfinite(here):
                continue
            dark = np.float32(0.0)
            for scale in range(2):
                reach = near_pixels if scale == 0 else far_pixels
                limit = 0.02 if scale == 0 else 0.06
                total = np.float32(0.0)
                for k in range(4):
                    # Opposite neighbours together: a slanted plane has one nearer and one farther and stays bright.
                    response = np.float32(0.0)
                    for sign in (-1, 1):
                        yy, xx = y + sign * reach * steps[k, 0], x + sign * reach * steps[k, 1]
                        if 0 <= yy < height and 0 <= xx < width:
                            there = log_depth[yy, xx]
                            if np.isfinite(there):
                                response += min(max(here - there, -limit), limit)
                    total += max(response, np.float32(0.0))
                dark += total / 4 * (near_strength if scale == 0 else far_strength)
            shade[y, x] = np.exp(-dark)
    return shade


@njit(cache=True, nogil=True)
def light(depth, focal, center_x, center_y, directions, weights, ambient):
    """Soft light from fixed directions on the surface that the depth describes.

    Args:
        depth: smoothed float32 (H, W).
        focal, center_x, center_y: as for `splat`.
        directions: float64 (L, 3), unit vectors to the lights in the camera's axes.
        weights: float64 (L,).
        ambient: brightness without any light.

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
            slope_x = right if abs(right) < abs(left) else -left  # the flatter side: no slope over an edge
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


@njit(cache=True, nogil=True)
def paint(index, shade, colors, background, factor):
    """Colours the pixels and averages squares of `factor` x `factor` of them.

    Args:
        index: int32 (H, W), point of each pixel or -1.
        shade: float32 (H / factor, W / factor).
        colors: uint8 (P, 3).
        background: uint8 (3,).
        factor: supersampling; divides H and W.

    Returns:
        uint8 (H / factor, W / factor, 3).
    """
    height, width = index.shape[0] // factor, index.shape[1] // factor
    image = np.empty((height, width, 3), np.uint8)
    share = np.float32(1.0 / (factor * factor))
    for y in range(height):
        for x in range(width):
            red, green, blue = np.float32(0.0), np.float32(0.0), np.float32(0.0)
            for sub in range(factor * factor):
                yy, xx = y * factor + sub // factor, x * factor + sub % factor
                i = index[yy, xx]
                if i < 0:
                    red += background[0]
                    green += background[1]
                    blue += background[2]
                else:
                    s = shade[y, x]
                    red += min(s * colors[i, 0], np.float32(255.0))
                    green += min(s * colors[i, 1], np.float32(255.0))
                    blue += min(s * colors[i, 2], np.float32(255.0))
            image[y, x, 0] = np.uint8(red * share + 0.5)
            image[y, x, 1] = np.uint8(green * share + 0.5)
            image[y, x, 2] = np.uint8(blue * share + 0.5)
    return image


@njit(cache=True, nogil=True)
def visible(index, num_points):
    """True for the points that some pixel shows."""
    seen = np.zeros(num_points, np.bool_)
    for y in range(index.shape[0]):
        for x in range(index.shape[1]):
            if index[y, x] >= 0:
                seen[index[y, x]] = True
    return seen
