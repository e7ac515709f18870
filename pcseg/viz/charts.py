"""Lines and dots over a pair of axes, as pictures: training, precision over recall, sweeps, benchmarks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image, ImageDraw, ImageFont

# After Okabe and Ito (2008), whose colors are told apart by all eyes.
LINE_COLORS = ((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (230, 159, 0), (86, 180, 233), (32, 36, 44))
INK, RULE, PAPER = (32, 36, 44), (226, 228, 232), (255, 255, 255)
SCALE = 2  # drawn this much larger and then made smaller, which smooths the edges
MARGIN = 0.04  # of a chart with dots: they would be cut in half at its ends


@dataclass(frozen=True)
class Line:
    """One line of a chart; where y is not finite it has a gap.

    Args:
        x: where its points stand, rising.
        y: their heights.
        color: red, green, blue.
        faint: lies pale behind the others, and may leave the chart with its highest and lowest hundredth.
        mark: what is drawn: a line through the points, a dot at each, or both.
    """

    x: Float64[np.ndarray, "N"]
    y: Float64[np.ndarray, "N"]
    color: tuple[int, int, int] = LINE_COLORS[0]
    faint: bool = False
    mark: Literal["line", "dots", "both"] = "line"


@dataclass(frozen=True)
class Axis:
    """One axis of a chart.

    Args:
        ends: its lowest and highest value; None takes those of the lines.
        log: shows the logarithm, of values above zero.
        names: words in the place of numbers, for the values 0, 1, 2, ...
    """

    ends: tuple[float, float] | None = None
    log: bool = False
    names: tuple[str, ...] = ()


def line_color(index: int) -> tuple[int, int, int]:
    """Color of the first, second, ... thing; after seven they come again."""
    return LINE_COLORS[index % len(LINE_COLORS)]


def line_chart(
    lines: Sequence[Line], *, width: int = 480, height: int = 320, x_axis: Axis = Axis(), y_axis: Axis = Axis()
) -> UInt8[np.ndarray, "H W 3"]:
    """Draws lines over axes with round numbers.

    Args:
        lines: from back to front; a line of one point is drawn as a dot.
        width: pixels.
        height: pixels.
        x_axis: the horizontal one.
        y_axis: the vertical one.

    Returns:
        The picture, for a panel of `pcseg.viz.sheet.contact_sheet`.

    Raises:
        ValueError: a value of zero or below on a logarithmic axis.
    """
    x_places, y_places = [_place(x_axis, line.x) for line in lines], [_place(y_axis, line.y) for line in lines]
    margin = MARGIN if any(line.mark != "line" for line in lines) else 0.0
    x_low, x_high = _ends(x_axis, x_places, margin)
    y_low, y_high = _ends(y_axis, [_visible(y, line.faint) for y, line in zip(y_places, lines)], margin)
    image = Image.new("RGB", (width * SCALE, height * SCALE), PAPER)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(float(13 * SCALE))
    y_ticks, x_ticks = _named_ticks(y_axis, y_low, y_high, 5), _named_ticks(x_axis, x_low, x_high, width // 80)
    left = 14 * SCALE + max((int(draw.textlength(name, font=font)) for name in y_ticks), default=0)
    right, top, bottom = (width - 18) * SCALE, 10 * SCALE, (height - 28) * SCALE

    for name, at in zip(y_ticks, _project(np.array([*y_ticks.values()]), y_low, y_high, bottom, top).tolist()):
        draw.line((left, at, right, at), fill=RULE, width=SCALE)
        draw.text((left - 6 * SCALE, at), name, fill=INK, font=font, anchor="rm")
    for name, at in zip(x_ticks, _project(np.array([*x_ticks.values()]), x_low, x_high, left, right).tolist()):
        draw.line((at, top, at, bottom), fill=RULE, width=SCALE)
        draw.text((at, bottom + 6 * SCALE), name, fill=INK, font=font, anchor="mt")
    plot = image.crop((left, top, right + 1, bottom + 1))  # lines that leave the axes are cut off at them
    for line, x_place, y_place in zip(lines, x_places, y_places):
        x = _project(x_place, x_low, x_high, 0, right - left)
        y = _project(y_place, y_low, y_high, bottom - top, 0)
        _draw_line(ImageDraw.Draw(plot), x, np.clip(y, -1e6, 1e6), line)
    image.paste(plot, (left, top))
    return np.asarray(image.resize((width, height), Image.Resampling.BOX))


def ticks(low: float, high: float, num: int) -> list[float]:
    """Round numbers between two ends, about `num` of them: multiples of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / num
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= 0.6 * rough)
    return [i * step for i in range(math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6) + 1)]


