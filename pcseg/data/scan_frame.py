"""The frame of a scan: its unit, recognized by its height and size, which axis is up, and its tilt."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64

from pcseg.data.reader_options import UP_AXES
from pcseg.data.scan_fields import Report

UNITS = {"meters": 1.0, "centimeters": 0.01, "millimeters": 0.001, "inches": 0.0254, "feet": 0.3048}
_LEAST_POINTS, _NUM_SAMPLES, _NUM_FOR_LAYERS = 1000, 30_000, 300_000  # fewer points are no evidence
# In meters: from floor to ceiling, height of scans without a ceiling, and sides in plan. Ranges of storeys in different
# units do not overlap.
_STOREY, _HEIGHT, _LOW = (2.1, 3.5), (0.8, 3.3), 1.4
_HEIGHT_IN_FEET = (1.3, _HEIGHT[1])  # lower ones are common in scans in meters
_NARROWEST, _WIDEST, _WIDEST_OPEN = 1.2, 40.0, 15.0
_LARGEST, _HIGHEST = 1000.0, 30.0  # up to these it may be a hall or a building in meters
FAR = 8192.0  # beyond this distance in meters, single precision is coarser than half a millimeter
_COARSE, _LOST = 0.02, 0.1  # steps of rounded coordinates in meters: worth a warning, and too coarse for any object
_MOST_TILTED = 25.0  # degrees
_LEAST_SHARE = 0.06  # of all surface in the floor, and in the ceiling
_UP_MARGIN = 1.4  # more than nearly all real rooms reach
_BORDER = 0.06  # of the height, for floor and ceiling


def frame_of_scan(
    path: Path,
    xyz: Float64[np.ndarray, "P 3"],
    *,
    scale: float | int | None = None,
    up: str = "z",
    origin: Sequence[float | int] | None = None,
    level: bool = False,
    as_is: bool = False,
    report: Report,
) -> Float64[np.ndarray, "4 4"]:
    """The matrix from finite coordinates of a file to meters with z up; what is decided here is reported.

    Args:
        path: the file, for messages.
        xyz: finite coordinates in the unit and the axes of the file.
        scale: factor to meters; None recognizes the unit.
        up: axis that points up in the file, one of `UP_AXES`.
        origin: point in meters, z up, that becomes 0 0 0; None recognizes coordinates far from 0.
        level: True makes the floor level.
        as_is: True recognizes nothing: without `scale`, the file is in meters.
        report: called with a sentence for each decision.

    Raises:
        ValueError: the unit is not certain, or coordinates are rounded; the message names the option to use.
    """
    knows = not as_is and len(xyz) >= _LEAST_POINTS
    sample = _sample(xyz, _NUM_FOR_LAYERS)
    axes = np.roll(np.eye(3), -(UP_AXES.index(up) % 3), axis=0)
    vertical = _facing(_surface_normals(_sample(xyz)), axes[0]) if level else axes[0]
    if scale is None:
        others = axes[1:] if up == "z" else axes[:0]  # the default, which may be wrong
        scale = _recognized_scale(path, sample, np.vstack([vertical, others]), report) if knows else 1.0
    if knows:
        _check_rounding(path, xyz, scale, report)
    matrix = np.eye(4)
    matrix[:3, :3] = scale * turn_up(up)
    if origin is None and knows:
        center = matrix[:3, :3] @ np.median(sample, axis=0)
        if np.abs(center).max() > FAR:
            origin = [float(value) for value in np.floor(center)]
            point = ", ".join(f"{value:.0f}" for value in origin)
            report(f"It is far from 0 and was moved, as origin=({point}) does.")
    if origin is not None:
        matrix[:3, 3] = -np.asarray(origin, np.float64)
    if level:
        normal = turn_up(up) @ vertical
        normal = normal * np.sign(normal[2])
        rotation = np.eye(4)
        rotation[:3, :3] = _upright(normal)
        matrix = rotation @ matrix
        report(f"Its floor was tilted by {np.degrees(np.arccos(min(1.0, normal[2]))):.1f} degrees and is now level.")
    return matrix


def turn_up(up: str) -> Float64[np.ndarray, "3 3"]:
    """The rotation that turns one of `UP_AXES` up."""
    rows = {"z": ("x", "y", "z"), "y": ("x", "-z", "y"), "x": ("y", "z", "x")}
    rows |= {"-z": ("x", "-y", "-z"), "-y": ("x", "z", "-y"), "-x": ("y", "-z", "-x")}
    units = np.concatenate([np.eye(3), -np.eye(3)])
    return units[[UP_AXES.index(axis) for axis in rows[up]]]


def _sample(xyz: Float64[np.ndarray, "P 3"], num_samples: int = _NUM_SAMPLES) -> Float64[np.ndarray, "n 3"]:
    """Some of the points without strays: those near the bulk along each axis."""
    some = xyz[:: max(1, len(xyz) // (4 * num_samples))]
    low, high = np.percentile(some, [2, 98], axis=0)
    margin = 0.1 * (high - low)
    some = some[((some >= low - margin) & (some <= high + margin)).all(axis=1)]
    return some[:: max(1, len(some) // num_samples)]


def _surface_normals(sample: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "m 3"]:
    """Normals, of either sign, at places where the neighbors lie in a plane."""
    from scipy.spatial import KDTree  # takes long to import, and training needs none

    some = sample[:: max(1, len(sample) // 4000)]
    tree = KDTree(sample, balanced_tree=False, compact_nodes=False)
    neighbors = sample[tree.query(some, k=min(16, len(sample)))[1]]
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


def _upright(direction: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "3 3"]:
    """The rotation that turns a direction with z >= 0 to +z, by the shortest way."""
    x, y, z = direction / np.linalg.norm(direction)
    turn = np.array([[0, 0, -x], [0, 0, -y], [x, y, 0]])
    return np.eye(3) + turn + turn @ turn / (1 + z)


class _Layers(NamedTuple):
    """Strong surfaces across an axis, by their share of all surface; places in units of the scan."""

    two_strongest: float
    strongest: float
    is_high: bool  # the strongest one is in the upper part
    floor: float  # the strongest near the low end
    gap: float | None  # from floor to ceiling, if both are found


def _layers(points: Float64[np.ndarray, "n 3"]) -> list[_Layers]:
    """The layers across each axis, by the cells that surfaces occupy."""
    side = np.ptp(np.percentile(points, [2, 98], axis=0), axis=0)
    cell = float(max(side.min() / 50, side.max() / 200, 1e-12))
    cells = np.floor((points - points.min(axis=0)) / cell).astype(np.int64).T
    shape = tuple(cells.max(axis=1) + 1)
    found = []
    for places in np.unravel_index(np.unique(np.ravel_multi_index(tuple(cells), shape)), shape):
        counts = np.bincount(places) / len(places)
        layer = counts + np.append(counts[1:], 0)  # two cells, as a surface may lie on their border
        first, others = int(layer.argmax()), layer.copy()
        others[max(0, first - 2) : first + 3] = 0
        end = max(1, len(layer) // 5)
        floor, ceiling = int(layer[:end].argmax()), len(layer) - end + int(layer[-end:].argmax())
        both = min(layer[floor], layer[ceiling]) >= max(_LEAST_SHARE, 2 * np.median(layer))
        gap = cell * (ceiling - floor) if both else None
        found.append(_Layers(layer[first] + others.max(), layer[first], first > 0.6 * len(layer), layer[floor], gap))
    return found


def likely_up(xyz: Float[np.ndarray, "P 3"]) -> tuple[str, float]:
    """The axis that seems to point up, one of `UP_AXES`, and degrees by which the floor across it is tilted.

    The axis is "z" unless another one is far ahead. Floor and ceiling usually are the largest surfaces. Without a
    ceiling, the largest surface is at the low end. A scan with a ceiling that is upside down is not noticed. Degrees
    are 0 for few points, and where only the leveled points show the axis.
    """
    points = np.asarray(xyz, np.float64)
    rotation, sample = level_rotation(points), _sample(points, _NUM_FOR_LAYERS)
    (axis, share), (axis_leveled, share_leveled) = _strongest(sample), _strongest(sample @ rotation.T)
    if axis_leveled != "z":
        return axis_leveled, 0.0
    # What becomes stronger when it is leveled is the floor.
    return axis if share > share_leveled else "z", float(np.degrees(np.arccos(min(1.0, rotation[2, 2]))))


def may_be_turned(xyz: Float[np.ndarray, "P 3"]) -> bool:
    """Whether surfaces leave open that z points up: others are larger, or the upper half holds more than the lower."""
    sample = _sample(np.asarray(xyz, np.float64), _NUM_FOR_LAYERS)
    if len(sample) < _LEAST_POINTS:
        return False
    layers = _layers(sample)
    low, high = np.percentile(sample[:, 2], [1, 99])
    heights = (sample[:, 2] - low) / max(high - low, 1e-9)
    inner = heights[(heights > _BORDER) & (heights < 1 - _BORDER)]
    is_above = bool(2 * np.count_nonzero(inner > 0.5) > len(inner))
    return is_above or int(np.argmax([axis.two_strongest for axis in layers])) != 2


def _strongest(sample: Float64[np.ndarray, "n 3"]) -> tuple[str, float]:
    """The axis of the largest surfaces, "z" unless another one is far ahead, and the share of the two largest."""
    layers = _layers(sample)
    best = int(np.argmax([axis.two_strongest for axis in layers]))
    best = best if layers[best].two_strongest > _UP_MARGIN * layers[2].two_strongest else 2
    is_down = layers[best].is_high and layers[best].floor < 0.4 * layers[best].strongest
    return UP_AXES[best + 3 * is_down], layers[best].two_strongest


def level_rotation(xyz: Float[np.ndarray, "P 3"]) -> Float64[np.ndarray, "3 3"]:
    """The rotation that makes the surfaces that face up level, where z is up within 25 degrees.

    No rotation if few do, or for few points.
    """
    if len(xyz) < _LEAST_POINTS:
        return np.eye(3)
    return _upright(_facing(_surface_normals(_sample(np.asarray(xyz, np.float64))), np.eye(3)[2]))


class _Size(NamedTuple):
    """Of a scan if an axis is up, in its own unit."""

    height: float
    narrow: float  # the shorter side in plan
    wide: float
    gap: float | None  # from floor to ceiling, if both are found

    def may_be_meters(self) -> bool:
        """Whether it may be a hall or a building in meters."""
        return self.height <= _HIGHEST and self.wide <= _LARGEST

    def fits(self, unit: str) -> bool:
        """Whether it is a storey with a ceiling in this unit, or a small room without."""
        meters = UNITS[unit]
        if self.narrow * meters < _NARROWEST:
            return False
        if self.gap is not None:
            return _STOREY[0] <= self.gap * meters <= _STOREY[1] and self.wide * meters <= _WIDEST
        return (
            unit != "feet" and _HEIGHT[0] <= self.height * meters <= _HEIGHT[1] and self.wide * meters <= _WIDEST_OPEN
        )


def _size(points: Float64[np.ndarray, "n 3"]) -> _Size:
    narrow, wide = sorted(np.ptp(np.percentile(points[:, :2], [2, 98], axis=0), axis=0).tolist())
    return _Size(float(np.ptp(np.percentile(points[:, 2], [1, 99]))), narrow, wide, _layers(points)[2].gap)


def _recognized_scale(
    path: Path, sample: Float64[np.ndarray, "n 3"], verticals: Float64[np.ndarray, "V 3"], report: Report
) -> float:
    """The factor to meters, from the height of a storey, or the size of the scan; the first of the axes should be up.

    It is not certain if it would be another one with another of the axes up.
    """
    first = _size(sample @ _upright(verticals[0]).T)
    height, wide, gap = first.height, first.wide, first.gap
    if first.may_be_meters():
        feet = UNITS["feet"]
        low, high = _HEIGHT_IN_FEET if gap is None else _STOREY
        is_room = low <= (height if gap is None else gap) * feet <= high
        if is_room and (gap is not None or wide * feet <= _WIDEST_OPEN):
            found = f"Its height is {height:.3g}: this is a hall in meters, or a room in feet"
            report(f"{found}. It was taken as meters; if it is in feet, use scale=0.3048.")
        return 1.0
    sizes = [first, *(_size(sample @ _upright(vertical).T) for vertical in verticals[1:])]
    fitting = [(unit, size) for size in sizes for unit in UNITS if size.fits(unit)]
    fitting = [(unit, size) for unit, size in fitting if size.gap is not None] or fitting  # a ceiling tells more
    units = {unit for unit, _ in fitting}
    is_low = all(size.gap is None and size.height * UNITS[unit] < _LOW for unit, size in fitting)
    is_flat = any(size.may_be_meters() for size in sizes)
    if len(units) != 1 or is_low or is_flat or not any(map(first.fits, units)):
        found = f"without strays it measures {wide:.4g} x {first.narrow:.4g} and {height:.4g} high"
        flags = ", ".join(f"scale={meters} ({unit})" for unit, meters in UNITS.items())
        if len(units) == 1:
            remedy = f"give up='y' or alike if another axis than z points up, or {flags}"
        else:
            remedy = f"give {flags}, and up='y' or alike if z is not up"
        raise ValueError(f"{path}: {found}: its unit is not certain; {remedy}")
    unit = units.pop()
    found = f"Its size is that of a room in {unit}. It was converted, as scale={UNITS[unit]} does"
    report(f"{found}; if it is in meters, use as_is=True.")
    return UNITS[unit]


def _check_rounding(path: Path, xyz: Float64[np.ndarray, "P 3"], scale: float | int, report: Report) -> None:
    """Looks for coordinates that are all multiples of a large step, as single precision leaves them far from 0."""
    some = xyz[:: max(1, len(xyz) // _NUM_SAMPLES)]
    if np.abs(some).max() * scale < FAR:
        return
    steps = []
    for values in map(np.unique, some.T):
        gaps = np.diff(values)
        regular = len(gaps) > 4 and np.allclose(gaps / gaps.min(), np.rint(gaps / gaps.min()), atol=1e-3)
        steps.append(float(gaps.min()) * scale if regular else 0.0)
    text = f"its coordinates are rounded to steps of {max(steps):.2g} m, as single precision does far from 0"
    if max(steps) >= _LOST:
        raise ValueError(f"{path}: {text}; export it with a local origin or in double precision, or use as_is=True")
    if max(steps) > _COARSE:
        report(f"{text[0].upper()}{text[1:]}: export it with a local origin or in double precision.")
