"""Scans with a flat floor: handheld scanners tilt and bend what they see by decimeters."""

import numpy as np
from jaxtyping import Float32, Float64

from pcseg.data.scan_frame import level_rotation
from pcseg.structures import Scene

_CELL = 0.25  # meters
_LEAST_POINTS, _LEAST_CELLS = 5, 20  # points in a cell, and cells, that show where the floor is
_NUM_SAMPLES = 1_000_000
# Distances to the floor in meters beyond which a cell does not count, step by step; a plane first, then bent.
_PLANE, _BENT = np.linspace(0.4, 0.2, 11), np.linspace(0.2, 0.12, 20)
_LEAST_SHARE = 0.3  # of the cells on the floor
_STEEPEST = 0.3  # rise per meter of a floor that is bent; stairs are steeper


def flat_floor(scene: Scene) -> Scene:
    """The scan, in meters and z up within 25 degrees, turned and bent until its floor is level and flat at z = 0.

    The surfaces that face up show the tilt. A quadratic surface fitted to the lowest points of cells in plan shows the
    bend; robust weights leave furniture out. Without a floor in sight, or with stairs, only the tilt is removed.

    >>> x, y = np.meshgrid(np.linspace(-2, 2, 100), np.linspace(-2, 2, 100))
    >>> bent = Scene("bent", np.stack([x, y, 0.05 * x**2 + 0.1 * y], axis=-1).reshape(-1, 3).astype(np.float32))
    >>> round(float(np.ptp(bent.xyz[:, 2])), 1), round(float(np.ptp(flat_floor(bent).xyz[:, 2])), 1)
    (0.6, 0.0)
    """
    turned = scene.transformed(level_rotation(scene.xyz))
    lowest = _lowest(turned.xyz[:: max(1, len(scene) // _NUM_SAMPLES)].astype(np.float64))
    if len(lowest) >= _LEAST_CELLS:
        turned.xyz[:, 2] -= _floor(lowest, turned.xyz)
    return turned


def _lowest(xyz: Float64[np.ndarray, "P 3"]) -> Float64[np.ndarray, "C 3"]:
    """A low point of each cell in plan: the 5th percentile, as some points lie under the floor."""
    x, y = np.floor((xyz[:, :2] - xyz[:, :2].min(axis=0)) / _CELL).astype(np.int64).T
    cell = x * (y.max() + 1) + y
    order = np.lexsort((xyz[:, 2], cell))
    starts = np.flatnonzero(np.diff(cell[order], prepend=-1))
    counts = np.diff(starts, append=len(cell))
    return xyz[order[(starts + counts // 20)[counts >= _LEAST_POINTS]]]


def _floor(lowest: Float64[np.ndarray, "C 3"], xyz: Float32[np.ndarray, "P 3"]) -> Float32[np.ndarray, "P"]:
    """Height of the floor at each point by reweighted least squares, 0 if there is none.

    Outside of the cells it is that of the nearest border.
    """
    low, high = lowest[:, :2].min(axis=0), lowest[:, :2].max(axis=0)
    middle, half = (low + high) / 2, (high - low).max() / 2
    (x, y), z = ((lowest[:, :2] - middle) / half).T, lowest[:, 2]
    terms = np.stack([np.ones(len(x)), x, y, x * x, x * y, y * y], axis=1)
    counts = np.histogram(z, np.arange(z.min(), z.max() + 0.1, 0.05))[0]
    lower = (counts + np.append(counts[1:], 0))[: max(1, len(counts) // 2)]  # a floor may lie on the border of two bins
    floor = np.full(len(z), z.min() + 0.05 * (int(lower.argmax()) + 1))
    weight, factors = np.zeros(len(z)), np.zeros(6)
    for within, used in [(within, 3) for within in _PLANE] + [(within, 6) for within in _BENT]:
        weight = np.clip(1 - ((z - floor) / within) ** 2, 0, None) ** 2
        some = terms[:, :used]
        ridge = len(z) * np.diag([0, 1e-4, 1e-4, 1e-3, 1e-3, 1e-3][:used])  # a corridor has no width to bend
        factors = np.linalg.solve(some.T @ (weight[:, None] * some) + ridge, some.T @ (weight * z))
        floor = some @ factors
    _, b, c, d, e, f = factors
    slope = np.hypot(b + 2 * d * x + e * y, c + e * x + 2 * f * y) / half
    if np.mean(weight > 0) < _LEAST_SHARE or slope[weight > 0].max() > _STEEPEST:
        return np.zeros(len(xyz), np.float32)
    a, b, c, d, e, f = factors.astype(np.float32)
    x, y = ((np.clip(xyz[:, :2], low, high, dtype=np.float32) - middle.astype(np.float32)) / np.float32(half)).T
    return a + x * (b + d * x + e * y) + y * (c + f * y)
