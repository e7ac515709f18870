"""Charts of training runs, and of precision over recall, as pictures."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64
from PIL import Image

from pcseg.files import read_records
from pcseg.metrics.instance_ap import precision_recall_curves
from pcseg.metrics.scores import Scores
from pcseg.viz.charts import Axis, Line, line_chart, line_color
from pcseg.viz.sheet import Panel, contact_sheet

COLUMNS = 3
RATE = "learning rate"
SPEED = "rooms per second"
MEASURED = {"ap": "AP of held-out rooms", "ap50": "AP50 of held-out rooms", "ap25": "AP25 of held-out rooms"}
PRECISION_RECALL_COLORS = {0.25: (106, 167, 207), 0.5: (31, 95, 139), 0.75: (32, 36, 44)}


def run_sheet(folders: Sequence[Path], *, smoothing: float = 0.95) -> Image.Image:
    """The curves of one or several runs: losses, rate, gradient, speed, and AP where it was measured on the way.

    Args:
        folders: of the runs; a chart has one line for each run that has its number.
        smoothing: share of the mean of earlier steps in the thick lines, 0 for none; the pale lines are as measured.

    Returns:
        A sheet of charts over training steps, RGB.

    Raises:
        ValueError: a folder holds no run, a damaged log or one without any step, or `smoothing` is not in 0..1.
    """
    if not 0 <= smoothing < 1:
        raise ValueError(f"smoothing must be at least 0 and less than 1, got {smoothing}")
    charts: dict[str, list[Line]] = {}
    for number, folder in enumerate(folders):
        for name, (steps, values) in _curves_of(folder).items():
            lines = charts.setdefault(name, [])
            color = line_color(number)
            if name in (RATE, SPEED, *MEASURED.values()):
                lines.append(Line(steps, values, color))
            else:
                lines.insert(number, Line(steps, values, color, faint=True))
                lines.append(Line(steps, smooth(values, smoothing), color))
    last = [name for name in charts if not name.startswith("loss")]
    ordered = [*(name for name in charts if name not in last), *last]
    panels = [Panel(name, line_chart(charts[name])) for name in ordered]
    names = [folder.name for folder in folders]
    if len(set(names)) < len(names):
        names = [str(folder) for folder in folders]
    return contact_sheet(
        [panels[i : i + COLUMNS] for i in range(0, len(panels), COLUMNS)],
        title="Training",
        note="over steps",
        legend=[(name, line_color(i)) for i, name in enumerate(names)],
    )


def precision_recall_sheet(scores: Scores) -> Image.Image:
    """Precision over recall of each class that has objects, at three thresholds of IoU.

    Args:
        scores: the rooms.

    Returns:
        A sheet of charts, both axes 0..1, RGB.
    """
    curves = precision_recall_curves(
        [record.ap for record in scores.records()],
        scores.classes.names,
        counted_classes=scores.classes.instance_classes,
        min_points=scores.min_points,
    )
    named = {
        name: [Line(curve.recall, curve.precision, PRECISION_RECALL_COLORS[t]) for t, curve in by_threshold.items()]
        for name, by_threshold in curves.items()
    }
    unit = Axis((0.0, 1.0))
    panels = [
        Panel(name, line_chart(lines, width=260, height=200, x_axis=unit, y_axis=unit))
        for name, lines in (named or {"no objects to find": []}).items()
    ]
    legend = [(f"IoU {threshold:.2f}", color) for threshold, color in PRECISION_RECALL_COLORS.items()]
    return contact_sheet([panels[i : i + 5] for i in range(0, len(panels), 5)], legend=legend)


def smooth(values: Float64[np.ndarray, "N"], share: float) -> Float64[np.ndarray, "N"]:
    """Exponential mean of the values so far, without a bias to the first; gaps (nan) are passed over.

    Args:
        values: in order.
        share: weight of the mean so far against a new value.
    """
    from scipy.signal import lfilter  # takes most of a second to import, and every training would wait for it

    known = np.isfinite(values)
    total = lfilter([1.0], [1.0, -share], np.where(known, values, 0.0))
    weight = lfilter([1.0], [1.0, -share], known.astype(np.float64))
    return np.divide(total, weight, out=np.full(len(values), np.nan), where=known)


def _curves_of(folder: Path) -> dict[str, tuple[Float64[np.ndarray, "N"], Float64[np.ndarray, "N"]]]:
    """Steps and values of every chart that a run has, by title."""
    log = folder / "metrics.jsonl"
    if not log.is_file():
        raise ValueError(f"{folder}: no metrics.jsonl in it; expected the folder of a run")
    records = read_records(log)
    if not records:
        raise ValueError(f"{log}: holds no step yet")
    keys = dict.fromkeys(key for record in records for key in record)
    # The losses of intermediate layers end in the number of the layer; they look like that of the last.
    losses = [key for key in keys if key.startswith("loss") and not key[-1].isdigit()]
    curves = {key.replace("_", " "): _column(records, key) for key in losses}
    curves |= {title: _column(records, key) for key, title in (("lr", RATE), ("grad_norm", "gradient norm"))}
    if "seconds" in keys:
        steps, rooms = _column(records, "rooms")
        # Where losses are read rarely, the times of many steps stand at one of them.
        seconds = smooth(_column(records, "seconds")[1] + _column(records, "loading_seconds")[1], 0.95)
        speed = np.divide(smooth(rooms, 0.95), seconds, out=np.full(len(rooms), np.nan), where=seconds > 0)
        curves[SPEED] = steps, speed
    evaluations = folder / "evaluations.jsonl"
    if evaluations.is_file():
        records = read_records(evaluations)
        curves |= {title: _column(records, key) for key, title in MEASURED.items() if records}
    return curves


def _column(records: list[dict[str, Any]], key: str) -> tuple[Float64[np.ndarray, "N"], Float64[np.ndarray, "N"]]:
    values = [math.nan if record.get(key) is None else float(record[key]) for record in records]
    return np.array([record["step"] for record in records], np.float64), np.array(values)
