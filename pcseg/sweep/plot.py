"""A sweep as a picture: AP over each key that was varied."""

import io
from collections.abc import Sequence

from pcseg.sweep.table import Row

# Values of a key that span more than this ratio are drawn over their logarithm.
_LOG_RATIO = 20


def draw(rows: Sequence[Row]) -> bytes:
    """One panel for each key: every run as a pale dot, the mean of every setting as a dark one.

    Args:
        rows: of the sweep; settings that failed are left out.

    Returns:
        A PNG file.

    Raises:
        ValueError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ValueError("the plot of a sweep needs matplotlib; pip install -e '.[sweep]'") from None
    rows = [row for row in rows if not row.failure]
    keys = list(rows[0].setting) if rows else []
    figure = Figure(figsize=(4.2 * max(1, len(keys)), 3.4), layout="constrained")
    for axes, key in zip(figure.subplots(1, max(1, len(keys)), squeeze=False, sharey=True)[0], keys):
        texts = [row.setting[key] for row in rows]
        places, labels = _places(texts)
        for place, row in zip(places, rows):
            values = [100 * value for value in row.values("ap")]
            axes.plot([place] * len(values), values, "o", color="#9ecae1", markersize=4)
        means = sorted((place, 100 * row.mean("ap")) for place, row in zip(places, rows))
        axes.plot(*zip(*means), "o-" if len(keys) == 1 else "o", color="#08519c", markersize=6)
        if labels:
            axes.set_xticks(range(len(labels)), labels)
        elif min(places) > 0 and max(places) > _LOG_RATIO * min(places):
            axes.set_xscale("log")
        axes.set_xlabel(key)
        axes.set_ylabel("AP")
        axes.label_outer()
        axes.grid(alpha=0.3)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=120)
    return file.getvalue()


def _places(texts: Sequence[str]) -> tuple[list[float], list[str]]:
    """Where values stand on the axis: at their number, or, with labels, side by side where one is none."""
    try:
        return [float(text) for text in texts], []
    except ValueError:
        labels = list(dict.fromkeys(texts))
        return [float(labels.index(text)) for text in texts], labels
