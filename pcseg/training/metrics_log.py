"""Numbers of a run as lines of JSON, one a step; a last line that a crash tore is no fault."""

import json
from pathlib import Path
from typing import Any

from pcseg.files import atomic_write, none_for_nan


def append_record(path: Path, record: dict[str, Any]) -> None:
    """Write one more line; it is with the system when this returns, and outlives the process.

    Args:
        path: the file, made where it is missing.
        record: numbers, None and texts, or dicts and lists of these; what is not finite is written as null.

    Raises:
        OSError: the disk is full or cannot be written.
    """
    try:
        with path.open("a") as file:  # nine digits distinguish any two single-precision numbers
            file.write(json.dumps(none_for_nan(record, digits=9), allow_nan=False) + "\n")
    except OSError as error:
        raise OSError(f"{path}: cannot be written: {error.strerror}") from None


def read_records(path: Path) -> list[dict[str, Any]]:
    """The records of a file.

    Raises:
        ValueError: no such file, or a line, other than a torn last one, is not a record with a step.
    """
    return [record for record, _ in _parse(path)]


def keep_records(path: Path, last_step: int) -> None:
    """Drop the records of later steps, which are about to be done again, and a torn last line."""
    if path.exists():
        atomic_write(path, "".join(line for record, line in _parse(path) if record["step"] <= last_step))


def _parse(path: Path) -> list[tuple[dict[str, Any], str]]:
    if not path.is_file():
        raise ValueError(f"{path}: no such file; expected the log of a run")
    records = []
    lines = path.read_text(errors="replace").splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        if number == len(lines) and not line.endswith("\n"):
            break  # the process ended while it wrote
        try:
            record = json.loads(line)
            int(record["step"])
        except (json.JSONDecodeError, KeyError, TypeError, ValueError):
            raise ValueError(f"{path}: line {number} is not a record of a step: {line.strip()[:60]!r}") from None
        records.append((record, line))
    return records
