"""Reads files of laser scanners that hold several scans with a pose each: .e57 and .ptx."""

from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from pcseg.data.scan_fields import MID_GRAY, likely_range
from pcseg.files import decoding


def read_e57(path: Path) -> dict[str, np.ndarray]:
    """Reads xyz and rgb of all scans of an E57 file, in the frame of the file; invalid points are left out.

    Colors become bytes by the limits that each scan states, or else by their likely range.

    Raises:
        ValueError: pye57 is missing, or the file is damaged or has no scan.
    """
    try:
        import pye57
    except ImportError as error:
        raise ValueError(f"{path}: reading it needs pye57, run: pip install pye57") from error

    class File(pye57.E57):
        def make_buffer(self, field_name: str, capacity: int, *args: Any, **options: Any) -> tuple[np.ndarray, Any]:
            if not field_name.startswith("color"):
                return super().make_buffer(field_name, capacity, *args, **options)
            values = np.empty(capacity, np.float32)  # pye57 would take bytes
            buffer = pye57.libe57.SourceDestBuffer(self.image_file, field_name, values, capacity, True, True)
            return values, buffer

    with decoding(path, "an E57 file"), closing(File(str(path))) as file:
        scans = []
        names = ("colorRed", "colorGreen", "colorBlue")
        for index in range(file.scan_count):
            header = file.get_header(index)
            if header.point_count == 0:  # pye57 fails at these
                continue
            scan = file.read_scan(index, colors=True, ignore_missing_fields=True)
            xyz = np.stack([scan[f"cartesian{axis}"] for axis in "XYZ"], axis=1)
            limited = header.node.isDefined("colorLimits/colorRedMaximum")
            limit = header.node["colorLimits"]["colorRedMaximum"].value() if limited else 0
            colors = np.stack([scan[name] for name in names], axis=1) if set(names) <= scan.keys() else None
            scans.append((xyz, None if colors is None else _color_bytes(colors, limit)))
        if not scans:
            raise ValueError("no points in it")
        return _joined(scans)


def _color_bytes(color: Float32[np.ndarray, "P 3"], limit: float | int) -> UInt8[np.ndarray, "P 3"]:
    """Colors from 0 to a limit as bytes; a limit that they exceed, or 0, is not used."""
    if len(color) and not 0 < color.max() <= limit:
        limit = likely_range(color) or 255
    return np.rint(np.clip(color * (255 / max(limit, 1)), 0, 255)).astype(np.uint8)


def read_ptx(path: Path) -> dict[str, np.ndarray]:
    """Reads xyz and rgb of all scans of a PTX file, in the frame of the file; NaN where the scanner saw nothing.

    Raises:
        ValueError: the file is damaged or cut short.

    Source: Leica's description of the format. A scan starts with columns, rows, pose (four lines), and matrix for row
    vectors (four lines). Each point has one line "x y z intensity" or "x y z intensity r g b", with 0 0 0 for no
    return.
    """
    scans = []
    with path.open(encoding="latin-1") as file, decoding(path, "a PTX file"):
        lines = (line for line in file if line.strip())
        while head := list(islice(lines, 10)):
            scans.append(_ptx_scan(head, lines))
        if not scans:
            raise ValueError("no scan in it")
    return _joined(scans)


def _ptx_scan(
    head: list[str], lines: Iterator[str]
) -> tuple[Float64[np.ndarray, "P 3"], Float64[np.ndarray, "P 3"] | None]:
    num_points = int(head[0]) * int(head[1])
    matrix = np.loadtxt(head[6:])
    if matrix.shape != (4, 4) or num_points < 1:
        raise ValueError("its header needs two counts, a pose of four lines and a matrix of four lines")
    rows = np.loadtxt(islice(lines, num_points), ndmin=2)
    if len(rows) != num_points or rows.shape[1] not in (4, 7):
        raise ValueError(f"expected {num_points} lines of 4 or 7 numbers, found {len(rows)} of {rows.shape[1]}")
    xyz = rows[:, :3] @ matrix[:3, :3] + matrix[3, :3]
    xyz[~rows[:, :3].any(axis=1)] = np.nan
    return xyz, rows[:, 4:] if rows.shape[1] == 7 else None


def _joined(scans: list[tuple[np.ndarray, np.ndarray | None]]) -> dict[str, np.ndarray]:
    """Fields of several scans, given as xyz and rgb; those without color become gray if others have one."""
    fields = {"xyz": np.concatenate([xyz for xyz, _ in scans])}
    if any(rgb is not None for _, rgb in scans):
        colors = [np.full(xyz.shape, MID_GRAY, np.uint8) if rgb is None else rgb for xyz, rgb in scans]
        fields["rgb"] = np.concatenate(colors)
    return fields
