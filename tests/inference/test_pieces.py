import numpy as np

from pcseg.classes import S3DIS
from pcseg.inference.pieces import split_pieces, superpoint_links
from pcseg.prediction import Prediction
from pcseg.structures import Scene


def _scene(xyz: np.ndarray, superpoint: np.ndarray) -> Scene:
    return Scene("room", xyz.astype(np.float32), superpoint=superpoint.astype(np.int32))


def test_superpoints_touch_in_neighboring_cells(rng: np.random.Generator) -> None:
    scene = _scene(rng.uniform(0, 1, (200, 3)), rng.permutation(np.arange(200) % 25))
    cells = np.floor((scene.xyz - scene.xyz.min(axis=0)) / 0.1).astype(int)
    near = (np.abs(cells[:, None] - cells[None]) <= 1).all(axis=2)
    expected = np.zeros((25, 25), bool)
    for a, b in np.argwhere(near):
        expected[scene.superpoint[a], scene.superpoint[b]] = True
    np.testing.assert_array_equal(superpoint_links(scene, 0.1).toarray() > 0, expected)


def test_a_mask_of_two_chairs_becomes_two_objects() -> None:
    # One superpoint of 4, 4 and 1 points at x = 0, 0.05 and 2 m, and one of 2 points at x = 1 m.
    x = np.repeat([0.0, 0.05, 1.0, 2.0], [4, 4, 2, 1])
    scene = _scene(np.stack([x, 0 * x, 0 * x], axis=1), np.repeat([0, 1, 2, 3], [4, 4, 2, 1]))
    masks, scores = np.array([[1, 1, 1, 1], [0, 0, 1, 0]], bool), np.array([0.8, 0.5], np.float32)
    given = Prediction(scene, masks, np.array([8, 3]), scores, classes=S3DIS, superpoint=scene.superpoint)
    found = split_pieces(given, min_points=2)
    assert found.masks.toarray().astype(int).tolist() == [[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0]]
    assert found.labels.tolist() == [8, 3, 8]
    np.testing.assert_allclose(found.scores, [0.8 * np.sqrt(8 / 11), 0.5, 0.8 * np.sqrt(2 / 11)], rtol=1e-6)
    assert len(split_pieces(given.select(np.zeros(0, np.int64)))) == 0
