"""Elastic distortion, the field read by scipy."""

import numpy as np
from scipy.ndimage import map_coordinates


def displaced(xyz: np.ndarray, low: np.ndarray, granularity: float, field: np.ndarray, magnitude: float) -> np.ndarray:
    position = ((xyz - low) / granularity + 1).T
    steps = [map_coordinates(field[..., axis], position, order=1) for axis in range(3)]
    return xyz + magnitude * np.stack(steps, axis=1)
