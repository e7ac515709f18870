"""Pictures side by side on one sheet, with titles, words and a legend; written as PNG."""

import functools
import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from pcseg.files import atomic_write
from pcseg.viz.png import png_bytes

INK, FAINT, PAPER, RULE = (32, 36, 44), (110, 117, 128), (250, 250, 251), (226, 228, 232)


@dataclass(frozen=True)
class Label:
    """A word on a picture.

    Args:
        x: middle of the word, pixels.
        y: middle of the word, pixels.
        text: the word.
        weight: where words would overlap, the greater weight stays.
    """

    x: float
    y: float
    text: str
    weight: float = 0.0


@dataclass(frozen=True)
class Panel:
    """One picture of a sheet.

    Args:
        title: stands above it.
        image: the picture.
        labels: words on it.
    """

    title: str
    image: UInt8[np.ndarray, "H W 3"]
    labels: tuple[Label, ...] = field(default=())


def save_png(path: Path, image: Image.Image) -> None:
    """Writes a picture; the file appears whole or not at all.

    Args:
        path: the file, .png.
        image: the picture, RGB.

    Raises:
        ValueError: the name ends in something else.
        OSError: the file cannot be written.
    """
    if path.suffix.lower() != ".png":
        raise ValueError(f"{path}: pictures are written as .png, not as {path.suffix or 'a file without extension'}")
    atomic_write(path, png_bytes(np.asarray(image)))


def contact_sheet(
    rows: Sequence[Sequence[Panel]],
    *,
    title: str = "",
    note: str = "",
    legend: Sequence[tuple[str, tuple[int, int, int]]] = (),
) -> Image.Image:
    """Puts panels side by side, with their titles and a legend.

    Args:
        rows: panels from top to bottom and left to right.
        title: above all panels, large.
        note: behind the title, small.
        legend: texts and colors, below all panels.

    Returns:
        The sheet, RGB.

    Raises:
        ValueError: no panel at all.
    """
    rows = [row for row in rows if row]
    if not rows:
        raise ValueError("a sheet needs at least one panel, got none")
    cell = max(panel.image.shape[1] for row in rows for panel in row)
    text = int(np.clip(round(cell / 38), 11, 30))
    gap, head = text, round(2.1 * text)
    top = round(2.9 * text) if title or note else gap // 2
    width = max(len(row) for row in rows) * (cell + gap) + gap
    lines = _legend_lines(legend, text, width - 2 * gap)
    body = sum(max(panel.image.shape[0] for panel in row) + head for row in rows)
    foot = round(len(lines) * 1.9 * text + (gap if lines else gap / 2))
    sheet = Image.new("RGB", (width, top + body + foot), PAPER)
    draw = ImageDraw.Draw(sheet)
    if title:
        draw.text((gap, top / 2), _plain(title), fill=INK, font=_font(1.5 * text), anchor="lm")
    if note:
        start = gap + (draw.textlength(_plain(title), font=_font(1.5 * text)) + text if title else 0)
        draw.text((start, top / 2 + 0.12 * text), _plain(note), fill=FAINT, font=_font(float(text)), anchor="lm")
    y = top
    for row in rows:
        for column, panel in enumerate(row):
            x = gap + column * (cell + gap)
            draw.line((x, y, x + cell, y), fill=RULE, width=max(1, text // 10))
            draw.text((x, y + head / 2), _plain(panel.title), fill=INK, font=_font(1.1 * text), anchor="lm")
            sheet.paste(Image.fromarray(panel.image), (x, y + head))
            _write_labels(sheet, panel, x, y + head, 0.8 * text)
        y += head + max(panel.image.shape[0] for panel in row)
    for line in lines:
        for x, name, color in line:
            box = (gap + x, y + 0.5 * text, gap + x + text, y + 1.5 * text)
            draw.rounded_rectangle(box, radius=text / 4, fill=color)
            draw.text((gap + x + 1.5 * text, y + text), name, fill=INK, font=_font(float(text)), anchor="lm")
        y += round(1.9 * text)
    return sheet


def _write_labels(sheet: Image.Image, panel: Panel, left: int, top: int, size: float) -> None:
    """Words with a light rim; a word that would touch a heavier one is left out."""
    taken: list[tuple[float, float, float, float]] = []
    width = panel.image.shape[1]
    for label in sorted(panel.labels, key=lambda label: -label.weight):
        word = _word(_plain(label.text), size)
        half = word.width / 2
        x = min(max(label.x, half), width - half)
        box = (x - half, label.y - 0.65 * size, x + half, label.y + 0.65 * size)
        if any(box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3] for b in taken):
            continue
        taken.append(box)
        sheet.paste(word, (left + round(x - half), top + round(label.y - word.height / 2)), word)


@functools.lru_cache(maxsize=1024)
def _word(text: str, size: float) -> Image.Image:
    """A word with a light rim in the middle of a picture that is clear around it; the views of a room share words."""
    font, rim = _font(size), max(2, round(size / 6))
    left, top, right, bottom = font.getbbox(text, anchor="mm", stroke_width=rim)
    half = math.ceil(max(-left, right)), math.ceil(max(-top, bottom))
    word = Image.new("RGBA", (2 * half[0], 2 * half[1]), (255, 255, 255, 0))
    ImageDraw.Draw(word).text(
        half, text, fill=INK, font=font, anchor="mm", stroke_width=rim, stroke_fill=(255, 255, 255)
    )
    return word


def _legend_lines(
    legend: Sequence[tuple[str, tuple[int, int, int]]], text: int, width: int
) -> list[list[tuple[float, str, tuple[int, int, int]]]]:
    """Entries with their x, broken into lines."""
    font = _font(float(text))
    lines: list[list[tuple[float, str, tuple[int, int, int]]]] = []
    x = float("inf")
    for name, color in legend:
        need = 1.5 * text + font.getlength(_plain(name)) + 1.4 * text
        if x + need > width + 1.4 * text:
            lines.append([])
            x = 0.0
        lines[-1].append((x, _plain(name), color))
        x += need
    return lines


@functools.lru_cache(maxsize=32)
def _font(size: float) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise ValueError("Pillow was built without FreeType, so it cannot write titles; run: pip install -U pillow")
    return font


def _plain(text: str) -> str:
    """Text in the letters that Pillow's own font has: accents fall away, other scripts become question marks."""
    return unicodedata.normalize("NFKD", text).encode("ascii", "replace").decode().replace("??", "?")
