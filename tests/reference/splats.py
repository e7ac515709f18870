"""Shapes of cells by numpy, cell by cell."""

import numpy as np


def cell_covariances(xyz: np.ndarray, cell: np.ndarray, num_cells: int) -> np.ndarray:
    return np.stack([np.cov(xyz[cell == index].T.astype(float), bias=True) for index in range(num_cells)])


def flattest_directions(covariance: np.ndarray, counts: np.ndarray, min_points: int) -> tuple[np.ndarray, np.ndarray]:
    """For cells of `min_points` points or more whose three variances differ."""
    assert counts.min() >= min_points
    variance, axes = np.linalg.eigh(covariance)
    return variance[:, 0] / variance[:, 1], axes[:, :, 0]
