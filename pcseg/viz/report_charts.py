"""The drawings of the report page, as HTML and inline SVG: bars, curves, tables."""

import html
import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int64

from pcseg.metrics.instance_ap import Curve

MAX_STEPS = 200  # of a curve; a picture of this size shows no more
CURVE_STYLES = (
    'stroke="#6aa7cf" stroke-dasharray="3 2"',
    'stroke="#1f5f8b"',
    'stroke="#20242c" stroke-dasharray="1 2"',
)
# After Okabe and Ito (2008), as in the pictures of mistakes; what is right stays quiet.
OUTCOME_COLORS = ("#9dd0be", "#e69f00", "#56b4e9", "#cc79a7", "#0072b2")


def percent(value: float) -> str:
    """A fraction as a number of per cents with one decimal, a dash for nan."""
    return "–" if math.isnan(value) else f"{100 * value:.1f}"


def tiles(values: Mapping[str, float]) -> str:
    """Large numbers with their names."""
    return "".join(
        f'<div class="tile"><b>{percent(value)}</b><span>{html.escape(name)}</span></div>'
        for name, value in values.items()
    )


def key(entries: Sequence[tuple[str, str]]) -> str:
    """A legend of names and colors."""
    marks = (f'<span><i style="background:{color}"></i>{html.escape(name)}</span>' for name, color in entries)
    return f'<div class="key">{"".join(marks)}</div>'


def ap_bars(rows: Mapping[str, Mapping[str, float]], counts: Mapping[str, int]) -> str:
    """One bar per class, AP in front of AP50 in front of AP25, and the numbers."""
    lines = []
    for name, row in rows.items():
        rects = "".join(
            f'<rect width="{100 * row[column]:.2f}" height="10" fill="{color}"/>'
            for column, color in (("ap25", "#cfe3f1"), ("ap50", "#6aa7cf"), ("ap", "#1f5f8b"))
            if not math.isnan(row[column])
        )
        numbers = " · ".join(percent(row[column]) for column in ("ap", "ap50", "ap25"))
        count = f" <small>({counts[name]})</small>" if name in counts else ""
        lines.append(
            f"<span>{html.escape(name)}{count}</span>"
            f'<svg viewBox="0 0 100 10" preserveAspectRatio="none" role="img" aria-label="{numbers}">{rects}</svg>'
            f'<span class="n">{numbers}</span>'
        )
    return f'<div class="bars">{"".join(lines)}</div>'


def curve_grid(curves: Mapping[str, Mapping[float, Curve]]) -> str:
    """Small precision-recall plots, one per class, a line per IoU threshold."""
    figures = []
    for name, lines in curves.items():
        drawn = "".join(
            f'<polyline points="{_points(curve)}" fill="none" stroke-width="1.6" {CURVE_STYLES[i]}/>'
            for i, curve in enumerate(lines.values())
        )
        grid = "".join(
            f'<path d="M{8 + 84 * t:.0f} 8V92M8 {92 - 84 * t:.0f}H92" stroke="#e2e4e8"/>'
            for t in (0, 0.25, 0.5, 0.75, 1)
        )
        figures.append(
            f'<figure><svg viewBox="0 0 100 100" role="img" aria-label="precision over recall of {html.escape(name)}">'
            f"{grid}{drawn}</svg><figcaption>{html.escape(name)}</figcaption></figure>"
        )
    return f'<div class="curves">{"".join(figures)}</div>'


def _points(curve: Curve) -> str:
    steps = np.unique(np.linspace(0, len(curve.recall) - 1, min(len(curve.recall), MAX_STEPS)).round().astype(np.int64))
    x, y = 8 + 84 * curve.recall[steps], 92 - 84 * curve.precision[steps]
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x.tolist(), y.tolist()))


def stacked_bar(counts: Int64[np.ndarray, "outcomes"]) -> str:
    """Shares of outcomes, side by side."""
    total, x, rects = max(int(counts.sum()), 1), 0.0, []
    for count, color in zip(counts.tolist(), OUTCOME_COLORS):
        rects.append(f'<rect x="{x:.2f}" width="{100 * count / total:.2f}" height="10" fill="{color}"/>')
        x += 100 * count / total
    return f'<svg class="stack" viewBox="0 0 100 10" preserveAspectRatio="none">{"".join(rects)}</svg>'


def table(header: Sequence[str], rows: Sequence[Sequence[str]], wide: int | None = None) -> str:
    """A table; cells of the column `wide` are HTML already, the others plain text."""
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
    body = ""
    for row in rows:
        cells = (
            f'<td class="wide">{cell}</td>' if column == wide else f"<td>{html.escape(cell)}</td>"
            for column, cell in enumerate(row)
        )
        body += f"<tr>{''.join(cells)}</tr>"
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def heat_table(
    rows: Sequence[str], columns: Sequence[str], counts: Int64[np.ndarray, "R C"], right: set[tuple[int, int]]
) -> str:
    """A matrix of counts, colored by the share of their row: green where right, orange where wrong.

    Args:
        rows: names of the rows.
        columns: names of the columns.
        counts: the numbers.
        right: cells (row, column) that are no mistake.
    """
    head = "".join(f'<th class="up">{html.escape(name)}</th>' for name in columns)
    body = ""
    for i, name in enumerate(rows):
        total = max(int(counts[i].sum()), 1)
        cells = ""
        for j, count in enumerate(counts[i].tolist()):
            color = "0,158,115" if (i, j) in right else "230,120,0"
            style = f' style="background:rgba({color},{0.1 + 0.6 * count / total:.2f})"' if count else ""
            cells += f"<td{style}>{count or ''}</td>"
        body += f"<tr><td>{html.escape(name)}</td>{cells}</tr>"
    return f'<div class="scroll"><table class="confusion"><tr><th></th>{head}</tr>{body}</table></div>'
