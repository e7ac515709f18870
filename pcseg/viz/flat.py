"""Images among scenes: an image is a flat scene whose points are its pixels."""

import numpy as np
from jaxtyping import Float32

from pcseg.viz.raster import SUPERSAMPLING, Raster

_PIXEL = 0.01  # meters, so that an image is about as large as a room


def pixel_grid(height: int, width: int) -> Float32[np.ndarray, "P 3"]:
    """Coordinates of the pixels of an image, row by row: x to the right, y up, z 0."""
    x, y = np.meshgrid(np.arange(width), -np.arange(height))
    return np.stack([x, y, np.zeros_like(x)], axis=-1).reshape(-1, 3).astype(np.float32) * np.float32(_PIXEL)


def image_size(xyz: Float32[np.ndarray, "P 3"]) -> tuple[int, int] | None:
    """Height and width if the points are the pixels of an image, None for a cloud."""
    if len(xyz) < 2 or xyz[0].any() or xyz[-1, 2]:
        return None
    width, height = round(float(xyz[-1, 0]) / _PIXEL) + 1, round(-float(xyz[-1, 1]) / _PIXEL) + 1
    return (height, width) if height * width == len(xyz) and np.array_equal(xyz, pixel_grid(height, width)) else None


def flat_raster(height: int, width: int, least: int) -> Raster:
    """The image itself, each pixel as a square, large enough for words on it.

    Args:
        height: rows of the image.
        width: columns of the image.
        least: least width of the raster in pixels.
    """
    factor = max(1, -(-least // width))
    index = np.arange(height * width, dtype=np.int32).reshape(height, width)
    large = index.repeat(factor * SUPERSAMPLING, axis=0).repeat(factor * SUPERSAMPLING, axis=1)
    return Raster(large, np.ones((height * factor, width * factor), np.float32), height * width)
