"""Pixels show the nearest point, rooms fill the picture, and degenerate clouds do no harm."""

import importlib.util
import time
from pathlib import Path

import numpy as np
import pytest

from pcseg.kernels.render import fill_holes, paint, splat
from pcseg.kernels.shade import shrink, smooth_depth
from pcseg.kernels.splats import cell_covariances, take_cells
from pcseg.structures import Scene
from pcseg.viz.raster import BACKGROUND, rasterize, render_points, room_view
from pcseg.viz.splats import Splats
from pcseg.viz.view import View, near_walls

_PATH = Path(__file__).resolve().parent.parent / "reference" / "point_raster.py"
_SPEC = importlib.util.spec_from_file_location("point_raster", _PATH)
reference = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(reference)

FRONT = View(np.array([0.0, -5.0, 0.0]), View.look(-90.0, 0.0))  # looks along y


def test_splats_agree_with_the_reference(rng: np.random.Generator) -> None:
    xyz = rng.uniform(-1, 1, (60, 3)).astype(np.float32)
    radius = rng.uniform(0.02, 0.2, 60).astype(np.float32)
    view = View.frame(xyz, width=40, height=30, azimuth=33.0, elevation=41.0, cut=0.7)
    flat = np.zeros((60, 3), np.float32)
    focal = 15 / np.tan(np.radians(view.fov) / 2)
    depth, index = splat(xyz, flat, view.hidden(xyz), radius, view.rotation, view.eye, focal, 2.0, 40, 30)
    slow_index, slow_depth = reference.nearest_points(xyz, radius, view, 40, 30)
    assert (index == slow_index).mean() > 0.995, "but for pixels that lie on a rim within rounding"
    same = index == slow_index
    np.testing.assert_allclose(depth[same], slow_depth[same], rtol=1e-5)
    assert (index >= 0).any()
    assert not np.isin(index, np.flatnonzero(xyz[:, 2] > 0.7)).any()


def test_tilted_discs_join_into_a_plane() -> None:
    side = np.linspace(-1, 1, 41)
    x, z = (g.ravel() for g in np.meshgrid(side, side))
    xyz = np.stack([x, 0.8 * z, z], axis=1).astype(np.float32)
    normal = np.tile(np.array([0, 1, -0.8]) / np.hypot(1, 0.8), (len(xyz), 1)).astype(np.float32)
    focal = 45 / np.tan(np.radians(FRONT.fov) / 2)
    radius = np.full(len(xyz), 0.06, np.float32)
    hidden = np.zeros(len(xyz), np.bool_)
    depth, _ = splat(xyz, normal, hidden, radius, FRONT.rotation, FRONT.eye, focal, 9.0, 90, 90)
    rows = np.arange(20, 70)
    v = -(rows + 0.5 - 45.0) / focal
    expected = 5.0 / (1 - 0.8 * v)  # where the ray (0, 1, v) from (0, -5, 0) meets y = 0.8 z
    np.testing.assert_allclose(depth[rows, 45], expected, atol=0.005)


def test_the_nearer_point_wins() -> None:
    xyz = np.array([[0, 0, 0], [0, -1, 0], [0, 1, 0]], np.float32)
    splats = Splats(np.full(3, 0.3, np.float32), np.zeros((3, 3), np.float32))
    colors = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
    image = render_points(xyz, colors, width=21, height=21, view=FRONT, splats=splats)
    assert image[10, 10, 1] > 150 > 20 > image[10, 10, 0]
    np.testing.assert_array_equal(image[0, 0], BACKGROUND)


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_hardly_any_points(count: int) -> None:
    xyz = np.zeros((count, 3), np.float32)
    image = render_points(xyz, np.zeros((count, 3), np.uint8), width=16, height=12, view=FRONT)
    assert image.shape == (12, 16, 3)
    assert (image[5:7, 7:9] < 230).any() == (count > 0)
    if count:
        view = room_view(xyz, width=16, height=12)
        assert np.isfinite(view.eye).all()
    else:
        with pytest.raises(ValueError, match="no points"):
            room_view(xyz, width=16, height=12)


