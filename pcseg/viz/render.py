"""Pictures of rooms as PNG: input, truth and prediction side by side, without a display."""

import io
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Int32, UInt8
from PIL import Image, ImageDraw, ImageFont

from pcseg.files import write_whole
from pcseg.labels import ClassSet
from pcseg.structures import Instances, Scene
from pcseg.viz.layers import UNNAMED, Layer, input_colors, scene_layers
from pcseg.viz.mistakes import ERROR_COLORS, ERROR_NAMES
from pcseg.viz.raster import Raster, rasterize, render_points, room_view
from pcseg.viz.view import View

__all__ = ["Label", "Panel", "View", "contact_sheet", "render_points", "room_picture", "room_view", "save_png"]

INK, FAINT, PAPER, RULE = (32, 36, 44), (110, 117, 128), (250, 250, 251), (226, 228, 232)
DEFAULT_THRESHOLD = 0.25


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


def room_picture(
    scene: Scene,
    instances: Instances | None = None,
    semantic: Int32[np.ndarray, "P"] | None = None,
    classes: ClassSet | None = None,
    *,
    threshold: float = DEFAULT_THRESHOLD,
    title: str | None = None,
    width: int = 880,
    height: int = 660,
    azimuth: float | None = None,
    elevation: float = 50.0,
    cut: float | None = None,
    open_front: bool = True,
    labels: bool = True,
    semantic_row: bool | None = None,
) -> Image.Image:
    """One sheet about a room: input, true objects, predicted objects; below them classes and mistakes.

    Panels that the scene has no data for are left out. The camera looks in from above with the ceiling and the near
    walls cut away. A prediction has the colour of the true object that it overlaps.

    Args:
        scene: the room.
        instances: predicted objects.
        semantic: predicted class of each point.
        classes: needed where there are labels.
        threshold: predicted objects that score less are left out; the panel says so.
        title: of the sheet; None takes the name of the scene.
        width: of one panel, pixels.
        height: of one panel, pixels.
        azimuth: where the camera stands, degrees; None takes the direction that shows most.
        elevation: degrees above the horizon.
        cut: height above which points are hidden; None is 0.3 m under the top.
        open_front: hides the walls between the camera and the room.
        labels: writes class names on the objects.
        semantic_row: adds the row of classes and mistakes; None adds it where classes or objects were predicted.

    Returns:
        The sheet, RGB.

    Raises:
        ValueError: no points, or labels that do not fit the scene.
    """
    layers = {layer.key: layer for layer in scene_layers(scene, instances, semantic, classes, threshold)}
    view = room_view(
        scene.xyz,
        width=width,
        height=height,
        azimuth=azimuth,
        elevation=elevation,
        cut=cut,
        open_front=open_front,
    )
    raster = rasterize(scene.xyz, width=width, height=height, view=view)
    stuff = frozenset() if classes is None else classes.stuff
    first = "Input" if scene.rgb is not None else "Input (no colour: by height)"
    rows = [[Panel(first, raster.paint(input_colors(scene)))]]
    for key in ("truth", "prediction"):
        if key in layers:
            words = _object_labels(raster, layers[key], stuff) if labels else ()
            name = _object_title(layers[key], instances, threshold, classes)
            rows[0].append(_panel(raster, layers[key], name, words))
    if semantic_row is None:
        semantic_row = semantic is not None or "errors" in layers
    legend: list[tuple[str, tuple[int, int, int]]] = []
    keys = ("errors", "semantic_truth", "semantic_prediction") if len(rows[0]) > 1 or semantic is not None else ()
    shown = [layers[key] for key in keys if key in layers] if semantic_row else []
    if shown:
        rows.append([_panel(raster, layer, layer.title) for layer in shown])
        legend = _legend(shown, classes)
    low, high = scene.xyz.min(axis=0), scene.xyz.max(axis=0)
    size = " x ".join(f"{extent:.1f}" for extent in high - low)
    return contact_sheet(rows, title=title or scene.name, note=f"{len(scene):,} points, {size} m", legend=legend)


def save_png(path: Path, image: Image.Image) -> None:
    """Writes a picture; the file appears whole or not at all.

    Args:
        path: the file, .png.
        image: the picture.

    Raises:
        ValueError: the name ends in something else.
        OSError: the file cannot be written.
    """
    if path.suffix.lower() != ".png":
        raise ValueError(f"{path}: pictures are written as .png, not as {path.suffix or 'a file without extension'}")
    stream = io.BytesIO()
    image.save(stream, format="PNG", optimize=False)
    write_whole(path, stream.getvalue())


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
        legend: texts and colours, below all panels.

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
            _write_labels(draw, panel, x, y + head, 0.8 * text)
        y += head + max(panel.image.shape[0] for panel in row)
    for line in lines:
        for x, name, color in line:
            box = (gap + x, y + 0.5 * text, gap + x + text, y + 1.5 * text)
            draw.rounded_rectangle(box, radius=text / 4, fill=color)
            draw.text((gap + x + 1.5 * text, y + text), name, fill=INK, font=_font(float(text)), anchor="lm")
        y += round(1.9 * text)
    return sheet


