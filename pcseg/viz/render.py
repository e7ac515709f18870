"""Pictures of rooms: input, ground truth and prediction side by side, from several sides, without a display."""

from collections import Counter
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from pcseg.ops.voxelize import bounding_box
from pcseg.prediction import Prediction, counted
from pcseg.viz.flat import flat_raster, image_size
from pcseg.viz.grid import Cell, Label, image_grid
from pcseg.viz.layers import DEFAULT_THRESHOLD, OBJECT_LAYERS, UNNAMED, Layer, input_colors, scene_layers
from pcseg.viz.raster import SUPERSAMPLING, Raster, Shown, Splats, rasterize, room_view, shown_points

_VIEWS = ("", ", from the other side", ", from above")
_COLUMNS = 3
_MAX_NAMES = 30  # on a cell; the table of the objects has all of them


def room_picture(
    prediction: Prediction,
    *,
    threshold: float = DEFAULT_THRESHOLD,
    width: int = 720,
    height: int = 540,
    cut: float | None = None,
    views: int = 3,
) -> Image.Image:
    """One figure about a room: input, true objects, predicted objects, errors and classes, all from several sides.

    Cells without data are left out, and the others fill the figure. The camera looks in from above, with the ceiling
    and the near walls cut away; an image is shown as it is. A predicted object has the color of the true object that it
    matches. Visible objects have their names on them. Where space is short, the best ones are named, and of true
    objects the largest. The line at the top lists those that are hidden.

    Args:
        prediction: a scene and what was predicted for it.
        threshold: lowest score of shown objects.
        width: width of a cell in pixels.
        height: height of a cell in pixels.
        cut: height above which points are hidden; None is 0.3 m below a ceiling.
        views: 1 for one camera; 2 adds one from the other side, 3 also one from above.

    Raises:
        ValueError: the scene has no points, or `views` is not 1 to 3.
    """
    if not 1 <= views <= len(_VIEWS):
        raise ValueError(f"a picture has 1 to {len(_VIEWS)} views, got {views}")
    scene = prediction.scene
    by_key: dict[str, Layer | None] = {"input": None, **scene_layers(prediction, threshold)}
    is_image = image_size(scene.xyz) is not None
    rows = _cell_rows(by_key, prediction.semantic is not None, is_image, views)
    cameras = 1 + max(view for row in rows for _, view in row)
    xyz, given = scene.xyz, input_colors(scene)
    shown = shown_points(xyz, len(xyz) if is_image else None)
    if shown.voxel is not None:
        xyz, given = xyz[shown.rows], given[shown.rows]
        by_key = {key: layer and replace(layer, ids=layer.ids[shown.rows]) for key, layer in by_key.items()}
    surfaces = frozenset() if prediction.classes is None else prediction.classes.stuff
    pale = 190 + given.mean(axis=1, keepdims=True) // 5
    rasters = _rasters(xyz, cameras, {"width": width, "height": height, "cut": cut})

    def cell(item: tuple[str, int]) -> Cell:
        (key, view), layer, raster = item, by_key[item[0]], rasters[item[1]]
        title = f"{_title(layer, prediction, threshold, full=view == 0)}{_VIEWS[view]}"
        if layer is None:
            return Cell(title, raster.paint(given))
        colors = layer.point_colors()
        if is_image:
            colors = np.where((layer.ids == 0)[:, None], pale, colors).astype(np.uint8)
        names = _names(raster, layer, surfaces) if key in OBJECT_LAYERS else ()
        if len(names) > _MAX_NAMES:
            title = f"{title}, at most {_MAX_NAMES} named"
            names = sorted(names, key=lambda name: -name.weight)[:_MAX_NAMES]
        return Cell(title, raster.paint(colors), tuple(names))

    with ThreadPoolExecutor() as pool:  # the kernels release the interpreter lock
        cells = [list(pool.map(cell, row)) for row in rows]
    note = _note(scene.xyz, shown, rasters, [layer for key in OBJECT_LAYERS if (layer := by_key.get(key))])
    legend = _legend([by_key[key] for key in dict.fromkeys(key for row in rows for key, _ in row)], gray=not is_image)
    return image_grid(cells, title=scene.name, note=note, legend=legend)


def _cell_rows(keys: Collection[str], has_classes: bool, is_image: bool, views: int) -> list[list[tuple[str, int]]]:
    """Rows of (layer, view), one pair per cell: objects, then errors, and classes to compare."""
    objects = [key for key in ("input", *OBJECT_LAYERS) if key in keys]
    compared = has_classes or "errors" in keys or "prediction" not in keys  # labels alone are shown, too
    other = [key for key in ("errors", "semantic_truth", "semantic_prediction") if key in keys and compared]
    if not is_image:
        return _arrange(objects, other, views)
    # Nothing to see from other sides; objects have their classes on them, and two columns are wide enough to read them.
    cells = [(key, 0) for key in (*objects, *other) if not key.startswith("semantic")]
    return [cells[:2], cells[2:]] if len(cells) > 2 else [cells]


def _arrange(objects: list[str], other: list[str], views: int) -> list[list[tuple[str, int]]]:
    """Rows of (layer, view), equally long: where cells are missing, a row has its first layer from further sides."""
    if len(objects) + len(other) <= _COLUMNS:
        if len(objects) + len(other) == 1:
            return [[(objects[0], view) for view in range(views)]]
        return [[(key, view) for key in [*objects, *other]] for view in range(views)]
    columns = max(len(objects), len(other))
    repeated = objects if len(objects) == columns else other
    first = [[(row[0], view) for view in range(1 + columns - len(row))] for row in (objects, other)]
    rows = [start + [(key, 0) for key in row[1:]] for start, row in zip(first, (objects, other))]
    return rows + [[(key, view) for key in repeated] for view in range(1, views)]


