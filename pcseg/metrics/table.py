"""Results as text for people, as JSON and CSV for programs.

On the screen numbers are fractions times 100 with one decimal and "-" stands for nothing to measure; in files they
are fractions 0..1, and null or an empty field.
"""

import csv
import io
import math
from typing import Any, Protocol, runtime_checkable

from pcseg.files import none_for_nan


@runtime_checkable
class Result(Protocol):
    """What every metric's result offers."""

    def summary(self) -> dict[str, float]:
        """The means by name."""
        ...

    def classes(self) -> dict[str, dict[str, float]]:
        """The numbers of each class by name."""
        ...


@runtime_checkable
class Grouped(Protocol):
    """What a result offers that has numbers of groups of classes as well."""

    def groups(self) -> dict[str, dict[str, float]]:
        """The numbers of each group by name."""
        ...


def format_table(result: Result) -> str:
    """One line per class, one per group of classes, and a last line "mean", columns aligned.

    Args:
        result: result of any metric of this package.

    Returns:
        Text of several lines without a newline at the end. Means that no column has (such as overall accuracy)
        follow on lines of their own.
    """
    header, *rows = _rows(result)
    cells = [header, *([name, *(_percent(value) for value in values)] for name, *values in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in cells]
    rule = "-" * len(lines[0])
    num_groups = len(_groups(result))
    body, groups = lines[1 : len(lines) - 1 - num_groups], lines[len(lines) - 1 - num_groups : -1]
    rules = [rule] if len(rows) > 1 else []
    lines = [lines[0], rule, *body, *([*rules, *groups] if groups else []), *rules, lines[-1]]
    used = set(map(_column_of, header[1:]))
    lines += [f"{key}: {_percent(value)}" for key, value in result.summary().items() if _column_of(key) not in used]
    return "\n".join(line.rstrip() for line in lines)


def to_json(result: Result) -> dict[str, Any]:
    """The means under their names and `classes` with the numbers of each class; None for nothing to measure.

    Args:
        result: result of any metric of this package.

    Returns:
        For instance AP: ap, ap50, ap25 and classes.NAME.{ap, ap50, ap25}, fractions; where the classes are in groups,
        groups.NAME.{ap, ap50, ap25} too.
    """
    groups = {"groups": none_for_nan(_groups(result))} if _groups(result) else {}
    return {**none_for_nan(result.summary()), "classes": none_for_nan(result.classes()), **groups}


def to_csv(result: Result) -> str:
    """A header, one line per class and group, and a last line "mean"; fractions, empty for nothing to measure."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    header, *rows = _rows(result)
    writer.writerow(header)
    writer.writerows([name, *("" if math.isnan(value) else repr(value) for value in values)] for name, *values in rows)
    return text.getvalue()


def _rows(result: Result) -> list[list[Any]]:
    """Header, classes and mean as lists of cells."""
    classes, summary = result.classes(), {_column_of(key): value for key, value in result.summary().items()}
    columns = list(next(iter(classes.values()), summary))
    return [
        ["class", *columns],
        *([name, *(values[column] for column in columns)] for name, values in classes.items()),
        *([group, *(values[column] for column in columns)] for group, values in _groups(result).items()),
        ["mean", *(summary.get(_column_of(column), float("nan")) for column in columns)],
    ]


def _column_of(key: str) -> str:
    """miou is the mean of the column iou, macc that of acc."""
    return {"miou": "iou", "macc": "acc"}.get(key, key)


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f}"


def _groups(result: Result) -> dict[str, dict[str, float]]:
    return result.groups() if isinstance(result, Grouped) else {}
