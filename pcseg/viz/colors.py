"""Colors of objects, classes, superpoints and heights.

Source:
    The tables were made once by greedy choice of the color that is farthest from all earlier ones (Glasbey et al. 2007,
    "Colour displays for categorical images"), by the least distance in OKLab for normal and for dichromatic vision.
"""

import numpy as np
from jaxtyping import Bool, Float, Integer, UInt8

NO_OBJECT = (170, 173, 178)  # points that belong to no object


def _table(text: str) -> UInt8[np.ndarray, "K 3"]:
    return np.frombuffer(bytes.fromhex(text), np.uint8).reshape(-1, 3)


# The first 20 differ most, also without red or green cones.
OBJECT_COLORS = _table(
    "b02e9a 447205 457cfd 24af32 9eeb50 a97ec3 ed4f8d a4515d 6443cc 3ab5ff ff815f 179996 d6b60f 2e65a0 786ac7 817f24 "
    "26dafe d790c5 f9b379 cd5f5c 7c89e7 d78c01 f8b6fe 89497b 73b072 27b4b0 b6e195 b59be6 b41946 4f8b4f 2f63e1 c54476 "
    "8f4ab4 a15930 b7d341 147f7c 027bdc f485fe 9066a9 cf6ba1 6bd36d 9f3960 ff8fb4 9b61ea fb9891 fba8c1 46abd4 fd6563 "
    "1e94ff 169d78 cb4ab3 1ccfdd f8a052 5e96d4 6d58ca c8368f 9d8502 e3769b 2cc69a 57a858"
)
SURFACE_COLORS = _table("dceab2 d5c79d d5b9ea f1d5ff b2e3c0 b2d5ea f1b9ce e3d5ab c7f1d5 e3b9b2")  # pale, not gray
HEIGHT_COLORS = _table("4b6b94 77879d a4a4a4 d2c2a9 fde0b0")  # slate blue to sand


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


def class_colors(is_surface: Bool[np.ndarray, "C"]) -> UInt8[np.ndarray, "C 3"]:
    """Colors of classes that people with any kind of color vision can tell apart, up to about twenty."""
    colors = np.empty((len(is_surface), 3), np.uint8)
    for mask, table in ((is_surface, SURFACE_COLORS), (~is_surface, OBJECT_COLORS)):
        colors[mask] = table[np.arange(mask.sum()) % len(table)]
    return colors


def superpoint_colors(count: int) -> UInt8[np.ndarray, "K 3"]:
    """Soft colors for thousands of superpoints; consecutive ids differ."""
    index = np.arange(count)
    white = np.array([0.2, 0.35, 0.5])[index // len(OBJECT_COLORS) % 3, None]
    return ((1 - white) * OBJECT_COLORS[index % len(OBJECT_COLORS)] + white * 255).astype(np.uint8)


def height_colors(xyz: Float[np.ndarray, "P 3"]) -> UInt8[np.ndarray, "P 3"]:
    """Colors by height for scans without color: slate blue at the bottom, sand at the top."""
    if len(xyz) == 0:
        return np.zeros((0, 3), np.uint8)
    bottom, top = np.percentile(xyz[:, 2], [0.5, 99.5])
    stops = np.linspace(bottom, max(top, bottom + 1e-6), len(HEIGHT_COLORS))
    channels = [np.interp(xyz[:, 2], stops, HEIGHT_COLORS[:, k]) for k in range(3)]
    return np.stack(channels, axis=1).astype(np.uint8)
