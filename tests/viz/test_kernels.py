import numpy as np
import pytest

from pcseg.kernels import render, shade, splats
from pcseg.viz.raster import room_view
from tests.reference import render as slow_render
from tests.reference import shade as slow_shade
from tests.reference import splats as slow_splats


@pytest.fixture
def depth(rng: np.random.Generator) -> np.ndarray:
    """Two slanted surfaces with noise, one in front of the other, and pixels without any."""
    y, x = np.indices((23, 31))
    depth = (4 + 0.01 * x + 0.02 * y + 0.02 * rng.random((23, 31))).astype(np.float32)
    depth[6:15, 8:20] -= 1
    depth[rng.random(depth.shape) < 0.1] = np.inf
    return depth


def test_splat(rng: np.random.Generator) -> None:
    xyz = rng.uniform(-1, 1, (60, 3)).astype(np.float32)
    radius = rng.uniform(0.02, 0.2, 60).astype(np.float32)
    view = room_view(xyz, width=40, height=30, azimuth=33.0, elevation=41.0, cut=0.7, open_front=False)
    normal, camera = np.zeros((60, 3), np.float32), (view.rotation, view.eye, view.focal(30))
    arguments = (xyz, normal, view.hidden(xyz), radius, *camera, 2.0, 40, 30)
    depth, index = render.splat(*arguments)
    slow_depth, slow_index = slow_render.splat(*arguments)
    same = index == slow_index
    assert same.mean() > 0.995, "except for pixels on a rim within rounding"
    np.testing.assert_allclose(depth[same], slow_depth[same], rtol=1e-5)
    assert (index >= 0).any()
    assert not np.isin(index, np.flatnonzero(xyz[:, 2] > 0.7)).any()


@pytest.mark.parametrize("reach", [1, 3])
def test_fill_holes(depth: np.ndarray, rng: np.random.Generator, reach: int) -> None:
    index = rng.integers(0, 1000, depth.shape).astype(np.int32)
    before, expected = index.copy(), index.copy()
    slow_render.fill_holes(depth, expected, reach, 0.01)
    render.fill_holes(depth, index, reach, 0.01)
    np.testing.assert_array_equal(index, expected)
    assert (index != before).any()


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_paint(rng: np.random.Generator, factor: int) -> None:
    index = rng.integers(-1, 50, (4 * factor, 6 * factor)).astype(np.int32)
    brightest = 1.3 if factor == 1 else 1.0  # the twin cuts off each pixel, the kernel the mean of the block
    shades, colors = rng.uniform(0.2, brightest, (4, 6)).astype(np.float32), rng.integers(0, 256, (50, 3), np.uint8)
    arguments = (index, shades, colors, np.array([250, 240, 230], np.uint8), factor)
    assert np.abs(render.paint(*arguments) - slow_render.paint(*arguments)).max() <= 0.501


def test_shading(depth: np.ndarray) -> None:
    lights = np.array([[0.6, 0.0, 0.8], [0.0, -0.6, 0.8]]), np.array([0.3, 0.2])  # directions, weights
    for name, arguments, tolerance in (
        *(("smooth_depth", (steps, np.float32(0.01)), 5e-5) for steps in (1, 3, 40)),
        ("eye_dome", (1, 5, 7.0, 5.0), 1e-4),
        ("light", (300.0, 15.5, 11.5, *lights, 0.5), 1e-3),
    ):
        expected = getattr(slow_shade, name)(depth.astype(np.float64), *arguments)
        np.testing.assert_allclose(getattr(shade, name)(depth, *arguments), expected, rtol=0, atol=tolerance)
        assert np.ptp(expected[np.isfinite(depth)]) > 0.15


def test_cell_covariances_flattest_directions_and_shapes_without_one(rng: np.random.Generator) -> None:
    xyz = rng.normal(0, 1, (300, 3)).astype(np.float32) * np.float32([1, 0.1, 0.01]) + np.float32(40)
    cell = np.append(rng.integers(0, 9, 299), 9).astype(np.int32)  # the last cell has one point
    expected = slow_splats.cell_covariances(xyz, cell, 10)
    np.testing.assert_allclose(splats.cell_covariances(xyz, cell, 10), expected, atol=1e-9)
    axes = np.linalg.qr(rng.normal(0, 1, (50, 3, 3)))[0]
    spread = np.sort(rng.uniform(0.01, 1, (50, 3)), axis=1) * 1e-4
    arguments = (axes @ (spread[..., None] * axes.transpose(0, 2, 1)), np.full(50, 8), 8)
    roughness, direction = splats.flattest_directions(*arguments)
    slow_roughness, slow_direction = slow_splats.flattest_directions(*arguments)
    np.testing.assert_allclose(roughness, slow_roughness, rtol=1e-6)
    np.testing.assert_allclose(np.abs((direction * slow_direction).sum(axis=1)), 1, atol=1e-6)
    cases = [np.zeros((3, 3)), np.eye(3), np.diag([1.0, 0, 0]), np.diag([1.0, 1, 0])]
    roughness, direction = splats.flattest_directions(np.stack(cases), np.array([9, 9, 9, 7]), 8)
    assert np.isinf(roughness).all()
    assert not direction.any()
    roughness, direction = splats.flattest_directions(np.diag([1.0, 1, 0])[None], np.array([8]), 8)
    assert roughness.tolist() == [0.0]
    np.testing.assert_allclose(np.abs(direction), [[0, 0, 1]], atol=1e-9)
