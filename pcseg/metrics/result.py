"""The result of a measure, as text for people and as JSON for programs.

In text numbers are fractions times 100 with one decimal and "-" if there is nothing to measure. In JSON they are
fractions 0..1, and null.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float64

from pcseg.files import none_for_nan

# Names of means that differ from the name of their column.
COLUMN_OF_MEAN = {"miou": "iou", "macc": "acc"}


@dataclass(frozen=True, repr=False)
class Result:
    """Numbers of one measure: fractions 0..1, nan if there is nothing to measure."""

    mean: dict[str, float]  # means over the classes, by name of the number
    per_class: dict[str, dict[str, float]]  # numbers of each class
    # Numbers of groups of classes, such as head, common and tail of ScanNet200.
    per_group: dict[str, dict[str, float]] = field(default_factory=dict)

    def __repr__(self) -> str:
        return self.to_text()

    def to_json(self) -> dict[str, Any]:
        """The means by name, `classes` with the numbers of each class, and `groups` if there are any."""
        groups = {"groups": self.per_group} if self.per_group else {}
        return none_for_nan({**self.mean, "classes": self.per_class, **groups})

    def to_text(self) -> str:
        """A table of classes, groups and means; means without a column, such as overall accuracy, follow.

        >>> print(Result({"miou": 0.75, "oa": 0.5}, {"chair": {"iou": 0.75}, "door": {"iou": math.nan}}).to_text())
        class   iou
        -----------
        chair  75.0
        door      -
        -----------
        mean   75.0
        oa: 50.0
        """
        means = {COLUMN_OF_MEAN.get(key, key): value for key, value in self.mean.items()}
        columns = list(next(iter(self.per_class.values()), means))
        parts = [
            [["class", *columns]],
            *(
                [[name, *map(percent, row.values())] for name, row in rows.items()]
                for rows in (self.per_class, self.per_group)
            ),
            [["mean", *(percent(means.get(column, math.nan)) for column in columns)]],
        ]
        widths = [max(len(row[i]) for part in parts for row in part) for i in range(len(columns) + 1)]
        rule = "-" * (sum(widths) + 2 * len(columns))
        lines = []
        for part in parts:
            lines += [rule] if lines and part else []
            lines += ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in part]
        lines += [f"{key}: {percent(value)}" for key, value in means.items() if key not in columns]
        return "\n".join(line.rstrip() for line in lines)


def percent(value: float) -> str:
    """A fraction times 100 with one decimal, "-" for nan."""
    return "-" if math.isnan(value) else f"{100 * value:.1f}"


def nanmean(values: Sequence[float] | Float64[np.ndarray, "..."]) -> float:
    """Mean of the numbers that are not nan; nan if there are none."""
    array = np.asarray(values, np.float64)
    known = array[~np.isnan(array)]
    return float(known.mean()) if known.size else math.nan
