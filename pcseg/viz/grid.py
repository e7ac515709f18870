"""A grid of images with titles, words on the images and a legend; written as PNG."""

import functools
import unicodedata
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Integer, UInt8
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from pcseg.files import atomic_open

_MAX_PLACES = 2000  # that are tried for a word
INK, FAINT, PAPER, RULE = (32, 36, 44), (110, 117, 128), (250, 250, 251), (226, 228, 232)


@dataclass(frozen=True)
class Label:
    """A word on an object of an image."""

    pixels: Integer[np.ndarray, "n 2"]  # column and row of each pixel of the object, at least one
    text: str
    weight: float = 0.0  # where words would overlap, the greater weight stays; the other moves, or is left out


@dataclass(frozen=True)
class Cell:
    """One image of a grid."""

    title: str  # line above the image
    image: UInt8[np.ndarray, "H W 3"]
    labels: tuple[Label, ...] = ()  # words on the image


def save_png(path: Path, image: Image.Image) -> None:
    """Write an RGB image; the file appears complete or not at all.

    Raises:
        ValueError: the name has another extension.
        OSError: the file cannot be written.
    """
    if path.suffix.lower() != ".png":
        raise ValueError(f"{path}: pictures are written as .png, not as {path.suffix or 'a file without extension'}")
    source = PngInfo()
    source.add_text("Software", "pcseg")
    with atomic_open(path) as file:
        # Run lengths take less time, and less space for pictures of points, than the search of higher levels.
        image.save(file, format="PNG", compress_level=1, compress_type=zlib.Z_RLE, pnginfo=source)


def image_grid(
    rows: Sequence[Sequence[Cell]],
    *,
    title: str = "",
    note: str = "",
    legend: Sequence[tuple[str, tuple[int, int, int]]] = (),
) -> Image.Image:
    """Rows of cells with their titles; above them a large title and a small note, below them a legend.

    Args:
        rows: at least one row of at least one cell; rows may differ in length and height.
        title: large text above the cells.
        note: small text beside the title, made smaller where it is long.
        legend: name and color (RGB, 0..255) of each entry.

    Returns:
        An RGB image.
    """
    wide = max(cell.image.shape[1] for row in rows for cell in row)
    size = int(np.clip(round(wide / 38), 11, 30))  # of the text
    top, head = round(2.9 * size) if title or note else size // 2, round(2.1 * size)
    width = max(map(len, rows)) * (wide + size) + size
    heights = [head + max(cell.image.shape[0] for cell in row) for row in rows]
    entries = _legend_places(legend, size, width - 2 * size)
    foot = (entries[-1][1] + round(2.9 * size)) if entries else size // 2
    grid = Image.new("RGB", (width, top + sum(heights) + foot), PAPER)
    draw = ImageDraw.Draw(grid)
    draw.text((size, top / 2), _plain(title), fill=INK, font=_font(1.5 * size), anchor="lm")
    start = size + (draw.textlength(_plain(title), font=_font(1.5 * size)) + size if title else 0)
    room = (width - size - start) / max(1, draw.textlength(_plain(note), font=_font(size)))  # a long note is smaller
    draw.text(
        (start, top / 2 + 0.12 * size), _plain(note), fill=FAINT, font=_font(max(0.5, min(1, room)) * size), anchor="lm"
    )
    y = top
    for row, height in zip(rows, heights):
        for x, cell in zip(range(size, width, wide + size), row):
            draw.line((x, y, x + wide, y), fill=RULE, width=max(1, size // 10))
            draw.text((x, y + head / 2), _plain(cell.title), fill=INK, font=_font(1.1 * size), anchor="lm")
            grid.paste(_labeled(cell, 0.8 * size), (x, y + head))
        y += height
    for (name, color), (x, line) in zip(legend, entries):
        box = (size + x, y + line + 0.5 * size, 2 * size + x, y + line + 1.5 * size)
        draw.rounded_rectangle(box, radius=size / 4, fill=color)
        draw.text((x + 2.5 * size, y + line + size), _plain(name), fill=INK, font=_font(size), anchor="lm")
    return grid


def _labeled(cell: Cell, size: float) -> Image.Image:
    """The image with its words, each on its object; one that would touch a heavier one moves, or is left out."""
    image = Image.fromarray(cell.image)
    draw, font, line = ImageDraw.Draw(image), _font(size), 1.4 * size
    taken = np.empty((0, 3))  # x, y and half the width of each word
    for label in sorted(cell.labels, key=lambda label: -label.weight):
        half = font.getlength(_plain(label.text)) / 2 + size / 6
        places = _places(label.pixels, np.array([half, line / 2]), image.size)
        across, down = (np.abs(places[:, [axis]] - taken[:, axis]) for axis in (0, 1))
        free = np.all((across >= half + taken[:, 2]) | (down >= line), axis=-1)
        if not free.any():
            continue
        x, y = places[free.argmax()]
        taken = np.vstack([taken, (x, y, half)])
        rim = {"stroke_width": max(2, round(size / 6)), "stroke_fill": (255, 255, 255)}
        draw.text((x, y), _plain(label.text), fill=INK, font=font, anchor="mm", **rim)
    return image


def _places(pixels: np.ndarray, half: np.ndarray, image: tuple[int, int]) -> np.ndarray:
    """Centers for a word of half this size, among the pixels of its object.

    First come those where most of the word is on the object, then those near the middle. At the border of the image, a
    center moves inward.
    """
    places = np.clip(pixels[:: 1 + len(pixels) // _MAX_PLACES], half, np.maximum(half, image - half))
    low, extent = pixels.min(axis=0), np.ptp(pixels, axis=0) + 1
    sums = np.zeros(extent + 1, np.int32)  # number of pixels before each corner
    sums[tuple((pixels - low + 1).T)] = 1
    sums = sums.cumsum(axis=0).cumsum(axis=1)
    (left, top), (right, bottom) = (
        np.clip(np.rint(places - low + side * half), 0, extent).astype(np.int64).T for side in (-1, 1)
    )
    covered = sums[right, bottom] - sums[left, bottom] - sums[right, top] + sums[left, top]
    far = np.hypot(*(places - np.median(pixels, axis=0)).T)
    return places[np.lexsort((far, -covered))]


def _legend_places(legend: Sequence[tuple[str, object]], size: int, width: int) -> list[tuple[int, int]]:
    """Place of each entry in pixels from the corner of the legend, broken into lines."""
    places, x, y = [], 0.0, 0
    for name, _ in legend:
        need = 1.5 * size + _font(size).getlength(_plain(name))
        if x and x + need > width:
            x, y = 0.0, y + round(1.9 * size)
        places.append((round(x), y))
        x += need + 1.4 * size
    return places


@functools.lru_cache(maxsize=32)
def _font(size: int | float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(float(size))


def _plain(text: str) -> str:
    """Text in ASCII, which the font of Pillow has: without accents, other scripts as question marks."""
    return unicodedata.normalize("NFKD", text).encode("ascii", "replace").decode().replace("??", "?")
