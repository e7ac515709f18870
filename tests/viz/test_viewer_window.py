"""The Open3D window on a virtual display: real keys and clicks, screenshots compared with pictures of `render`."""

import ctypes.util
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pcseg.prediction import Prediction
from pcseg.viz.frame import Frame
from pcseg.viz.raster import rasterize

TOOL = Path(__file__).resolve().parent.parent.parent / "tools" / "visualize.py"
CAN_OPEN = all(map(shutil.which, ("Xvfb", "xdotool"))) and ctypes.util.find_library("vulkan") is not None
pytestmark = [
    pytest.mark.skipif(not CAN_OPEN, reason="no display: apt-get install xvfb xdotool libvulkan1 mesa-vulkan-drivers"),
    pytest.mark.skipif(importlib.util.find_spec("open3d") is None, reason="no open3d: pip install 'pcseg[viz]'"),
    pytest.mark.timeout(300),
]


@pytest.fixture
def display() -> Iterator[str]:
    command = ["Xvfb", "-displayfd", "1", "-screen", "0", "1400x1000x24", "-nolisten", "tcp"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        yield f":{server.stdout.readline().strip()}"
        server.terminate()


class _Viewer:
    """The tool in its own process, with real key presses."""

    def __init__(self, display: str, folder: Path, *results: Path) -> None:
        self.folder, self.log = folder, folder / "stderr.txt"
        self.environment = {**os.environ, "DISPLAY": display, "PYTHONPATH": str(TOOL.parent.parent)}
        command = [sys.executable, "-W", "ignore", *map(str, (TOOL, *results))]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, cwd=folder, env=self.environment, stderr=log)
        self.heard = 0  # lines that `says` has passed

    def __enter__(self) -> "_Viewer":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def wait(self, what: str, happened: Callable[[], bool]) -> None:
        end = time.monotonic() + 90
        while not happened():
            assert time.monotonic() < end, f"waited in vain for: {what}; the window said {self.log.read_text()}"
            time.sleep(0.1)

    def says(self, text: str) -> None:
        """Waits until a line after those heard before contains the text."""

        def said() -> bool:
            lines = self.log.read_text().splitlines()
            found = [number for number, line in enumerate(lines) if number >= self.heard and text in line]
            self.heard = found[0] + 1 if found else self.heard
            return bool(found)

        self.wait(text, said)

    def xdotool(self, *arguments: object) -> str:
        command = ["xdotool", *map(str, arguments)]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60)
        return done.stdout.strip()

    def focus(self) -> str:
        """Waits for the window, gives it the keys, and returns its id."""
        self.wait("a window", lambda: self.xdotool("search", "--name", "^pcseg$") != "")
        window = self.xdotool("search", "--name", "^pcseg$").split()[0]
        self.xdotool("windowfocus", "--sync", window)
        return window

    def picture(self, name: str) -> np.ndarray:
        """Presses s and waits for the file."""
        path = self.folder / name
        path.unlink(missing_ok=True)
        self.xdotool("key", "s")
        self.wait(name, path.exists)
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))


def test_keys_clicks_and_pictures(whole: Prediction, tmp_path: Path, display: str) -> None:
    room = whole.scene.with_(name="box")
    replace(whole, scene=room).save(tmp_path / "a.npz")
    replace(whole, scene=room.with_(name="other"), semantic=None).save(tmp_path / "b.npz")
    frame, table = Frame.of(whole, 0.25), room.instance == 7
    with _Viewer(display, tmp_path, tmp_path / "a.npz", tmp_path / "b.npz") as viewer:
        viewer.says("1 of 2: box, Prediction")
        window = viewer.focus()

        # The picture of the window shows the table where our own picture of the same view has it.
        image = viewer.picture("box_prediction.png")
        height, width = image.shape[:2]
        color = frame.layers["prediction"].point_colors()[table][0]
        drawn = rasterize(room.xyz, frame.view, width=width, height=height).index[::2, ::2]
        mine, its = (drawn >= 0) & table[drawn], (np.abs(image.astype(int) - color) <= 3).all(axis=2)
        assert its.sum() > 1000
        assert (mine & its).sum() / (mine | its).sum() > 0.7

        # Other layers are other pictures; the key that leads nowhere says so.
        viewer.xdotool("key", "1")
        viewer.says("box, Input")
        assert (viewer.picture("box_input.png") != image).any(axis=2).mean() > 0.1
        for key, title in (("2", "Ground truth"), ("5", "Superpoints"), ("6", "Errors"), ("4", "Classes: prediction")):
            viewer.xdotool("key", key)
            viewer.says(f"1 of 2: box, {title}")

        # A click on the table shows class, score, size and superpoint, and makes everything else pale.
        viewer.xdotool("key", "3")
        viewer.says("box, Prediction")
        y, x = (int(v) for v in np.argwhere(mine & its).mean(axis=0).round())
        viewer.xdotool("mousemove", "--window", window, x, y, "sleep", "0.3", "click", "1")
        viewer.says("Prediction: table 1, score 0.90, 1,500 points")
        viewer.says("Superpoints: superpoint ")
        chosen = viewer.picture("box_prediction.png")
        assert np.quantile(np.ptp(chosen[~its].astype(int), axis=1), 0.99) < 60
        assert (np.abs(chosen[its].astype(int) - color) <= 3).all(axis=1).mean() > 0.95

        # Smaller points cover less; the next scene has no predicted classes.
        viewer.xdotool("mousemove", "--window", window, 2, 2, "key", "minus", "minus", "minus")
        covered = (viewer.picture("box_prediction.png") != image[0, 0]).any(axis=2).mean()
        assert covered < 0.9 * (image != image[0, 0]).any(axis=2).mean()
        for key, now in (("n", "2 of 2: other, Prediction"), ("n", "the last scene"), ("p", "1 of 2: box, Prediction")):
            viewer.xdotool("key", key)
            viewer.says(now)
        viewer.xdotool("key", "q")
        assert viewer.process.wait(60) == 0
