"""Colors of objects, superpoints and heights."""

import numpy as np
from jaxtyping import Bool, Float, Integer, UInt8

from pcseg.classes import OBJECT_COLORS, SURFACE_COLORS, hex_colors

NO_OBJECT = (170, 173, 178)  # points that belong to no object
HEIGHT_COLORS = hex_colors("4b6b94 77879d a4a4a4 d2c2a9 fde0b0")  # slate blue to sand


def instance_colors(
    center: Float[np.ndarray, "K 3"],
    is_surface: Bool[np.ndarray, "K"],
    taken: tuple[UInt8[np.ndarray, "T 3"], Float[np.ndarray, "T 3"]] | None = None,
    legend: Integer[np.ndarray, "L 3"] | None = None,
) -> UInt8[np.ndarray, "K 3"]:
    """One color per object; the nearest earlier objects have other colors, 59 without a legend and 19 with the longest.

    Args:
        center: middle of each object in meters.
        is_surface: True for walls, floors and ceilings, which get pale colors.
        taken: colors and centers of objects of the same room that have their colors already.
        legend: colors with another meaning in the same picture, such as those of classes; no object gets one.
    """
    surfaces, table = (_apart(each, legend) for each in (SURFACE_COLORS, OBJECT_COLORS))
    strong, colors = np.flatnonzero(~is_surface), np.empty((len(is_surface), 3), np.uint8)
    colors[is_surface] = surfaces[np.arange(is_surface.sum()) % len(surfaces)]
    before = (np.zeros((0, 3), np.uint8), np.zeros((0, 3))) if taken is None else taken
    used, places = np.vstack([before[0], colors[strong]]), np.vstack([before[1], center[strong]])
    choices = [*map(tuple, table.tolist())]
    for row in range(len(before[0]), len(used)):
        distance = np.linalg.norm(places[:row] - places[row], axis=1)
        near = np.argsort(distance, kind="stable")[: len(choices) - 1]
        avoided = {*map(tuple, used[near].tolist())}
        used[row] = next(color for color in choices if color not in avoided)
    colors[strong] = used[len(before[0]) :]
    return colors


def _apart(table: UInt8[np.ndarray, "K 3"], legend: np.ndarray | None) -> UInt8[np.ndarray, "k 3"]:
    """The colors that differ from the legend as much as those of the table do; at least the best third of them."""
    if legend is None or len(legend) == 0:
        return table
    distance = np.linalg.norm(oklab(table)[:, None] - oklab(legend), axis=2).min(axis=1)
    return table[distance >= min(0.05, np.sort(distance)[-len(table) // 3])]


def oklab(rgb: Integer[np.ndarray, "K 3"]) -> Float[np.ndarray, "K 3"]:
    """Colors in a space where distances are as people see them; 0.05 is a clear difference.

    Source:
        Ottosson 2020, "A perceptual color space for image processing".
    """
    share = rgb / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    to_cones = [[0.41222, 0.53633, 0.05145], [0.21190, 0.68070, 0.10740], [0.08830, 0.28172, 0.62998]]
    to_lab = [[0.21045, 0.79362, -0.00407], [1.97800, -2.42859, 0.45059], [0.02590, 0.78277, -0.80868]]
    return np.cbrt(linear @ np.transpose(to_cones)) @ np.transpose(to_lab)


def superpoint_colors(count: int) -> UInt8[np.ndarray, "K 3"]:
    """Soft colors for thousands of superpoints; consecutive ids differ."""
    index = np.arange(count)
    white = np.array([0.2, 0.35, 0.5])[index // len(OBJECT_COLORS) % 3, None]
    return ((1 - white) * OBJECT_COLORS[index % len(OBJECT_COLORS)] + white * 255).astype(np.uint8)


def height_colors(xyz: Float[np.ndarray, "P 3"]) -> UInt8[np.ndarray, "P 3"]:
    """Colors by height for scans without color: slate blue at the bottom, sand at the top."""
    bottom, top = np.percentile(xyz[:, 2], [0.5, 99.5])
    stops = np.linspace(bottom, max(top, bottom + 1e-6), len(HEIGHT_COLORS))
    channels = [np.interp(xyz[:, 2], stops, HEIGHT_COLORS[:, k]) for k in range(3)]
    return np.stack(channels, axis=1).astype(np.uint8)
