"""Pictures of rooms: input, ground truth and prediction side by side, from several sides, without a display."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from PIL import Image

from pcseg.prediction import Prediction
from pcseg.viz.grid import Cell, Label, image_grid
from pcseg.viz.layers import DEFAULT_THRESHOLD, OBJECT_LAYERS, UNNAMED, Layer, input_colors, scene_layers
from pcseg.viz.raster import SUPERSAMPLING, Raster, Splats, bounding_box, rasterize, room_view

_OTHER_VIEWS = ("from the other side", "from above")


def room_picture(
    prediction: Prediction,
    *,
    threshold: float = DEFAULT_THRESHOLD,
    width: int = 880,
    height: int = 660,
    cut: float | None = None,
    views: int = 1,
) -> Image.Image:
    """One figure about a room: input, true objects, predicted objects; below them errors and classes.

    Cells without data are left out. The camera looks in from above, with the ceiling and the near walls cut away. A
    predicted object has the color of the true object that it matches.

    Args:
        prediction: a scene and what was predicted for it.
        threshold: lowest score of shown objects.
        width: width of a cell in pixels.
        height: height of a cell in pixels.
        cut: height above which points are hidden; None is 0.3 m below the top.
        views: 1 for one camera; 2 adds a row from the other side, 3 also one from above.

    Raises:
        ValueError: the scene has no points, or `views` is not 1 to 3.
    """
    if not 1 <= views <= 1 + len(_OTHER_VIEWS):
        raise ValueError(f"a picture has 1 to {1 + len(_OTHER_VIEWS)} views, got {views}")
    scene = prediction.scene
    by_key = {layer.key: layer for layer in scene_layers(prediction, threshold)}
    objects = [by_key[key] for key in OBJECT_LAYERS if key in by_key]
    titles = ["Input" if scene.rgb is not None else "Input (no color: by height)"]
    titles += [_object_title(layer, prediction, threshold) for layer in objects]
    rasters = _rasters(scene.xyz, views, {"width": width, "height": height, "cut": cut})
    with ThreadPoolExecutor() as pool:  # the kernels release the interpreter lock
        first, *others = pool.map(lambda raster: _object_row(raster, prediction, objects, titles), rasters)
    rows, legend = [first], []
    if prediction.semantic is not None or "errors" in by_key:
        keys = ("errors", "semantic_truth", "semantic_prediction")
        shown = [by_key[key] for key in keys if key in by_key]
        rows.append([Cell(layer.title, rasters[0].paint(layer.point_colors())) for layer in shown])
        legend = _legend(shown)
    for name, row in zip(_OTHER_VIEWS, others):
        titles = ["Input", *(layer.title for layer in objects)]
        row = [Cell(f"{title}, {name}", cell.image, cell.labels) for title, cell in zip(titles, row)]
        if objects:
            rows.append(row)
        else:  # the views of a scan alone are side by side
            first += row
    low, high = bounding_box(scene.xyz)
    size = " x ".join(f"{extent:.1f}" for extent in high - low)
    return image_grid(rows, title=scene.name, note=f"{len(scene):,} points, {size} m", legend=legend)


def _rasters(xyz: np.ndarray, views: int, camera: dict[str, Any]) -> list[Raster]:
    """Rasters from the camera and, with more views, from the other side and from above."""
    view = room_view(xyz, **camera)
    camera = {**camera, "cut": view.cut}
    behind: dict[str, Any] = {"azimuth": view.azimuth + 180.0}
    above: dict[str, Any] = {"azimuth": -90.0, "elevation": 89.9, "open_front": False}  # a plan: x right, y up
    cameras = [view, *(room_view(xyz, **camera, **other) for other in (behind, above)[: views - 1])]
    splats, size = Splats.of_points(xyz), {"width": camera["width"], "height": camera["height"]}
    with ThreadPoolExecutor() as pool:  # the kernels release the interpreter lock
        return list(pool.map(lambda view: rasterize(xyz, view, splats=splats, **size), cameras))


def _object_row(raster: Raster, prediction: Prediction, objects: list[Layer], titles: list[str]) -> list[Cell]:
    """Cells of the input and of the layers of objects."""
    unlabeled = {UNNAMED, *(() if prediction.classes is None else prediction.classes.stuff)}
    images = [raster.paint(input_colors(prediction.scene)), *(raster.paint(each.point_colors()) for each in objects)]
    words = [(), *(_object_labels(raster, layer, unlabeled) for layer in objects)]
    return [Cell(*parts) for parts in zip(titles, images, words)]


def _object_title(layer: Layer, prediction: Prediction, threshold: float) -> str:
    names = [entry.name for entry in layer.entries[1:]]
    if prediction.classes is not None and set(names) != {UNNAMED}:
        names = [name for name in names if name in prediction.classes.instance_names]
    title = f"{layer.title}: {len(names)} object{'' if len(names) == 1 else 's'}"
    if layer.key == "prediction":
        title += f", score at least {threshold:.2f}"
        if not names and len(prediction):
            title += f" (the best of {len(prediction)} has {float(prediction.scores.max()):.2f})"
    return title


def _object_labels(raster: Raster, layer: Layer, unlabeled: set[str]) -> tuple[Label, ...]:
    """Class names in the middle of the visible part of each object."""
    step = 2 * SUPERSAMPLING  # every second pixel of the image is enough
    pixels = raster.index[::step, ::step]
    y, x = np.nonzero(pixels >= 0)
    ids = layer.ids[pixels[y, x]]
    small = ids.astype(np.uint16) if len(layer.entries) < 1 << 16 else ids  # a radix sort, three times as fast
    order = np.argsort(small, kind="stable")
    labels = []
    for rows in np.split(order, np.flatnonzero(np.diff(ids[order])) + 1):
        entry = layer.entries[ids[rows[0]]] if len(rows) else layer.entries[0]
        if entry is layer.entries[0] or len(rows) < 0.0006 * pixels.size or entry.name in unlabeled:
            continue
        xs, ys = x[rows], y[rows]
        middle = np.argmin((xs - np.median(xs)) ** 2 + (ys - np.median(ys)) ** 2)  # a pixel of the object itself
        score = "" if entry.score is None else f" {entry.score:.2f}"
        labels.append(Label(2.0 * xs[middle], 2.0 * ys[middle], entry.name + score, float(len(rows))))
    return tuple(labels)


def _legend(layers: Sequence[Layer]) -> list[tuple[str, tuple[int, int, int]]]:
    """Kinds of errors, then classes in their order, that some cell shows."""
    errors, classes = {}, {}
    for layer in layers:
        for entry, (red, green, blue) in zip(layer.entries, layer.colors.tolist()):
            if layer.key == "errors" and entry.number > 0 and entry.num_points:
                errors[entry.number] = entry.name, (red, green, blue)
            elif layer.key != "errors" and entry.number >= 0:
                classes[entry.number] = entry.name, (red, green, blue)
    return [*(errors[number] for number in sorted(errors)), *(classes[number] for number in sorted(classes))]
