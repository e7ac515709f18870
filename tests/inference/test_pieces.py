from dataclasses import replace

import numpy as np

from pcseg.classes import S3DIS
from pcseg.inference.filters import trust_large
from pcseg.inference.pieces import split_pieces, superpoint_areas, superpoint_cells, superpoint_links
from pcseg.inference.surfaces import with_surfaces
from pcseg.prediction import Prediction
from pcseg.structures import Scene
from tests.conftest import holds


def _scene(xyz: np.ndarray, superpoint: np.ndarray) -> Scene:
    return Scene("room", xyz.astype(np.float32), superpoint=superpoint.astype(np.int32))


def test_superpoints_touch_in_neighboring_cells_and_have_areas(rng: np.random.Generator) -> None:
    scene = _scene(rng.uniform(0, 1, (200, 3)), rng.permutation(np.arange(200) % 25))
    cells = np.floor((scene.xyz - scene.xyz.min(axis=0)) / 0.1).astype(int)
    expected = np.zeros((25, 25), bool)
    for a, b in np.argwhere((np.abs(cells[:, None] - cells[None]) <= 1).all(axis=2)):
        expected[scene.superpoint[a], scene.superpoint[b]] = True
    np.testing.assert_array_equal(superpoint_links(superpoint_cells(scene, 0.1)).toarray() > 0, expected)
    # A square of 1 m, and one of 0.5 m that is scanned more densely.
    xyz = np.zeros((40000, 3))
    xyz[:, :2] = rng.uniform(0, np.where(np.arange(40000) < 20000, 1, 0.5)[:, None], (40000, 2))
    scene = _scene(xyz, np.arange(40000) // 20000)
    areas = superpoint_areas(superpoint_cells(scene))
    np.testing.assert_allclose(areas, [1.0, 0.25], rtol=0.01)
    masks, scores = np.eye(2) > 0, np.array([0.5, 0.9])
    given = Prediction(scene, masks, np.array([8, 8]), scores, classes=S3DIS, superpoint=scene.superpoint)
    found = trust_large(given, areas, 1.0)
    np.testing.assert_allclose(found.scores, [0.5, 0.9 * 0.5], rtol=0.01)
    assert found.columns(0).tolist() == [0]


def test_a_mask_of_two_chairs_becomes_two_objects() -> None:
    # One superpoint of 4, 4 and 1 points at x = 0, 0.05 and 2 m, and one of 2 points at x = 1 m.
    x = np.repeat([0.0, 0.05, 1.0, 2.0], [4, 4, 2, 1])
    scene = _scene(np.stack([x, 0 * x, 0 * x], axis=1), np.repeat([0, 1, 2, 3], [4, 4, 2, 1]))
    masks, scores = np.array([[1, 1, 1, 1], [0, 0, 1, 0]], bool), np.array([0.8, 0.5], np.float32)
    given = Prediction(scene, masks, np.array([8, 3]), scores, classes=S3DIS, superpoint=scene.superpoint)
    found = split_pieces(given, superpoint_links(superpoint_cells(scene)), min_points=2)
    holds(found, masks=[[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0]], labels=[8, 3, 8])
    np.testing.assert_allclose(found.scores, [0.8 * np.sqrt(8 / 11), 0.5, 0.8 * np.sqrt(2 / 11)], rtol=1e-6)
    assert len(split_pieces(given.select(np.zeros(0, np.int64)), superpoint_links(superpoint_cells(scene)))) == 0


def test_floor_and_each_wall_become_objects(rng: np.random.Generator) -> None:
    """Pieces of 1 m on the floor z = 0, and on the walls x = 0 and y = 0; the second wall has a gap of 1 m."""
    u, v = rng.uniform(0, 2, (2, 6000))
    zero, side = np.zeros(6000), np.repeat([0, 1, 2], 2000)
    xyz = np.where(side[:, None] == 0, np.stack([u, v, zero], 1), np.stack([u, zero, v], 1))
    xyz = np.where(side[:, None] == 2, np.stack([zero, u + (u > 1), v], 1), xyz)
    scene = _scene(xyz, 4 * side + 2 * (u > 1) + (v > 1))
    semantic = np.full((12, len(S3DIS)), 0.01, np.float32)
    semantic[:4, S3DIS.index("floor")] = 0.9
    semantic[4:, S3DIS.index("wall")] = 0.8
    masks, scores = np.arange(12) == np.array([[3], [7]]), np.array([0.85, 0.1])  # the second is not shown
    given = Prediction(scene, masks, np.array([8, 8]), scores, classes=S3DIS, superpoint=scene.superpoint)
    found = with_surfaces(given, semantic, superpoint_links(superpoint_cells(scene)), min_points=100, shown_above=0.3)
    expected = {"chair": [(3,), (7,)], "floor": [(0, 1, 2)], "wall": [(4, 5, 6, 7), (8, 9, 10, 11)]}
    columns = [tuple(sorted(found.columns(row))) for row in range(5)]
    assert {label: sorted(c for c, o in zip(columns, found) if o.label == label) for label in expected} == expected
    np.testing.assert_allclose(found.scores, [0.9, 0.85, 0.8, 0.8, 0.1], rtol=1e-6)
    small = replace(given, scene=scene.with_(xyz=scene.xyz / 2))
    walls = with_surfaces(small, semantic, superpoint_links(superpoint_cells(small.scene)), shown_above=0.3)
    walls = [o for o in walls if o.label == "wall"]
    np.testing.assert_allclose(walls[-1].score, 0.8 * np.sqrt(1 / 2), rtol=0.02)  # 1 m x 1 m
