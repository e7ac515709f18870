"""The point under the mouse is the frontmost one near it."""

import numpy as np
import pytest

from pcseg.viz.picking import pick_point
from pcseg.viz.view import View


def clip_matrix(view: View, width: int, height: int) -> np.ndarray:
    """Projection times view of a camera, as OpenGL has them."""
    focal = 1 / np.tan(np.deg2rad(view.fov) / 2)
    near, far = 0.05, 100.0
    projection = np.zeros((4, 4))
    projection[0, 0], projection[1, 1], projection[3, 2] = focal * height / width, focal, -1
    projection[2, 2], projection[2, 3] = (far + near) / (near - far), 2 * far * near / (near - far)
    placed = np.eye(4)
    placed[:3, :3], placed[:3, 3] = view.rotation, -view.rotation @ view.eye
    return projection @ placed


def test_hidden_points_and_empty_places(rng: np.random.Generator) -> None:
    xyz = np.array([[0, 0, 0], [0, 0, -1], [0, 0, 9]], np.float32)  # the last one is behind the camera
    view = View(np.array([0.0, 0.0, 5.0]), np.eye(3))
    matrix = clip_matrix(view, 100, 100)

    def pick(*shown: bool, x: float = 50.0) -> int | None:
        return pick_point(xyz, np.array(shown), matrix, pixel=(x, 50.0), size=(100.0, 100.0))

    assert pick(True, True, True) == 0
    assert pick(False, True, True) == 1
    assert pick(False, False, True) is None
    assert pick(True, True, True, x=80.0) is None
    assert pick_point(xyz[:0], np.zeros(0, np.bool_), matrix, pixel=(5.0, 5.0), size=(100.0, 100.0)) is None


@pytest.mark.parametrize("order", [1, -1])
def test_closest_of_one_surface(order: int) -> None:
    xyz = np.array([[0, 0, 0.001], [0.05, 0, 0]], np.float32)[::order]
    matrix = clip_matrix(View(np.array([0.0, 0.0, 5.0]), np.eye(3)), 100, 100)
    pixel = (50 + 0.05 / 5 * 50 / np.tan(np.deg2rad(16)), 50.0)
    found = pick_point(np.ascontiguousarray(xyz), np.ones(2, np.bool_), matrix, pixel=pixel, size=(100.0, 100.0))
    assert found is not None
    assert xyz[found, 0] > 0.04, "a little farther from the camera, but under the mouse"
