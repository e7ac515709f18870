"""Reads point clouds from plain text: .txt, .xyz, .pts and .csv, with or without a line of column names."""

import re
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from pcseg.data.scan_fields import LABEL_COLUMNS, color_to_uint8
from pcseg.data.text_points import is_comment, numbers_of_line, read_rows, show

# Columns of files that do not name them, by their number.
_UNNAMED = {
    3: ("x", "y", "z"),
    6: ("x", "y", "z", "r", "g", "b"),
    7: ("x", "y", "z", "r", "g", "b", "semantic"),
}
_UNNAMED_PTS = {**_UNNAMED, 4: ("x", "y", "z", "intensity"), 7: ("x", "y", "z", "intensity", "r", "g", "b")}
_ALIASES = {"red": "r", "green": "g", "blue": "b", "normal_x": "nx", "normal_y": "ny", "normal_z": "nz"}
_ALIASES |= {"class": "semantic", "x [m]": "x", "y [m]": "y", "z [m]": "z"}
# A column of labels holds fewer values than this; one with more is a color or an intensity.
_MAX_CLASSES = 201


def read_text(path: Path, columns: tuple[str, ...] | None = None) -> dict[str, np.ndarray]:
    """Reads a text file of points.

    Columns are named by the argument or by the file's first line. Otherwise their number decides: 3 x y z;
    6 x y z r g b; 7 x y z r g b semantic, in .pts x y z intensity r g b; in .pts also 4 x y z intensity. Blanks, commas
    or semicolons separate them. Lines that start with # or // are comments; a .pts file may start with its number of
    points.

    Args:
        path: the file.
        columns: names of the columns; unknown names are ignored.

    Returns:
        xyz float64 (P, 3). If the file has them: rgb uint8 (P, 3), normal float64 (P, 3), and the columns of
        LABEL_COLUMNS (P,).

    Raises:
        ValueError: no such file, a line that is not numbers, or columns that do not fit.
    """
    names, first_line, separator, count = _header(path)
    with path.open("rb") as file:
        sample = file.read(1 << 17).split(b"\n", first_line)[first_line - 1].strip().decode("latin-1")
    rows = read_rows(path, len(sample.split(separator)), separator=separator, first_line=first_line)
    if count is not None and count != len(rows):
        raise ValueError(f"{path}: its first line counts {count} points, found {len(rows)}")
    return fields_of_columns(path, rows, columns or names, is_pts=path.suffix.lower() == ".pts")


def fields_of_columns(
    path: Path, values: Float64[np.ndarray, "P columns"], names: tuple[str, ...] | None, *, is_pts: bool = False
) -> dict[str, np.ndarray]:
    """Splits a table of points into fields.

    Args:
        path: file, for messages.
        values: the table.
        names: names of its columns; None takes them from their number.
        is_pts: the columns are those of a .pts file.

    Returns:
        See `read_text`.

    Raises:
        ValueError: the names do not fit the columns, or the values do not fit the names.

    >>> fields_of_columns(Path("a.txt"), np.array([[1.0, 2.0, 3.0, 7.0]]), ("x", "y", "z", "label"))["label"]
    array([7.])
    """
    num_columns = values.shape[1]
    named = names is not None
    table = _UNNAMED_PTS if is_pts else _UNNAMED
    if not named and num_columns not in table:
        raise ValueError(
            f"{path}: expected {', '.join(map(str, sorted(table)))} columns, found {num_columns}; "
            f"name them, for example columns='x y z intensity r g b'"
        )
    names = tuple(_ALIASES.get(name.lower(), name.lower()) for name in names or table[num_columns])
    if len(names) != num_columns or len(set(names) & {"x", "y", "z"}) < 3:
        raise ValueError(f"{path}: columns {' '.join(names)} do not name x y z among the {num_columns} of the file")
    column = dict(zip(names, values.T))
    fields = {"xyz": np.stack([column[axis] for axis in "xyz"], axis=1)}
    if {"r", "g", "b"} <= set(names):
        try:
            fields["rgb"] = color_to_uint8(path, np.stack([column[channel] for channel in "rgb"], axis=1))
        except ValueError as error:
            hint = "" if named else "; name the columns if they are others, for example columns='x y z nx ny nz'"
            raise ValueError(f"{error}{hint}") from error
    if {"nx", "ny", "nz"} <= set(names):
        fields["normal"] = np.stack([column[f"n{axis}"] for axis in "xyz"], axis=1)
    fields |= {name: column[name] for name in LABEL_COLUMNS if name in column}
    if not named and "semantic" in fields and len(np.unique(fields["semantic"])) > _MAX_CLASSES:
        raise ValueError(
            f"{path}: column 7 holds more values than there are classes; name the columns, for example "
            f"columns='x y z intensity r g b'"
        )
    return fields


def _header(path: Path) -> tuple[tuple[str, ...] | None, int, str | None, int | None]:
    """Names of the columns, line number of the first point, the separator, and the count of a .pts file."""
    names = count = None
    with path.open("rb") as file:
        head = file.read(1 << 16).split(b"\n")
    for number, line in enumerate(head, start=1):
        text = line.strip().removeprefix(b"\xef\xbb\xbf")
        comment = is_comment(text)
        text = text.lstrip(b"#/").strip() if comment else text
        separator = next((mark for mark in ",;" if mark.encode() in text), None)
        if not text:
            continue
        numbers = numbers_of_line(text.rstrip(separator.encode()) if separator else text, separator)
        if not comment and numbers is not None:
            if len(numbers) == 1 and count is None and path.suffix.lower() == ".pts" and numbers[0] == int(numbers[0]):
                count = int(numbers[0])
                continue
            return names, number, separator, count
        words = [word.strip(" \t\"'").lower() for word in text.decode("latin-1").split(separator)]
        if {"x", "y", "z"} <= {re.sub(r" \[m\]$", "", word) for word in words}:
            names = tuple(words)
        elif not comment:
            raise ValueError(f"{path}:{number}: expected numbers or names of columns, found {show(line)}")
    raise ValueError(f"{path}: no points in it")
