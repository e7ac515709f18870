"""Curves of benchmarks as pictures, both axes logarithmic."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from pcseg.viz.sheet import save_png

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 900, 620, 90, 60, 110, 60
# After Okabe and Ito (2008).
_COLORS = ("#0072b2", "#999999", "#d55e00", "#009e73")


def log_log_plot(
    path: Path, x: Sequence[float], curves: Mapping[str, Sequence[float]], *, title: str, x_name: str
) -> None:
    """Write a PNG of curves over x.

    Args:
        path: of the picture.
        x: positive, ascending.
        curves: name and positive values, one per x.
        title: above the picture.
        x_name: below the axis.

    Raises:
        ValueError: a value that has no logarithm.
    """
    values = [y for curve in curves.values() for y in curve]
    if not values or min([*values, *x]) <= 0:
        raise ValueError(f"{title}: a plot with logarithmic axes takes positive values only")
    low_x, high_x = _decades(x)
    low_y, high_y = _decades(values)

    def place(px: float, py: float) -> tuple[float, float]:
        across = (math.log10(px) - low_x) / (high_x - low_x)
        up = (math.log10(py) - low_y) / (high_y - low_y)
        return _LEFT + across * (_WIDTH - _LEFT - _RIGHT), _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM)

    image = Image.new("RGB", (_WIDTH, _HEIGHT), "white")
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(15)
    draw.text((_LEFT, 14), title, "black", font)
    draw.text((_WIDTH / 2, _HEIGHT - 14), x_name, "black", font, anchor="mb")
    for exponent in range(low_x, high_x + 1):
        at, bottom = place(10.0**exponent, 10.0**low_y)
        draw.line([at, bottom, at, _TOP], "#dddddd")
        draw.text((at, bottom + 6), f"{10**exponent:,}" if exponent >= 0 else f"1e{exponent}", "black", font, "mt")
    for exponent in range(low_y, high_y + 1):
        left, at = place(10.0**low_x, 10.0**exponent)
        draw.line([left, at, _WIDTH - _RIGHT, at], "#dddddd")
        draw.text((left - 8, at), f"{10.0**exponent:g}", "black", font, anchor="rm")
    for row, (name, curve) in enumerate(curves.items()):
        color = _COLORS[row % len(_COLORS)]
        line = [place(px, py) for px, py in zip(x, curve)]
        draw.line(line, color, 3)
        for px, py in line:
            draw.ellipse([px - 5, py - 5, px + 5, py + 5], color)
        draw.text((_LEFT, 38 + 22 * row), name, color, font)
    save_png(path, image)


def _decades(values: Sequence[float]) -> tuple[int, int]:
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)
