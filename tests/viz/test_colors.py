"""Colors differ where they should, with any kind of color vision."""

import numpy as np
import pytest

from pcseg.viz.colors import (
    OBJECT_COLORS,
    SURFACE_COLORS,
    class_colors,
    height_colors,
    instance_colors,
    superpoint_colors,
)

# Viénot, Brettel and Mollon 1999: linear RGB as seen with normal vision, without red cones and without green cones.
VISIONS = {
    "normal": np.eye(3),
    "protanope": [[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]],
    "deuteranope": [[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]],
}


def _oklab(rgb: np.ndarray, vision: str = "normal") -> np.ndarray:
    """Ottosson 2020, "A perceptual color space for image processing"."""
    srgb = rgb / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ np.transpose(VISIONS[vision]), 0, 1)
    lms = [[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.6300]]
    lab = [[0.2105, 0.7936, -0.0041], [1.9780, -2.4286, 0.4506], [0.0259, 0.7828, -0.8087]]
    return np.cbrt(linear @ np.transpose(lms)) @ np.transpose(lab)


def _least_distance(colors: np.ndarray, vision: str = "normal") -> float:
    lab = _oklab(colors, vision)
    apart = np.linalg.norm(lab[:, None] - lab[None], axis=2)
    return float(apart[~np.eye(len(lab), dtype=bool)].min())


def _chroma(colors: np.ndarray) -> np.ndarray:
    return np.hypot(*_oklab(colors)[:, 1:].T)


@pytest.mark.parametrize(("vision", "least"), [("normal", 0.08), ("protanope", 0.05), ("deuteranope", 0.05)])
def test_classes_differ_for_all_eyes(vision: str, least: float) -> None:
    is_surface = np.arange(22) < 2
    assert _least_distance(class_colors(is_surface), vision) > least


def test_the_table() -> None:
    assert _least_distance(OBJECT_COLORS) > 0.045
    assert _chroma(SURFACE_COLORS).max() < 0.06 < _chroma(OBJECT_COLORS).min(), "surfaces are pale"


def test_neighbors_differ_and_surfaces_are_pale() -> None:
    count = 200
    center = np.stack([np.arange(count), np.zeros(count), np.zeros(count)], axis=1) * 0.6
    is_surface = np.arange(count) % 10 == 0
    colors = instance_colors(center, is_surface)
    assert _chroma(colors[is_surface]).max() < 0.06 < _chroma(colors[~is_surface]).min()
    strong = colors[~is_surface]
    for near in range(1, 30):
        assert (strong[near:] != strong[:-near]).any(axis=1).all()
    np.testing.assert_array_equal(colors, instance_colors(center, is_surface))


def test_taken_colors_are_avoided() -> None:
    near, no = np.zeros((5, 3)), np.zeros(5, np.bool_)
    first = instance_colors(near, no)
    both = np.vstack([first, instance_colors(near, no, (first, near))])
    assert len(np.unique(both, axis=0)) == 10


@pytest.mark.parametrize("count", [0, 1, 5, 3000])
def test_counts(count: int) -> None:
    assert superpoint_colors(count).shape == (count, 3)
    assert class_colors(np.arange(count) % 2 == 0).shape == (count, 3)
    few = min(count, 100)
    assert instance_colors(np.zeros((few, 3)), np.zeros(few, np.bool_)).shape == (few, 3)


def test_height_colors() -> None:
    assert len(height_colors(np.zeros((0, 3), np.float32))) == 0
    assert len(np.unique(height_colors(np.zeros((5, 3), np.float32)), axis=0)) == 1
    xyz = np.zeros((100, 3), np.float32)
    xyz[:, 2] = np.linspace(-1, 3, 100)
    lightness = _oklab(height_colors(xyz))[:, 0]
    assert (np.diff(lightness) > -0.01).all()
    assert lightness[-1] - lightness[0] > 0.3
