"""Reads point clouds from PCD files, the format of the Point Cloud Library."""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from pcseg.data.scan_fields import fields_of_columns
from pcseg.data.text import read_rows
from pcseg.kernels.lzf import unpack_lzf

_KINDS = {"F": "f", "U": "u", "I": "i"}


class _Header(NamedTuple):
    dtype: np.dtype  # of one point, little endian; names that start with "_" are padding
    num_points: int
    data: str  # "ascii", "binary" or "binary_compressed"
    offset: int  # byte where the points start
    num_lines: int  # of the header


def read_pcd(path: Path) -> dict[str, np.ndarray]:
    """Reads the fields of a PCD file (ascii, binary or binary_compressed), see `fields_of_columns`.

    The VIEWPOINT is not applied; xyz is NaN where the scanner saw nothing.

    Raises:
        ValueError: a damaged header or body, or no fields x, y, z.

    Source: the PCD v0.7 page of the Point Cloud Library.
    """
    content = np.fromfile(path, np.uint8)
    header = _read_header(path, content[:65536].tobytes())
    body = content[header.offset :]
    if header.data == "ascii":
        columns = _read_ascii(path, header)
    elif header.data == "binary":
        size = header.dtype.itemsize * header.num_points
        if len(body) < size:
            raise ValueError(f"{path}: expected {size} bytes of points, found {len(body)}; it is cut short")
        records = np.frombuffer(body[:size].tobytes(), header.dtype)
        columns = {name: records[name] for name in header.dtype.names or ()}
    else:
        columns = _read_compressed(path, body, header)
    fields = fields_of_columns(path, columns)
    packed = columns.get("rgb", columns.get("rgba"))
    if packed is None:
        return fields
    if packed.ndim == 2 and packed.dtype.itemsize == 1 and packed.shape[1] in (3, 4):  # bytes R G B, or B G R A
        packed = packed.view(np.uint8)
        return {**fields, "rgb": packed if packed.shape[1] == 3 else packed[:, 2::-1]}
    if packed.ndim != 1:
        raise ValueError(f"{path}: expected rgb as one number or as bytes, found {packed.shape[1]} {packed.dtype}")
    return {**fields, "rgb": unpack_rgb(packed)}


def _read_header(path: Path, head: bytes) -> _Header:
    entries: dict[str, list[str]] = {}
    start = num_lines = 0
    while "DATA" not in entries:
        end = head.find(b"\n", start)
        if end < 0:
            raise ValueError(f"{path}: not a PCD file, no line DATA in its header")
        words = head[start:end].decode("latin-1").split()
        start, num_lines = end + 1, num_lines + 1
        if words and not words[0].startswith("#"):
            entries[words[0].upper().replace("COLUMNS", "FIELDS")] = words[1:]
    if missing := [key for key in ("FIELDS", "SIZE", "TYPE") if key not in entries]:
        raise ValueError(f"{path}: not a PCD file, no line {missing[0]} in its header")
    data = " ".join(entries["DATA"])
    if data not in ("ascii", "binary", "binary_compressed"):
        raise ValueError(f"{path}: expected DATA ascii, binary or binary_compressed, found {data!r}")
    names, kinds = entries["FIELDS"], entries["TYPE"]
    try:
        counts = [int(count) for count in entries.get("COUNT", ["1"] * len(names))]
        width, height = (int(entries.get(key, ["1"])[0]) for key in ("WIDTH", "HEIGHT"))
        num_points = int(entries["POINTS"][0]) if "POINTS" in entries else width * height
        if num_points < 0 or min(counts) < 0:
            raise ValueError("a count below 0")
        fields = []
        for index, (name, size, kind, count) in enumerate(zip(names, entries["SIZE"], kinds, counts, strict=True)):
            name = name if name != "_" and name not in names[:index] else f"_{index}"
            if count > 0:  # some drivers of scanners write fields without content
                fields.append((name, f"<{_KINDS[kind]}{size}", (count,) if count > 1 else ()))
        return _Header(np.dtype(fields), num_points, data, start, num_lines)
    except (ValueError, IndexError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: damaged header, FIELDS, SIZE, TYPE and COUNT do not fit ({error})") from error


def unpack_rgb(packed: np.ndarray) -> np.ndarray:
    """Unpacks colors 0x00RRGGBB (P,), stored as integers or in the bits of single-precision floats, to uint8 (P, 3).

    >>> unpack_rgb(np.array([0xFF8001], np.uint32)).tolist()
    [[255, 128, 1]]
    """
    numbers = packed.astype("<f4" if packed.dtype.kind == "f" else "<u4")  # signed numbers have the same lower bits
    return numbers.view(np.uint8).reshape(-1, 4)[:, 2::-1]  # from bytes B G R A


def _read_ascii(path: Path, header: _Header) -> dict[str, np.ndarray]:
    names = header.dtype.names or ()
    starts = np.cumsum([0, *(math.prod(header.dtype[name].shape) for name in names)])
    rows = read_rows(path, int(starts[-1]), first_line=header.num_lines + 1)
    if len(rows) != header.num_points:
        raise ValueError(f"{path}: expected {header.num_points} points, found {len(rows)}")
    columns = {name: rows[:, start] for name, start in zip(names, starts)}
    for name in {"rgb", "rgba"} & columns.keys():
        # TYPE says whether these are integers, or floats with the color in their bits.
        if header.dtype[name].base.kind != "f":
            columns[name] = columns[name].astype(np.int64)
        elif (np.isnan(columns[name]) & np.isfinite(rows[:, :3]).all(axis=1)).any():
            remedy = "write it in binary, or with TYPE U"
            raise ValueError(f"{path}: {name} of TYPE F is nan, as its color cannot be written as text; {remedy}")
    return columns


def _read_compressed(path: Path, body: UInt8[np.ndarray, "bytes"], header: _Header) -> dict[str, np.ndarray]:
    """Fields one after another, all points of a field together, compressed as one block."""
    size = header.dtype.itemsize * header.num_points
    if len(body) < 8:
        raise ValueError(f"{path}: no compressed points after its header; it is cut short")
    packed_size, unpacked_size = np.frombuffer(body[:8].tobytes(), "<u4").tolist()
    if unpacked_size != size or len(body) < 8 + packed_size:
        found = f"{len(body) - 8} bytes for {unpacked_size}"
        raise ValueError(f"{path}: expected {packed_size} bytes for {size}, found {found}; it is damaged or cut short")
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
