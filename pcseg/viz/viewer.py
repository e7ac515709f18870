"""A window to look at rooms, by Open3D; without a display, use pages (`html`) and pictures (`render`)."""

import ctypes
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8
from PIL import Image

from pcseg.kernels.picking import nearest_on_screen
from pcseg.prediction import Prediction
from pcseg.structures import Scene
from pcseg.viz.grid import save_png
from pcseg.viz.layers import DEFAULT_THRESHOLD, DIGITS, OBJECT_LAYERS, Layer, input_colors, scene_layers
from pcseg.viz.raster import Splats, View, room_view

HELP = (
    "1 input   2 truth   3 prediction   4 classes   5 superpoints   6 errors\n"
    "n p next, previous scene   + - point size   c ceiling and near walls   r first view\n"
    "s screenshot   h this help   q quit   drag turns, Ctrl drag moves, wheel zooms\n"
    "hover over a point to read about it; click to select its object, again to deselect it"
)
PACKAGES = "on Debian and Ubuntu, apt-get install libgl1 libegl1 libusb-1.0-0 libgomp1 libvulkan1 mesa-vulkan-drivers"
INSTEAD = "write a page with --html or a picture with --png"
_MAX_POINT_SIZE = 20.0
_CLOSING = 2.0  # points this many times as wide as their spacing close the surfaces
_PALE, _FADE = 228.0, 0.8  # everything but the selected object fades to this gray by this fraction
_SLACK = 0.02  # points this fraction of the depth behind the frontmost one are on the same surface
_PAPER, _CARD, _INK = (0.98, 0.98, 0.985, 1.0), (1.0, 1.0, 1.0, 0.88), (0.11, 0.13, 0.16)


