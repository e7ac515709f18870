"""What the window shows of one room, without the window: its layers, what is hidden, colors, texts."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8

from pcseg.structures import Prediction, Scene
from pcseg.viz.layers import OBJECT_LAYERS, Entry, Layer, entry_name, input_colors, scene_layers
from pcseg.viz.raster import room_view
from pcseg.viz.splats import Splats
from pcseg.viz.view import View

DIGITS = {
    "input": "1",
    "truth": "2",
    "prediction": "3",
    "semantic_prediction": "4",
    "semantic_truth": "4",
    "superpoint": "5",
    "errors": "6",
}
_DIM, _DIM_SHARE = 228.0, 0.8  # what is not chosen fades to this gray


@dataclass(frozen=True)
class Frame:
    """One room in the window.

    Args:
        scene: the room.
        view: where to look from first, and where the ceiling is cut.
        spacing: distance between neighboring points, meters.
        light: brightness of each point from the slope of its surface.
        input: color of each point in the first layer.
        layers: the others, by key.
    """

    scene: Scene
    view: View
    spacing: float
    light: "np.ndarray"  # float32 (P, 1)
    input: UInt8[np.ndarray, "P 3"]
    layers: dict[str, Layer]

    @staticmethod
    def of(prediction: Prediction, threshold: float) -> "Frame":
        """Prepares a room.

        Raises:
            ValueError: the scene has no points.
        """
        scene = prediction.scene
        layers = scene_layers(prediction, threshold)
        splats = Splats.of_points(scene.xyz)
        normal = splats.normal
        # Surfaces that lie flat are brightest, walls that face x and y differ; an unknown slope is taken as flat.
        slope = np.abs(normal) @ np.array([[0.78], [0.68], [1.0]], np.float32)
        light = np.where(np.abs(normal).sum(axis=1, keepdims=True) > 0, np.minimum(slope, 1.0), 1.0)
        view = room_view(scene.xyz, width=1200, height=900)
        by_key = {layer.key: layer for layer in layers}
        return Frame(
            scene, view, float(np.median(splats.spacing)), light.astype(np.float32), input_colors(scene), by_key
        )

    @property
    def keys(self) -> list[str]:
        """Layers this room has, in the order of the digits."""
        return ["input", *(key for key in DIGITS if key in self.layers)]

    def title(self, key: str) -> str:
        """How a layer is called."""
        return self.layers[key].title if key in self.layers else "Input"

    def next_key(self, digit: str, current: str) -> str | None:
        """Layer that a digit leads to from the current one, None where the room has none."""
        keys = [key for key in self.keys if DIGITS[key] == digit]
        if not keys:
            return None
        return keys[(keys.index(current) + 1) % len(keys)] if current in keys else keys[0]

    def first_key(self, wanted: str) -> str:
        """The wanted layer where the room has it, else its objects, else its colors."""
        return next(key for key in (wanted, "prediction", "truth", "input") if key in self.keys)

    def shown(self, cut: bool) -> Bool[np.ndarray, "P"]:
        """Points that are to be seen, with the ceiling and near walls cut away or without."""
        return ~self.view.hidden(self.scene.xyz) if cut else np.ones(len(self.scene), np.bool_)

    def object_layer(self, key: str) -> Layer | None:
        """The layer whose entries a click chooses: the shown one, or the objects where colors are shown."""
        return self.layers.get(key) or self.layers.get("prediction") or self.layers.get("truth")

    def colors(self, key: str, chosen: int | None = None) -> UInt8[np.ndarray, "P 3"]:
        """Lit color of each point.

        Args:
            key: the layer.
            chosen: row of `object_layer` that stands out, everything else pales.
        """
        plain = self.layers[key].point_colors() if key in self.layers else self.input
        colors = plain * self.light
        layer = self.object_layer(key)
        if chosen is not None and layer is not None:
            rest = layer.ids != chosen
            colors[rest] += (_DIM - colors[rest]) * _DIM_SHARE
        return colors.astype(np.uint8)

    def describe(self, point: int, key: str) -> str:
        """What is known of a point, as lines: the objects it belongs to, its classes, its superpoint, its place."""
        order = sorted(self.layers.values(), key=lambda layer: (layer.key != key, layer.key not in OBJECT_LAYERS))
        lines = [f"{layer.title}: {_facts(layer, layer.entries[layer.ids[point]])}" for layer in order]
        x, y, z = self.scene.xyz[point]
        return "\n".join([*lines, f"x {x:.2f}  y {y:.2f}  z {z:.2f} m"])


def _facts(layer: Layer, entry: Entry) -> str:
    """Name, score, size and match of one entry."""
    facts = [entry_name(layer.key, entry)]
    if entry.score is not None:
        facts.append(f"score {entry.score:.2f}")
    if layer.key != "errors":
        facts.append(f"{entry.num_points:,} points")
    if entry.iou is not None:
        facts.append(f"IoU {entry.iou:.2f} with its match")
    return ", ".join(facts)
