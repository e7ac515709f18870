from dataclasses import replace

import numpy as np
import pytest

from pcseg.classes import S3DIS, class_set
from pcseg.prediction import Prediction
from pcseg.viz import colors as tables
from pcseg.viz.colors import height_colors, instance_colors, oklab
from pcseg.viz.layers import ERRORS, scene_layers


def _strength(colors: np.ndarray) -> np.ndarray:
    return np.ptp(colors.astype(int), axis=1)


def test_tables_and_taken_colors() -> None:
    space = oklab(tables.OBJECT_COLORS)
    apart = np.linalg.norm(space[:, None] - space, axis=2) + np.eye(60)
    assert [round(float(apart[:n, :n].min()), 2) for n in (12, 20, 60)] == [0.13, 0.09, 0.05]
    assert _strength(tables.SURFACE_COLORS).max() < 60 <= _strength(tables.OBJECT_COLORS).min()
    no_object = oklab(np.array([tables.NO_OBJECT]))
    assert np.linalg.norm(oklab(tables.SURFACE_COLORS) - no_object, axis=1).min() > 0.09, "a wall is not gray"
    near, no = np.zeros((5, 3)), np.zeros(5, np.bool_)
    first = instance_colors(near, no)
    assert len(np.unique(np.vstack([first, instance_colors(near, no, (first, near))]), axis=0)) == 10


def test_neighbors_differ_surfaces_are_pale_and_height_is_bright() -> None:
    center, is_surface = np.arange(200.0)[:, None] * [0.6, 0, 0], np.arange(200) % 10 == 0
    colors = instance_colors(center, is_surface)
    assert _strength(colors[is_surface]).max() < 60 <= _strength(colors[~is_surface]).min()
    strong = colors[~is_surface]
    assert all((strong[near:] != strong[:-near]).any(axis=1).all() for near in range(1, 30))
    np.testing.assert_array_equal(colors, instance_colors(center, is_surface))
    assert len(np.unique(height_colors(np.zeros((5, 3), np.float32)), axis=0)) == 1
    colors = height_colors(np.linspace(-1, 3, 100, dtype=np.float32)[:, None] * np.float32([0, 0, 1]))
    assert (np.diff(colors.astype(int).sum(axis=1)) >= 0).all(), "higher is brighter"
    assert colors[-1].sum() > colors[0].sum() + 300


@pytest.mark.parametrize("name", ["indoor", "s3dis", "scannet20", "scannet200"])
def test_objects_have_no_color_of_the_legend(name: str) -> None:
    legend = np.vstack([class_set(name).color_table(), [color for _, color, _ in ERRORS], [tables.NO_OBJECT]])
    center, is_surface = np.random.default_rng(0).random((300, 3)), np.arange(300) % 5 == 0
    colors = instance_colors(center, is_surface, legend=legend)
    assert np.linalg.norm(oklab(colors)[:, None] - oklab(legend), axis=2).min() > 0.025
    assert len(np.unique(colors[~is_surface], axis=0)) >= 20


def test_no_object_has_the_color_of_a_class_of_another_panel(whole: Prediction) -> None:
    # The ceiling's color is that of an object without the legend.
    color = tuple(tables.OBJECT_COLORS[0].tolist())
    for given, expected in ((S3DIS, True), (replace(S3DIS, colors=(color, *S3DIS.colors[1:])), False)):
        layers = scene_layers(replace(whole, classes=given))
        layers = {key: set(map(tuple, layer.colors.tolist())) for key, layer in layers.items()}
        shown = (layers["truth"] | layers["prediction"]) - {tables.NO_OBJECT}
        assert (color in shown) == expected
        assert not shown & (layers["semantic_truth"] | layers["semantic_prediction"] | layers["errors"])
