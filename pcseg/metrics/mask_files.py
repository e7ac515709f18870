"""Mask files of a scene's objects.

* ``.txt``: one 0 or 1 per point and line, the benchmark's own format.
* ``.npz``: an array ``mask``, or ``packed`` as by np.packbits.
* ``.json``: run lengths as in ScanNet++, ``{"length": P, "counts": "start length start length ..."}``, starts counted
  from 1.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64

from pcseg.choices import MaskFormat as MaskFormat
from pcseg.files import npz_bytes, read_npz


def read_mask(path: Path, num_points: int | None) -> Bool[np.ndarray, "P"]:
    """Reads one mask file.

    Args:
        path: .txt, .npz or .json file.
        num_points: number of points of the scene; None takes any.

    Raises:
        ValueError: the file is damaged, of an unknown kind, or of another length.
    """
    if path.suffix == ".txt":
        mask = parse_mask(path.read_bytes(), str(path))
    elif path.suffix == ".npz":
        mask = _read_mask_npz(path, num_points)
    elif path.suffix == ".json":
        try:
            mask = rle_decode(json.loads(path.read_bytes()))
        except ValueError as error:
            raise ValueError(f"{path}: not a run-length mask: {error}") from error
    else:
        raise ValueError(f"{path}: masks are .txt, .npz or .json files, found {path.suffix or 'no ending'}")
    if num_points is not None and len(mask) != num_points:
        raise ValueError(f"{path}: the mask has {len(mask)} points, the ground truth of the scene has {num_points}")
    return mask


def parse_mask(raw: bytes, where: str, *, strict: bool = False) -> Bool[np.ndarray, "P"]:
    """Reads a mask with one number per line.

    Args:
        raw: content of the file.
        where: file, for messages.
        strict: refuse numbers other than 0 and 1, and a byte order mark.

    Raises:
        ValueError: names file and line of what is not a whole number.
    """
    content = np.frombuffer(raw if raw.endswith(b"\n") else raw + b"\n", np.uint8)
    digits, ends = content[::2], content[1::2]
    # The usual file, one digit and one newline per point, is read without parsing numbers.
    if len(digits) == len(ends) and np.all(ends == ord("\n")) and np.all((digits == ord("0")) | (digits == ord("1"))):
        return digits == ord("1")
    return read_integers(raw, where, strict=strict) != 0


def mask_bytes(mask: Bool[np.ndarray, "P"], mask_format: MaskFormat) -> bytes:
    """The content of a mask file."""
    if mask_format == "txt":
        lines = np.full((len(mask), 2), ord("\n"), np.uint8)
        lines[:, 0] = ord("0") + mask
        return lines.tobytes()
    if mask_format == "npz":
        return npz_bytes({"packed": np.packbits(mask), "num_points": np.array(len(mask), np.int64)})
    return json.dumps(rle_encode(mask)).encode()


def rle_encode(mask: Bool[np.ndarray, "P"]) -> dict[str, Any]:
    """Runs of a mask.

    Source: The mask format of the ScanNet++ benchmark.

    >>> rle_encode(np.array([True, True, False, True]))
    {'length': 4, 'counts': '1 2 4 1'}
    """
    edges = np.flatnonzero(np.diff(np.pad(mask, 1))) + 1
    starts, ends = edges[::2], edges[1::2]
    return {"length": len(mask), "counts": " ".join(map(str, np.stack([starts, ends - starts], axis=1).ravel()))}


def rle_decode(rle: Any) -> Bool[np.ndarray, "P"]:
    """The mask of an encoding, whose counts may be text or a list of whole numbers.

    Raises:
        ValueError: the encoding is damaged.
    """
    if not isinstance(rle, dict) or "length" not in rle or "counts" not in rle:
        raise ValueError('expected an object with "length" and "counts"')
    length, counts = rle["length"], rle["counts"]
    if type(length) is not int or not 0 <= length < 2**31:
        raise ValueError(f"length is {length!r}, expected a whole number of points")
    try:
        runs = counts.split() if isinstance(counts, str) else counts
        starts, lengths = np.array([int(run) for run in runs], np.int64).reshape(-1, 2).T
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"counts must be pairs of whole numbers, a start and a length ({error})") from error
    wrong = (starts < 1) | (lengths < 0) | (starts > length) | (lengths > length - starts + 1)
    if wrong.any():
        first = int(wrong.argmax())
        raise ValueError(f"counts has a run {starts[first]} {lengths[first]} outside 1..{length}")
    change = np.bincount(starts - 1, minlength=length + 1) - np.bincount(starts - 1 + lengths, minlength=length + 1)
    return np.cumsum(change)[:length] > 0


def _read_mask_npz(path: Path, num_points: int | None) -> Bool[np.ndarray, "P"]:
    arrays = read_npz(path, ("mask", "packed", "num_points"))
    if "mask" in arrays:
        mask = arrays["mask"]
        if mask.ndim != 1 or mask.dtype.kind not in "biu":
            raise ValueError(f"{path}: mask must be bool or whole numbers of shape (P,), got {mask.dtype} {mask.shape}")
        return mask != 0
    if "packed" not in arrays:
        raise ValueError(f"{path}: expected an array 'mask' or 'packed', found neither")
    packed = arrays["packed"]
    count = int(arrays.get("num_points", np.int64(8 * packed.size if num_points is None else num_points)))
    size = (count + 7) // 8
    if packed.dtype != np.uint8 or packed.shape != (size,):
        raise ValueError(f"{path}: packed must hold {size} bytes for {count} points, got {packed.dtype} {packed.shape}")
    return np.unpackbits(packed, count=count).astype(np.bool_)


def read_integers(raw: bytes, where: str, *, strict: bool = False) -> Int64[np.ndarray, "P"]:
    """Reads one whole number per line.

    Args:
        raw: content of a file.
        where: file, for messages.
        strict: refuse numbers other than 0 and 1, and a byte order mark.

    Raises:
        ValueError: no UTF-8 text, or a line is not a number of 32 bits; the message names file and line.
    """
    lines = as_text(raw, where, strict=strict).rstrip().splitlines()
    values = np.zeros(len(lines), np.int64)
    for row, line in enumerate(lines):
        try:
            value = int(line)
        except ValueError:
            value = 2**31
        if abs(value) >= 2**31 or (strict and value not in (0, 1)):
            expected = "0 or 1" if strict else "one whole number of 32 bits"
            raise ValueError(f"{where}:{row + 1}: expected {expected}, found {line.strip()[:40]!r}")
        values[row] = value
    return values


def as_text(raw: bytes, where: str, *, strict: bool = False) -> str:
    """Decodes UTF-8.

    Args:
        raw: content of a file.
        where: file, for messages.
        strict: keep the byte order mark, which the benchmark's script cannot read.

    Raises:
        ValueError: the bytes are no UTF-8 text.
    """
    try:
        return raw.decode("utf-8" if strict else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{where}: not a text file: {error}") from error
