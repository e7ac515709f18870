"""A window to look at rooms, by Open3D; without a display, use pages (`html`) and pictures (`render`)."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64
from PIL import Image

from pcseg.prediction import Prediction
from pcseg.viz.display import INSTEAD, NO_DISPLAY, PACKAGES, has_display, import_open3d
from pcseg.viz.frame import Frame
from pcseg.viz.grid import save_png
from pcseg.viz.layers import DEFAULT_THRESHOLD, DIGITS

logger = logging.getLogger(__name__)

HELP = (
    "1 input   2 truth   3 prediction   4 classes   5 superpoints   6 errors\n"
    "n p next, previous scene   + - point size   c ceiling and near walls   r first view\n"
    "s screenshot   h this help   q quit   drag turns, Ctrl drag moves, wheel zooms\n"
    "hover over a point to read about it; click to select its object, again to deselect it"
)
_MAX_POINT_SIZE = 20.0
_CLOSING = 2.0  # points this many times as wide as their spacing close the surfaces
_SLACK = 0.02  # points this fraction of the depth behind the frontmost one are on the same surface
_PAPER, _CARD, _INK = (0.98, 0.98, 0.985, 1.0), (1.0, 1.0, 1.0, 0.88), (0.11, 0.13, 0.16)


def show_scenes(load: Sequence[Callable[[], Prediction]], *, threshold: float = DEFAULT_THRESHOLD) -> None:
    """Opens a window and returns when it is closed; screenshots go to the current folder.

    Args:
        load: functions that give one scene each, called when it is first shown.
        threshold: least score of the objects that are shown, 0..1.

    Raises:
        ValueError: there is no Open3D, or no display.
    """
    first = Frame.of(load[0](), threshold)  # an unreadable file is reported before a missing Open3D
    if not has_display():
        raise ValueError(NO_DISPLAY)
    # The module needs the system libraries.
    open3d = import_open3d("the window", "viz", f", or {INSTEAD}", "open3d.visualization.gui")
    _Window(open3d, load, first, threshold).run()


class _Window:
    """The shown scene and layer, and the Open3D widgets that show them."""

    def __init__(self, open3d: Any, load: Sequence[Callable[[], Prediction]], first: Frame, threshold: float) -> None:
        self.open3d, self.gui = open3d, open3d.visualization.gui
        self.load, self.threshold = load, threshold
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
        """Shows which scene and layer this is, and what else there is to say, also in the log."""
        where = f"{self.number + 1} of {len(self.load)}: {self.frame.scene.name}, {self.frame.title(self.layer)}"
        text = f"{where}; {more}" if more else where
        self._write(self.heading, text)
        logger.info(text)

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
        path = Path(f"{name}_{self.layer}.png")

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
            logger.info(self.frame.describe(point, self.layer))
            row = None if layer is None else int(layer.ids[point])
        chosen = None if row == self.chosen else row
        if chosen != self.chosen:
            self.chosen = chosen
            self._recolor()
            self.window.post_redraw()

    def _point_at(self, x: int, y: int) -> int | None:
        """The point closest to a pixel on the frontmost surface there."""
        camera, area = self.widget.scene.camera, self.widget.frame
        projection, view = camera.get_projection_matrix(), camera.get_view_matrix()
        matrix = np.asarray(projection, np.float64) @ np.asarray(view, np.float64)
        pixel, size = (x - area.x, y - area.y), (area.width, area.height)
        reach = max(6.0, self.material.point_size)
        return nearest_on_screen(self.frame.scene.xyz, self.shown, matrix, pixel, size, reach)


def nearest_on_screen(
    xyz: Float32[np.ndarray, "P 3"],
    shown: Bool[np.ndarray, "P"],
    matrix: Float64[np.ndarray, "4 4"],
    pixel: tuple[float | int, float | int],
    size: tuple[float | int, float | int],
    reach: float,
) -> int | None:
    """The point of the frontmost surface near a pixel that is closest to the pixel.

    Args:
        xyz: meters.
        shown: False for points that cannot be picked.
        matrix: projection times view of OpenGL.
        pixel: right from the left edge, and down from the upper edge.
        size: width and height of the image in pixels.
        reach: largest distance from the pixel in pixels.
    """
    rows = np.flatnonzero(shown)
    clip = xyz[rows] @ matrix[[0, 1, 3], :3].T + matrix[[0, 1, 3], 3]
    rows, clip = rows[clip[:, 2] > 0], clip[clip[:, 2] > 0]
    depth = clip[:, 2]
    across = (clip[:, 0] / depth + 1) * size[0] / 2 - pixel[0]
    down = (1 - clip[:, 1] / depth) * size[1] / 2 - pixel[1]
    distance = across**2 + down**2
    near = np.flatnonzero(distance <= reach**2)
    if not len(near):
        return None
    surface = near[depth[near] <= depth[near].min() * (1 + _SLACK)]
    return int(rows[surface[distance[surface].argmin()]])
