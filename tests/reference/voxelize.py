"""Voxels with a dictionary, point by point."""

from collections import Counter

import numpy as np


def block_voxels(xyz: np.ndarray, origin: np.ndarray, voxel_size: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    numbers: dict[tuple[int, ...], int] = {}
    point_to_voxel = []
    for point in xyz.astype(np.float64):
        cell = tuple(int(np.floor(x)) for x in (point - origin.astype(np.float64)) / voxel_size)
        point_to_voxel.append(numbers.setdefault(cell, len(numbers)))
    counts = Counter(point_to_voxel)
    return np.array(list(numbers)), np.array(point_to_voxel), np.array([counts[v] for v in range(len(numbers))])


def mean_by_voxel(values: np.ndarray, point_to_voxel: np.ndarray, counts: np.ndarray) -> list[np.ndarray]:
    return [values[point_to_voxel == voxel].sum(axis=0, dtype=np.float64) / n for voxel, n in enumerate(counts)]


def pair_superpoints(point_to_voxel: np.ndarray, superpoint: np.ndarray) -> list[tuple[int, int, int]]:
    """(superpoint, voxel, points), sorted."""
    pairs = Counter(zip(superpoint.tolist(), point_to_voxel.tolist()))
    return sorted((s, v, n) for (s, v), n in pairs.items())
