"""Pictures of rooms as PNG: input, truth and prediction side by side, from several sides, without a display."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from jaxtyping import Float32
from PIL import Image

from pcseg.classes import ClassSet
from pcseg.structures import Prediction
from pcseg.viz.errors import ERROR_COLORS, ERROR_NAMES
from pcseg.viz.grid import Cell, Label, image_grid
from pcseg.viz.layers import DEFAULT_THRESHOLD, OBJECT_LAYERS, UNNAMED, Layer, input_colors, scene_layers, sorted_rows
from pcseg.viz.raster import Raster, rasterize, room_view
from pcseg.viz.splats import Splats
from pcseg.viz.view import bounding_box

_OTHER_VIEWS = ("from the other side", "from above")


def room_picture(
    prediction: Prediction,
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
    views: int = 1,
    layers: Sequence[Layer] | None = None,
) -> Image.Image:
    """One sheet about a room: input, true objects, predicted objects; below them classes and mistakes.

    Panels that the scene has no data for are left out. The camera looks in from above with the ceiling and the near
    walls cut away. A prediction has the color of the true object that it overlaps.

    Args:
        prediction: a scene, and what was predicted for it.
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
        views: 1 for one camera; 2 adds a row from the other side, 3 also one from above.
        layers: of `scene_layers` with this threshold, where they are made already.

    Returns:
        The sheet, RGB.

    Raises:
        ValueError: the scene has no points.
    """
    if not 1 <= views <= 1 + len(_OTHER_VIEWS):
        raise ValueError(f"a picture has 1 to {1 + len(_OTHER_VIEWS)} views, got {views}")
    scene, classes = prediction.scene, prediction.classes
    layers = scene_layers(prediction, threshold) if layers is None else layers
    by_key = {layer.key: layer for layer in layers}
    camera: dict[str, Any] = {"width": width, "height": height, "cut": cut, "open_front": open_front}
    rasters = _rasters(scene.xyz, views, azimuth, elevation, camera)
    stuff = frozenset() if classes is None else classes.stuff

    def object_row(raster: Raster) -> list[Cell]:
        title = "Input" if scene.rgb is not None else "Input (no color: by height)"
        row = [Cell(title, raster.paint(input_colors(scene)))]
        for layer in (by_key[key] for key in OBJECT_LAYERS if key in by_key):
            words = _object_labels(raster, layer, stuff) if labels else ()
            row.append(_cell(raster, layer, _object_title(layer, prediction, threshold), words))
        return row

    with ThreadPoolExecutor() as pool:
        first, *others = pool.map(object_row, rasters)
    rows = [first]
    if semantic_row is None:
        semantic_row = prediction.semantic is not None or "errors" in by_key
    legend: list[tuple[str, tuple[int, int, int]]] = []
    has_labels = len(first) > 1 or prediction.semantic is not None
    keys = ("errors", "semantic_truth", "semantic_prediction") if has_labels else ()
    shown = [by_key[key] for key in keys if key in by_key] if semantic_row else []
    if shown:
        rows.append([_cell(rasters[0], layer, layer.title) for layer in shown])
        legend = _legend(shown, classes)
    for name, row in zip(_OTHER_VIEWS, others):
        titles = ["Input", *(by_key[key].title for key in OBJECT_LAYERS if key in by_key)]
        row = [Cell(f"{title}, {name}", cell.image, cell.labels) for title, cell in zip(titles, row)]
        if len(row) == 1:  # a scan alone: its views side by side
            first += row
        else:
            rows.append(row)
    low, high = bounding_box(scene.xyz)
    size = " x ".join(f"{extent:.1f}" for extent in high - low)
    return image_grid(rows, title=title or scene.name, note=f"{len(scene):,} points, {size} m", legend=legend)


def _rasters(
    xyz: Float32[np.ndarray, "P 3"], views: int, azimuth: float | None, elevation: float, camera: dict[str, Any]
) -> list[Raster]:
    """What the camera sees; with more views than one also what it sees from the other side, and from above."""
    view = room_view(xyz, azimuth=azimuth, elevation=elevation, **camera)
    camera = {**camera, "cut": view.cut}  # found once
    behind: dict[str, Any] = {"azimuth": view.azimuth + 180.0, "elevation": elevation}
    above: dict[str, Any] = {"azimuth": -90.0, "elevation": 89.9, "open_front": False}  # a plan: x right, y up
    cameras = [view, *(room_view(xyz, **{**camera, **turned}) for turned in (behind, above)[: views - 1])]
    size: dict[str, int] = {"width": camera["width"], "height": camera["height"]}
    splats = Splats.of_points(xyz)
    with ThreadPoolExecutor() as pool:  # the kernels let go of the interpreter
        return list(pool.map(lambda view: rasterize(xyz, view, splats=splats, **size), cameras))


def _cell(raster: Raster, layer: Layer, title: str, labels: tuple[Label, ...] = ()) -> Cell:
    return Cell(title, raster.paint(layer.point_colors()), labels)


def _object_title(layer: Layer, prediction: Prediction, threshold: float) -> str:
    classes = prediction.classes
    names = {entry.name for entry in layer.entries} if classes is None else {*classes.instance_names}
    if all(entry.name == UNNAMED for entry in layer.entries[1:]):
        names = {UNNAMED}
    count = sum(entry.name in names for entry in layer.entries[1:])
    title = f"{layer.title}: {count} object{'' if count == 1 else 's'}"
    if layer.key == "prediction":
        title += f", score at least {threshold:.2f}"
        if count == 0 and len(prediction):
            title += f" (the best of {len(prediction)} has {float(prediction.scores.max()):.2f})"
    return title


def _object_labels(raster: Raster, layer: Layer, stuff: frozenset[str]) -> tuple[Label, ...]:
    """Class names in the middle of what is seen of each object, surfaces left out."""
    step = 2 * raster.supersampling  # every second pixel of the picture tells where an object is
    pixels = raster.index[::step, ::step]
    y, x = np.nonzero(pixels >= 0)
    ids = layer.ids[pixels[y, x]]
    order, starts = sorted_rows(ids)
    ids, x, y = ids[order], x[order], y[order]
    labels = []
    for start, stop in zip(starts, [*starts[1:], len(ids)]):
        entry = layer.entries[ids[start]]
        small = stop - start < 0.0006 * pixels.size
        if ids[start] == 0 or small or entry.name in stuff or entry.name == UNNAMED:
            continue
        xs, ys = x[start:stop], y[start:stop]
        middle = np.argmin((xs - np.median(xs)) ** 2 + (ys - np.median(ys)) ** 2)  # a pixel that is the object's
        score = "" if entry.score is None else f" {entry.score:.2f}"
        labels.append(Label(2.0 * xs[middle], 2.0 * ys[middle], entry.name + score, float(stop - start)))
    return tuple(labels)


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
