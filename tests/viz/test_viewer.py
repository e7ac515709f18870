"""What the window shows, without the window (see test_viewer_window.py), and what it reports if it cannot open."""

import ctypes.util
import re
import sys
from types import SimpleNamespace
from unittest.mock import MagicMock, Mock

import numpy as np
import pytest

from pcseg.prediction import Prediction
from pcseg.structures import Scene
from pcseg.viz import viewer
from pcseg.viz.frame import Frame
from pcseg.viz.viewer import HELP, nearest_on_screen, show_scenes
from tests.conftest import refuses


def test_no_display_and_no_graphics(room: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    scene = [lambda: Prediction(room.with_(semantic=None))]
    refuses("there is no display", show_scenes, scene)
    if ctypes.util.find_library("X11") is not None:
        monkeypatch.setenv("DISPLAY", ":98765")  # set, but nothing answers
        refuses("there is no display", show_scenes, scene)
    open3d = MagicMock()
    open3d.visualization.gui.Application.instance.initialize.side_effect = RuntimeError("no vulkan library!")
    monkeypatch.setattr(viewer, "import_open3d", lambda *args: open3d)
    monkeypatch.setattr(viewer, "has_display", lambda: True)
    refuses("vulkan library!.*apt-get install .*libvulkan1.*--html", show_scenes, scene)


@pytest.mark.parametrize("error", [ModuleNotFoundError("No module named 'open3d'"), OSError("libGL.so.1: cannot open")])
def test_open3d_missing(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "meta_path", [SimpleNamespace(find_spec=Mock(side_effect=error))])
    monkeypatch.delitem(sys.modules, "open3d", raising=False)
    monkeypatch.setattr(viewer, "has_display", lambda: True)
    remedy = r"pip install 'pcseg\[viz\]'.*libgl1 libegl1 libusb-1\.0-0 libgomp1"
    scene = [lambda: Prediction(Scene("one", np.ones((1, 3), np.float32)))]
    refuses(f"{re.escape(str(error))}.*{remedy}.*--html", show_scenes, scene)


def test_layers_by_key_help_and_hidden_walls(whole: Prediction, room: Scene) -> None:
    frame = Frame.of(whole, 0.25)
    classes = ["semantic_prediction", "semantic_truth"]
    assert frame.keys == ["input", "truth", "prediction", *classes, "superpoint", "errors"]
    assert [frame.next_key("4", key) for key in ("input", *classes)] == [*classes, "semantic_prediction"]
    bare = Frame.of(Prediction(Scene("bare", room.xyz)), 0.25)
    assert bare.keys == ["input"]
    assert bare.next_key("2", "input") is None
    assert (frame.first_key("errors"), bare.first_key("errors")) == ("errors", "input")
    assert frame.shown(False).all()
    shown = frame.shown(True)
    assert not shown[room.instance == 2].any(), "the ceiling"
    assert shown[room.instance == 7].all()
    walls = [shown[room.instance == k].mean() for k in (3, 4, 5, 6)]
    assert min(walls) < 0.3 < 0.7 < max(walls)
    window = viewer._Window(MagicMock(), [], Frame.of(Prediction(room.with_(semantic=None)), 0.25), 0.25)
    assert {*window.actions} - {"="} <= set(HELP.split()), "= is + without shift"


def test_points_are_described_and_colored(whole: Prediction, room: Scene) -> None:
    frame, table = Frame.of(whole, 0.25), int(np.flatnonzero(room.instance == 7)[0])
    lines = frame.describe(table, "prediction").split("\n")
    assert lines[0] == "Prediction: table 1, score 0.90, 1,500 points, IoU 1.00 with its match"
    assert "Ground truth: table 7, 1,500 points, IoU 1.00 with its match" in lines
    assert f"Superpoints: superpoint {table // 300}, 300 points" in lines
    assert "Errors: correct" in lines
    assert lines[-1].startswith("x ")
    assert frame.describe(table, "errors").startswith("Errors: correct\n")
    assert frame.describe(0, "prediction").startswith("Prediction: no object, ")
    table = room.instance == 7
    assert all(frame.colors(key).shape == (len(room), 3) for key in frame.keys)
    plain = frame.layers["prediction"].point_colors()
    np.testing.assert_allclose(frame.colors("prediction")[table].astype(int), plain[table], atol=2)
    chosen = frame.colors("prediction", int(frame.layers["prediction"].ids[table][0]))
    np.testing.assert_array_equal(chosen[table], frame.colors("prediction")[table])
    assert np.ptp(chosen[~table].astype(int), axis=1).max() < 60, "the rest is pale"
    # A click on the colors chooses an object.
    np.testing.assert_array_equal(frame.colors("input", 1)[table], frame.colors("input")[table])
    assert Frame.of(Prediction(Scene("one", np.zeros((1, 3), np.float32))), 0.0).colors("input", 1).shape == (1, 3)


def test_the_point_under_a_pixel() -> None:
    """A camera at the origin that looks along -z; one unit at a depth of 1 is half of the picture."""
    matrix = np.diag([1.0, 1.0, 1.0, 0.0])
    matrix[3, 2] = -1
    rows = [(0, 0, 2), (0, 0, -1), (0.02, 0, -1.01), (0, 0, -3), (0.5, 0.5, -1), (0, 0.5, -0.5)]
    xyz, shown = np.array(rows, np.float32), np.array([True] * 5 + [False])
    for pixel, expected in (((100, 100), 1), ((103, 100), 2), ((150, 50), 4), ((150, 150), None), ((100, 0), None)):
        assert nearest_on_screen(xyz, shown, matrix, pixel, (200, 200), 6.0) == expected
    assert nearest_on_screen(xyz, np.arange(6) == 3, matrix, (100, 100), (200, 200), 6.0) == 3
