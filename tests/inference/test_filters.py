import numpy as np
import pytest

from pcseg.classes import S3DIS
from pcseg.inference.filters import column_points, keep, matrix_nms, without_overlap
from pcseg.prediction import Prediction
from pcseg.structures import Scene
from tests.reference.dense_filters import dense_matrix_nms, dense_without_overlap
from tests.reference.matrix_nms_slow import slow_matrix_nms


def _prediction(
    masks: np.ndarray, labels: np.ndarray, scores: np.ndarray, superpoint: np.ndarray | None = None
) -> Prediction:
    scene = Scene.without_xyz("room", masks.shape[1] if superpoint is None else len(superpoint))
    return Prediction(scene, masks, labels, scores, classes=S3DIS, superpoint=superpoint)


def _random(rng: np.random.Generator, num: int, num_classes: int = 3) -> Prediction:
    masks = rng.random((num, 30)) < 0.4
    masks[:, 0] = True  # none is empty
    scores = np.sort(rng.random(num))[::-1].astype(np.float32)
    superpoint = np.concatenate([np.arange(30), rng.integers(0, 30, 200)]).astype(np.int32)
    return _prediction(masks, rng.integers(0, num_classes, num), scores, superpoint)


@pytest.mark.parametrize("num", [0, 1, 2, 25])
def test_matrix_nms_is_that_of_the_paper(rng: np.random.Generator, num: int) -> None:
    given = _random(rng, num)
    found = matrix_nms(given, sigma=0.5)
    slow = slow_matrix_nms(given.masks.toarray(), given.labels, given.scores, column_points(given), 0.5)
    order = np.argsort(-np.array(slow), kind="stable")
    np.testing.assert_allclose(found.scores, np.array(slow)[order], rtol=1e-5)
    np.testing.assert_array_equal(found.masks.toarray(), given.masks.toarray()[order])
    np.testing.assert_array_equal(found.labels, given.labels[order])


def test_a_column_is_left_to_its_best_object() -> None:
    masks = np.array([[1, 1, 0, 0], [0, 1, 1, 0], [1, 1, 0, 0]], bool)
    found = without_overlap(_prediction(masks, np.array([3, 4, 5]), np.array([0.9, 0.5, 0.1])))
    assert found.labels.tolist() == [3, 4]
    assert found.masks.toarray().astype(int).tolist() == [[1, 1, 0, 0], [0, 0, 1, 0]]


def test_no_overlap_agrees_with_the_ids_of_points(rng: np.random.Generator) -> None:
    given = _random(rng, 12)
    found = without_overlap(given)
    assert found.masks.sum(0).max() <= 1
    np.testing.assert_array_equal(found.point_ids() > 0, given.point_ids() > 0)
    assert len(without_overlap(_random(rng, 0))) == 0


def test_small_and_weak_objects_go() -> None:
    masks = np.array([[1, 0], [0, 1], [1, 1]], bool)
    superpoint = np.array([0, 0, 0, 1], np.int32)
    given = _prediction(masks, np.array([0, 1, 2]), np.array([0.9, 0.8, 0.1], np.float32), superpoint)
    assert keep(given).labels.tolist() == [0, 1, 2]
    assert keep(given, min_points=3).labels.tolist() == [0, 2]
    assert keep(given, score_threshold=0.8).labels.tolist() == [0, 1]
    assert keep(given, min_points=5).masks.shape == (0, 2)


@pytest.mark.parametrize("num_columns", [0, 1, 40])
@pytest.mark.parametrize("num", [0, 1, 60])
def test_sparse_masks_equal_full_ones(rng: np.random.Generator, num: int, num_columns: int) -> None:
    masks = rng.random((num, num_columns)) < 0.1  # some are empty
    labels, scores = rng.integers(0, 3, num), np.sort(rng.random(num))[::-1]
    superpoint = rng.integers(0, max(num_columns, 1), 200 * min(num_columns, 1)).astype(np.int32)
    given = _prediction(masks, labels, scores, superpoint)
    found = matrix_nms(given, sigma=0.5)
    slow = dense_matrix_nms(masks, labels, scores, column_points(given), 0.5)
    order = np.argsort(-slow, kind="stable")
    np.testing.assert_array_equal(found.scores, slow[order])
    np.testing.assert_array_equal(found.masks.toarray(), masks[order])
    left = dense_without_overlap(masks)
    np.testing.assert_array_equal(without_overlap(given).masks.toarray(), left[left.any(axis=1)])
    large = masks @ column_points(given) >= 10
    np.testing.assert_array_equal(keep(given, min_points=10).masks.toarray(), masks[large])
