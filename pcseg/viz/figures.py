"""Charts of training runs, precision over recall, and sweeps, drawn by matplotlib.

Each chart is a figure of its own in the style of pcseg.mplstyle; it needs no display and changes no global setting.
matplotlib is imported when the first chart is drawn, because most commands draw none.
"""

import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64
from PIL import Image

from pcseg.metrics.scores import Scores

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:
    Axes = Figure = Any

Records = Sequence[Mapping[str, Any]]  # a training step or an evaluation each, by rising "step"
Series = tuple[Float64[np.ndarray, "N"], Float64[np.ndarray, "N"]]
NOISY = ("gradient norm",)
MEASURED = {"ap": "AP of held-out rooms, %", "ap50": "AP50 of held-out rooms, %", "ap25": "AP25 of held-out rooms, %"}
CURVE_STYLES: dict[float, dict[str, Any]] = {  # by IoU threshold
    0.25: {"color": "#6aa7cf", "linestyle": "--"},
    0.5: {"color": "#1f5f8b"},
    0.75: {"color": "#20242c", "linestyle": ":"},
}
LOG_RATIO = 20  # a swept key whose values span more than this has a logarithmic axis


@contextmanager
def _style() -> Iterator[None]:
    import matplotlib

    with resources.as_file(resources.files("pcseg.viz") / "pcseg.mplstyle") as path, matplotlib.rc_context(fname=path):
        yield


@_style()
def to_image(figure: Figure) -> Image.Image:
    """The RGB pixels of a chart of one of the functions below."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


@_style()
def to_svg(figure: Figure) -> str:
    """The `<svg>` element of a chart, for a web page that sets its width."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", transparent=True)
    svg = re.sub(r"<metadata>.*?</metadata>", "", stream.getvalue(), flags=re.DOTALL)
    return re.sub(r'^.*?<svg [^>]*(viewBox="[^"]*")[^>]*>', r'<svg role="img" \1>', svg, flags=re.DOTALL)


@_style()
def training_curves(runs: Mapping[str, tuple[Records, Records]], *, smoothing: float = 0.95) -> Figure:
    """Losses, learning rate, gradient norm, speed and AP over the steps: a chart for each, with one line per run.

    Keys that a run lacks are not drawn. Strong lines are smoothed, pale lines are as measured.

    Args:
        runs: records of training steps and of evaluations of each run, by its name.
        smoothing: weight of earlier steps in the strong lines, 0 for none, less than 1.

    Raises:
        ValueError: `smoothing` is not in 0..1, or a run has no step.
    """
    if not 0 <= smoothing < 1:
        raise ValueError(f"smoothing must be at least 0 and less than 1, got {smoothing}")
    charts: dict[str, dict[str, Series]] = {}
    for run, (steps, evaluations) in runs.items():
        if not steps:
            raise ValueError(f"{run}: holds no step yet")
        for title, curve in _curves(steps, evaluations).items():
            charts.setdefault(title, {})[run] = curve
    titles = sorted(charts, key=lambda title: not title.startswith("loss"))
    figure, all_axes = _panels(titles, columns=3, width=4.4, height=2.8)
    last = max(steps[-1]["step"] for steps, _ in runs.values())
    for axes, title in zip(all_axes, titles):
        axes.set(xlabel="step", xlim=(0, 1.02 * last))
        shown: list[np.ndarray] = []  # what the vertical axis must cover
        for number, run in enumerate(runs):
            x, y = charts[title].get(run, (np.empty(0), np.empty(0)))
            if title in NOISY or title.startswith("loss"):
                axes.plot(x, y, f"C{number}", alpha=0.25, linewidth=0.8)
                known = y[np.isfinite(y)]
                shown.append(np.quantile(known, [0.01, 0.99]) if len(known) else known)  # without outliers
                y = smooth(y, smoothing)
            axes.plot(x, y, f"C{number}", label=run, marker="o" if title in MEASURED.values() or len(x) == 1 else "")
            shown.append(y[np.isfinite(y)])
        values = np.array([0.0, 100.0]) if title in MEASURED.values() else np.concatenate(shown)
        margin = 0.03 * np.ptp(values) or abs(values[0]) / 2 or 1.0
        axes.set_ylim(values.min() - margin, values.max() + margin)
    _legend(figure, all_axes[0])
    return figure


