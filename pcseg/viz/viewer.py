"""A window to look at rooms with, on Open3D; without a display use pages (`html`) and pictures (`render`)."""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Bool, Int32, UInt8

from pcseg.labels import ClassSet
from pcseg.structures import Instances, Scene
from pcseg.viz.layers import input_colors, scene_layers
from pcseg.viz.raster import room_view
from pcseg.viz.view import View

KEYS = (
    "1 input, 2 truth, 3 prediction, 4 classes (again: truth or prediction), 5 superpoints, 6 errors; "
    "n p next and previous scene, + - point size, c ceiling on or off, s screenshot, h these keys, q quit"
)
_DIGITS = {
    "input": "1",
    "truth": "2",
    "prediction": "3",
    "semantic_prediction": "4",
    "semantic_truth": "4",
    "superpoint": "5",
    "errors": "6",
}
_ENLARGE, _REDUCE = (ord("="), 334), (ord("-"), 333)  # main keys and number pad


@dataclass(frozen=True)
class ViewedScene:
    """A room and what is shown of it; fields as `room_picture` takes them."""

    scene: Scene
    instances: Instances | None = None
    semantic: Int32[np.ndarray, "P"] | None = None
    classes: ClassSet | None = None


@dataclass(frozen=True)
class Frame:
    """What the window needs of one scene.

    Args:
        name: of the scene.
        scene: for its points.
        view: where to look from first.
        layers: key, title and colour of each point.
    """

    name: str
    scene: Scene
    view: View
    layers: tuple[tuple[str, str, UInt8[np.ndarray, "P 3"]], ...]

    @staticmethod
    def of(viewed: ViewedScene, threshold: float) -> "Frame":
        """Prepares a scene.

        Raises:
            ValueError: no points, or labels that do not fit.
        """
        scene = viewed.scene
        layers = scene_layers(scene, viewed.instances, viewed.semantic, viewed.classes, threshold)
        order = {key: rank for rank, key in enumerate(_DIGITS)}
        shown = [("input", "Input", input_colors(scene))]
        shown += [(layer.key, layer.title, layer.point_colors()) for layer in layers]
        shown.sort(key=lambda layer: order[layer[0]])
        return Frame(scene.name, scene, room_view(scene.xyz, width=1200, height=900), tuple(shown))

    def next_layer(self, digit: str, current: str) -> str | None:
        """Key of the layer that a digit leads to, None where the scene has none."""
        keys = [key for key, _, _ in self.layers if _DIGITS[key] == digit]
        if not keys:
            return None
        return keys[(keys.index(current) + 1) % len(keys)] if current in keys else keys[0]


def import_open3d() -> ModuleType:
    """Imports Open3D, which takes seconds and is needed for the window alone.

    Raises:
        ValueError: it is not installed, or a system library that it needs is not.
    """
    try:
        import open3d
    except (ImportError, OSError) as error:
        raise ValueError(
            f"the window needs Open3D ({error}): run pip install 'pcseg[viz]' and, on Debian and Ubuntu, "
            "apt-get install libgl1 libegl1 libusb-1.0-0 libgomp1, or write a page with --html or a picture with --png"
        ) from error
    return open3d


def show_scenes(
    load: Sequence[Callable[[], ViewedScene]], *, threshold: float = 0.25, screenshots: Path = Path(".")
) -> None:
    """Opens a window and returns when it is closed.

    Args:
        load: one function per scene; each is called when its scene is first shown.
        threshold: predictions that score less are left out.
        screenshots: folder for screenshots.

    Raises:
        ValueError: no scenes, no Open3D, or no display.
    """
    if not load:
        raise ValueError("no scene to show")
    first = Frame.of(load[0](), threshold)  # a file that cannot be read is told before Open3D is missed
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        # Open3D would draw off the screen and wait for ever.
        raise ValueError("there is no display to open a window on; write a page with --html or a picture with --png")
    _Window(import_open3d(), load, first, threshold, screenshots).run()


