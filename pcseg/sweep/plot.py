"""A sweep as a picture: AP over each key that was varied."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from pcseg.sweep.table import Row
from pcseg.viz.charts import Axis, Line, line_chart
from pcseg.viz.sheet import Panel, contact_sheet

RUN, MEAN = (158, 202, 225), (8, 81, 156)
LOG_RATIO = 20  # values of a key that span more than this are drawn over their logarithm


def draw(rows: Sequence[Row]) -> Image.Image:
    """One panel for each key: every run as a pale dot, the mean of every setting as a dark one.

    Args:
        rows: of the sweep; settings that failed are left out.

    Returns:
        The picture, RGB.
    """
    rows = [row for row in rows if not row.failure]
    keys = list(rows[0].setting) if rows else []
    panels = [Panel(f"AP over {key}", _chart(rows, key)) for key in keys]
    nothing = Panel("no run is done", line_chart([]))
    return contact_sheet([panels or [nothing]], legend=[("one run", RUN), ("mean over seeds", MEAN)])


def _chart(rows: Sequence[Row], key: str) -> UInt8[np.ndarray, "H W 3"]:
    axis, places = _axis([row.setting[key] for row in rows])
    run_x, run_y = np.array([(at, 100 * ap) for at, row in zip(places, rows) for ap in row.values("ap")]).T
    mean_x, mean_y = np.array(sorted((at, 100 * row.mean("ap")) for at, row in zip(places, rows))).T
    mark = "both" if len(rows[0].setting) == 1 else "dots"  # with several keys a place has several means
    return line_chart([Line(run_x, run_y, RUN, mark="dots"), Line(mean_x, mean_y, MEAN, mark=mark)], x_axis=axis)


def _axis(texts: Sequence[str]) -> tuple[Axis, list[float]]:
    """The axis of a key, and where its values stand there: at their number, or side by side where one is none."""
    places = [_number(text) for text in texts]
    if all(map(math.isfinite, places)):
        return Axis(log=min(places) > 0 and max(places) > LOG_RATIO * min(places)), places
    names = tuple(dict.fromkeys(texts))
    return Axis(names=names), [float(names.index(text)) for text in texts]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
