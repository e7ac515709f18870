"""Numbers in text files, and point clouds as plain text, with or without column names: .txt .xyz .asc .pts .csv."""

import codecs
import re
import warnings
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from pcseg.data.scan_fields import Report, fields_of_columns, is_whole, likely_range, report_to_log

# Columns of files that do not name them. The values decide between those of one number, except in .pts files.
_LAYOUTS = (
    *("x y z", "x y z nx ny nz", "x y z r g b", "x y z r g b alpha", "x y z r g b semantic", "x y z intensity r g b"),
    *("x y z r g b nx ny nz", "x y z nx ny nz r g b", "x y z r g b intensity"),
)
_PTS_LAYOUTS = ("x y z intensity", "x y z intensity r g b")
_ALIASES = {"class": "semantic", "x [m]": "x", "y [m]": "y", "z [m]": "z"}
# A column of labels holds fewer values than this; one with more is a color or an intensity.
_MAX_CLASSES = 201
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_text(path: Path, columns: tuple[str, ...] | None, report: Report) -> dict[str, np.ndarray]:
    """Reads the fields of a text file of points, see `fields_of_columns`.

    Blanks, commas or semicolons separate columns, also at the ends of lines; values may be quoted. Lines that start
    with # or // are comments. The file may start with its number of points.

    Args:
        path: text file, also in UTF-16.
        columns: name of each column, of which unknown ones are ignored; a line of other names does not count. None
            takes the names from the first line, or without them those of `fields_of_table`.
        report: called with a sentence if the columns have no names.

    Raises:
        ValueError: a line that is not numbers, or columns that do not fit.
    """
    names, first_line, num_columns, separator, count = _header(path, columns is not None)
    rows = read_rows(path, num_columns, separator=separator, first_line=first_line)
    if count is not None and count != len(rows):
        raise ValueError(f"{path}: its first line counts {count} points, found {len(rows)}")
    return fields_of_table(path, rows, columns or names, report)


def fields_of_table(
    path: Path, values: Float64[np.ndarray, "P columns"], names: tuple[str, ...] | None, report: Report = report_to_log
) -> dict[str, np.ndarray]:
    """Splits a table of points into fields, see `fields_of_columns`.

    Args:
        path: file, for messages.
        values: numbers, one row per point.
        names: name of each column. None takes the one layout that fits the number of columns and all of their values.
        report: called with a sentence if `names` is None and there are more than 3 columns.

    Raises:
        ValueError: the names do not fit the columns, or none or several layouts do.

    >>> fields_of_table(Path("a.txt"), np.array([[1.0, 2.0, 3.0, 7.0]]), ("x", "y", "z", "label"))["label"]
    array([7.])
    """
    if names is None:
        names = _likely_names(path, values)
        if len(names) > 3:
            report(f"Its columns are taken as {' '.join(names)}: columns='...' gives them other names.")
    names = tuple(_ALIASES.get(name.lower(), name.lower()) for name in names)
    if len(names) != values.shape[1]:
        raise ValueError(f"{path}: expected names of its {values.shape[1]} columns, found {' '.join(names)}")
    return fields_of_columns(path, dict(zip(names, values.T)))


def _likely_names(path: Path, values: Float64[np.ndarray, "P columns"]) -> tuple[str, ...]:
    """The columns of a file that does not name them."""
    layouts = _LAYOUTS if path.suffix.lower() != ".pts" else (*_LAYOUTS[:3], *_PTS_LAYOUTS)
    possible = [names for layout in layouts if len(names := layout.split()) == values.shape[1]]
    remedy = _remedy(values.shape[1])
    if not possible:
        numbers = sorted({len(layout.split()) for layout in layouts})
        expected = f"expected {', '.join(map(str, numbers))} columns"
        raise ValueError(f"{path}: {expected}, found {values.shape[1]}; {remedy}")
    if len(possible) == 1:
        return tuple(possible[0])
    finite = values[np.isfinite(values).all(axis=1)]
    fitting = [names for names in possible if len(finite) and _fits(dict(zip(names, finite.T)))]
    if any("semantic" in names for names in fitting):
        fitting = [names for names in fitting if names[-1] != "intensity"]
    if len(fitting) > 1 and ("alpha" in fitting[0] or _is_clear(dict(zip(fitting[0], finite.T)))):
        fitting = fitting[:1]
    if len(fitting) != 1:
        choice = " or ".join(" ".join(names) for names in fitting or possible)
        raise ValueError(f"{path}: its columns without names are not clearly {choice}; {remedy}")
    return tuple(fitting[0])


