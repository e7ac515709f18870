"""Content of the window, without the window."""

import numpy as np
import pytest

from pcseg.prediction import Prediction
from pcseg.structures import Scene
from pcseg.viz.raster import View
from pcseg.viz.viewer import Frame


@pytest.fixture
def frame(whole: Prediction) -> Frame:
    return Frame.of(whole, 0.25)


def test_layers_by_key(frame: Frame, room: Scene) -> None:
    assert frame.keys == [
        "input", "truth", "prediction", "semantic_prediction", "semantic_truth", "superpoint", "errors"
    ]  # fmt: skip
    assert frame.next_key("4", "input") == "semantic_prediction"
    assert frame.next_key("4", "semantic_prediction") == "semantic_truth"
    assert frame.next_key("4", "semantic_truth") == "semantic_prediction"
    bare = Frame.of(Prediction(Scene("bare", room.xyz)), 0.25)
    assert bare.keys == ["input"]
    assert bare.next_key("2", "input") is None
    assert (frame.first_key("errors"), bare.first_key("errors")) == ("errors", "input")


def test_a_point_is_described(frame: Frame, room: Scene) -> None:
    table = int(np.flatnonzero(room.instance == 7)[0])
    lines = frame.describe(table, "prediction").split("\n")
    assert lines[0] == "Prediction: table 1, score 0.90, 1,500 points, IoU 1.00 with its match"
    assert "Ground truth: table 7, 1,500 points, IoU 1.00 with its match" in lines
    assert f"Superpoints: superpoint {table // 300}, 300 points" in lines
    assert "Errors: correct" in lines
    assert lines[-1].startswith("x ")
    assert frame.describe(table, "errors").startswith("Errors: correct\n")
    floor = frame.describe(0, "prediction").split("\n")[0]
    assert floor.startswith("Prediction: no object, ")


def test_ceiling_and_near_walls_go(frame: Frame, room: Scene) -> None:
    assert frame.shown(False).all()
    shown = frame.shown(True)
    assert not shown[room.instance == 2].any(), "the ceiling"
    assert shown[room.instance == 7].all()
    walls = [shown[room.instance == k].mean() for k in (3, 4, 5, 6)]
    assert min(walls) < 0.3 < 0.7 < max(walls)


def test_colors(frame: Frame, room: Scene) -> None:
    table = room.instance == 7
    for key in frame.keys:
        assert frame.colors(key).shape == (len(room), 3)
    plain = frame.layers["prediction"].point_colors()
    np.testing.assert_allclose(frame.colors("prediction")[table].astype(int), plain[table], atol=2)
    chosen = frame.colors("prediction", int(frame.layers["prediction"].ids[table][0]))
    np.testing.assert_array_equal(chosen[table], frame.colors("prediction")[table])
    assert np.ptp(chosen[~table].astype(int), axis=1).max() < 60, "the rest is pale"
    input_chosen = frame.colors("input", 1)
    assert (input_chosen[table] == frame.colors("input")[table]).all(), "a click on the colors chooses an object"
    assert Frame.of(Prediction(Scene("one", np.zeros((1, 3), np.float32))), 0.0).colors("input", 1).shape == (1, 3)


def clip_matrix(view: View, width: int, height: int) -> np.ndarray:
    """Projection times view of a camera, as in OpenGL."""
    focal, near, far = 1 / np.tan(np.deg2rad(view.fov) / 2), 0.05, 100.0
    projection = np.zeros((4, 4))
    projection[0, 0], projection[1, 1], projection[3, 2] = focal * height / width, focal, -1
    projection[2, 2], projection[2, 3] = (far + near) / (near - far), 2 * far * near / (near - far)
    placed = np.eye(4)
    placed[:3, :3], placed[:3, 3] = view.rotation, -view.rotation @ view.eye
    return projection @ placed


def test_pick(frame: Frame, room: Scene) -> None:
    size, shown = (1200.0, 900.0), frame.shown(True)
    matrix = clip_matrix(frame.view, 1200, 900)
    table = int(np.flatnonzero((room.instance == 7) & (room.xyz[:, 2] > 0.74))[0])
    x, y, _, w = matrix @ [*room.xyz[table], 1]
    pixel = ((x / w + 1) * 600, (1 - y / w) * 450)
    assert room.instance[frame.pick(shown, matrix, pixel=pixel, size=size)] == 7
    below = frame.pick(shown & (room.instance != 7), matrix, pixel=pixel, size=size)
    assert below is None or room.instance[below] == 1, "without the table, the floor"
    assert frame.pick(np.zeros(len(room), np.bool_), matrix, pixel=pixel, size=size) is None