@dataclass(frozen=True)
class Frame:
    """One room in the window.

    Args:
        scene: the room.
        view: first position of the camera, and the cut of the ceiling.
        spacing: distance between neighboring points in meters.
        light: brightness of each point from the slope of its surface.
        input: color of each point in the first layer.
        layers: the other layers by key.
    """

    scene: Scene
    view: View
    spacing: float
    light: Float32[np.ndarray, "P 1"]
    input: UInt8[np.ndarray, "P 3"]
    layers: dict[str, Layer]

    @staticmethod
    def of(prediction: Prediction, threshold: float) -> "Frame":
        """Prepares a room; objects below the threshold are left out.

        Raises:
            ValueError: the scene has no points.
        """
        scene = prediction.scene
        layers = {layer.key: layer for layer in scene_layers(prediction, threshold)}
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
        """Lit color of each point.

        Args:
            key: layer that is shown.
            chosen: row of `object_layer` that keeps its color while everything else fades.
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

    def pick(
        self,
        shown: Bool[np.ndarray, "P"],
        matrix: Float64[np.ndarray, "4 4"],
        *,
        pixel: tuple[float, float],
        size: tuple[float, float],
        reach: float = 6.0,
    ) -> int | None:
        """The point under a pixel: the closest one to it on the frontmost surface within reach.

        Args:
            shown: False for points that cannot be picked.
            matrix: projection times view of OpenGL, from room to clip coordinates.
            pixel: x to the right and y down from the upper left corner.
            size: width and height of the image in pixels.
            reach: largest distance from the pixel in pixels.

        Returns:
            Row of the point; None if there is none.
        """
        xyz = np.ascontiguousarray(self.scene.xyz)
        found = int(nearest_on_screen(xyz, shown, matrix, *pixel, *size, reach, _SLACK))
        return None if found < 0 else found


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


def show_scenes(
    load: Sequence[Callable[[], Prediction]], *, threshold: float = DEFAULT_THRESHOLD, screenshots: Path = Path(".")
) -> None:
    """Opens a window and returns when it is closed.

    Args:
        load: one function per scene, called when its scene is first shown.
        threshold: lowest score of shown objects.
        screenshots: folder for screenshots.

    Raises:
        ValueError: there are no scenes, no Open3D, or no display.
    """
    if not load:
        raise ValueError("no scene to show")
    first = Frame.of(load[0](), threshold)  # an unreadable file is reported before a missing Open3D
    if not has_display():
        raise ValueError(f"there is no display to open a window on; {INSTEAD}")
    _Window(import_open3d(), load, first, threshold, screenshots).run()


def import_open3d() -> Any:
    """Imports Open3D, which takes seconds and only the window needs.

    Raises:
        ValueError: Open3D or a system library that it needs is not installed.
    """
    try:
        import open3d
        import open3d.visualization.gui  # the part that needs the system libraries
    except (ImportError, OSError) as error:
        raise ValueError(
            f"the window needs Open3D ({error}): run pip install 'pcseg[viz]' and, {PACKAGES}, or {INSTEAD}"
        ) from error
    return open3d


def has_display() -> bool:
    """Whether a window can appear; without a display, Open3D would draw off-screen and never return."""
    if not sys.platform.startswith("linux") or os.environ.get("WAYLAND_DISPLAY"):
        return True
    if not os.environ.get("DISPLAY"):
        return False
    try:
        x11 = ctypes.CDLL("libX11.so.6")
    except OSError:
        return True  # Open3D will report it
    x11.XOpenDisplay.restype = ctypes.c_void_p
    display = x11.XOpenDisplay(None)
    if display is not None:
        x11.XCloseDisplay(ctypes.c_void_p(display))
    return display is not None


class _Window:
    """The shown scene and layer, and the Open3D widgets that show them."""

    def __init__(
        self,
        open3d: Any,
        load: Sequence[Callable[[], Prediction]],
        first: Frame,
        threshold: float,
        screenshots: Path,
    ) -> None:
        self.open3d, self.gui = open3d, open3d.visualization.gui
        self.load, self.threshold, self.screenshots = load, threshold, screenshots
        self.number, self.frame, self.cut = 0, first, True
        self.layer = first.first_key("prediction")
        self.chosen: int | None = None
        self.pressed: tuple[int, int] | None = None  # where the mouse button went down
        self.actions: dict[str, Callable[[], None]] = {digit: partial(self._switch, digit) for digit in DIGITS.values()}
        self.actions |= {"n": partial(self._go, 1), "p": partial(self._go, -1), "c": self._toggle_cut, "r": self._look}
        self.actions |= {"s": self._screenshot, "h": self._toggle_help, "-": partial(self._resize, 0.8)}
        self.actions |= dict.fromkeys("+=", partial(self._resize, 1.25))
        self.actions["q"] = lambda: self.gui.Application.instance.quit()

    # ---- the window

    def run(self) -> None:
        open3d, rendering = self.open3d, self.open3d.visualization.rendering
        open3d.utility.set_verbosity_level(open3d.utility.VerbosityLevel.Error)
        application = self.gui.Application.instance
        try:
            application.initialize()
            self.window = application.create_window("pcseg", 1280, 860)
        except RuntimeError as error:
            raise ValueError(
                f"no window could be opened ({error}): it needs a display and, {PACKAGES}, or {INSTEAD}"
            ) from error
        self.widget = self.gui.SceneWidget()
        self.widget.scene = rendering.Open3DScene(self.window.renderer)
        self.widget.scene.set_background(_PAPER)
        self.widget.scene.view.set_post_processing(False)  # keep the colors
        self.material = rendering.MaterialRecord()
        self.material.shader, self.material.point_size = "defaultUnlit", 3.0
        self.heading, self.facts, self.help = (self._label(text) for text in ("", "", HELP))
        for child in (self.widget, self.heading, self.facts, self.help):
            self.window.add_child(child)
        self.window.set_on_layout(self._layout)
        self.window.set_on_key(self._on_key)
        self.widget.set_on_mouse(self._on_mouse)
        self._fill()
        self._look()
        self._report()
        application.run()

    def _label(self, text: str) -> Any:
        label = self.gui.Label(text)
        label.background_color = self.gui.Color(*_CARD)
        label.text_color = self.gui.Color(*_INK)
        label.visible = bool(text)
        return label

    def _layout(self, context: Any) -> None:
        area, gap = self.window.content_rect, round(0.6 * context.theme.font_size)
        self.widget.frame = area
        labels = (self.heading, self.facts, self.help)
        sizes = [label.calc_preferred_size(context, self.gui.Widget.Constraints()) for label in labels]
        heights = [size.height - gap for size in sizes]  # Open3D leaves more room below a label than beside it
        tops = (gap, 2 * gap + heights[0], area.height - heights[2] - gap)
        for label, size, height, top in zip(labels, sizes, heights, tops):
            label.frame = self.gui.Rect(area.x + gap, area.y + top, size.width, height)

    def _write(self, label: Any, text: str) -> None:
        if label.text != text:
            label.text, label.visible = text, bool(text)
            self.window.set_needs_layout()
            self.window.post_redraw()

    def _report(self, more: str = "") -> None:
        """Shows which scene and layer this is, and what else there is to say, also in the terminal."""
        where = f"{self.number + 1} of {len(self.load)}: {self.frame.scene.name}, {self.frame.title(self.layer)}"
        text = f"{where}; {more}" if more else where
        self._write(self.heading, text)
        print(text, file=sys.stderr, flush=True)

    # ---- the room

    def _fill(self) -> None:
        """Shows the points of the scene."""
        tensor, scene = self.open3d.core.Tensor, self.widget.scene
        self.shown = self.frame.shown(self.cut)
        self.cloud = self.open3d.t.geometry.PointCloud(tensor(self.frame.scene.xyz[self.shown]))
        self._color()
        if scene.has_geometry("room"):
            scene.remove_geometry("room")
        scene.add_geometry("room", self.cloud, self.material)

    def _color(self) -> None:
        colors = self.frame.colors(self.layer, self.chosen)[self.shown].astype(np.float32) / 255
        self.cloud.point.colors = self.open3d.core.Tensor(colors)

    def _recolor(self) -> None:
        self._color()
        flag = self.open3d.visualization.rendering.Scene.UPDATE_COLORS_FLAG
        self.widget.scene.scene.update_geometry("room", self.cloud, flag)
        self.widget.force_redraw()

    def _look(self) -> None:
        """Moves the camera to where the pictures are taken from."""
        view, bounds = self.frame.view, self.widget.scene.bounding_box
        self.widget.setup_camera(view.fov, bounds, bounds.get_center())
        reach = float((view.eye - bounds.get_center()) @ view.rotation[2])
        self.widget.look_at(view.eye - reach * view.rotation[2], view.eye, [0.0, 0.0, 1.0])
        focal = view.focal(self.window.content_rect.height)
        self._resize_to(_CLOSING * self.frame.spacing * focal / max(reach, 1e-3))

    # ---- keys

    def _on_key(self, event: Any) -> bool:
        action = self.actions.get(chr(int(event.key)))
        if action is None:
            return False
        if event.type == self.gui.KeyEvent.Type.DOWN:
            action()
            self.window.post_redraw()
        return True

    def _switch(self, digit: str) -> None:
        key = self.frame.next_key(digit, self.layer)
        if key is None:
            self._report(f"nothing on key {digit}")
            return
        if self.frame.object_layer(key) is not self.frame.object_layer(self.layer):
            self.chosen = None
        self.layer = key
        self._recolor()
        self._report()

    def _go(self, step: int) -> None:
        number = self.number + step
        if not 0 <= number < len(self.load):
            self._report("the last scene" if step > 0 else "the first scene")
            return
        try:
            self.frame = Frame.of(self.load[number](), self.threshold)
        except (ValueError, OSError) as error:  # the window stays at its scene
            self._report(f"error: {error}")
            return
        self.number, self.chosen, self.layer = number, None, self.frame.first_key(self.layer)
        self._write(self.facts, "")
        self._fill()
        self._look()
        self._report()

    def _toggle_cut(self) -> None:
        self.cut = not self.cut
        self._fill()

    def _toggle_help(self) -> None:
        self.help.visible = not self.help.visible

    def _resize(self, factor: float) -> None:
        self._resize_to(self.material.point_size * factor)

    def _resize_to(self, pixels: float) -> None:
        self.material.point_size = float(np.clip(pixels, 1.0, _MAX_POINT_SIZE))
        self.widget.scene.modify_geometry_material("room", self.material)
        self.widget.force_redraw()

    def _screenshot(self) -> None:
        name = "".join(c if c.isalnum() or c in "-_." else "_" for c in self.frame.scene.name)
        path = self.screenshots / f"{name}_{self.layer}.png"

        def save(image: Any) -> None:
            try:
                save_png(path, Image.fromarray(np.asarray(image)[:, :, :3]))
            except OSError as error:
                self._report(f"error: {error}")
            else:
                self._report(f"wrote {path}")

        self.widget.scene.scene.render_to_image(save)

    # ---- mouse

    def _on_mouse(self, event: Any) -> Any:
        kind = self.gui.MouseEvent.Type
        if event.type == kind.BUTTON_DOWN:
            self.pressed = event.x, event.y
        elif event.type == kind.MOVE:
            point = self._point_at(event.x, event.y)
            self._write(self.facts, "" if point is None else self.frame.describe(point, self.layer))
        elif event.type == kind.BUTTON_UP and self.pressed is not None:
            (x, y), self.pressed = self.pressed, None
            if abs(x - event.x) + abs(y - event.y) <= 4:  # a click, not the end of a drag
                self._click(self._point_at(event.x, event.y))
        return self.gui.Widget.EventCallbackResult.IGNORED

    def _click(self, point: int | None) -> None:
        """Selects the object of a point; deselects it if it is selected."""
        layer, row = self.frame.object_layer(self.layer), None
        if point is not None:
            print(self.frame.describe(point, self.layer), file=sys.stderr, flush=True)
            row = None if layer is None else int(layer.ids[point])
        chosen = None if row == self.chosen else row
        if chosen != self.chosen:
            self.chosen = chosen
            self._recolor()
            self.window.post_redraw()

    def _point_at(self, x: int, y: int) -> int | None:
        camera, area = self.widget.scene.camera, self.widget.frame
        projection, view = camera.get_projection_matrix(), camera.get_view_matrix()
        matrix = np.asarray(projection, np.float64) @ np.asarray(view, np.float64)
        pixel, size = (float(x - area.x), float(y - area.y)), (float(area.width), float(area.height))
        return self.frame.pick(self.shown, matrix, pixel=pixel, size=size, reach=max(6.0, self.material.point_size))
