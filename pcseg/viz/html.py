"""A page about one room: a single HTML file with points, labels and a WebGL viewer, without any network request."""

import base64
import gzip
import html
import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Integer, UInt16

from pcseg.classes import ClassSet, class_colors
from pcseg.files import atomic_write
from pcseg.ops.voxelize import bounding_box
from pcseg.prediction import Prediction
from pcseg.viz.flat import image_size
from pcseg.viz.layers import DEFAULT_THRESHOLD, DIGITS, Layer, input_colors, scene_layers
from pcseg.viz.raster import Splats, room_view, shown_points

_SCRIPTS = ("data.js", "surface.js", "camera.js", "draw.js", "names.js", "list.js", "input.js")  # in the order they run


def write_page(path: Path, prediction: Prediction, *, threshold: float = DEFAULT_THRESHOLD) -> None:
    """Writes a page to look at a room: layers, a list of its objects, search, selection.

    The page holds all objects. The file appears complete or not at all.

    Args:
        path: .html file to write.
        prediction: scene to show, and what was predicted for it.
        threshold: where the score slider starts, 0..1; the layer of errors is computed for it.

    Raises:
        ValueError: the scene has no points.
        OSError: the file cannot be written.
    """
    meta, data = _content(prediction, threshold)
    content = {
        "TITLE": html.escape(meta["name"]),
        # "<" is escaped, so that no name can end the script element.
        "META": json.dumps(meta, separators=(",", ":"), ensure_ascii=False, allow_nan=False).replace("<", "\\u003c"),
        "DATA": base64.b64encode(gzip.compress(data, 6, mtime=0)).decode(),
        "STYLE": _read("page.css"),
        "SCRIPT": "".join(map(_read, _SCRIPTS)),
    }
    atomic_write(path, re.sub("__(TITLE|META|DATA|STYLE|SCRIPT)__", lambda mark: content[mark[1]], _read("page.html")))


def _content(prediction: Prediction, threshold: float) -> tuple[dict[str, Any], bytes]:
    """What the page reads: a description, and the planes of positions, colors, spacing, normals and layers."""
    scene, layers = prediction.scene, scene_layers(prediction, threshold, all_objects=True)
    shown = shown_points(scene.xyz)
    keep = shown.rows
    xyz = np.ascontiguousarray(scene.xyz[keep])
    low = xyz.min(axis=0).astype(np.float64)
    cells, step = _quantize(xyz, low)
    order = np.argsort(_morton(cells), kind="stable")  # neighbors together compress well
    splats = Splats.of_points(xyz)
    # Sixteenths of a power of two above 1/256 m.
    gap = np.clip(np.round(16 * (np.log2(splats.spacing[order]) + 8)), 0, 255).astype(np.uint8)
    colors = np.diff(input_colors(scene)[keep][order], axis=0, prepend=np.uint8(0))  # modulo 256
    parts = [_positions(cells[order]), colors.T.tobytes(), gap.tobytes(), _octants(splats.normal[order])]
    described = []
    for layer in layers.values():
        width = 1 if len(layer.entries) <= 1 << 8 else 2 if len(layer.entries) <= 1 << 16 else 4
        parts.append(_planes(layer.ids[keep][order].astype(f"<u{width}")))
        note = f"objects from score {threshold:.2f}" if layer.key == "errors" and prediction.has_objects else ""
        described.append({**_describe(layer, prediction.classes), "bytes": width, "note": note})
    pixels = image_size(scene.xyz)
    extent, view = xyz.max(axis=0) - low, room_view(xyz, width=960, height=720, azimuth=-90.0 if pixels else None)
    first, last = bounding_box(scene.xyz)
    meters, frame = (" × ".join(f"{edge:.1f}" for edge in edges) for edges in (last - first, extent))
    size = f"{pixels[1]} × {pixels[0]} pixels" if pixels else f"{len(scene):,} points · {meters} m"
    apart = f", one in {1000 * shown.voxel:.0f} mm" if shown.voxel and not pixels else ""
    thinned = f" · thinned to {len(xyz):,}{apart}" if shown.voxel else ""
    strays = f" · {shown.num_strays:,} points outside of {frame} m are not shown" if shown.num_strays else ""
    top = float(extent[2]) + 0.01
    meta = {
        "name": scene.name or "room",
        "subtitle": f"{size}{thinned}{strays}",
        "input_title": "Input" if scene.rgb is not None else "Height",
        "num_points": len(xyz),
        "step": step,
        "origin": [round(float(value), 6) for value in low],
        "extent": [round(float(value), 4) for value in extent],
        "top": round(top, 3),
        "cut": round(top if view.cut is None else view.cut - float(low[2]), 3),
        "image": pixels is not None,  # seen from straight above, without controls for rooms
        "azimuth": round(view.azimuth, 1),
        "pitch": 1.5707 if pixels else 0.87,
        "threshold": round(threshold, 4),
        "start": next((key for key in ("prediction", "truth", "semantic_prediction") if key in layers), "input"),
        "layers": described,
    }
    return meta, b"".join(parts)


