"""Kernels that find the point of each pixel and paint it; call them through `pcseg.viz.raster`."""

import numpy as np

from pcseg.kernels import kernel

BLOCK = 16  # pixels


def splat(xyz, normal, hidden, radius, rotation, eye, focal, max_pixels, width, height):
    """Draws points as discs; each pixel shows the nearest disc that covers it.

    Discs bulge toward the viewer: where discs of one surface overlap, each pixel takes the nearest point.

    Args:
        xyz: float32 (P, 3), meters.
        normal: float32 (P, 3), unit vectors of either sign, or zero where unknown.
        hidden: bool (P,), True for points to leave out.
        radius: float32 (P,), meters.
        rotation: float64 (3, 3), rows are the right, up and backward axes of the camera.
        eye: float64 (3,), position of the camera, meters.
        focal: pixels per unit of tan(angle); the optical axis goes through the center of the image.
        max_pixels: largest radius in the image, pixels.
        width: width of the image, pixels.
        height: height of the image, pixels.

    Returns:
        depth: float32 (H, W), meters along the optical axis without the bulge, infinity for none.
        index: int32 (H, W), point of each pixel, -1 for none.
    """
    discs, points = np.empty((len(xyz), 7)), np.empty(len(xyz), np.int32)
    num = _project(xyz, normal, hidden, radius, rotation, eye, focal, float(max_pixels), width, height, discs, points)
    discs = discs[:num]
    # One number encodes depth and disc: the smallest number of a pixel gives the nearest disc and its row.
    places = float(2.0 ** np.ceil(np.log2(num + 1)))
    nearest = np.full((height, width + BLOCK), np.inf)
    _draw(discs, 2.0**51 / places / float(discs[:, 2].max(initial=1.0)), places, nearest)
    depth, index = np.full((height, width), np.inf, np.float32), np.full((height, width), -1, np.int32)
    _show(nearest, discs, points, places, depth, index)
    return depth, index


@kernel("f8[:,::1], f8[:,::1], i4[::1], f8, f4[:,::1], i4[:,::1]")
def _show(nearest, discs, points, places, depth, index):
    """Depth and point of the disc of each code of `_draw`."""
    for y in range(depth.shape[0]):
        for x in range(depth.shape[1]):
            code = nearest[y, x]
            if code < np.inf:
                i = int(code - np.floor(code / places) * places)
                index[y, x] = points[i]
                slope = discs[i, 4] * (x + 0.5 - discs[i, 0]) + discs[i, 5] * (y + 0.5 - discs[i, 1])
                depth[y, x] = discs[i, 2] + slope


@kernel(
    "f4[:,::1], f4[:,::1], b1[::1], f4[::1], f8[:,::1], f8[::1], f8, f8, i8, i8, f8[:,::1], i4[::1]",
    error_model="numpy",
)
def _project(xyz, normal, hidden, radius, rotation, eye, focal, max_pixels, width, height, discs, points):
    """Writes the discs inside the image and the point of each, and returns their number; arguments as for `splat`.

    A disc is its center x and y in pixels, depth in meters, and radius in pixels. Then follows the growth of depth per
    pixel right, per pixel down, and per squared pixel from the center (the bulge).
    """
    center_x, center_y = width / 2, height / 2
    num = 0
    for i in range(len(xyz)):
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
        # The disc is in the plane n.q = n.p: slope of its depth per pixel, limited where the disc is seen edge-on.
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
        discs[num, 0], discs[num, 1], discs[num, 2], discs[num, 3] = u, v, z, r
        discs[num, 4], discs[num, 5], discs[num, 6] = slope_x, slope_y, 0.5 / (r * scale)
        points[num] = i
        num += 1
    return num


