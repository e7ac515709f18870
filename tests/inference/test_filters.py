import numpy as np
import pytest

from pcseg.classes import S3DIS
from pcseg.inference.filters import column_points, keep, matrix_nms, without_overlap
from pcseg.prediction import Prediction
from pcseg.structures import Scene
from tests.reference.matrix_nms_slow import slow_matrix_nms


def _prediction(masks: np.ndarray, labels: np.ndarray, scores: np.ndarray, superpoint: np.ndarray) -> Prediction:
    scene = Scene.without_xyz("room", len(superpoint))
    return Prediction(scene, masks, labels, scores, classes=S3DIS, superpoint=superpoint.astype(np.int32))


@pytest.mark.parametrize("num_columns", [0, 1, 30])
@pytest.mark.parametrize("num", [0, 1, 2, 40])
def test_filters_of_sparse_masks_are_those_of_full_ones(rng: np.random.Generator, num: int, num_columns: int) -> None:
    masks = rng.random((num, num_columns)) < 0.2  # some are empty
    labels, scores = rng.integers(0, 3, num), np.sort(rng.random(num))[::-1]
    given = _prediction(masks, labels, scores, rng.integers(0, max(num_columns, 1), 200 * min(num_columns, 1)))

    found = matrix_nms(given, sigma=0.5)
    slow = np.array(slow_matrix_nms(masks, labels, scores, column_points(given), 0.5))
    order = np.argsort(-slow, kind="stable")
    np.testing.assert_allclose(found.scores, slow[order], rtol=1e-6)
    np.testing.assert_array_equal(found.masks.toarray(), masks[order])
    np.testing.assert_array_equal(found.labels, labels[order])

    found = without_overlap(given)
    left = masks & (np.cumsum(masks, axis=0) == 1)  # a column belongs to its best object
    np.testing.assert_array_equal(found.masks.toarray(), left[left.any(axis=1)])
    np.testing.assert_array_equal(found.labels, labels[left.any(axis=1)])
    np.testing.assert_array_equal(found.point_ids() > 0, given.point_ids() > 0)


def test_objects_without_a_name_compete_with_all() -> None:
    masks, scores = np.ones((3, 2), bool), np.array([0.9, 0.8, 0.7])
    given = _prediction(masks, np.array([0, 1, 2]), scores, np.array([0, 1]))
    assert matrix_nms(given).scores.tolist() == scores.tolist()
    found = matrix_nms(given, unnamed=1)
    expected = dict(zip([0, 2, 1], [0.9, 0.7, 0.8 * np.exp(-1 / 0.3)]))
    assert dict(zip(found.labels.tolist(), found.scores.tolist())) == pytest.approx(expected)


def test_small_and_weak_objects_go() -> None:
    masks = np.array([[1, 0], [0, 1], [1, 1]], bool)
    given = _prediction(masks, np.array([0, 1, 2]), np.array([0.9, 0.8, 0.1], np.float32), np.array([0, 0, 0, 1]))
    assert keep(given).labels.tolist() == [0, 1, 2]
    assert keep(given, min_points=3).labels.tolist() == [0, 2]
    assert keep(given, score_threshold=0.8).labels.tolist() == [0, 1]
    assert keep(given, min_points=5).masks.shape == (0, 2)