class _Window:
    """State of the window: which scene, which layer, cut or not."""

    def __init__(
        self,
        open3d: Any,
        load: Sequence[Callable[[], ViewedScene]],
        first: Frame,
        threshold: float,
        screenshots: Path,
    ) -> None:
        self.open3d, self.load, self.threshold, self.screenshots = open3d, load, threshold, screenshots
        self.number, self.cut = 0, True
        self.frame = first
        self.layer = self._first_layer("prediction")
        self.cloud = open3d.geometry.PointCloud()
        self.visualizer = open3d.visualization.VisualizerWithKeyCallback()

    def run(self) -> None:
        title = f"pcseg: {self.frame.name} (h: keys)"
        if not self.visualizer.create_window(window_name=title, width=1200, height=900):
            raise ValueError("no window could be opened: no display, or no OpenGL on it; use --html or --png instead")
        try:
            options = self.visualizer.get_render_option()
            options.background_color = np.array([0.98, 0.98, 0.985])
            options.point_size = 4.0
            self._fill()
            self.visualizer.add_geometry(self.cloud)
            self._look()
            for key, action in self._actions().items():
                self.visualizer.register_key_callback(key, self._callback(action))
            self._say(KEYS)
            self._report()
            self.visualizer.run()
        finally:
            self.visualizer.destroy_window()

    def _actions(self) -> dict[int, Callable[[], None]]:
        actions: dict[int, Callable[[], None]] = {ord(d): self._switch(d) for d in "123456"}
        actions |= {ord("N"): lambda: self._go(1), ord("P"): lambda: self._go(-1)}
        actions |= {ord("C"): self._toggle_cut, ord("S"): self._screenshot, ord("H"): lambda: self._say(KEYS)}
        actions |= {key: lambda: self._resize(1.25) for key in _ENLARGE}
        actions |= {key: lambda: self._resize(0.8) for key in _REDUCE}
        return actions

    @staticmethod
    def _callback(action: Callable[[], None]) -> Callable[[Any], bool]:
        def pressed(_: Any) -> bool:
            action()
            return False

        return pressed

    def _first_layer(self, wanted: str) -> str:
        keys = [key for key, _, _ in self.frame.layers]
        return wanted if wanted in keys else "truth" if "truth" in keys else "input"

    def _shown(self) -> Bool[np.ndarray, "P"]:
        xyz, top = self.frame.scene.xyz, self.frame.view.cut
        return xyz[:, 2] <= top if self.cut and top is not None else np.ones(len(xyz), np.bool_)

    def _fill(self) -> None:
        shown = self._shown()
        colors = next(colors for key, _, colors in self.frame.layers if key == self.layer)
        vectors = self.open3d.utility.Vector3dVector
        self.cloud.points = vectors(self.frame.scene.xyz[shown].astype(np.float64))
        self.cloud.colors = vectors(colors[shown] / 255.0)

    def _look(self) -> None:
        control, back = self.visualizer.get_view_control(), self.frame.view.rotation[2]
        control.set_lookat(self.frame.scene.xyz[self._shown()].mean(axis=0).astype(np.float64))
        control.set_front(back)
        control.set_up(np.array([0.0, 0.0, 1.0]))
        control.set_zoom(0.6)

    def _update(self) -> None:
        self._fill()
        self.visualizer.update_geometry(self.cloud)
        self.visualizer.update_renderer()

    def _switch(self, digit: str) -> Callable[[], None]:
        def switch() -> None:
            key = self.frame.next_layer(digit, self.layer)
            if key is None:
                self._say(f"{self.frame.name} has nothing on key {digit}")
                return
            self.layer = key
            self._update()
            self._report()

        return switch

    def _go(self, step: int) -> None:
        number = self.number + step
        if not 0 <= number < len(self.load):
            self._say("the last scene" if step > 0 else "the first scene")
            return
        try:
            self.frame = Frame.of(self.load[number](), self.threshold)
        except (ValueError, OSError) as error:  # the window stays at the scene it has
            self._say(f"error: {error}")
            return
        self.number, self.layer = number, self._first_layer(self.layer)
        self._fill()
        self.visualizer.clear_geometries()
        self.visualizer.add_geometry(self.cloud)
        self._look()
        self._report()

    def _toggle_cut(self) -> None:
        self.cut = not self.cut
        self._update()

    def _resize(self, factor: float) -> None:
        options = self.visualizer.get_render_option()
        options.point_size = float(np.clip(options.point_size * factor, 1.0, 25.0))

    def _screenshot(self) -> None:
        name = "".join(c if c.isalnum() or c in "-_." else "_" for c in self.frame.name)
        path = self.screenshots / f"{name}_{self.layer}.png"
        self.visualizer.capture_screen_image(str(path), True)
        self._say(f"wrote {path}")

    def _report(self) -> None:
        title = next(title for key, title, _ in self.frame.layers if key == self.layer)
        self._say(f"{self.number + 1} of {len(self.load)}: {self.frame.name}, {title}")

    @staticmethod
    def _say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)
