"""The fast loops give what the plain ones give."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from pcseg.kernels.render import fill_holes, paint
from pcseg.kernels.shade import eye_dome, shrink, smooth_depth
from pcseg.kernels.splats import flattest_directions

_PATH = Path(__file__).resolve().parent.parent / "reference" / "shading_slow.py"
_SPEC = importlib.util.spec_from_file_location("shading_slow", _PATH)
reference = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(reference)


@pytest.fixture
def depth(rng: np.random.Generator) -> np.ndarray:
    """Two slanted surfaces with noise, one before the other, and pixels without any."""
    y, x = np.indices((23, 31))
    depth = (4 + 0.01 * x + 0.02 * y + 0.02 * rng.random((23, 31))).astype(np.float32)
    depth[6:15, 8:20] -= 1
    depth[rng.random(depth.shape) < 0.1] = np.inf
    return depth


@pytest.mark.parametrize("reach", [1, 3])
def test_holes(depth: np.ndarray, rng: np.random.Generator, reach: int) -> None:
    index = rng.integers(0, 1000, depth.shape).astype(np.int32)
    expected = reference.filled(depth, index, reach, 0.01)
    before = index.copy()
    fill_holes(depth, index, reach, 0.01)
    np.testing.assert_array_equal(index, expected)
    assert (index != before).any()


@pytest.mark.parametrize("steps", [1, 3, 40])
def test_smoothing(depth: np.ndarray, steps: int) -> None:
    expected = reference.smooth(depth.astype(np.float64), steps, 0.01)
    np.testing.assert_allclose(smooth_depth(depth, steps, np.float32(0.01)), expected, rtol=1e-5)


def test_eye_dome(depth: np.ndarray) -> None:
    expected = reference.eye_dome(depth.astype(np.float64), (1, 5), (7.0, 5.0))
    np.testing.assert_allclose(eye_dome(depth, 1, 5, 7.0, 5.0), expected, atol=1e-4)
    assert expected.min() < 0.9 < expected.max()


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_paint_and_shrink(rng: np.random.Generator, factor: int) -> None:
    index = rng.integers(-1, 50, (4 * factor, 6 * factor)).astype(np.int32)
    shade, colors = rng.uniform(0.2, 1.0, (4, 6)).astype(np.float32), rng.integers(0, 256, (50, 3)).astype(np.uint8)
    background = np.array([250, 240, 230], np.uint8)
    lit = np.where(
        index[..., None] < 0, background, colors[index] * np.kron(shade, np.ones((factor, factor)))[..., None]
    )
    expected = lit.reshape(4, factor, 6, factor, 3).mean(axis=(1, 3))
    assert np.abs(paint(index, shade, colors, background, factor) - expected).max() <= 0.501
    smallest = index.reshape(4, factor, 6, factor).min(axis=(1, 3))
    np.testing.assert_array_equal(shrink(index.astype(np.float32), factor), smallest)


def test_too_bright_is_white() -> None:
    index, shade = np.zeros((2, 2), np.int32), np.full((1, 1), 1.2, np.float32)
    image = paint(index, shade, np.full((1, 3), 250, np.uint8), np.zeros(3, np.uint8), 2)
    assert image.tolist() == [[[255, 255, 255]]]


def test_flattest_directions_are_those_of_eigh(rng: np.random.Generator) -> None:
    axes = np.linalg.qr(rng.normal(0, 1, (50, 3, 3)))[0]
    spread = np.sort(rng.uniform(0.01, 1, (50, 3)), axis=1) * 1e-4
    covariance = axes @ (spread[..., None] * axes.transpose(0, 2, 1))
    roughness, direction = flattest_directions(covariance, np.full(50, 8), 8)
    np.testing.assert_allclose(roughness, spread[:, 0] / spread[:, 1], rtol=1e-6)
    np.testing.assert_allclose(np.abs((direction * axes[:, :, 0]).sum(axis=1)), 1, atol=1e-6)


def test_shapes_without_a_flattest_direction() -> None:
    cases = [np.zeros((3, 3)), np.eye(3), np.diag([1.0, 0, 0]), np.diag([0.0, 0, 0]), np.diag([1.0, 1, 0])]
    roughness, direction = flattest_directions(np.stack(cases), np.array([9, 9, 9, 9, 7]), 8)
    assert np.isinf(roughness).all()
    assert not direction.any()
    roughness, direction = flattest_directions(np.diag([1.0, 1, 0])[None], np.array([8]), 8)
    assert roughness.tolist() == [0.0]
    np.testing.assert_allclose(np.abs(direction), [[0, 0, 1]], atol=1e-9)
