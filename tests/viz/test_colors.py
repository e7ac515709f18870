"""Objects near each other have different colors, and surfaces are pale."""

import numpy as np
import pytest

from pcseg.viz import colors as tables
from pcseg.viz.colors import class_colors, height_colors, instance_colors, superpoint_colors


def _strength(colors: np.ndarray) -> np.ndarray:
    return np.ptp(colors.astype(int), axis=1)


def test_the_tables() -> None:
    apart = np.abs(tables.OBJECT_COLORS[:, None].astype(int) - tables.OBJECT_COLORS[None]).sum(axis=2)
    assert apart[~np.eye(60, dtype=bool)].min() > 20
    assert _strength(tables.SURFACE_COLORS).max() < 45 < _strength(tables.OBJECT_COLORS).min()


def test_neighbors_differ_and_surfaces_are_pale() -> None:
    center = np.arange(200.0)[:, None] * [0.6, 0, 0]
    is_surface = np.arange(200) % 10 == 0
    colors = instance_colors(center, is_surface)
    assert _strength(colors[is_surface]).max() < 45 < _strength(colors[~is_surface]).min()
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
    colors = height_colors(np.linspace(-1, 3, 100, dtype=np.float32)[:, None] * np.float32([0, 0, 1]))
    assert (np.diff(colors.astype(int).sum(axis=1)) >= 0).all(), "higher is brighter"
    assert colors[-1].sum() > colors[0].sum() + 300