def _remedy(num_columns: int) -> str:
    first = {4: "x y z intensity", 5: "x y z semantic instance"}.get(num_columns, "x y z r g b semantic instance")
    example = [*first.split(), *["_"] * num_columns][:num_columns]
    return f"name them, for example columns='{' '.join(example)}'"


def _fits(columns: Mapping[str, Float64[np.ndarray, "P"]]) -> bool:
    """Whether all values are possible for what the columns are named."""
    if "nx" in columns:
        length = np.linalg.norm([columns[name] for name in ("nx", "ny", "nz")], axis=0)
        if not (length.any() and np.all((np.abs(length - 1) < 0.02) | (length == 0))):
            return False
    if {"intensity", "r"} <= columns.keys():  # three colors are alike, and an intensity rarely is
        channels = [columns[name][:, None] for name in "rgb"]
        if len({(likely_range(channel), is_whole(channel)) for channel in channels}) > 1:
            return False
    brightest = likely_range(np.stack([columns[name] for name in "rgb"], axis=1)) if "r" in columns else 0
    if "alpha" in columns:
        return bool((columns["alpha"] == brightest).all())
    labels = columns.get("semantic", np.zeros(1))
    is_label = labels.min() >= -1 and is_whole(labels) and len(np.unique(labels)) < _MAX_CLASSES
    return brightest is not None and bool(is_label)


def _is_clear(columns: Mapping[str, Float64[np.ndarray, "P"]]) -> bool:
    """Whether normals or labels that are possible are so certain that other layouts are not."""
    if "nx" in columns:
        normals = np.stack([columns[name] for name in ("nx", "ny", "nz")])
        return bool(normals.min() < 0) or not is_whole(normals)
    # A label has few values, where the color in its place would have about as many as its neighbor.
    return "semantic" in columns and 4 * len(np.unique(columns["semantic"])) <= len(np.unique(columns["b"]))


def read_rows(
    path: Path, num_columns: int, *, separator: str | None = None, first_line: int = 1
) -> Float64[np.ndarray, "R columns"]:
    """Reads rows of numbers; blank lines and lines that start with # or // are skipped.

    Args:
        path: text file.
        num_columns: how many numbers each line must hold.
        separator: character between columns; None for blanks and tabs.
        first_line: line at which the rows start, counted from 1; those before it are a header.

    Raises:
        ValueError: a line does not hold that many numbers; the message names the first.
    """
    if (rows := load_rows(path, num_columns, separator=separator, first_line=first_line)) is not None:
        return rows
    found = array("d")
    for line, content in text_lines(path, first_line):
        if not _is_comment(content):
            numbers = numbers_of_line(content, separator)
            if numbers is None or len(numbers) != num_columns:
                raise ValueError(f"{path}:{line}: expected {num_columns} numbers, found {show(content)}")
            found.extend(numbers)
    return np.array(found, np.float64).reshape(-1, num_columns)


def load_rows(
    path: Path, num_columns: int, *, separator: str | None = None, first_line: int = 1
) -> Float64[np.ndarray, "R columns"] | None:
    """As `read_rows`, by numpy's fast reader; None if any line is neither blank nor `num_columns` numbers.

    Args:
        path: text file.
        num_columns: how many numbers each line must hold.
        separator: as in `read_rows`.
        first_line: as in `read_rows`.
    """
    with path.open("rb") as file:
        start = file.read(3)
    encoding = "utf-16" if start.startswith(_UTF16) else "utf-8-sig" if start == codecs.BOM_UTF8 else "latin-1"
    options = {"comments": None, "delimiter": separator, "skiprows": first_line - 1, "ndmin": 2, "encoding": encoding}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "loadtxt: input contained no data")
        try:
            rows = np.loadtxt(path, **options)  # type: ignore[call-overload]
        except ValueError:
            return None
    if rows.size == 0:
        return np.empty((0, num_columns))
    return rows if rows.shape[1] == num_columns else None


