"""What readers of scans have in common: columns become fields, and labels, colors and faces are checked."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Shaped, UInt8, UInt64

from pcseg.data.reader_options import COLOR_RANGES
from pcseg.structures import Scene

# Takes a sentence about what a reader decided by itself.
Report = Callable[[str], None]
report_to_log: Report = logging.getLogger("pcseg").warning

_HIGH_RANGE = 8  # fractions up to this may be those of a picture with overexposed parts
MID_GRAY = (127, 127, 127)  # of points without color, where they are to have one
LABEL_COLUMNS = ("semantic", "semantic_nyu40", "label", "instance", "superpoint")
_COLUMNS = {
    "xyz": (("x", "y", "z"),),
    "rgb": (
        *(("red", "green", "blue"), ("r", "g", "b"), ("rf", "gf", "bf")),
        ("diffuse_red", "diffuse_green", "diffuse_blue"),
    ),
    "normal": (("nx", "ny", "nz"), ("normal_x", "normal_y", "normal_z")),
}


def fields_of_columns(path: Path, columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Gathers the columns of a file into fields.

    Args:
        path: file, for messages.
        columns: values (P,) of each column by its name, in any case; other names are ignored. CloudCompare writes
            "scalar_" before its own.

    Returns:
        xyz float64 (P, 3). If the file has them: rgb (P, 3) as the file has it, normal float64 (P, 3), and the columns
        of LABEL_COLUMNS (P,).

    Raises:
        ValueError: x, y or z is missing, or one column of three, or a field has several numbers for a point.
    """
    fields = {}
    plain = {name.lower().removeprefix("scalar_"): values for name, values in columns.items()}
    columns = plain | dict(columns)
    known = [name for names in _COLUMNS.values() for alternative in names for name in alternative]
    for name in {*known, *LABEL_COLUMNS} & columns.keys():
        if columns[name].ndim != 1 or columns[name].dtype == object:
            raise ValueError(f"{path}: expected one number of {name} for each point, found several")
    for key, alternatives in _COLUMNS.items():
        names = next((names for names in alternatives if columns.keys() >= set(names)), None)
        if names is not None:
            values = np.stack([columns[name] for name in names], axis=1)
            fields[key] = values if key == "rgb" else values.astype(np.float64)
        elif key != "xyz" and (names := next((n for n in alternatives if len(columns.keys() & set(n)) == 2), None)):
            raise ValueError(f"{path}: of the columns {' '.join(names)}, one is missing")
    if "xyz" not in fields:
        raise ValueError(f"{path}: expected columns x y z, found {' '.join(plain) or 'none'}")
    labels = {name: columns[name] for name in LABEL_COLUMNS if name in columns}
    return fields | {name: np.ascontiguousarray(v, v.dtype.newbyteorder("=")) for name, v in labels.items()}


def color_to_uint8(
    where: object,
    color: Shaped[np.ndarray, "P 3"],
    *,
    color_range: float | int | None = None,
    report: Report = report_to_log,
) -> UInt8[np.ndarray, "P 3"]:
    """Converts colors to bytes, by their range: fractions 0..1, bytes 0..255, or 16 bits 0..65535.

    Args:
        where: file or scene, for messages.
        color: colors of any number type.
        color_range: 1, 255 or 65535; None decides from all values together.
        report: called with a sentence if the range is not plain or values are clipped to it.

    Raises:
        ValueError: no range fits, or a color is not a number.

    >>> color_to_uint8("a.ply", np.array([[0.0, 0.2, 1.0]]), report=lambda text: None).tolist()
    [[0, 51, 255]]
    """
    if color_range not in (None, *COLOR_RANGES):
        raise ValueError(f"expected color_range 1, 255 or 65535, got {color_range}")
    if len(color) == 0 or (color.dtype == np.uint8 and color_range in (None, 255)):
        return np.ascontiguousarray(color, np.uint8)
    low, high = color.min(), color.max()
    if not np.isfinite([low, high]).all():
        num_bad = int((~np.isfinite(color).all(axis=1)).sum())
        raise ValueError(f"{where}: {num_bad} of {len(color)} points have a color that is not a number")
    found = f"colors from {low:.9g} to {high:.9g}"
    largest = color_range or likely_range(color)
    if largest is None:
        remedy = "give color_range=1, 255 or 65535; if they are no colors, give columns='x y z nx ny nz' or alike"
        raise ValueError(f"{where}: {found} are not clearly 0..1, 0..255 or 0..65535; {remedy}")
    beyond = int(((color < 0) | (color > largest)).sum())
    clipped = f", {beyond} of {color.size} values are clipped to that" if beyond else ""
    if clipped or (color_range is None and not (largest == 255 and is_whole(color))):
        report(f"It has {found}, taken as 0..{largest}{clipped}: color_range sets another range.")
    color = np.clip(color, 0, largest)
    # 16 bits lose their lower byte, since many programs leave it 0.
    return (np.floor(color / 256) if largest == 65535 else np.rint(color * (255 / largest))).astype(np.uint8)


def is_whole(values: np.ndarray) -> bool:
    """Whether all values are whole numbers."""
    return values.dtype.kind != "f" or bool((values == np.rint(values)).all())


def likely_range(color: Shaped[np.ndarray, "P channels"]) -> int | None:
    """The brightest value that colors can have, of COLOR_RANGES, with some room for rounding; None if not certain."""
    low, high, whole = color.min(), color.max(), is_whole(color)
    if low < -0.01:
        return None
    if color.dtype.kind == "f" and high <= (1 if whole else 1.1):
        return 1
    most = float(np.quantile(color, 0.99))
    if high < 255.5 and (whole or most > _HIGH_RANGE):
        return 255
    return 65535 if most >= 4096 and high <= 65535 else None


def check_faces(where: object, faces: Shaped[np.ndarray, "F 3"] | None, num_points: int) -> None:
    """Checks that faces index existing points.

    Args:
        where: file or scene, for messages.
        faces: points of each face, as numbers from 0; None if there are no faces.
        num_points: number of points that exist.

    Raises:
        ValueError: an index is out of range.
    """
    if faces is not None and len(faces) and (faces.min() < 0 or faces.max() >= num_points):
        raise ValueError(f"{where}: faces name points {faces.min()}..{faces.max()}, there are {num_points}")


def keep_points(scene: Scene, rows: Shaped[np.ndarray, "n"]) -> Scene:
    """The scene with the points of these rows, or of a mask; ids stay as they are, faces and file are dropped."""
    per_point = ("xyz", "rgb", "normal", "semantic", "instance", "superpoint")
    rows = np.flatnonzero(rows) if rows.dtype == bool else rows  # a mask is ten times as slow
    kept = {key: None if (value := getattr(scene, key)) is None else value[rows] for key in per_point}
    return scene.with_(faces=None, file=None, **kept)


def place_keys(xyz: Float32[np.ndarray, "P 3"]) -> UInt64[np.ndarray, "P"]:
    """A 64-bit hash of each place, which sorts faster than rows."""
    columns = np.ascontiguousarray(xyz.T) + np.float32(0)  # which makes -0 and 0 one
    primes = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], np.uint64)
    keys = np.zeros(len(xyz), np.uint64)
    for bits, prime in zip(columns.view(np.uint32), primes):  # one column at a time: less memory, and faster
        keys += bits.astype(np.uint64) * prime
    return keys ^ (keys >> np.uint64(29))
