"""The window's keys, on a stand-in for Open3D."""

import builtins
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pcseg.labels import S3DIS
from pcseg.structures import Instances, Scene
from pcseg.viz import viewer
from pcseg.viz.viewer import Frame, ViewedScene, import_open3d, show_scenes


class _Recorder:
    """Takes the place of VisualizerWithKeyCallback: keeps what it is told and presses keys when run."""

    def __init__(self, keys: str, opens: bool) -> None:
        self.keys, self.opens, self.closed = keys, opens, False
        self.callbacks: dict[int, Any] = {}
        self.options = SimpleNamespace(point_size=1.0, background_color=None)
        self.shown: list[tuple[int, np.ndarray]] = []
        self.images: list[str] = []
        self.cloud: Any = None

    def create_window(self, **_: Any) -> bool:
        return self.opens

    def get_render_option(self) -> Any:
        return self.options

    def get_view_control(self) -> Any:
        return SimpleNamespace(**{f"set_{k}": lambda value: None for k in ("lookat", "front", "up", "zoom")})

    def add_geometry(self, cloud: Any) -> None:
        self.cloud = cloud
        self._note()

    def update_geometry(self, cloud: Any) -> None:
        self._note()

    def _note(self) -> None:
        self.shown.append((len(self.cloud.points), np.array(self.cloud.colors)))

    def update_renderer(self) -> None: ...

    def clear_geometries(self) -> None: ...

    def register_key_callback(self, key: int, callback: Any) -> None:
        self.callbacks[key] = callback

    def capture_screen_image(self, path: str, _: bool) -> None:
        self.images.append(path)

    def run(self) -> None:
        for key in self.keys:
            assert self.callbacks[ord(key.upper())](self) is False

    def destroy_window(self) -> None:
        self.closed = True


def _press(monkeypatch: pytest.MonkeyPatch, keys: str, scenes: list[ViewedScene], opens: bool = True) -> _Recorder:
    recorder = _Recorder(keys, opens)
    fake = SimpleNamespace(
        geometry=SimpleNamespace(PointCloud=lambda: SimpleNamespace(points=None, colors=None)),
        utility=SimpleNamespace(Vector3dVector=np.array),
        visualization=SimpleNamespace(VisualizerWithKeyCallback=lambda: recorder),
    )
    monkeypatch.setattr(viewer, "import_open3d", lambda: fake)
    monkeypatch.setenv("DISPLAY", ":0")
    show_scenes([lambda scene=scene: scene for scene in scenes])
    return recorder


def test_keys(room: Scene, predicted: Instances, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    first = ViewedScene(room, predicted, room.semantic, S3DIS)
    second = ViewedScene(Scene("bare", room.xyz[:700]))
    recorder = _press(monkeypatch, "1244c=-sh5npn2p", [first, second])
    text = capsys.readouterr().err
    assert recorder.closed
    sizes = [size for size, _ in recorder.shown]
    below = int((room.xyz[:, 2] <= 2.2).sum())
    assert abs(sizes[0] - below) < 100
    assert sizes[5] == len(room), "c brings the ceiling back"
    np.testing.assert_allclose(recorder.shown[1][1][:50], room.rgb[:50] / 255)
    assert not np.array_equal(recorder.shown[1][1], recorder.shown[2][1])
    assert sizes[-2] == 700
    assert sizes[-1] == len(room)
    assert recorder.options.point_size == pytest.approx(4.0)
    assert recorder.images == ["box_room_semantic_truth.png"]
    for part in ("2 of 2: bare, Input", "Classes: truth", "bare has nothing on key 2", "n p next", "Superpoints"):
        assert part in text, part


def test_a_scene_that_cannot_be_read_leaves_the_window_open(room: Scene, monkeypatch: Any, capsys: Any) -> None:
    recorder = _Recorder("", True)
    bare = ViewedScene(room.with_(semantic=None))
    broken = ViewedScene(room)  # labels without a class set
    recorder = _press(monkeypatch, "np", [bare, broken])
    assert len(recorder.shown) == 1
    assert "error: scene box room: it has class labels" in capsys.readouterr().err


def test_layers_of_a_frame(room: Scene, predicted: Instances) -> None:
    frame = Frame.of(ViewedScene(room, predicted, room.semantic, S3DIS), 0.5)
    keys = [key for key, _, _ in frame.layers]
    assert keys == ["input", "truth", "prediction", "semantic_prediction", "semantic_truth", "superpoint", "errors"]
    assert frame.next_layer("4", "input") == "semantic_prediction"
    assert frame.next_layer("4", "semantic_prediction") == "semantic_truth"
    assert frame.next_layer("4", "semantic_truth") == "semantic_prediction"
    assert Frame.of(ViewedScene(room.with_(semantic=None, instance=None)), 0.5).next_layer("2", "input") is None


def test_no_display(room: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="no window could be opened"):
        _press(monkeypatch, "", [ViewedScene(room.with_(semantic=None))], opens=False)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(viewer.sys, "platform", "linux")
    with pytest.raises(ValueError, match="there is no display"):
        show_scenes([lambda: ViewedScene(room.with_(semantic=None))])
    with pytest.raises(ValueError, match="no scene"):
        show_scenes([])


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


def test_viz_imports_without_open3d() -> None:
    source = Path(viewer.__file__).read_text()
    assert "\nimport open3d" not in source, "only the window needs it"