@_style()
def precision_recall_chart(scores: Scores) -> Figure:
    """Precision over recall in percent at IoU 0.25, 0.5 and 0.75, one chart per class that has objects."""
    curves = scores.average_precision(tuple(CURVE_STYLES)).curves
    figure, all_axes = _panels([*curves] or ["no objects to find"], columns=4, width=2.8, height=2.3)
    for axes, by_threshold in zip(all_axes, curves.values()):
        for threshold, curve in by_threshold.items():
            style = CURVE_STYLES[threshold]
            axes.plot(100 * curve.recall, 100 * curve.precision, label=f"IoU {threshold:.2f}", **style)
    for axes in all_axes:  # each with its own numbers, because a page shows few of them at a time
        axes.set(xlim=(0, 102), ylim=(0, 102), xticks=range(0, 101, 25), yticks=range(0, 101, 25))
        axes.set(xlabel="recall, %", ylabel="precision, %")
    _legend(figure, all_axes[0])
    return figure


@_style()
def sweep_chart(settings: Sequence[Mapping[str, str]], ap: Sequence[Sequence[float]]) -> Figure:
    """AP over each key that a sweep varied: single runs as pale dots, the mean of each setting as a dark one.

    Args:
        settings: value of each varied key, for each setting.
        ap: AP of each seed as a fraction 0..1, for each setting.
    """
    keys = [*settings[0]] if settings else []
    titles = [f"AP over {key}" for key in keys] or ["no run is done"]
    figure, all_axes = _panels(titles, columns=4, width=4.0, height=3.0)
    for axes, key in zip(all_axes, keys):
        texts = [setting[key] for setting in settings]
        places: list[Any] = _numbers(texts) or texts
        axes.set(xlabel=key, ylabel="AP, %")
        if places is not texts and min(places) > 0 and max(places) > LOG_RATIO * min(places):
            axes.set_xscale("log")
        runs = [(place, 100 * value) for place, values in zip(places, ap) for value in values]
        axes.plot(*zip(*runs), "o", color="#9ecae1", label="one run")
        means = [(place, 100 * sum(values) / len(values)) for place, values in zip(places, ap)]
        line = "o-" if len(keys) == 1 else "o"  # with several keys a place has several means
        axes.plot(*zip(*(means if places is texts else sorted(means))), line, color="#08519c", label="mean over seeds")
    _legend(figure, all_axes[0])
    return figure


def smooth(values: Float64[np.ndarray, "N"], share: float) -> Float64[np.ndarray, "N"]:
    """Exponential moving average, with the share 0..1 of earlier values and no bias to the first; NaN is skipped.

    >>> smooth(np.array([1.0, 4.0, np.nan]), 0.5)
    array([ 1.,  3., nan])
    """
    means, mean, weight = np.full(len(values), np.nan), 0.0, 0.0
    for i in np.flatnonzero(np.isfinite(values)):
        mean, weight = share * mean + (1 - share) * values[i], share * weight + 1 - share
        means[i] = mean / weight
    return means


def _panels(titles: Sequence[str], *, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """One chart per title, `width` x `height` inches each."""
    from matplotlib.figure import Figure

    columns = min(columns, len(titles))
    rows = -(-len(titles) // columns)
    figure = Figure(figsize=(columns * width, rows * height + 0.4))
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for number, axes in enumerate(grid):
        axes.set_visible(number < len(titles))
        if number < len(titles):
            axes.set_title(titles[number])
    return figure, [*grid[: len(titles)]]


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower left", ncols=4)


def _curves(steps: Records, evaluations: Records) -> dict[str, Series]:
    """Steps and values of each chart of a run, by title."""
    keys = dict.fromkeys(key for record in steps for key in record)
    # Losses of intermediate layers have the name of the last layer's loss with a layer number appended.
    losses = [key for key in keys if key.startswith("loss") and not key[-1].isdigit()]
    curves = {key.replace("_", " "): _column(steps, key) for key in losses}
    curves |= {"learning rate": _column(steps, "lr"), "gradient norm": _column(steps, "grad_norm")}
    if "seconds" in keys:
        x, rooms = _column(steps, "rooms")
        # Where losses are read rarely, one record holds the time of many steps.
        seconds = smooth(_column(steps, "seconds")[1] + _column(steps, "loading_seconds")[1], 0.95)
        speed = np.divide(smooth(rooms, 0.95), seconds, out=np.full(len(rooms), np.nan), where=seconds > 0)
        curves["rooms per second"] = x, speed
    for key, title in MEASURED.items():
        x, fraction = _column(evaluations, key)
        curves[title] = x, 100 * fraction
    return {title: curve for title, curve in curves.items() if np.isfinite(curve[1]).any()}


def _column(records: Records, key: str) -> Series:
    values = [math.nan if record.get(key) is None else float(record[key]) for record in records]
    return np.array([record["step"] for record in records], np.float64), np.array(values, np.float64)


def _numbers(texts: Sequence[str]) -> list[float]:
    """Values of texts that are all finite numbers, else nothing."""
    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        return []
    return numbers if all(map(math.isfinite, numbers)) else []
