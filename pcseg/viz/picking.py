"""Which point of a room lies under the mouse."""

import numpy as np
from jaxtyping import Bool, Float32, Float64

from pcseg.kernels.picking import nearest_on_screen

_SLACK = 0.02  # of the depth: points this much behind the frontmost one count as the same surface


def pick_point(
    xyz: Float32[np.ndarray, "P 3"],
    shown: Bool[np.ndarray, "P"],
    matrix: Float64[np.ndarray, "4 4"],
    *,
    pixel: tuple[float, float],
    size: tuple[float, float],
    reach: float = 6.0,
) -> int | None:
    """The point under a pixel: of the frontmost surface within reach, the point that is closest to the pixel.

    Args:
        xyz: coordinates, meters.
        shown: False for points that cannot be picked.
        matrix: projection times view, as OpenGL has them: room to clip coordinates.
        pixel: x to the right and y down from the upper left corner.
        size: width and height of the picture, pixels.
        reach: how far from the pixel a point may lie, pixels.

    Returns:
        Row of the point, or None where there is none.
    """
    found = int(nearest_on_screen(np.ascontiguousarray(xyz), shown, matrix, *pixel, *size, reach, _SLACK))
    return None if found < 0 else found
