"""Atomic file writes, .npz archives, logs of JSON records, numbers that JSON can hold, and names in messages."""

import io
import json
import math
import os
import uuid
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np


@contextmanager
def decoding(path: Path, kind: str, remedy: str = "") -> Iterator[None]:
    """Turns every error of a library's decoder into one line: damaged bytes raise errors of all kinds.

    Args:
        path: file, for the message.
        kind: what the file should be, such as "an .npy file".
        remedy: end of the message, such as "; download the scan again".

    Raises:
        ValueError: the block raised an exception.
    """
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"{path}: not {kind}, or damaged ({reason}){remedy}") from error


@contextmanager
def atomic_open(path: Path | str, *, sync: bool = False) -> Iterator[BinaryIO]:
    """Opens a file for writing that replaces `path` only when the block ends without an error; makes its folder.

    `sync` flushes to disk before renaming, so that the file survives a crash of the machine.

    Raises:
        OSError: the folder is not writable, or the path is a folder.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        raise IsADirectoryError(f"{path}: a folder; expected the name of a file to write")
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            if sync:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def atomic_write(path: Path | str, content: bytes | str) -> Path:
    """Writes bytes, or text as UTF-8, through `atomic_open`, and returns the path."""
    with atomic_open(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)
    return Path(path)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes nested dicts and lists as JSON, atomically, with null for numbers that are not finite."""
    named = {"program": "pcseg", **content}  # a file without it is not replaced
    atomic_write(path, json.dumps(none_for_nan(named), indent=1, allow_nan=False) + "\n")


def npz_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The content of a compressed .npz file with these arrays."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compresslevel=1) as archive:  # level 6 takes three times the time
        for key, value in arrays.items():
            # Coordinates do not compress.
            is_table = value.dtype.kind == "f" and value.ndim == 2
            archive.compression = zipfile.ZIP_STORED if is_table else zipfile.ZIP_DEFLATED
            with archive.open(f"{key}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, value, allow_pickle=False)
    return file.getvalue()


def read_npz(path: Path, keys: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """Reads the arrays of an .npz file by name, without pickles: those of the keys that it has, or all.

    Raises:
        ValueError: the file is not an .npz archive, is damaged, or has an array of Python objects.
        OSError: the file does not exist or is a folder.
    """
    with path.open("rb") as file:
        if not zipfile.is_zipfile(file):
            raise ValueError(f"{path}: not an .npz archive, or damaged")
        file.seek(0)
        with decoding(path, "an .npz archive"), np.load(file, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files if keys is None or key in keys}


def first_of(names: Sequence[object]) -> str:
    """The first five of some names for a message, and how many more there are; all if there are six.

    >>> first_of("abcdefg")
    'a, b, c, d, e and 2 more'
    """
    num = 6 if len(names) == 6 else 5
    return f"{', '.join(map(str, names[:num]))}{f' and {len(names) - num} more' if len(names) > num else ''}"


def none_for_nan(value: Any, digits: int | None = None) -> Any:
    """Copies nested dicts and lists, with None for numbers that are not finite, as JSON needs it; tuples become lists.

    Floats are rounded to `digits` significant digits, if given.

    >>> none_for_nan({"ap": float("nan"), "recalls": (0.5, 1.0)})
    {'ap': None, 'recalls': [0.5, 1.0]}
    """
    if isinstance(value, dict):
        return {key: none_for_nan(item, digits) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [none_for_nan(item, digits) for item in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return value if digits is None else float(f"{value:.{digits}g}")
    return value


def append_record(path: Path, record: dict[str, Any]) -> None:
    """Add a line to a log of JSON records; the line survives a crash of the process.

    Numbers that are not finite become null.

    Raises:
        OSError: the file cannot be written, for example because the disk is full.
    """
    try:
        with path.open("a", encoding="utf-8") as file:
            # Nine digits distinguish any two single-precision numbers.
            file.write(json.dumps(none_for_nan(record, digits=9), allow_nan=False) + "\n")
    except OSError as error:
        raise OSError(f"{path}: cannot be written: {error.strerror}") from None


def read_records(path: Path) -> list[dict[str, Any]]:
    """The records of a log; an incomplete last line, which a crash leaves, is ignored.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is not a record with a step.
    """
    return [record for record, _ in _parse(path)]


def drop_records_after(path: Path, step: int) -> None:
    """Remove the records of steps after `step`, and an incomplete last line; a missing log stays missing."""
    if path.exists():
        atomic_write(path, "".join(line for record, line in _parse(path) if record["step"] <= step))


def _parse(path: Path) -> list[tuple[dict[str, Any], str]]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected the log of a run")
    records = []
    with path.open(encoding="utf-8", errors="replace") as file:
        lines = list(file)
    for number, line in enumerate(lines, start=1):
        if not line.endswith("\n"):
            break  # the last line: the process ended while writing it
        try:
            record = json.loads(line)
            int(record["step"])
        except (KeyError, TypeError, ValueError):
            raise ValueError(f"{path}: line {number} is not a record of a step: {line.strip()[:60]!r}") from None
        records.append((record, line))
    return records