def log_ticks(low: float, high: float, num: int) -> list[float]:
    """Round numbers between two powers of ten, about `num` of them, spread over the logarithm.

    Args:
        low: exponent of the lower end.
        high: exponent of the upper end.
        num: how many are wanted; long axes get their powers of ten alone.
    """
    if high - low < 1:
        return ticks(10.0**low, 10.0**high, num)
    factors = (1, 2, 5) if 3 * (high - low) <= num + 1 else (1,)
    numbers = [f * 10.0**power for power in range(math.floor(low), math.ceil(high) + 1) for f in factors]
    return [number for number in numbers if low - 1e-6 <= math.log10(number) <= high + 1e-6]


def _named_ticks(axis: Axis, low: float, high: float, num: int) -> dict[str, float]:
    """What is written on an axis, and where."""
    if axis.names:
        return {name: float(place) for place, name in enumerate(axis.names)}
    if axis.log:
        return {_number(value): math.log10(value) for value in log_ticks(low, high, num)}
    return {_number(value): value for value in ticks(low, high, num)}


def _place(axis: Axis, values: Float64[np.ndarray, "N"]) -> Float64[np.ndarray, "N"]:
    if not axis.log:
        return values
    if (values <= 0).any():
        raise ValueError(f"a logarithmic axis takes values above zero only, got {values[values <= 0][0]:g}")
    return np.log10(values)


def _project(values: np.ndarray, low: float, high: float, first: int, last: int) -> Float64[np.ndarray, "N"]:
    """Pixels of places, where `low` lies at the first pixel and `high` at the last."""
    return first + (values - low) / (high - low) * (last - first)


def _draw_line(draw: ImageDraw.ImageDraw, x: Float64[np.ndarray, "N"], y: Float64[np.ndarray, "N"], line: Line) -> None:
    color = tuple((c + 3 * 255) // 4 for c in line.color) if line.faint else line.color
    rows = np.flatnonzero(np.isfinite(line.y))
    for piece in np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1):
        points = list(zip(x[piece].tolist(), y[piece].tolist()))
        if len(points) > 1 and line.mark != "dots":
            draw.line(points, fill=color, width=SCALE if line.faint else 2 * SCALE, joint="curve")
        if line.mark != "line" or len(points) == 1:
            for point in points:
                draw.circle(point, (2.5 if line.mark == "line" else 4) * SCALE, fill=color)


def _number(value: float) -> str:
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= 10 * size or (size > 1e3 and abs(value) >= size):
            return f"{value / size:.6g}{letter}"
    return f"{value:.6g}"


def _visible(y: Float64[np.ndarray, "N"], faint: bool) -> Float64[np.ndarray, "M"]:
    y = y[np.isfinite(y)]
    return np.quantile(y, [0.01, 0.99]) if faint and len(y) else y


def _ends(axis: Axis, places: Sequence[np.ndarray], margin: float) -> tuple[float, float]:
    """Lowest and highest place of an axis; never the same number twice."""
    if axis.names:
        return -0.5, len(axis.names) - 0.5
    if axis.ends is not None:
        low, high = _place(axis, np.array(axis.ends, np.float64)).tolist()
        return low, high
    known = [p for p in places if len(p)]
    if not known:
        return 0.0, 1.0
    low, high = min(float(p.min()) for p in known), max(float(p.max()) for p in known)
    room = margin * (high - low) if high - low > 1e-9 * max(abs(low), abs(high)) else abs(low) / 2 or 0.5
    return low - room, high + room
