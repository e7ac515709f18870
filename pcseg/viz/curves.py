"""Lines over a pair of axes, as pictures: curves of training, precision over recall."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image, ImageDraw, ImageFont

# After Okabe and Ito (2008), whose colours are told apart by all eyes.
LINE_COLORS = ((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (230, 159, 0), (86, 180, 233), (32, 36, 44))
INK, RULE, PAPER = (32, 36, 44), (226, 228, 232), (255, 255, 255)
SCALE = 2  # drawn this much larger and then made smaller, which smooths the edges


@dataclass(frozen=True)
class Line:
    """One line of a chart; where y is not finite it has a gap.

    Args:
        x: where its points stand, rising.
        y: their heights.
        color: red, green, blue.
        faint: lies pale behind the others, and may leave the chart with its highest and lowest hundredth.
    """

    x: Float64[np.ndarray, "N"]
    y: Float64[np.ndarray, "N"]
    color: tuple[int, int, int] = LINE_COLORS[0]
    faint: bool = False


def line_color(index: int) -> tuple[int, int, int]:
    """Colour of the first, second, ... thing; after seven they come again."""
    return LINE_COLORS[index % len(LINE_COLORS)]


def line_chart(
    lines: Sequence[Line],
    *,
    width: int = 480,
    height: int = 320,
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
) -> UInt8[np.ndarray, "H W 3"]:
    """Draws lines over axes with round numbers.

    Args:
        lines: from back to front; a line of one point is drawn as a dot.
        width: pixels.
        height: pixels.
        x_range: ends of the horizontal axis; None takes those of the lines.
        y_range: ends of the vertical axis; None takes those of the lines.

    Returns:
        The picture, for a panel of `pcseg.viz.sheet.contact_sheet`.
    """
    x_low, x_high = x_range or _span([line.x for line in lines])
    y_low, y_high = y_range or _span([_visible(line) for line in lines])
    image = Image.new("RGB", (width * SCALE, height * SCALE), PAPER)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(float(13 * SCALE))
    y_ticks, x_ticks = ticks(y_low, y_high, 5), ticks(x_low, x_high, width // 80)
    left = 14 * SCALE + max((int(draw.textlength(_number(t), font=font)) for t in y_ticks), default=0)
    right, top, bottom = (width - 18) * SCALE, 10 * SCALE, (height - 28) * SCALE

    for tick, at in zip(y_ticks, _project(np.array(y_ticks), y_low, y_high, bottom, top).tolist()):
        draw.line((left, at, right, at), fill=RULE, width=SCALE)
        draw.text((left - 6 * SCALE, at), _number(tick), fill=INK, font=font, anchor="rm")
    for tick, at in zip(x_ticks, _project(np.array(x_ticks), x_low, x_high, left, right).tolist()):
        draw.line((at, top, at, bottom), fill=RULE, width=SCALE)
        draw.text((at, bottom + 6 * SCALE), _number(tick), fill=INK, font=font, anchor="mt")
    plot = image.crop((left, top, right + 1, bottom + 1))  # lines that leave the axes are cut off at them
    for line in lines:
        x = _project(line.x, x_low, x_high, 0, right - left)
        y = _project(line.y, y_low, y_high, bottom - top, 0)
        _draw_line(ImageDraw.Draw(plot), x, np.clip(y, -1e6, 1e6), line)
    image.paste(plot, (left, top))
    return np.asarray(image.resize((width, height), Image.Resampling.BOX))


def ticks(low: float, high: float, num: int) -> list[float]:
    """Round numbers between two ends, about `num` of them: multiples of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / num
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= 0.6 * rough)
    return [i * step for i in range(math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6) + 1)]


def _project(values: np.ndarray, low: float, high: float, first: int, last: int) -> Float64[np.ndarray, "N"]:
    """Pixels of values, where `low` lies at the first pixel and `high` at the last."""
    return first + (values - low) / (high - low) * (last - first)


def _draw_line(draw: ImageDraw.ImageDraw, x: Float64[np.ndarray, "N"], y: Float64[np.ndarray, "N"], line: Line) -> None:
    color = tuple((c + 3 * 255) // 4 for c in line.color) if line.faint else line.color
    rows = np.flatnonzero(np.isfinite(line.y))
    for piece in np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1):
        points = list(zip(x[piece].tolist(), y[piece].tolist()))
        if len(points) == 1:
            draw.circle(points[0], 2.5 * SCALE, fill=color)
        elif points:
            draw.line(points, fill=color, width=SCALE if line.faint else 2 * SCALE, joint="curve")


def _number(value: float) -> str:
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= 10 * size or (size > 1e3 and abs(value) >= size):
            return f"{value / size:.6g}{letter}"
    return f"{value:.6g}"


def _visible(line: Line) -> Float64[np.ndarray, "M"]:
    y = line.y[np.isfinite(line.y)]
    return np.quantile(y, [0.01, 0.99]) if line.faint and len(y) else y


def _span(values: Sequence[np.ndarray]) -> tuple[float, float]:
    """Lowest and highest value; never the same number twice."""
    known = [v for v in values if len(v)]
    if not known:
        return 0.0, 1.0
    low, high = min(float(v.min()) for v in known), max(float(v.max()) for v in known)
    room = 0.0 if high - low > 1e-9 * max(abs(low), abs(high)) else abs(low) / 2 or 0.5
    return low - room, high + room