def _panel(raster: Raster, layer: Layer, title: str, labels: tuple[Label, ...] = ()) -> Panel:
    return Panel(title, raster.paint(layer.point_colors()), labels)


def _object_title(layer: Layer, instances: Instances | None, threshold: float, classes: ClassSet | None) -> str:
    names = {entry.name for entry in layer.entries} if classes is None else {*classes.instance_names}
    if all(entry.name == UNNAMED for entry in layer.entries[1:]):
        names = {UNNAMED}
    count = sum(entry.name in names for entry in layer.entries[1:])
    title = f"{layer.title}: {count} object{'' if count == 1 else 's'}"
    if layer.key == "prediction" and instances is not None:
        title += f", score at least {threshold:.2f}"
        if count == 0 and len(instances):
            title += f" (the best of {len(instances)} has {float(instances.scores.max()):.2f})"
    return title


def _object_labels(raster: Raster, layer: Layer, stuff: frozenset[str]) -> tuple[Label, ...]:
    """Class names in the middle of what is seen of each object, surfaces left out."""
    pixels = raster.index[:: raster.supersampling, :: raster.supersampling]
    y, x = np.nonzero(pixels >= 0)
    ids = layer.ids[pixels[y, x]]
    order = np.argsort(ids, kind="stable")
    ids, x, y = ids[order], x[order], y[order]
    labels = []
    starts = np.flatnonzero(np.diff(ids, prepend=-1))
    for start, stop in zip(starts, [*starts[1:], len(ids)]):
        entry = layer.entries[ids[start]]
        small = stop - start < 0.0006 * pixels.size
        if ids[start] == 0 or small or entry.name in stuff or entry.name == UNNAMED:
            continue
        xs, ys = x[start:stop], y[start:stop]
        middle = np.argmin((xs - np.median(xs)) ** 2 + (ys - np.median(ys)) ** 2)  # a pixel that is the object's
        score = "" if entry.score is None else f" {entry.score:.2f}"
        labels.append(Label(float(xs[middle]), float(ys[middle]), entry.name + score, float(stop - start)))
    return tuple(labels)


def _write_labels(draw: ImageDraw.ImageDraw, panel: Panel, left: int, top: int, size: float) -> None:
    """Words with a light rim; a word that would touch a heavier one is left out."""
    font = _font(size)
    taken: list[tuple[float, float, float, float]] = []
    width = panel.image.shape[1]
    for label in sorted(panel.labels, key=lambda label: -label.weight):
        text = _plain(label.text)
        half = draw.textlength(text, font=font) / 2 + 3
        x = min(max(label.x, half), width - half)
        box = (x - half, label.y - 0.65 * size, x + half, label.y + 0.65 * size)
        if any(box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3] for b in taken):
            continue
        taken.append(box)
        rim = max(2, round(size / 6))
        place = (left + x, top + label.y)
        draw.text(place, text, fill=INK, font=font, anchor="mm", stroke_width=rim, stroke_fill=(255, 255, 255))


def _legend(layers: Sequence[Layer], classes: ClassSet | None) -> list[tuple[str, tuple[int, int, int]]]:
    """Classes that some panel shows, in the order of the set, then the kinds of mistakes."""
    entries: list[tuple[str, tuple[int, int, int]]] = []
    seen = {entry.number for layer in layers if layer.key.startswith("semantic") for entry in layer.entries}
    if classes is not None:
        entries += [(name, classes.colors[k]) for k, name in enumerate(classes.names) if k in seen]
    errors = next((layer for layer in layers if layer.key == "errors"), None)
    if errors is not None:
        kinds = [row for row, entry in enumerate(errors.entries) if row and entry.num_points]
        entries = [(ERROR_NAMES[row], ERROR_COLORS[row]) for row in kinds] + entries
    return entries


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


def _font(size: float) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise ValueError("Pillow was built without FreeType, so it cannot write titles; run: pip install -U pillow")
    return font


def _plain(text: str) -> str:
    """Text in the letters that Pillow's own font has: accents fall away, other scripts become question marks."""
    return unicodedata.normalize("NFKD", text).encode("ascii", "replace").decode().replace("??", "?")