def test_refuses_bad_arguments(room: Scene) -> None:
    with pytest.raises(ValueError, match="12000 points, 3 colors"):
        render_points(room.xyz, np.zeros((3, 3), np.uint8), width=16, height=12, view=FRONT)
    with pytest.raises(ValueError, match="0 x 12"):
        rasterize(room.xyz, width=0, height=12, view=FRONT)
    with pytest.raises(ValueError, match="no point lies below the cut"):
        room_view(room.xyz, width=16, height=12, cut=-1.0)


@pytest.mark.parametrize("size", [(320, 240), (240, 320), (400, 100)])
def test_rooms_fill_the_picture(room: Scene, size: tuple[int, int]) -> None:
    width, height = size
    view = room_view(room.xyz, width=width, height=height, open_front=False)
    shown = rasterize(room.xyz, width=width, height=height, view=view, supersampling=1).index >= 0
    rows, columns = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
    tall, wide = (rows[-1] - rows[0]) / height, (columns[-1] - columns[0]) / width
    assert max(tall, wide) > 0.85
    for rim in (shown[0], shown[-1], shown[:, 0], shown[:, -1]):
        assert rim.mean() < 0.05, "a corner may touch the rim, a wall may not"


def test_rooms_are_open_to_look_into(room: Scene) -> None:
    view = room_view(room.xyz, width=320, height=240)
    assert view.cut == pytest.approx(2.2, abs=0.02)
    index = rasterize(room.xyz, width=320, height=240, view=view).index
    seen = room.instance[np.unique(index[index >= 0])]
    assert {1, 7, 8} <= set(seen.tolist()), "floor, table and chair are in sight"
    assert 2 not in seen, "the ceiling is not"
    hidden = view.hidden(room.xyz)
    assert hidden[room.instance == 2].all()
    assert not hidden[np.isin(room.instance, [7, 8])].any()


@pytest.mark.parametrize(("towards", "wall"), [((1.0, 0.0), 4), ((-1.0, 0.0), 3), ((0.0, 1.0), 6), ((0.0, -2.0), 5)])
def test_near_walls(room: Scene, towards: tuple[float, float], wall: int) -> None:
    hidden = near_walls(room.xyz, np.array(towards))
    assert hidden[room.instance == wall].mean() > 0.95
    far = {3: 4, 4: 3, 5: 6, 6: 5}[wall]
    assert not hidden[np.isin(room.instance, [far, 7, 8])].any()
    without = room.xyz[room.instance != wall]
    assert near_walls(without, np.array(towards)).mean() < 0.1, "the far wall is no near wall"


def test_near_walls_of_nothing(room: Scene) -> None:
    assert near_walls(np.zeros((0, 3), np.float32), np.array([1.0, 0.0])).shape == (0,)
    assert not near_walls(room.xyz, np.zeros(2)).any(), "straight from above"


def test_spacing_and_normals(rng: np.random.Generator) -> None:
    plane = np.zeros((4000, 3), np.float32)
    plane[:, :2] = rng.uniform(0, 2, (4000, 2))
    splats = Splats.of_points(plane)
    assert np.median(splats.spacing) == pytest.approx(np.sqrt(4 / 4000), rel=0.25)
    np.testing.assert_allclose(np.abs(splats.normal[:, 2]), 1.0, atol=1e-3)
    plane[:1000, :2] /= 20  # denser there
    spacing = Splats.of_points(plane).spacing
    assert np.median(spacing[:1000]) < 0.6 * np.median(spacing[1000:])