@kernel("f8[:,::1], f8, f8, f8[:,::1]", error_model="numpy")
def _draw(discs, steps, places, nearest):
    """The smallest code of each pixel: depth of a disc in steps, times `places`, plus its row.

    Args:
        discs: float64 (D, 7) of `_project`.
        steps: steps of depth per meter.
        places: integer above the number of discs.
        nearest: float64 (H, W + BLOCK), infinity; written, integers where a disc is.
    """
    # Blocks of a fixed length without any branch compile to vector instructions, which is four times as fast.
    height, width = nearest.shape[0], nearest.shape[1] - BLOCK
    for i in range(len(discs)):
        u, v, r = discs[i, 0], discs[i, 1], discs[i, 3]
        slope, bulge = discs[i, 4] * steps, discs[i, 6] * steps
        first, last = max(0, int(np.ceil(u - r - 0.5))), min(width, int(np.floor(u + r - 0.5)) + 1)
        for y in range(max(0, int(np.ceil(v - r - 0.5))), min(height, int(np.floor(v + r - 0.5)) + 1)):
            down = y + 0.5 - v
            middle = (discs[i, 2] + discs[i, 5] * down) * steps + bulge * down * down
            reach = r * r - down * down
            for x in range(first, last, BLOCK):
                row = nearest[y, x : x + BLOCK]
                for k in range(BLOCK):
                    right = x + k + 0.5 - u
                    code = np.floor(middle + (slope + bulge * right) * right) * places + i
                    row[k] = min(row[k], code if right * right <= reach else np.inf)


def fill_holes(depth, index, reach, gap):
    """Closes pinholes: a pixel behind at least seven of its eight neighbors takes the point of one of them.

    Args:
        depth: float32 (H, W), changed in place.
        index: int32 (H, W), changed in place.
        reach: distance to the neighbors, pixels.
        gap: how much nearer the neighbors must be, as a fraction of the depth.
    """
    # After the search: a filled pixel must not fill others.
    found = np.full(depth.shape, -1, np.int32)
    _find_holes(depth, reach, gap, found)
    holes = np.flatnonzero(found >= 0)
    near = found.reshape(-1)[holes]
    depth.reshape(-1)[holes], index.reshape(-1)[holes] = depth.reshape(-1)[near], index.reshape(-1)[near]


@kernel("f4[:,::1], i8, f8, i4[:,::1]")
def _find_holes(depth, reach, gap, found):
    """The neighbor of each hole, as its place in the image."""
    height, width = depth.shape
    for y in range(reach, height - reach):
        for x in range(reach, width - reach):
            limit = depth[y, x] * (1.0 - gap)
            # Two neighbors decide most pixels.
            if not (depth[y, x - reach] < limit or depth[y, x + reach] < limit):
                continue
            nearer = 0
            best, place = np.float32(0.0), -1
            for dy in range(-1, 2):
                for dx in range(-1, 2):
                    there = depth[y + dy * reach, x + dx * reach]
                    if there < limit:
                        nearer += 1
                        if there > best:
                            best, place = there, (y + dy * reach) * width + x + dx * reach
            if nearer >= 7:
                found[y, x] = place


def paint(index, shade, colors, background, factor):
    """Colors the pixels and averages blocks of `factor` x `factor` of them.

    Args:
        index: int32 (H, W), point of each pixel, -1 for none.
        shade: float32 (H / factor, W / factor), brightness.
        colors: uint8 (P, 3).
        background: uint8 (3,).
        factor: supersampling, at most 16; divides H and W.

    Returns:
        uint8 (H / factor, W / factor, 3).
    """
    image = np.empty((*shade.shape, 3), np.uint8)
    # Three channels and a count, 16 bits each, so that one sum adds all four; row -1 is for no point.
    packed = np.zeros((len(colors) + 1, 4), np.uint16)
    packed[:-1, :3], packed[:-1, 3] = colors, 1
    _paint(index, shade, packed.view(np.uint64)[:, 0], background, factor, image)
    return image


@kernel("i4[:,::1], f4[:,::1], u8[::1], u1[::1], i8, u1[:,:,::1]")
def _paint(index, shade, packed, background, factor, image):
    height, width = shade.shape
    share = np.float32(1.0 / (factor * factor))
    for y in range(height):
        for x in range(width):
            total = np.uint64(0)
            for dy in range(factor):
                for dx in range(factor):
                    total += packed[index[y * factor + dy, x * factor + dx]]
            num_points = np.float32(total >> np.uint64(48))
            for k in range(3):
                color = shade[y, x] * np.float32((total >> np.uint64(16 * k)) & np.uint64(0xFFFF))
                color = min(color, np.float32(255.0) * num_points)
                image[y, x, k] = np.uint8((color + background[k] * (factor * factor - num_points)) * share + 0.5)
