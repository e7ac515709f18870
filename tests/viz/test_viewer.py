"""Messages of the viewer if it cannot open a window; test_viewer_window.py tests the window."""

import builtins
import ctypes.util
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pcseg.prediction import Prediction
from pcseg.structures import Scene
from pcseg.viz import viewer
from pcseg.viz.viewer import HELP, import_open3d, show_scenes


def test_no_display(room: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    scene = [lambda: Prediction(room.with_(semantic=None))]
    with pytest.raises(ValueError, match="there is no display"):
        show_scenes(scene)
    if ctypes.util.find_library("X11") is not None:
        monkeypatch.setenv("DISPLAY", ":98765")  # set, but nothing answers
        with pytest.raises(ValueError, match="there is no display"):
            show_scenes(scene)
    with pytest.raises(ValueError, match="no scene"):
        show_scenes([])


def test_no_graphics(room: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("Failed to load vulkan library!")

    application = SimpleNamespace(initialize=fail)
    fake = SimpleNamespace(
        utility=SimpleNamespace(set_verbosity_level=lambda _: None, VerbosityLevel=SimpleNamespace(Error=0)),
        visualization=SimpleNamespace(
            gui=SimpleNamespace(Application=SimpleNamespace(instance=application)), rendering=None
        ),
    )
    monkeypatch.setattr(viewer, "import_open3d", lambda: fake)
    monkeypatch.setattr(viewer, "has_display", lambda: True)
    with pytest.raises(ValueError, match=r"vulkan library!.*apt-get install .*libvulkan1.*--html") as caught:
        show_scenes([lambda: Prediction(room.with_(semantic=None))])
    assert "\n" not in str(caught.value)


def test_every_key_is_in_the_help(room: Scene) -> None:
    frame = viewer.Frame.of(Prediction(room.with_(semantic=None)), 0.25)
    window = viewer._Window(SimpleNamespace(visualization=SimpleNamespace(gui=None)), [], frame, 0.25, Path("."))
    words = HELP.split()
    assert {*window.actions} - {"="} <= set(words), "= is + without shift"


@pytest.mark.parametrize("error", [ModuleNotFoundError("No module named 'open3d'"), OSError("libGL.so.1: cannot open")])
def test_open3d_missing(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def no_open3d(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "open3d":
            raise error
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_open3d)
    with pytest.raises(
        ValueError, match=r"pip install 'pcseg\[viz\]'.*libgl1 libegl1 libusb-1\.0-0 libgomp1"
    ) as caught:
        import_open3d()
    assert str(error) in str(caught.value)
    assert "\n" not in str(caught.value)
