"""Rows of numbers in text files: numpy's fast reader, and a slow one that names the first bad line."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float64


def read_rows(
    path: Path, num_columns: int, *, separator: str | None = None, first_line: int = 1
) -> Float64[np.ndarray, "R columns"]:
    """Reads rows of numbers; blank lines and lines that start with # or // are skipped.

    Args:
        path: the file.
        num_columns: numbers of a row.
        separator: character between columns; None for blanks and tabs.
        first_line: line number of the first row; the lines before it are a header.

    Returns:
        One row per line, in double precision.

    Raises:
        ValueError: a line does not hold that many numbers; the message names the first.
    """
    rows = load_rows(path, num_columns, separator=separator, first_line=first_line)
    if rows is None:
        checked = _numbers(path, num_columns, separator, first_line)
        rows = np.fromiter(checked, np.float64).reshape(-1, num_columns)
    return rows


def load_rows(
    path: Path, num_columns: int, *, separator: str | None = None, first_line: int = 1
) -> Float64[np.ndarray, "R columns"] | None:
    """The rows of a text file, or None if any line is neither blank nor `num_columns` numbers.

    Args:
        path: the file.
        num_columns: numbers of a row.
        separator: character between columns; None for blanks and tabs.
        first_line: line number of the first row.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "loadtxt: input contained no data")
        try:
            rows = np.loadtxt(
                path, comments=None, delimiter=separator, skiprows=first_line - 1, ndmin=2, encoding="latin-1"
            )
        except ValueError:
            return None
    if rows.size == 0:
        return np.empty((0, num_columns))
    return rows if rows.shape[1] == num_columns else None


def text_lines(path: Path, first_line: int = 1) -> Iterator[tuple[int, bytes]]:
    """Line number, from 1, and bytes of every line that is not blank.

    Args:
        path: the file.
        first_line: line number of the first line wanted.
    """
    for line, content in enumerate(path.read_bytes().split(b"\n"), start=1):
        if line >= first_line and content.strip():
            yield line, content


def numbers_of_line(line: bytes, separator: str | None = None) -> list[float] | None:
    """The numbers of a line, including nan and inf; None if any part of it is not a number.

    Args:
        line: without its line break.
        separator: character between columns; None for blanks and tabs.

    >>> numbers_of_line(b"1 -2.5 3e2"), numbers_of_line(b"1 two")
    ([1.0, -2.5, 300.0], None)
    """
    fields = line.split(None if separator is None else separator.encode())
    try:
        return None if b"_" in line else [float(field) for field in fields]
    except ValueError:
        return None


def is_comment(line: bytes) -> bool:
    """Whether a line starts with # or //."""
    return line.lstrip().startswith((b"#", b"//"))


def show(line: bytes, width: int = 60) -> str:
    r"""A line as a message can quote it: control bytes escaped, long lines cut.

    Args:
        line: its bytes.
        width: most characters.

    >>> print(show(b"1 \x102"))
    '1 \x102'
    """
    text = line.strip().decode("latin-1").encode("unicode_escape").decode()
    return f"'{text if len(text) <= width else text[: width - 3] + '...'}'"


def _numbers(path: Path, num_columns: int, separator: str | None, first_line: int) -> Iterator[float]:
    for line, content in text_lines(path, first_line):
        if not is_comment(content):
            numbers = numbers_of_line(content, separator)
            if numbers is None or len(numbers) != num_columns:
                raise ValueError(f"{path}:{line}: expected {num_columns} numbers, found {show(content)}")
            yield from numbers