def text_lines(path: Path, first_line: int = 1) -> Iterator[tuple[int, bytes]]:
    """Line number, from 1, and bytes of every line that is not blank, from `first_line` on."""
    for line, content in enumerate(_utf8(path.read_bytes()).splitlines(), start=1):
        if line >= first_line and content.strip():
            yield line, content


def numbers_of_line(line: bytes, separator: str | None = None) -> list[float] | None:
    """The numbers of a line, including nan and inf, perhaps in double quotes; None if any part of it is not a number.

    The separator may also come last; without one, blanks and tabs separate.

    >>> numbers_of_line(b"1 -2.5 3e2"), numbers_of_line(b"1 two")
    ([1.0, -2.5, 300.0], None)
    """
    line = line.replace(b'"', b"")
    if separator is None:
        fields = line.split()
    else:
        fields = line.strip().removesuffix(separator.encode()).split(separator.encode())
    try:
        return None if b"_" in line else [float(field) for field in fields]
    except ValueError:
        return None


def show(line: bytes) -> str:
    r"""A line as a message can quote it: control bytes escaped, cut to 60 characters.

    >>> print(show(b"1 \x102"))
    '1 \x102'
    """
    text = line.strip().decode("latin-1").encode("unicode_escape").decode()
    return f"'{text if len(text) <= 60 else text[:57] + '...'}'"


def _utf8(content: bytes) -> bytes:
    """Text without its byte order mark; UTF-16, which programs of Windows write, becomes UTF-8."""
    is_utf16 = content.startswith(_UTF16)
    return content.decode("utf-16", "replace").encode() if is_utf16 else content.removeprefix(codecs.BOM_UTF8)


def _is_comment(line: bytes) -> bool:
    return line.lstrip().startswith((b"#", b"//"))


def _header(path: Path, is_named: bool) -> tuple[tuple[str, ...] | None, int, int, str | None, int | None]:
    """Names of the columns, line number and length of the first point, the separator, and the number of points.

    Lines of unknown names are skipped if the columns are named already.
    """
    names = count = None
    is_comment = False
    with path.open("rb") as file:
        head = _utf8(file.read(1 << 16)).splitlines()
    for number, line in enumerate(head, start=1):
        comment = _is_comment(line)
        text = line.strip().lstrip(b"#/").strip() if comment else line.strip()
        separator = next((mark for mark in ",;" if mark.encode() in text), None)
        if not text:
            continue
        numbers = None if comment else numbers_of_line(text, separator)
        if numbers is not None and len(numbers) == 1 and count is None and numbers[0].is_integer():
            count = int(numbers[0])
        elif numbers is not None:
            if is_comment and len(names or ()) != len(numbers):
                names = None  # a sentence
            return names, number, len(numbers), separator, count
        else:
            content = text.decode("latin-1").rstrip(separator)
            words = [word.strip(" \t\"'").lower() for word in content.split(separator)]
            if {"x", "y", "z"} <= {re.sub(r" \[m\]$", "", word) for word in words}:
                names, is_comment = tuple(words), comment
            elif not comment:
                point = text.replace(b",", b".")
                if numbers_of_line(point) or numbers_of_line(point, ";"):
                    raise ValueError(f"{path}:{number}: its numbers have a decimal comma; write them with a point")
                is_header = len(words) >= 3 and not any(numbers_of_line(word.encode()) for word in words)
                if not (is_named and is_header):
                    remedy = f"; {_remedy(len(words))}" if is_header else ""
                    found = f"expected numbers or names of columns, found {show(line)}"
                    raise ValueError(f"{path}:{number}: {found}{remedy}")
    raise ValueError(f"{path}: no points in it")
