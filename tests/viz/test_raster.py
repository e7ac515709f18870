import numpy as np
import pytest

from pcseg.kernels.render import splat
from pcseg.structures import Scene
from pcseg.viz.raster import BACKGROUND, Splats, View, look, near_walls, rasterize, room_view, shown_points
from tests.conftest import refuses

FRONT = View(np.array([0.0, -5.0, 0.0]), look(-90.0, 0.0))  # looks along y


def test_discs_join_into_a_plane_and_have_its_normal(rng: np.random.Generator) -> None:
    side = np.linspace(-1, 1, 41)
    x, z = (g.ravel() for g in np.meshgrid(side, side))
    xyz = np.stack([x, 0.8 * z, z], axis=1).astype(np.float32)
    normal = np.tile(np.array([0, 1, -0.8]) / np.hypot(1, 0.8), (len(xyz), 1)).astype(np.float32)
    focal, radius = FRONT.focal(90), np.full(len(xyz), 0.06, np.float32)
    hidden = np.zeros(len(xyz), np.bool_)
    depth, _ = splat(xyz, normal, hidden, radius, FRONT.rotation, FRONT.eye, focal, 9.0, 90, 90)
    rows = np.arange(20, 70)
    v = -(rows + 0.5 - 45.0) / focal
    expected = 5.0 / (1 - 0.8 * v)  # where the ray (0, 1, v) from (0, -5, 0) meets y = 0.8 z
    np.testing.assert_allclose(depth[rows, 45], expected, atol=0.005)
    plane = np.zeros((4000, 3), np.float32)
    plane[:, :2] = rng.uniform(0, 2, (4000, 2))
    splats = Splats.of_points(plane)
    assert np.median(splats.spacing) == pytest.approx(np.sqrt(4 / 4000), rel=0.25)
    np.testing.assert_allclose(np.abs(splats.normal[:, 2]), 1.0, atol=1e-3)
    plane[:1000, :2] /= 20  # denser there
    spacing = Splats.of_points(plane).spacing
    assert np.median(spacing[:1000]) < 0.6 * np.median(spacing[1000:])


def test_the_nearer_point_wins_and_a_cut_below_the_room_is_refused(room: Scene) -> None:
    xyz = np.array([[0, 0, 0], [0, -1, 0], [0, 1, 0]], np.float32)
    splats = Splats(np.full(3, 0.3, np.float32), np.zeros((3, 3), np.float32))
    colors = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
    image = rasterize(xyz, FRONT, width=21, height=21, splats=splats).paint(colors)
    assert image[10, 10, 1] > 150 > 20 > image[10, 10, 0]
    np.testing.assert_array_equal(image[0, 0], BACKGROUND)
    refuses("no point is below the cut", room_view, room.xyz, width=16, height=12, cut=-1.0)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_hardly_any_points(count: int) -> None:
    xyz = np.zeros((count, 3), np.float32)
    image = rasterize(xyz, FRONT, width=16, height=12).paint(np.zeros((count, 3), np.uint8))
    assert image.shape == (12, 16, 3)
    assert (image[5:7, 7:9] < 230).any()
    assert np.isfinite(room_view(xyz, width=16, height=12).eye).all()


@pytest.mark.parametrize(("width", "height"), [(320, 240), (240, 320), (400, 100)])
def test_rooms_fill_the_picture(room: Scene, width: int, height: int) -> None:
    view = room_view(room.xyz, width=width, height=height, open_front=False)
    shown = rasterize(room.xyz, view, width=width // 2, height=height // 2).index >= 0
    rows, columns = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
    tall, wide = (rows[-1] - rows[0]) / height, (columns[-1] - columns[0]) / width
    assert max(tall, wide) > 0.85
    for rim in (shown[0], shown[-1], shown[:, 0], shown[:, -1]):
        assert rim.mean() < 0.05, "a corner may touch the rim, a wall may not"


def test_rooms_are_open_to_look_into(room: Scene) -> None:
    view = room_view(room.xyz, width=320, height=240)
    assert view.cut == pytest.approx(2.2, abs=0.02)
    index = rasterize(room.xyz, view, width=320, height=240).index
    seen = room.instance[np.unique(index[index >= 0])]
    assert {1, 7, 8} <= set(seen.tolist()), "floor, table and chair are in sight"
    assert 2 not in seen, "the ceiling is not"
    hidden = view.hidden(room.xyz)
    assert hidden[room.instance == 2].all()
    assert not hidden[np.isin(room.instance, [7, 8])].any()
    for part in (room.instance != 2, room.instance > 6):
        assert room_view(room.xyz[part], width=320, height=240).cut is None, "there is no ceiling to cut off"
    tower = np.vstack([room.xyz, room.xyz[room.instance == 3] * np.float32([1, 1, 3])])
    assert room_view(tower, width=320, height=240).cut == pytest.approx(2.2, abs=0.02), "below the ceiling, not the top"


@pytest.mark.parametrize(("x", "y", "wall", "far"), [(1, 0, 4, 3), (-1, 0, 3, 4), (0, 1, 6, 5), (0, -2, 5, 6)])
def test_near_walls(room: Scene, x: float, y: float, wall: int, far: int) -> None:
    toward = np.array([x, y], float)
    hidden = near_walls(room.xyz, toward)
    assert hidden[room.instance == wall].mean() > 0.95
    assert not hidden[np.isin(room.instance, [far, 7, 8])].any()
    assert near_walls(room.xyz[room.instance != wall], toward).mean() < 0.1, "the far wall is no near wall"


def test_a_large_scan_is_thinned_by_voxels(room: Scene) -> None:
    assert shown_points(room.xyz).voxel is None
    rows, voxel, box, num_strays = shown_points(np.append(room.xyz, np.float32([[90, 90, 9]]), axis=0), 4000)
    assert 2000 < len(rows) <= 4000
    assert (np.diff(rows) > 0).all()
    assert num_strays == 1
    np.testing.assert_allclose(box, [room.xyz.min(axis=0), room.xyz.max(axis=0)])
    assert voxel is not None
    assert len(np.unique(np.floor((room.xyz[rows] - room.xyz.min(axis=0)) / voxel), axis=0)) == len(rows)
