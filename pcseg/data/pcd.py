"""Reads point clouds from PCD files, the format of the Point Cloud Library."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from pcseg.data.scan_fields import LABEL_COLUMNS, color_to_uint8
from pcseg.data.text_points import read_rows
from pcseg.kernels.lzf import unpack_lzf

_KINDS = {"F": "f", "U": "u", "I": "i"}


@dataclass(frozen=True)
class PcdHeader:
    """Header of a PCD file.

    Args:
        dtype: of one point, little endian; names that start with "_" are padding.
        num_points: number of points.
        data: "ascii", "binary" or "binary_compressed".
        offset: byte where the points start.
        num_lines: number of lines of the header.
    """

    dtype: np.dtype
    num_points: int
    data: str
    offset: int
    num_lines: int


def read_pcd(path: Path) -> dict[str, np.ndarray]:
    """Reads a PCD file: ascii, binary or binary_compressed. The VIEWPOINT is not applied.

    Args:
        path: the file.

    Returns:
        xyz float64 (P, 3), NaN where the scanner saw nothing. If the file has them: rgb uint8 (P, 3), normal float64
        (P, 3), and the columns of LABEL_COLUMNS (P,).

    Raises:
        ValueError: no such file, a damaged header or body, or no fields x, y, z.

    Source: the PCD v0.7 page of the Point Cloud Library.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    content = np.fromfile(path, np.uint8)
    header = read_header(path, content[:65536].tobytes())
    names = header.dtype.names or ()
    if not {"x", "y", "z"} <= set(names):
        raise ValueError(f"{path}: expected FIELDS x y z, found {' '.join(names)}")
    body = content[header.offset :]
    if header.data == "ascii":
        columns = _read_ascii(path, header)
    elif header.data == "binary":
        size = header.dtype.itemsize * header.num_points
        if len(body) < size:
            raise ValueError(f"{path}: expected {size} bytes of points, found {len(body)}; it is cut short")
        records = np.frombuffer(body[:size].tobytes(), header.dtype)
        columns = {name: records[name] for name in names}
    else:
        columns = _read_compressed(path, body, header)
    fields = {"xyz": np.stack([columns[axis].astype(np.float64) for axis in "xyz"], axis=1)}
    if {"normal_x", "normal_y", "normal_z"} <= set(names):
        fields["normal"] = np.stack([columns[f"normal_{axis}"].astype(np.float64) for axis in "xyz"], axis=1)
    packed = next((columns[name] for name in ("rgb", "rgba") if name in names), None)
    if packed is not None:
        fields["rgb"] = unpack_rgb(packed)
    elif {"r", "g", "b"} <= set(names):
        fields["rgb"] = color_to_uint8(path, np.stack([columns[channel] for channel in "rgb"], axis=1))
    return fields | {name: columns[name].copy() for name in LABEL_COLUMNS if name in names}


def read_header(path: Path, head: bytes) -> PcdHeader:
    """Parses the header of a PCD file.

    Args:
        path: file, for messages.
        head: its first bytes, with all of the header.

    Raises:
        ValueError: a line is missing or makes no sense.
    """
    entries: dict[str, list[str]] = {}
    start = num_lines = 0
    while "DATA" not in entries:
        end = head.find(b"\n", start)
        if end < 0:
            raise ValueError(f"{path}: not a PCD file, no line DATA in its header")
        words = head[start:end].decode("latin-1").split()
        start, num_lines = end + 1, num_lines + 1
        if words and not words[0].startswith("#"):
            entries[words[0].upper()] = words[1:]
    missing = [key for key in ("FIELDS", "SIZE", "TYPE") if key not in entries]
    if missing:
        raise ValueError(f"{path}: not a PCD file, no line {missing[0]} in its header")
    data = " ".join(entries["DATA"])
    if data not in ("ascii", "binary", "binary_compressed"):
        raise ValueError(f"{path}: expected DATA ascii, binary or binary_compressed, found {data!r}")
    names, kinds = entries["FIELDS"], entries["TYPE"]
    try:
        counts = [int(count) for count in entries.get("COUNT", ["1"] * len(names))]
        width, height = (int(entries.get(key, ["1"])[0]) for key in ("WIDTH", "HEIGHT"))
        num_points = int(entries["POINTS"][0]) if "POINTS" in entries else width * height
        if num_points < 0 or min(counts) < 1:
            raise ValueError("a count below 1")
        fields = []
        for index, (name, size, kind, count) in enumerate(zip(names, entries["SIZE"], kinds, counts, strict=True)):
            name = name if name != "_" and name not in names[:index] else f"_{index}"
            fields.append((name, f"<{_KINDS[kind]}{size}", (count,) if count > 1 else ()))
        return PcdHeader(np.dtype(fields), num_points, data, start, num_lines)
    except (ValueError, IndexError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: damaged header, FIELDS, SIZE, TYPE and COUNT do not fit ({error})") from error


def unpack_rgb(packed: np.ndarray) -> np.ndarray:
    """Unpacks colors 0x00RRGGBB, stored as integers or in the bits of single-precision floats.

    Args:
        packed: (P,), float32 or 32-bit integers. In float64, from text, whole numbers are integers and others floats.

    Returns:
        uint8 (P, 3).

    >>> unpack_rgb(np.array([0xFF8001], np.uint32)).tolist()
    [[255, 128, 1]]
    """
    if packed.dtype == np.float64:
        whole = (packed == np.rint(packed)) & (packed >= 0) & (packed < 2**32)
        bits = np.where(whole, packed, 0).astype(np.uint32)
        bits = np.where(whole, bits, packed.astype(np.float32).view(np.uint32))
    else:
        bits = np.ascontiguousarray(packed).view(np.uint32)
    return np.stack([bits >> 16 & 255, bits >> 8 & 255, bits & 255], axis=1).astype(np.uint8)


def _read_ascii(path: Path, header: PcdHeader) -> dict[str, np.ndarray]:
    names = header.dtype.names or ()
    starts = np.cumsum([0, *(math.prod(header.dtype[name].shape) for name in names)])
    rows = read_rows(path, int(starts[-1]), first_line=header.num_lines + 1)
    if len(rows) != header.num_points:
        raise ValueError(f"{path}: expected {header.num_points} points, found {len(rows)}")
    return {name: rows[:, start] for name, start in zip(names, starts)}


def _read_compressed(path: Path, body: UInt8[np.ndarray, "bytes"], header: PcdHeader) -> dict[str, np.ndarray]:
    """Fields one after another, all points of a field together, compressed as one block."""
    size = header.dtype.itemsize * header.num_points
    if len(body) < 8:
        raise ValueError(f"{path}: no compressed points after its header; it is cut short")
    packed_size, unpacked_size = np.frombuffer(body[:8].tobytes(), "<u4").tolist()
    if unpacked_size != size or len(body) < 8 + packed_size:
        raise ValueError(
            f"{path}: expected {packed_size} bytes that unpack to {size}, found {len(body) - 8} that claim to unpack "
            f"to {unpacked_size}; it is damaged or cut short"
        )
    unpacked = np.empty(size, np.uint8)
    if unpack_lzf(np.ascontiguousarray(body[8 : 8 + packed_size]), unpacked) != size:
        raise ValueError(f"{path}: its compressed points are damaged")
    columns, start = {}, 0
    for name in header.dtype.names or ():
        dtype = header.dtype[name]
        end = start + dtype.itemsize * header.num_points
        columns[name] = unpacked[start:end].view(dtype.base).reshape((header.num_points, *dtype.shape))
        start = end
    return columns
