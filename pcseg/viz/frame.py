"""What the window shows of one room: layers, colors and descriptions of points."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from pcseg.prediction import Prediction
from pcseg.structures import Scene
from pcseg.viz.layers import DIGITS, OBJECT_LAYERS, Layer, input_colors, scene_layers
from pcseg.viz.raster import Splats, View, room_view

_PALE, _FADE = 228.0, 0.8  # everything but the selected object fades to this gray by this fraction


@dataclass(frozen=True)
class Frame:
    """One room in the window."""

    scene: Scene
    view: View  # first position of the camera, and the cut of the ceiling
    spacing: float  # distance between neighboring points in meters
    light: Float32[np.ndarray, "P 1"]  # brightness of each point from the slope of its surface
    input: UInt8[np.ndarray, "P 3"]  # color of each point in the first layer
    layers: dict[str, Layer]  # the other layers by key

    @staticmethod
    def of(prediction: Prediction, threshold: float) -> "Frame":
        """Prepares a room; objects below the threshold are left out.

        Raises:
            ValueError: the scene has no points.
        """
        scene = prediction.scene
        layers = scene_layers(prediction, threshold)
        splats = Splats.of_points(scene.xyz)
        normal = np.abs(splats.normal)
        # Level surfaces are brightest, walls along x and y differ; an unknown slope counts as level.
        slope = np.minimum(normal @ np.array([[0.78], [0.68], [1.0]], np.float32), 1.0)
        light = np.where(normal.any(axis=1, keepdims=True), slope, np.float32(1.0))
        view = room_view(scene.xyz, width=1200, height=900)
        return Frame(scene, view, float(np.median(splats.spacing)), light, input_colors(scene), layers)

    @property
    def keys(self) -> list[str]:
        """Layers of this room in the order of their digits."""
        return [key for key in DIGITS if key == "input" or key in self.layers]

    def title(self, key: str) -> str:
        """Title of a layer."""
        return self.layers[key].title if key in self.layers else "Input"

    def next_key(self, digit: str, current: str) -> str | None:
        """Layer that a digit leads to from the current one; None if the room has none."""
        keys = [key for key in self.keys if DIGITS[key] == digit]
        if not keys:
            return None
        return keys[(keys.index(current) + 1) % len(keys)] if current in keys else keys[0]

    def first_key(self, wanted: str) -> str:
        """The wanted layer if the room has it, else its objects, else its colors."""
        return next(key for key in (wanted, "prediction", "truth", "input") if key in self.keys)

    def shown(self, cut: bool) -> Bool[np.ndarray, "P"]:
        """Visible points, with the ceiling and near walls cut away or not."""
        return ~self.view.hidden(self.scene.xyz) if cut else np.ones(len(self.scene), np.bool_)

    def object_layer(self, key: str) -> Layer | None:
        """The layer whose rows a click selects: the shown one, or the objects if colors are shown."""
        return self.layers.get(key) or self.layers.get("prediction") or self.layers.get("truth")

    def colors(self, key: str, chosen: int | None = None) -> UInt8[np.ndarray, "P 3"]:
        """Lit color of each point in a layer.

        Args:
            key: the layer; "input" gives the colors of the scan.
            chosen: row of `object_layer` that stays while all others fade; None fades nothing.
        """
        layer = self.object_layer(key)
        colors = (self.layers[key].point_colors() if key in self.layers else self.input) * self.light
        if chosen is not None and layer is not None:
            rest = layer.ids != chosen
            colors[rest] += (_PALE - colors[rest]) * _FADE
        return colors.astype(np.uint8)

    def describe(self, point: int, key: str) -> str:
        """Lines about a point: its objects, classes, superpoint and position; the layer `key` comes first."""
        order = sorted(self.layers.values(), key=lambda layer: (layer.key != key, layer.key not in OBJECT_LAYERS))
        x, y, z = self.scene.xyz[point]
        return "\n".join(
            [*(_facts(layer, int(layer.ids[point])) for layer in order), f"x {x:.2f}  y {y:.2f}  z {z:.2f} m"]
        )


def _facts(layer: Layer, row: int) -> str:
    """Title of the layer; name, score, size and match of one row."""
    entry, facts = layer.entries[row], [layer.name_of(row)]
    if entry.score is not None:
        facts.append(f"score {entry.score:.2f}")
    if layer.key != "errors":
        facts.append(f"{entry.num_points:,} points")
    if entry.iou is not None:
        facts.append(f"IoU {entry.iou:.2f} with its match")
    return f"{layer.title}: {', '.join(facts)}"
