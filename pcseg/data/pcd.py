"""Point clouds out of PCD files, the format of the Point Cloud Library."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from pcseg.data.ply import color_to_uint8
from pcseg.data.text_points import parse_text, read_bytes, show
from pcseg.kernels.lzf import unpack_lzf

_KINDS = {"F": "f", "U": "u", "I": "i"}
_COLUMNS = ("semantic", "semantic_nyu40", "label", "instance", "superpoint")


@dataclass(frozen=True)
class PcdHeader:
    """Header of a PCD file.

    Args:
        dtype: one record, little endian; fields named "_" are padding.
        num_points: points of the file.
        data: "ascii", "binary" or "binary_compressed".
        offset: byte where the points start.
        num_lines: lines of the header.
    """

    dtype: np.dtype
    num_points: int
    data: str
    offset: int
    num_lines: int


def read_pcd(path: Path) -> dict[str, np.ndarray]:
    """What a PCD file holds: ascii, binary or binary_compressed. The VIEWPOINT is not applied.

    Args:
        path: the file.

    Returns:
        xyz float64 (P, 3), NaN where the scanner saw nothing; where the file has them: rgb uint8 (P, 3), normal float64
        (P, 3), and the columns semantic, semantic_nyu40, label, instance, superpoint (P,).

    Raises:
        ValueError: no such file, a damaged header or body, or no fields x, y, z.

    Source: the PCD v0.7 page of the Point Cloud Library.
    """
    content = read_bytes(path)
    header = read_header(path, content)
    names = header.dtype.names or ()
    if not {"x", "y", "z"} <= set(names):
        raise ValueError(f"{path}: expected FIELDS x y z, found {' '.join(names)}")
    if header.data == "ascii":
        columns = _read_ascii(path, content, header)
    else:
        body = content[header.offset :]
        columns = _read_compressed(path, body, header) if header.data == "binary_compressed" else {}
        if header.data == "binary":
            size = header.dtype.itemsize * header.num_points
            if len(body) < size:
                raise ValueError(f"{path}: expected {size} bytes of points, found {len(body)}; it is cut short")
            records = np.frombuffer(body[:size].tobytes(), header.dtype)
            columns = {name: records[name] for name in names}
    fields = {"xyz": np.stack([columns[axis].astype(np.float64) for axis in "xyz"], axis=1)}
    if {"normal_x", "normal_y", "normal_z"} <= set(names):
        fields["normal"] = np.stack([columns[f"normal_{axis}"].astype(np.float64) for axis in "xyz"], axis=1)
    packed = next((columns[name] for name in ("rgb", "rgba") if name in names), None)
    if packed is not None:
        fields["rgb"] = unpack_rgb(packed)
    elif {"r", "g", "b"} <= set(names):
        fields["rgb"] = color_to_uint8(path, np.stack([columns[channel] for channel in "rgb"], axis=1))
    return fields | {name: columns[name].copy() for name in _COLUMNS if name in names}


def read_header(path: Path, content: UInt8[np.ndarray, "bytes"]) -> PcdHeader:
    """Header of a PCD file.

    Raises:
        ValueError: a line that is missing or makes no sense.
    """
    entries: dict[str, list[str]] = {}
    start = num_lines = 0
    head = content[:65536].tobytes()
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
    names, kinds = entries["FIELDS"], entries["TYPE"]
    try:
        sizes = [int(size) for size in entries["SIZE"]]
        counts = [int(count) for count in entries.get("COUNT", ["1"] * len(names))]
        width, height = (int(entries.get(key, ["1"])[0]) for key in ("WIDTH", "HEIGHT"))
        num_points = int(entries["POINTS"][0]) if "POINTS" in entries else width * height
    except (ValueError, IndexError) as error:
        raise ValueError(f"{path}: damaged header ({error})") from error
    data = entries["DATA"][0] if entries["DATA"] else ""
    fits = len(names) == len(sizes) == len(kinds) == len(counts) and set(kinds) <= set(_KINDS)
    if not fits or not set(sizes) <= {1, 2, 4, 8} or min(counts) < 1 or num_points < 0:
        raise ValueError(f"{path}: damaged header, FIELDS, SIZE, TYPE and COUNT do not fit one another")
    if data not in ("ascii", "binary", "binary_compressed"):
        raise ValueError(f"{path}: expected DATA ascii, binary or binary_compressed, found {data!r}")
    fields = []
    for index, (name, size, kind, count) in enumerate(zip(names, sizes, kinds, counts)):
        name = name if name != "_" and name not in names[:index] else f"_{index}"
        code = f"<{_KINDS[kind]}{size}"
        fields.append((name, code) if count == 1 else (name, code, (count,)))
    try:
        dtype = np.dtype(fields)
    except TypeError as error:
        raise ValueError(f"{path}: damaged header ({error})") from error
    return PcdHeader(dtype, num_points, data, start, num_lines)


def unpack_rgb(packed: np.ndarray) -> np.ndarray:
    """Colors out of 0x00RRGGBB, held by whole numbers or by the bits of single-precision floats.

    Args:
        packed: (P,), float32 or integers of 32 bits; float64 from text, where whole numbers stand for themselves and
            others for the bits of a float.

    Returns:
        uint8 (P, 3).
    """
    if packed.dtype == np.float64:
        whole = (packed == np.rint(packed)) & (packed >= 0) & (packed < 2**32)
        bits = np.where(whole, packed, 0).astype(np.uint32)
        bits = np.where(whole, bits, packed.astype(np.float32).view(np.uint32))
    else:
        bits = np.ascontiguousarray(packed).view(np.uint32)
    return np.stack([bits >> 16 & 255, bits >> 8 & 255, bits & 255], axis=1).astype(np.uint8)


def _read_ascii(path: Path, content: UInt8[np.ndarray, "bytes"], header: PcdHeader) -> dict[str, np.ndarray]:
    names = header.dtype.names or ()
    widths = [int(np.prod(header.dtype[name].shape, dtype=np.int64)) for name in names]
    rows = parse_text(content, sum(widths), first_line=header.num_lines + 1)
    if rows.odd:
        line, found = rows.odd[0]
        raise ValueError(f"{path}:{line}: expected {sum(widths)} numbers ({' '.join(names)}), found {show(found)}")
    if len(rows.values) != header.num_points:
        raise ValueError(f"{path}: expected {header.num_points} points, found {len(rows.values)}")
    starts = np.cumsum([0, *widths])
    return {name: rows.values[:, start] for name, start in zip(names, starts)}


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
