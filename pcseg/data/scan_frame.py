"""The frame of a scan: its unit, recognized by its height and size, which axis is up, and its tilt."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from pcseg.data.reader_options import UP_AXES

UNITS = {"meters": 1.0, "centimeters": 0.01, "millimeters": 0.001, "inches": 0.0254, "feet": 0.3048}
_LEAST_POINTS, _NUM_SAMPLES = 1000, 30_000  # fewer points are no evidence
# In meters: from floor to ceiling, height of scans without a ceiling, longest side. Ranges of storeys in different
# units do not overlap.
_STOREY, _HEIGHT, _SIDE = (2.1, 3.5), (0.8, 3.3), (1.0, 40.0)
_LARGEST, _HIGHEST = 200.0, 12.0
_FAR = 8192.0  # beyond this distance in meters, single precision is coarser than half a millimeter
_COARSE, _LOST = 0.02, 0.1  # steps of rounded coordinates in meters: worth a warning, and too coarse for any object
_MOST_TILTED = 25.0  # degrees


def frame_of_scan(
    path: Path,
    xyz: Float64[np.ndarray, "P 3"],
    *,
    scale: float | int | None = None,
    up: str = "z",
    origin: Sequence[float | int] | None = None,
    level: bool = False,
    as_is: bool = False,
    report: Callable[[str], None],
) -> Float64[np.ndarray, "4 4"]:
    """The matrix from coordinates of a file to meters with z up; what is decided here is reported.

    Args:
        path: file, for messages.
        xyz: finite coordinates of the file.
        scale: factor to meters; None recognizes the unit.
        up: axis of the file that points up, one of `UP_AXES`.
        origin: point in meters, z up, that becomes 0 0 0; None recognizes coordinates far from 0.
        level: make the floor level.
        as_is: recognize nothing: the file is in meters, unless `scale` is given.
        report: called with a sentence for each decision.

    Raises:
        ValueError: the unit is not certain, or coordinates are rounded; the message names the option to use.
    """
    knows = not as_is and len(xyz) >= _LEAST_POINTS
    sample = _sample(xyz)
    if knows or level:
        axis = np.eye(3)[UP_AXES.index(up) % 3]
        vertical = _facing(_surface_normals(sample), axis) if level else axis
        if scale is None:
            scale = _recognized_scale(path, sample, vertical, report) if knows else 1.0
        if knows:
            _check_rounding(path, xyz, scale, report)
    scale = 1.0 if scale is None else scale
    matrix = np.eye(4)
    matrix[:3, :3] = scale * _turn(up)
    if origin is None and knows:
        center = matrix[:3, :3] @ np.median(sample, axis=0)
        if np.abs(center).max() > _FAR:
            origin = [float(value) for value in np.floor(center)]
            report(f"It is far from 0: read with origin {' '.join(f'{value:.0f}' for value in origin)}.")
    if origin is not None:
        matrix[:3, 3] = -np.asarray(origin, np.float64)
    if level:
        normal = _turn(up) @ vertical
        normal = normal * np.sign(normal[2])
        rotation = np.eye(4)
        rotation[:3, :3] = Rotation.align_vectors([[0.0, 0.0, 1.0]], [normal])[0].as_matrix()
        matrix = rotation @ matrix
        report(f"Its floor was tilted by {np.degrees(np.arccos(min(1.0, normal[2]))):.1f} degrees and is now level.")
    return matrix


def _turn(up: str) -> Float64[np.ndarray, "3 3"]:
    """The rotation that turns an axis up."""
    rows = {"z": ("x", "y", "z"), "y": ("x", "-z", "y"), "x": ("y", "z", "x")}
    rows |= {"-z": ("x", "-y", "-z"), "-y": ("x", "z", "-y"), "-x": ("y", "-z", "-x")}
    units = np.concatenate([np.eye(3), -np.eye(3)])
    return units[[UP_AXES.index(axis) for axis in rows[up]]]


def _sample(xyz: Float64[np.ndarray, "P 3"]) -> Float64[np.ndarray, "n 3"]:
    """Some of the points without strays: those near the bulk along each axis."""
    some = xyz[:: max(1, len(xyz) // (4 * _NUM_SAMPLES))]
    low, high = np.percentile(some, [2, 98], axis=0)
    margin = 0.1 * (high - low)
    some = some[((some >= low - margin) & (some <= high + margin)).all(axis=1)]
    return some[:: max(1, len(some) // _NUM_SAMPLES)]


def _surface_normals(sample: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "m 3"]:
    """Normals, of either sign, at places where the neighbors lie in a plane."""
    some = sample[:: max(1, len(sample) // 4000)]
    neighbors = sample[KDTree(sample).query(some, k=min(16, len(sample)))[1]]
    offsets = neighbors - neighbors.mean(axis=1, keepdims=True)
    values, vectors = np.linalg.eigh(np.einsum("nki,nkj->nij", offsets, offsets))
    return vectors[values[:, 0] < 0.05 * values[:, 1], :, 0]


def _facing(normals: Float64[np.ndarray, "m 3"], axis: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "3"]:
    """The direction close to an axis that most surfaces face; the axis itself if too few do."""
    up = axis
    for within in (_MOST_TILTED, 12, 6, 6, 6):
        facing = normals[np.abs(normals @ up) > np.cos(np.radians(within))]
        if len(facing) < max(20, 0.05 * len(normals)):
            return axis
        mean = (facing * np.sign(facing @ up)[:, None]).mean(axis=0)
        up = mean / np.linalg.norm(mean)
    return up


def _storey(sample: Float64[np.ndarray, "n 3"], up: Float64[np.ndarray, "3"]) -> float:
    """Distance of the two strongest surfaces across a direction, which usually are floor and ceiling."""
    rotation = Rotation.align_vectors([[0.0, 0.0, 1.0]], [up])[0]
    placed = rotation.apply(sample)
    side = np.ptp(np.percentile(placed, [2, 98], axis=0), axis=0)
    cell = max(side.min() / 50, side.max() / 400, 1e-12)
    cells = np.floor((placed - placed.min(axis=0)) / cell).astype(np.int64).T
    shape = tuple(cells.max(axis=1) + 1)
    height = np.unravel_index(np.unique(np.ravel_multi_index(tuple(cells), shape)), shape)[2]
    counts = np.bincount(height) / len(height)
    layer = counts + np.append(counts[1:], 0)  # two cells, as a surface may lie on their border
    first = int(layer.argmax())
    others = layer.copy()
    others[max(0, first - 2) : first + 3] = 0
    low, high = sorted((first, int(others.argmax())))
    return cell * (high - low)


def _unit_of_storey(gap: float) -> str | None:
    low, high = _STOREY
    return next((unit for unit, scale in UNITS.items() if low <= gap * scale <= high), None)


def _recognized_scale(
    path: Path, sample: Float64[np.ndarray, "n 3"], vertical: Float64[np.ndarray, "3"], report: Callable[[str], None]
) -> float:
    """The factor to meters, from the height of a storey, or the size of the scan."""
    side = float(np.ptp(np.percentile(sample, [2, 98], axis=0), axis=0).max())
    height = float(np.ptp(np.percentile(sample @ vertical, [1, 99])))
    gap = _storey(sample, vertical)
    unit = _unit_of_storey(gap)
    if unit != "meters" and not (unit and height < 1.6 * gap and _SIDE[0] <= side * UNITS[unit] <= _SIDE[1]):
        fits = [
            name
            for name, scale in UNITS.items()
            if _HEIGHT[0] <= height * scale <= _HEIGHT[1] and _SIDE[0] <= side * scale <= _SIDE[1] and name != "feet"
        ]
        if (side <= _LARGEST and height <= _HIGHEST) or "meters" in fits:
            return 1.0
        unit = fits[0] if len(fits) == 1 else None
    if unit == "meters":
        return 1.0
    measures = f"it measures {side:.4g} by {height:.4g} in height, too large for meters"
    if unit is None:
        flags = ", ".join(f"--scale {UNITS[name]} ({name})" for name in UNITS)
        raise ValueError(f"{path}: {measures}, and its unit is not certain; give {flags}")
    if unit == "feet":  # a hall of this height has the same shape
        text = f"floor and ceiling are {gap:.3g} apart, a room in feet or a hall in meters"
        raise ValueError(f"{path}: {text}; give --scale 0.3048 (feet) or --scale 1 (meters)")
    report(f"Its size is that of a room in {unit}: read with --scale {UNITS[unit]}; --as-is takes meters.")
    return UNITS[unit]


def _check_rounding(
    path: Path, xyz: Float64[np.ndarray, "P 3"], scale: float | int, report: Callable[[str], None]
) -> None:
    """Looks for coordinates that are all multiples of a large step, as single precision leaves them far from 0."""
    some = xyz[:: max(1, len(xyz) // _NUM_SAMPLES)]
    if np.abs(some).max() * scale < _FAR:
        return
    steps = []
    for values in map(np.unique, some.T):
        gaps = np.diff(values)
        regular = len(gaps) > 4 and np.allclose(gaps / gaps.min(), np.rint(gaps / gaps.min()), atol=1e-3)
        steps.append(float(gaps.min()) * scale if regular else 0.0)
    text = f"its coordinates are rounded to steps of {max(steps):.2g} m, as single precision does far from 0"
    if max(steps) >= _LOST:
        raise ValueError(f"{path}: {text}; export it again with a local origin or in double precision, or use --as-is")
    if max(steps) > _COARSE:
        report(f"{text[0].upper()}{text[1:]}: export it with a local origin or in double precision.")
