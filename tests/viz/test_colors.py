"""Colors differ where they should, for all eyes."""

import numpy as np
import pytest

from pcseg.classes import S3DIS, SCANNET20, ClassSet
from pcseg.viz.colors import (
    class_colors,
    distinct_colors,
    from_oklch,
    height_colors,
    instance_colors,
    muted_colors,
    oklab,
    superpoint_colors,
)


def _least_distance(colors: np.ndarray, deuteranopia: bool) -> float:
    lab = oklab(colors, deuteranopia)
    apart = np.linalg.norm(lab[:, None] - lab[None], axis=2)
    return float(apart[~np.eye(len(lab), dtype=bool)].min())


def test_oklab_of_known_colors() -> None:
    # White, black and red after the table in Ottosson's article.
    lab = oklab(np.array([[255, 255, 255], [0, 0, 0], [255, 0, 0]], np.uint8))
    np.testing.assert_allclose(lab, [[1, 0, 0], [0, 0, 0], [0.628, 0.225, 0.126]], atol=2e-3)


def test_oklch_round_trip() -> None:
    lightness, chroma, hue = np.array([0.7, 0.6]), np.array([0.05, 0.08]), np.array([30.0, 200.0])
    lab = oklab(from_oklch(lightness, chroma, hue))
    np.testing.assert_allclose(lab[:, 0], lightness, atol=0.005)
    np.testing.assert_allclose(np.hypot(lab[:, 1], lab[:, 2]), chroma, atol=0.005)


@pytest.mark.parametrize("deuteranopia", [False, True])
def test_objects_side_by_side_are_told_apart(deuteranopia: bool) -> None:
    box = np.zeros((7, 3))
    colors = instance_colors(box, box + 1, np.zeros(7, np.bool_))
    assert _least_distance(colors, deuteranopia) > 0.08
    assert _least_distance(distinct_colors(9), False) > 0.08


def test_neighbors_differ_and_surfaces_are_pale() -> None:
    count = 200
    low = np.stack([np.arange(count), np.zeros(count), np.zeros(count)], axis=1) * 0.6
    muted = np.arange(count) % 10 == 0
    colors = instance_colors(low, low + 0.5, muted)
    lab = oklab(colors)
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    assert chroma[muted].max() < 0.05 < chroma[~muted].min()
    assert np.linalg.norm(np.diff(lab, axis=0), axis=1).min() > 0.1
    for near in range(2, 6):  # also those a few objects away
        assert np.linalg.norm(lab[near:] - lab[:-near], axis=1).min() > 0.05
    np.testing.assert_array_equal(colors, instance_colors(low, low + 0.5, muted))


def test_objects_in_one_place_get_different_colors() -> None:
    box = np.zeros((12, 3))
    colors = instance_colors(box, box + 1, np.zeros(12, np.bool_))
    assert len(np.unique(colors, axis=0)) == 12


def test_fixed_colors_are_avoided() -> None:
    box, none = np.zeros((1, 3)), np.zeros(1, np.bool_)
    fixed = distinct_colors(5)
    boxes = np.zeros((5, 3))
    color = instance_colors(box, box + 1, none, fixed, boxes, boxes + 1)
    assert np.linalg.norm(oklab(color) - oklab(fixed), axis=1).min() > 0.1


@pytest.mark.parametrize("count", [0, 1, 5, 3000])
def test_counts(count: int) -> None:
    for make in (muted_colors, distinct_colors, superpoint_colors):
        colors = make(count)
        assert colors.shape == (count, 3)
        assert colors.dtype == np.uint8
    empty = np.zeros((count, 3))
    assert len(instance_colors(empty[:9], empty[:9], np.zeros(min(count, 9), np.bool_))) == min(count, 9)


@pytest.mark.parametrize("classes", [S3DIS, SCANNET20], ids=lambda classes: classes.name)
def test_classes_are_told_apart_by_all_eyes(classes: ClassSet) -> None:
    muted = np.array([name in classes.stuff for name in classes.names], np.bool_)
    colors = class_colors(muted)
    for deuteranopia in (False, True):
        assert _least_distance(colors, deuteranopia) > 0.06
        assert _least_distance(colors, deuteranopia) > 1.2 * _least_distance(classes.color_table(), deuteranopia)
    lab = oklab(colors)
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    assert chroma[muted].max() < 0.06 < chroma[~muted].min()
    assert class_colors(np.zeros(0, np.bool_)).shape == (0, 3)


def test_height_colors() -> None:
    assert len(height_colors(np.zeros((0, 3), np.float32))) == 0
    assert len(np.unique(height_colors(np.zeros((5, 3), np.float32)), axis=0)) == 1
    xyz = np.zeros((100, 3), np.float32)
    xyz[:, 2] = np.linspace(-1, 3, 100)
    lightness = oklab(height_colors(xyz))[:, 0]
    assert (np.diff(lightness) > -0.01).all()
    assert lightness[-1] - lightness[0] > 0.3
