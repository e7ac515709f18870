"""Point clouds out of plain text: .txt, .xyz, .pts and .csv, with or without a line of column names."""

import re
from pathlib import Path

import numpy as np
from jaxtyping import Float64, UInt8

from pcseg.data.ply import color_to_uint8
from pcseg.data.text_points import numbers_of_line, parse_text, read_bytes, show

# Columns of files that do not name them, by their number.
_UNNAMED = {
    3: ("x", "y", "z"),
    6: ("x", "y", "z", "r", "g", "b"),
    7: ("x", "y", "z", "r", "g", "b", "semantic"),
}
_UNNAMED_PTS = {**_UNNAMED, 4: ("x", "y", "z", "intensity"), 7: ("x", "y", "z", "intensity", "r", "g", "b")}
_ALIASES = {
    "red": "r",
    "green": "g",
    "blue": "b",
    "normal_x": "nx",
    "normal_y": "ny",
    "normal_z": "nz",
    "class": "semantic",
    "x [m]": "x",
    "y [m]": "y",
    "z [m]": "z",
}
_LABELS = ("semantic", "semantic_nyu40", "label", "instance", "superpoint")
# A column of labels holds fewer values than this; one with more is a color or an intensity.
_MAX_CLASSES = 201


def read_text(path: Path, columns: tuple[str, ...] | None = None) -> dict[str, np.ndarray]:
    """What a text file of points holds.

    Columns are named by the argument, or by the file's first line, or follow from their number: 3 x y z; 6 x y z r g b;
    7 x y z r g b semantic, in .pts x y z intensity r g b; in .pts also 4 x y z intensity. They are parted by blanks, or
    by commas or semicolons. Lines that start with # or // are comments; a .pts file starts with the number of points.

    Args:
        path: the file.
        columns: names of the columns; names that are not known are left out.

    Returns:
        xyz float64 (P, 3), and where the file has them rgb uint8 (P, 3), normal float64 (P, 3), and the columns
        semantic, semantic_nyu40, label, instance, superpoint.

    Raises:
        ValueError: no such file, a line that is not numbers, or columns that do not fit.
    """
    content = read_bytes(path)
    names, first_line, separator, count = _header(path, content)
    sample = _line(content, first_line)
    num_columns = len(sample.split(separator) if separator else sample.split())
    rows = parse_text(content, num_columns, separator=separator, first_line=first_line)
    odd = [(line, text) for line, text in rows.odd if not _is_comment(text)]
    if odd:
        line, text = odd[0]
        raise ValueError(f"{path}:{line}: expected {num_columns} numbers, found {show(text)}")
    if count is not None and count != len(rows.values):
        raise ValueError(f"{path}: its first line counts {count} points, found {len(rows.values)}")
    return fields_of_columns(path, rows.values, columns or names, is_pts=path.suffix.lower() == ".pts")


def fields_of_columns(
    path: Path, values: Float64[np.ndarray, "P columns"], names: tuple[str, ...] | None, *, is_pts: bool = False
) -> dict[str, np.ndarray]:
    """Fields out of a table of points.

    Args:
        path: for messages.
        values: the table.
        names: of its columns; None takes them from their number.
        is_pts: the columns are those of a .pts file.

    Returns:
        See `read_text`.

    Raises:
        ValueError: the names do not fit the columns, or the values do not fit the names.
    """
    num_columns = values.shape[1]
    named = names is not None
    table = _UNNAMED_PTS if is_pts else _UNNAMED
    if not named and num_columns not in table:
        raise ValueError(
            f"{path}: expected {', '.join(map(str, sorted(table)))} columns, found {num_columns}; "
            f"name them, e.g. columns='x y z intensity r g b'"
        )
    names = tuple(_ALIASES.get(name.lower(), name.lower()) for name in names or table[num_columns])
    if len(names) != num_columns or len(set(names) & {"x", "y", "z"}) < 3:
        raise ValueError(f"{path}: columns {' '.join(names)} do not name x y z among the {num_columns} of the file")
    column = {name: values[:, index] for index, name in enumerate(names)}
    fields = {"xyz": _stacked(column, "xyz")}
    if {"r", "g", "b"} <= set(names):
        try:
            fields["rgb"] = color_to_uint8(path, _stacked(column, "rgb"))
        except ValueError as error:
            hint = "" if named else "; name the columns if they are others, e.g. columns='x y z nx ny nz'"
            raise ValueError(f"{error}{hint}") from error
    if {"nx", "ny", "nz"} <= set(names):
        fields["normal"] = np.stack([column[f"n{axis}"] for axis in "xyz"], axis=1)
    for name in set(_LABELS) & set(names):
        fields[name] = column[name]
    if not named and "semantic" in fields and len(np.unique(fields["semantic"])) > _MAX_CLASSES:
        raise ValueError(
            f"{path}: column 7 holds more values than there are classes; name the columns, e.g. "
            f"columns='x y z intensity r g b'"
        )
    return fields


def _header(
    path: Path, content: UInt8[np.ndarray, "bytes"]
) -> tuple[tuple[str, ...] | None, int, bytes | None, int | None]:
    """Names of the columns, number of the first line of points, the separator, and the count of a .pts file."""
    names = count = None
    head = content[:65536].tobytes().split(b"\n")
    for number, line in enumerate(head, start=1):
        text = line.strip().removeprefix(b"\xef\xbb\xbf")
        comment = _is_comment(text)
        text = text.lstrip(b"#/").strip() if comment else text
        separator = next((mark for mark in (b",", b";") if mark in text), None)
        if not text:
            continue
        numbers = numbers_of_line(text.rstrip(separator) if separator else text, separator)
        if not comment and numbers is not None:
            if len(numbers) == 1 and count is None and path.suffix.lower() == ".pts" and numbers[0] == int(numbers[0]):
                count = int(numbers[0])
                continue
            return names, number, separator, count
        words = [word.strip(b" \t\"'").lower() for word in (text.split(separator) if separator else text.split())]
        if {b"x", b"y", b"z"} <= {re.sub(rb" \[m\]$", b"", word) for word in words}:
            names = tuple(word.decode("latin-1") for word in words)
        elif not comment:
            raise ValueError(f"{path}:{number}: expected numbers or names of columns, found {show(line)}")
    raise ValueError(f"{path}: no points in it")


def _is_comment(line: bytes) -> bool:
    return line.lstrip(b" \t").startswith((b"#", b"//"))


def _line(content: UInt8[np.ndarray, "bytes"], number: int) -> bytes:
    return content[:131072].tobytes().split(b"\n", number)[number - 1].strip()


def _stacked(column: dict[str, np.ndarray], names: str) -> np.ndarray:
    return np.stack([column[name] for name in names], axis=1)
