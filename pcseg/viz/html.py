"""One HTML file with everything in it: points, labels and a small WebGL viewer; it asks nothing of any network."""

import base64
import gzip
import html
import json
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8, UInt16, UInt32

from pcseg.classes import ClassSet
from pcseg.files import atomic_write
from pcseg.structures import Prediction, Scene
from pcseg.viz.colors import class_colors
from pcseg.viz.layers import DEFAULT_THRESHOLD, Layer, input_colors, scene_layers, with_all_objects
from pcseg.viz.raster import CEILING_CUT, room_view
from pcseg.viz.splats import Splats

FORMAT_VERSION = 1
_SCRIPTS = ("data.js", "surface.js", "camera.js", "draw.js", "list.js", "input.js")  # in the order they run
_DIGITS = {"truth": "2", "prediction": "3", "superpoint": "5", "errors": "6"}  # the others are classes: 4


def write_page(
    path: Path,
    prediction: Prediction,
    *,
    title: str | None = None,
    threshold: float = DEFAULT_THRESHOLD,
    max_points: int = 3_000_000,
    layers: Sequence[Layer] | None = None,
) -> None:
    """Writes a page to look at a room with: layers, a list of its objects, search, selection.

    The page holds all predictions; its score slider starts at `threshold`, and so does what its errors are made of.

    Args:
        path: the .html file; it is replaced only when the new one is whole.
        prediction: a scene, and what was predicted for it.
        title: of the page; None takes the name of the scene.
        threshold: score from which predictions are shown at first.
        max_points: of a larger scan every second, third, ... point is kept, and the page says so.
        layers: of `scene_layers` with this threshold, where they are made already.

    Raises:
        ValueError: the scene has no points.
        OSError: the file cannot be written.
    """
    atomic_write(path, page_text(prediction, title=title, threshold=threshold, max_points=max_points, layers=layers))


