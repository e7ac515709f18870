"""Rows of numbers out of text files: a fast pass over plain decimals, and the lines that it could not read."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from pcseg.kernels.text import parse_rows

_NUMBER = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf|infinity)", re.IGNORECASE)


@dataclass(frozen=True)
class TextRows:
    """Rows of a text file.

    Args:
        values: one row per line that holds exactly the asked number of numbers, in the order of the file.
        lines: line number of each row, from 1.
        odd: line number and bytes of every line that is neither such a row nor blank.
    """

    values: Float64[np.ndarray, "R columns"]
    lines: Int64[np.ndarray, "R"]
    odd: list[tuple[int, bytes]]

    def __post_init__(self) -> None:
        assert len(self.values) == len(self.lines)


def numbers_of_line(line: bytes, separator: bytes | None = None) -> list[float] | None:
    """The numbers of one line, nan and inf among them; None where anything on it is not a number.

    Args:
        line: without its line break.
        separator: byte between columns; None for blanks and tabs.
    """
    fields = re.split(rb"[ \t\r]+", line.strip(b" \t\r")) if separator is None else line.split(separator)
    fields = [field.strip(b" \t\r") for field in fields]
    if not all(_NUMBER.fullmatch(field) for field in fields):
        return None
    return [float(field) for field in fields]


def parse_text(
    text: UInt8[np.ndarray, "bytes"], num_columns: int, *, separator: bytes | None = None, first_line: int = 1
) -> TextRows:
    """Rows of `num_columns` numbers; one compiled pass, and Python only for the lines that are not plain decimals.

    Args:
        text: bytes of the file.
        num_columns: numbers of a row.
        separator: byte between columns; None for blanks and tabs.
        first_line: line number at which rows start; the lines before it are a header.

    Returns:
        The rows, in double precision, and the lines that are not rows.
    """
    first = _start_of_line(text, first_line)
    num_lines = int(np.count_nonzero(text[first:] == ord("\n"))) + 1
    values = np.empty((num_lines, num_columns), np.float64)
    row_lines = np.empty(num_lines, np.int64)
    odd_lines = np.empty((num_lines, 3), np.int64)
    code = ord(" ") if separator is None else ord(separator)
    num_rows, num_odd = parse_rows(text, first, code, num_columns, values, row_lines, odd_lines)
    rows, lines = values[:num_rows], row_lines[:num_rows] + first_line
    if num_odd == 0:
        return TextRows(rows, lines, [])

    slow_rows, slow_lines, odd = [], [], []
    for line, start, end in odd_lines[:num_odd].tolist():
        content = text[start:end].tobytes()
        numbers = numbers_of_line(content, separator)
        if numbers is not None and len(numbers) == num_columns:
            slow_rows.append(numbers)
            slow_lines.append(line + first_line)
        else:
            odd.append((line + first_line, content))
    if slow_rows:
        lines = np.concatenate([lines, np.array(slow_lines, np.int64)])
        order = np.argsort(lines, kind="stable")
        rows, lines = np.concatenate([rows, np.array(slow_rows, np.float64)])[order], lines[order]
    return TextRows(rows, lines, odd)


def read_bytes(path: Path) -> UInt8[np.ndarray, "bytes"]:
    """Content of a file as an array.

    Raises:
        ValueError: no such file.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    return np.fromfile(path, np.uint8)


def show(line: bytes, width: int = 60) -> str:
    """A line as it can stand in a message: control bytes escaped, long lines cut."""
    text = line.strip(b" \t\r").decode("latin-1").encode("unicode_escape").decode()
    return repr(text if len(text) <= width else text[: width - 3] + "...").replace("\\\\", "\\")


def _start_of_line(text: UInt8[np.ndarray, "bytes"], line: int) -> int:
    start = 0
    for _ in range(line - 1):
        breaks = np.flatnonzero(text[start : start + 65536] == ord("\n"))
        if len(breaks) == 0:
            return len(text)
        start += int(breaks[0]) + 1
    return start