def test_cells_agree_with_numpy(rng: np.random.Generator) -> None:
    xyz = rng.normal(0, 1, (300, 3)).astype(np.float32) * np.float32([1, 0.1, 0.01]) + np.float32(40)
    cell = np.append(rng.integers(0, 9, 299), 9).astype(np.int32)  # the last cell has one point
    found = cell_covariances(xyz, cell, 10)
    for index in range(10):
        np.testing.assert_allclose(found[index], np.cov(xyz[cell == index].T.astype(float), bias=True), atol=1e-9)
    counts = np.bincount(cell)
    roughness, direction = rng.random(10), rng.normal(0, 1, (10, 3))
    most, flattest, normal = np.full(300, 31), np.full(300, 0.5), np.ones((300, 3), np.float32)
    take_cells(cell, counts, roughness, direction, most, flattest, normal)
    better = roughness[cell] < 0.5
    assert better.any()
    assert not better.all()
    np.testing.assert_array_equal(most, np.maximum(counts[cell], 31))
    np.testing.assert_array_equal(flattest, np.where(better, roughness[cell], 0.5))
    np.testing.assert_allclose(normal, np.where(better[:, None], direction[cell], 1), rtol=1e-6)


def test_holes_close_and_edges_stay() -> None:
    depth, index = np.full((20, 20), np.inf, np.float32), np.full((20, 20), -1, np.int32)
    depth[5:15, 5:15], index[5:15, 5:15] = 1.0, 7
    depth[10, 10], index[10, 10] = np.inf, -1
    before = index.copy()
    fill_holes(depth, index, 1, 0.01)
    before[10, 10] = 7
    np.testing.assert_array_equal(index, before)


def test_smoothing_keeps_steps() -> None:
    depth = np.full((9, 9), np.inf, np.float32)
    depth[:, :4], depth[:, 4:8] = 1.0, 2.0
    np.testing.assert_allclose(smooth_depth(depth, 2, np.float32(0.1)), depth)
    noisy = depth + np.float32(0.01) * (np.indices(depth.shape).sum(axis=0) % 2).astype(np.float32)
    smooth = smooth_depth(noisy, 2, np.float32(0.1))
    assert np.ptp(smooth[:, :4]) < 0.5 * np.ptp(noisy[:, :4])


def test_paint_averages_squares() -> None:
    index = np.array([[0, 0, 1, -1], [0, 0, 1, -1]], np.int32)
    colors = np.array([[100, 0, 0], [0, 200, 0]], np.uint8)
    image = paint(index, np.array([[0.5, 1.0]], np.float32), colors, np.array([10, 20, 30], np.uint8), 2)
    assert image.tolist() == [[[50, 0, 0], [5, 110, 15]]]
    assert shrink(np.array([[3, 2], [4, np.inf]], np.float32), 2).tolist() == [[2.0]]


def test_same_picture_twice(room: Scene) -> None:
    view = room_view(room.xyz, width=160, height=120)
    images = [render_points(room.xyz, room.rgb, width=160, height=120, view=view) for _ in range(2)]
    np.testing.assert_array_equal(*images)


def test_mapped_arrays(room: Scene, tmp_path: Path) -> None:
    np.save(tmp_path / "xyz.npy", room.xyz)
    mapped = np.load(tmp_path / "xyz.npy", mmap_mode="r")
    view = room_view(mapped, width=80, height=60)
    image = render_points(mapped, room.rgb, width=80, height=60, view=view)
    np.testing.assert_array_equal(image, render_points(room.xyz, room.rgb, width=80, height=60, view=view))


def test_fast_enough(rng: np.random.Generator) -> None:
    xyz = rng.uniform(0, 4, (200_000, 3)).astype(np.float32)
    xyz[np.arange(len(xyz)), rng.integers(0, 3, len(xyz))] = 0
    colors = np.zeros_like(xyz, np.uint8)
    view = room_view(xyz, width=1200, height=900)
    render_points(xyz, colors, width=1200, height=900, view=view)
    start = time.process_time()
    render_points(xyz, colors, width=1200, height=900, view=view)
    assert time.process_time() - start < 3.0, "about half a second; the bound leaves room for slow and busy machines"
