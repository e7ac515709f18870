"""The results of a sweep, as numbers and as a table."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

METRICS = ("ap", "ap50", "ap25")
Setting = dict[str, str]  # value of each varied key, as in an override


@dataclass(frozen=True)
class Row:
    """A setting and its results.

    Args:
        setting: value of each varied key.
        runs: numbers of each finished seed, as tools/train.py writes them.
        failure: reason if a run failed.
    """

    setting: Setting
    runs: dict[int, dict[str, Any]]
    failure: str | None = None

    def values(self, metric: str) -> list[float]:
        """A metric of each seed as a fraction; NaN if a run has none."""
        return [math.nan if run[metric] is None else float(run[metric]) for run in self.runs.values()]

    def mean(self, metric: str) -> float:
        """The mean of a metric over seeds; NaN for a setting that failed."""
        values = self.values(metric)
        return math.nan if self.failure or not values else sum(values) / len(values)


def best_first(rows: Sequence[Row]) -> list[Row]:
    """Rows by their mean AP, failed ones last."""
    return sorted(rows, key=lambda row: -math.inf if row.failure else row.mean("ap"), reverse=True)


def to_markdown(rows: Sequence[Row]) -> str:
    """A table with the mean over seeds and the range of each metric, in percent; then the reasons of failures."""
    if not rows:
        return "no run is done\n"
    keys = list(rows[0].setting)
    lines = ["| " + " | ".join([*keys, "AP", "AP50", "AP25", "seeds"]) + " |", "|" + "---|" * (len(keys) + 4)]
    for row in rows:
        cells = ["failed", "", ""] if row.failure else [_span(row, metric) for metric in METRICS]
        lines.append("| " + " | ".join([*row.setting.values(), *cells, ", ".join(map(str, row.runs))]) + " |")
    failures = [f"{' '.join(f'{k}={v}' for k, v in row.setting.items())}: {row.failure}" for row in rows if row.failure]
    return "\n".join([*lines, *([""] if failures else []), *failures]) + "\n"


def _span(row: Row, metric: str) -> str:
    values = row.values(metric)
    mean = f"{100 * row.mean(metric):.1f}"
    return mean if len(values) == 1 else f"{mean} ({100 * min(values):.1f} to {100 * max(values):.1f})"


def to_json(rows: Sequence[Row]) -> dict[str, Any]:
    """The same as fractions: mean, lowest and highest of each metric for each setting, and its runs."""
    return {"settings": [_row_json(row) for row in rows]}


def _row_json(row: Row) -> dict[str, Any]:
    content: dict[str, Any] = {"setting": row.setting, "failure": row.failure}
    if not row.failure:
        for metric in METRICS:
            values = row.values(metric)
            content[metric] = {"mean": row.mean(metric), "min": min(values), "max": max(values)}
    return {**content, "runs": {str(seed): {m: run[m] for m in METRICS} for seed, run in row.runs.items()}}
