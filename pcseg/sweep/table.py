"""What came out of a sweep, as numbers and as a table."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pcseg.sweep.space import Setting

METRICS = ("ap", "ap50", "ap25")


@dataclass(frozen=True)
class Row:
    """One setting and what came of it.

    Args:
        setting: value of each varied key.
        runs: the numbers of each seed that is done, as tools/train.py writes them.
        failure: why it has none, where a run failed.
    """

    setting: Setting
    runs: dict[int, dict[str, Any]]
    failure: str | None = None

    def values(self, metric: str) -> list[float]:
        """Of all seeds, as fractions; NaN where a run has none."""
        return [math.nan if run[metric] is None else float(run[metric]) for run in self.runs.values()]

    def mean(self, metric: str) -> float:
        """Over seeds; NaN for a setting that failed."""
        values = self.values(metric)
        return math.nan if self.failure or not values else sum(values) / len(values)


def best_first(rows: Sequence[Row]) -> list[Row]:
    """Rows by their mean AP, those that failed last."""
    return sorted(rows, key=lambda row: -math.inf if row.failure else row.mean("ap"), reverse=True)


def to_markdown(rows: Sequence[Row]) -> str:
    """Mean over seeds and range of each metric, in per cent."""
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
    """The same as fractions: for each setting mean, lowest and highest of each metric, and its runs."""
    return {"settings": [_row_json(row) for row in rows]}


def _row_json(row: Row) -> dict[str, Any]:
    content: dict[str, Any] = {"setting": row.setting, "failure": row.failure}
    if not row.failure:
        for metric in METRICS:
            values = row.values(metric)
            content[metric] = {"mean": row.mean(metric), "min": min(values), "max": max(values)}
    return {**content, "runs": {str(seed): {m: run[m] for m in METRICS} for seed, run in row.runs.items()}}