def _read(name: str) -> str:
    return (resources.files("pcseg.viz") / "page" / name).read_text(encoding="utf-8")


def _describe(layer: Layer, classes: ClassSet | None) -> dict[str, Any]:
    """A layer in the page: n name, i id, p points, s score, m matching row, u IoU, h hint."""
    rows = []
    for entry in layer.entries:
        row: dict[str, Any] = {"n": entry.name, "i": entry.number, "p": entry.num_points}
        if entry.score is not None:
            row["s"] = round(entry.score, 6)
        if entry.iou is not None:
            row["m"], row["u"] = entry.match, round(entry.iou, 3)
        if entry.hint:
            row["h"] = entry.hint
        rows.append(row)
    safe = None
    if layer.key.startswith("semantic") and classes is not None:
        table = class_colors(classes.is_stuff)
        numbers = np.array([entry.number for entry in layer.entries])
        safe = np.where(numbers[:, None] < 0, layer.colors, table[numbers]).tobytes().hex()
    known = {"key": layer.key, "title": layer.title, "digit": DIGITS[layer.key], "rows": rows}
    return {**known, "colors": layer.colors.tobytes().hex(), "safe": safe}


def _quantize(xyz: np.ndarray, low: np.ndarray) -> tuple[UInt16[np.ndarray, "P 3"], float]:
    """Whole steps above the lowest corner; a step is a millimeter, less for small scans and more beyond 65 m."""
    extent = float((xyz.max(axis=0) - low).max())
    step = max(min(extent / 8192, 0.001), extent / 65535) or 0.001
    return np.round((xyz - low) / step).astype(np.uint16), step


def _morton(cells: UInt16[np.ndarray, "P 3"]) -> np.ndarray:
    """Position along a curve through all cells that keeps neighbors together: bits of x, y, z in turn."""
    wide, code = cells.astype(np.uint64), np.zeros(len(cells), np.uint64)
    for bit in range(16):
        for axis in range(3):
            code |= (wide[:, axis] >> np.uint64(bit) & np.uint64(1)) << np.uint64(3 * bit + axis)
    return code


def _planes(numbers: Integer[np.ndarray, "P"]) -> bytes:
    """The lowest byte of each number, then the next byte of each."""
    return numbers.view(np.uint8).reshape(len(numbers), -1).T.tobytes()


def _positions(cells: UInt16[np.ndarray, "P 3"]) -> bytes:
    """Per axis the differences to the previous point, modulo 65536, with the sign in the lowest bit."""
    change = np.diff(cells, axis=0, prepend=np.uint16(0)).view(np.int16)
    folded = (change << 1) ^ (change >> 15)
    return b"".join(_planes(column) for column in np.ascontiguousarray(folded.T, "<i2"))


def _octants(normal: Float32[np.ndarray, "P 3"]) -> bytes:
    """Normals folded onto an octahedron (Meyer et al. 2010, "On floating-point normal vectors").

    One signed byte per coordinate; -128 twice where a normal is unknown.
    """
    size = np.abs(normal).sum(axis=1, keepdims=True)
    point = normal / np.where(size > 0, size, 1)
    lower = np.where(point[:, :2] < 0, -1.0, 1.0) * (1 - np.abs(point[:, 1::-1]))
    flat = np.where(point[:, 2:] < 0, lower, point[:, :2])
    folded = np.round(flat * 127).astype(np.int8)
    folded[size[:, 0] == 0] = -128
    return np.ascontiguousarray(folded.T).tobytes()