def page_text(
    prediction: Prediction,
    *,
    title: str | None = None,
    threshold: float = DEFAULT_THRESHOLD,
    max_points: int = 3_000_000,
    layers: Sequence[Layer] | None = None,
) -> str:
    """The text of the page that `write_page` writes; arguments as there."""
    scene, classes = prediction.scene, prediction.classes
    layers = scene_layers(prediction, threshold) if layers is None else layers
    layers = with_all_objects(layers, prediction)
    keep = slice(None, None, -(-len(scene) // max_points))
    xyz = np.ascontiguousarray(scene.xyz[keep])
    low = xyz.min(axis=0).astype(np.float64)
    quantised, step = _quantise(xyz, low)
    order = np.argsort(_morton(quantised), kind="stable")  # neighbors together pack well
    splats = Splats.of_points(xyz)
    parts = [_packed_positions(quantised[order])]
    parts.append(_differences(input_colors(scene)[keep][order]))
    # Sixteenths of a power of two above 1/256 m.
    gap = np.clip(np.round(16 * (np.log2(splats.spacing[order]) + 8)), 0, 255).astype(np.uint8)
    parts.append(gap.tobytes())
    parts.append(_octants(splats.normal[order]))
    described = []
    for layer in layers:
        width = 1 if len(layer.entries) <= 1 << 8 else 2 if len(layer.entries) <= 1 << 16 else 4
        ids = layer.ids[keep][order].astype(f"<u{width}")
        parts.append(ids.view(np.uint8).reshape(len(ids), width).T.tobytes())
        described.append(_describe(layer, width, threshold if prediction.has_objects else None, classes))
    meta = _meta(scene, xyz, low, step, title, threshold, described)
    if len(xyz) < len(scene):
        meta["subtitle"] = f"{len(xyz):,} of {meta['subtitle']}"
    data = base64.b64encode(gzip.compress(b"".join(parts), 9, mtime=0)).decode()
    # No "<" leaves the JSON as it is, so that no name can end the script element.
    text = json.dumps(meta, separators=(",", ":"), ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    folder = resources.files("pcseg.viz").joinpath("page")
    script, style, template = (
        "".join(folder.joinpath(name).read_text(encoding="utf-8") for name in names)
        for names in (_SCRIPTS, ("page.css",), ("page.html",))
    )
    content = {"TITLE": html.escape(meta["title"]), "META": text, "DATA": data, "STYLE": style, "SCRIPT": script}
    return re.sub("__(TITLE|META|DATA|STYLE|SCRIPT)__", lambda mark: content[mark[1]], template)


def _meta(
    scene: Scene,
    xyz: np.ndarray,
    low: np.ndarray,
    step: float,
    title: str | None,
    threshold: float,
    layers: list[dict],
) -> dict:
    extent = xyz.max(axis=0) - low
    bottom, top = np.quantile(xyz[:, 2], [0.001, 0.999])
    cut = max(top - CEILING_CUT, bottom + 0.6 * (top - bottom)) - low[2]
    view = room_view(xyz, width=960, height=720)
    keys = [layer["key"] for layer in layers]
    size = " × ".join(f"{length:.1f}" for length in extent)
    return {
        "format": FORMAT_VERSION,
        "title": title or scene.name or "room",
        "name": scene.name or "room",
        "subtitle": f"{len(scene):,} points · {size} m",
        "input_title": "Input" if scene.rgb is not None else "Height",
        "num_points": len(xyz),
        "step": step,
        "origin": [round(float(value), 6) for value in low],
        "extent": [round(float(value), 4) for value in extent],
        "top": round(float(extent[2]) + 0.01, 3),
        "cut": round(float(cut), 3),
        "azimuth": round(view.azimuth, 1),
        "threshold": round(threshold, 4),
        "start": next((key for key in ("prediction", "truth", "semantic_prediction") if key in keys), "input"),
        "layers": layers,
    }


def _describe(layer: Layer, width: int, threshold: float | None, classes: ClassSet | None) -> dict:
    """What the page knows of a layer: n name, i id, p points, s score, m matching row, u IoU, h hint."""
    rows = []
    for entry in layer.entries:
        row: dict[str, object] = {"n": entry.name, "i": entry.number, "p": entry.num_points}
        if entry.score is not None and entry.number > 0:
            row["s"] = round(entry.score, 4)
        if entry.match and entry.iou is not None:
            row["m"], row["u"] = entry.match, round(entry.iou, 3)
        if entry.hint:
            row["h"] = entry.hint
        rows.append(row)
    note = f"predictions from score {threshold:.2f}" if layer.key == "errors" and threshold is not None else ""
    return {
        "key": layer.key,
        "title": layer.title,
        "digit": _DIGITS.get(layer.key, "4"),
        "note": note,
        "bytes": width,
        "colors": layer.colors.tobytes().hex(),
        "safe": _safe_colors(layer, classes).tobytes().hex() if layer.key.startswith("semantic") and classes else None,
        "rows": rows,
    }


def _safe_colors(layer: Layer, classes: ClassSet) -> UInt8[np.ndarray, "R 3"]:
    """Colors of a layer of classes that all eyes tell apart."""
    table = class_colors(np.array([name in classes.stuff for name in classes.names], np.bool_))
    numbers = np.array([entry.number for entry in layer.entries])
    return np.where(numbers[:, None] < 0, layer.colors, table[np.maximum(numbers, 0)])


def _quantise(xyz: np.ndarray, low: np.ndarray) -> tuple[UInt16[np.ndarray, "P 3"], float]:
    """Whole steps above the lowest corner; a step is a millimeter, less for small things and more beyond 65 m."""
    extent = float((xyz.max(axis=0) - low).max())
    step = max(min(extent / 8192, 0.001), extent / 65535) or 0.001
    return np.round((xyz - low) / step).astype(np.uint16), step


def _morton(cells: UInt16[np.ndarray, "P 3"]) -> np.ndarray:
    """Position along a curve through all cells that keeps neighbors together: bits of x, y, z in turn."""
    code = np.zeros(len(cells), np.uint64)
    for axis in range(3):
        bits = cells[:, axis].astype(np.uint64)
        for shift, mask in (
            (32, 0x1F00000000FFFF),
            (16, 0x1F0000FF0000FF),
            (8, 0x100F00F00F00F00F),
            (4, 0x10C30C30C30C30C3),
            (2, 0x1249249249249249),
        ):
            bits = (bits | (bits << np.uint64(shift))) & np.uint64(mask)
        code |= bits << np.uint64(axis)
    return code


def _packed_positions(cells: UInt16[np.ndarray, "P 3"]) -> bytes:
    """Per axis the differences to the point before, signs in the lowest bit, low bytes before high bytes."""
    planes = []
    for axis in range(3):
        change = np.diff(cells[:, axis].astype(np.int32), prepend=np.int32(0))
        change = (change + (1 << 15)) % (1 << 16) - (1 << 15)  # the page adds modulo 65536
        folded: UInt32[np.ndarray, "P"] = ((change << 1) ^ (change >> 31)).astype(np.uint32)
        planes += [(folded & 255).astype(np.uint8).tobytes(), (folded >> 8).astype(np.uint8).tobytes()]
    return b"".join(planes)


def _differences(colors: UInt8[np.ndarray, "P 3"]) -> bytes:
    """Per channel the difference to the point before, modulo 256."""
    return b"".join(np.diff(colors[:, k], prepend=np.uint8(0)).tobytes() for k in range(3))


def _octants(normal: Float32[np.ndarray, "P 3"]) -> bytes:
    """Normals folded onto an octahedron, one signed byte a coordinate; -128 twice where a normal is unknown.

    Source:
        Meyer et al. 2010, "On floating-point normal vectors".
    """
    size = np.abs(normal).sum(axis=1, keepdims=True)
    point = normal / np.where(size > 0, size, 1)
    lower = np.where(point[:, :2] < 0, -1.0, 1.0) * (1 - np.abs(point[:, 1::-1]))
    flat = np.where(point[:, 2:] < 0, lower, point[:, :2])
    bytes_ = np.round(flat * 127).astype(np.int8)
    bytes_[size[:, 0] == 0] = -128
    return np.ascontiguousarray(bytes_.T).tobytes()