def _note(xyz: np.ndarray, shown: Shown, rasters: list[Raster], layers: list[Layer]) -> str:
    """Number of points and size, points that are not shown, and objects that no camera sees."""
    if size := image_size(xyz):
        return f"{size[1]} x {size[0]} pixels"
    whole, frame = (" x ".join(f"{edge:.1f}" for edge in b - a) for a, b in (bounding_box(xyz), shown.box))
    facts = [f"{len(xyz):,} points, {whole} m"]
    if shown.voxel is not None:
        facts.append(f"thinned to {len(shown.rows):,}")
    if shown.num_strays:
        facts.append(f"{shown.num_strays:,} points outside of {frame} m are not shown")
    seen = np.concatenate([raster.index[raster.index >= 0] for raster in rasters])
    for layer in layers:
        visible = np.bincount(layer.ids[seen], minlength=len(layer.entries)) > 0
        hidden = Counter(entry.name for entry, shown in zip(layer.entries[1:], visible[1:]) if not shown)
        if hidden:
            names = [name if count == 1 else f"{count} x {name}" for name, count in hidden.most_common()]
            more = f" and {len(names) - 4} more classes" if len(names) > 4 else ""
            facts.append(f"hidden in {layer.title.lower()}: {', '.join(names[:4])}{more}")
    return "; ".join(facts)


def _rasters(xyz: np.ndarray, views: int, camera: dict[str, Any]) -> list[Raster]:
    """Rasters from the camera and, with more views, from the other side and from above."""
    if size := image_size(xyz):
        return [flat_raster(*size, camera["width"])]
    view = room_view(xyz, **camera)
    camera = {**camera, "cut": view.cut, "box": view.box}
    behind: dict[str, Any] = {"azimuth": view.azimuth + 180.0}
    above: dict[str, Any] = {"azimuth": -90.0, "elevation": 89.9, "open_front": False}  # a plan: x right, y up
    cameras = [view, *(room_view(xyz, **camera, **other) for other in (behind, above)[: views - 1])]
    splats, size = Splats.of_points(xyz), {"width": camera["width"], "height": camera["height"]}
    with ThreadPoolExecutor() as pool:  # the kernels release the interpreter lock
        return list(pool.map(lambda view: rasterize(xyz, view, splats=splats, **size), cameras))


def _title(layer: Layer | None, prediction: Prediction, threshold: float, *, full: bool) -> str:
    """Title of a cell; the full one has the number of objects."""
    if layer is None:
        return "Input" if prediction.scene.rgb is not None or not full else "Input (no color: by height)"
    if layer.key not in OBJECT_LAYERS or not full:
        return layer.title
    number = len(layer.entries) - 1
    title = f"{layer.title}: {counted(number, 'object')}"
    if layer.key == "prediction":
        title += f", score at least {threshold:.2f}"
        if number == 0 and len(prediction):
            title += f" (the best of {len(prediction)} has {float(prediction.scores.max()):.2f})"
    return title


def _names(raster: Raster, layer: Layer, surfaces: Collection[str]) -> tuple[Label, ...]:
    """Names and visible pixels of objects, but walls and alike: class, of predictions id, class, and score."""
    step = SUPERSAMPLING
    pixels = raster.index[::step, ::step]
    y, x = np.nonzero(pixels >= 0)
    ids = layer.ids[pixels[y, x]]
    small = ids.astype(np.uint16) if len(layer.entries) < 1 << 16 else ids  # a radix sort, three times as fast
    order = np.argsort(small, kind="stable")
    labels = []
    for rows in np.split(order, np.flatnonzero(np.diff(ids[order])) + 1):
        row = int(ids[rows[0]]) if len(rows) else 0
        entry, name = layer.entries[row], layer.name_of(row)
        if row == 0 or entry.name in surfaces:
            continue
        text = name if entry.name == UNNAMED else entry.name
        if entry.score is not None:
            text = f"{entry.number} {entry.name} {entry.score:.2f}"
        weight = float(len(rows)) if entry.score is None else entry.score
        labels.append(Label(np.stack([x[rows], y[rows]], axis=1), text, weight))
    return tuple(labels)


def _legend(layers: Sequence[Layer | None], *, gray: bool) -> list[tuple[str, tuple[int, int, int]]]:
    """Points without an object or class, kinds of errors, then classes in their order, that some cell shows."""
    errors, classes = {}, {}
    none: dict[str, tuple[int, int, int]] = {}
    for layer in filter(None, layers):
        for entry, (red, green, blue) in zip(layer.entries, layer.colors.tolist()):
            if layer.key == "errors":
                if entry.number > 0 and entry.num_points:
                    errors[entry.number] = entry.name, (red, green, blue)
            elif entry.number < 0 or (layer.key in OBJECT_LAYERS and entry.number == 0):
                none |= {entry.name: (red, green, blue)} if gray and entry.num_points else {}
            elif layer.key not in OBJECT_LAYERS:
                classes[entry.number] = entry.name, (red, green, blue)
    return [*none.items(), *(kinds[number] for kinds in (errors, classes) for number in sorted(kinds))]
