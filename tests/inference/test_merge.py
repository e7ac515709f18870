from collections.abc import Sequence

import numpy as np
import pytest

from pcseg.classes import S3DIS
from pcseg.inference.merge import Part, merge
from pcseg.inference.tiles import Tile
from pcseg.prediction import Prediction
from pcseg.structures import Scene

POINTS = 10  # of each superpoint


def _part(columns: range, masks: Sequence[Sequence[int]], labels: list[int], scores: list[float], core: range) -> Part:
    """Masks are given as the superpoints of the scan that they hold."""
    dense = np.zeros((len(masks), len(columns)), bool)
    for row, mask in enumerate(masks):
        dense[row, np.array(mask, int) - columns.start] = True
    number = np.array(columns, np.int64)
    owned = np.isin(number, core)
    return Tile(number, owned), _prediction(dense, np.array(labels, int), np.array(scores, np.float32))


def _prediction(masks: np.ndarray, labels: np.ndarray, scores: np.ndarray) -> Prediction:
    return Prediction(Scene.without_xyz("part", masks.shape[1]), masks, labels, scores, classes=S3DIS)


def _merge(parts: list[Part], num: int, **options: float) -> Prediction:
    superpoint = np.repeat(np.arange(num), POINTS).astype(np.int32)
    return merge(parts, Scene.without_xyz("scan", len(superpoint), superpoint=superpoint), S3DIS, **options)


def _found(prediction: Prediction) -> list[list[int]]:
    return [prediction.columns(row).tolist() for row in range(len(prediction))]


def test_a_table_cut_by_the_seam_is_one_table() -> None:
    left = _part(range(0, 8), [[4, 5, 6, 7]], [3], [0.9], range(0, 6))
    right = _part(range(4, 12), [[4, 5, 6, 7, 8]], [3], [0.7], range(6, 12))
    found = _merge([left, right], 12)
    assert _found(found) == [[4, 5, 6, 7, 8]]
    assert found.labels.tolist() == [3]
    assert found.scores[0] == pytest.approx((4 * 4 * 0.9 + 5 * 5 * 0.7) / (4 * 4 + 5 * 5))
    assert found.num_points == 120


def test_two_neighbors_stay_two() -> None:
    left = _part(range(0, 8), [[3, 4], [5, 6, 7]], [3, 3], [0.9, 0.8], range(0, 6))
    right = _part(range(4, 12), [[4], [5, 6, 7, 8]], [3, 3], [0.2, 0.8], range(6, 12))
    assert sorted(_found(_merge([left, right], 12))) == [[3, 4], [5, 6, 7, 8]]


def test_other_classes_are_not_merged() -> None:
    left = _part(range(0, 8), [[5, 6]], [3], [0.9], range(0, 6))
    right = _part(range(4, 12), [[5, 6]], [4], [0.5], range(6, 12))
    found = _merge([left, right], 12)
    assert found.labels.tolist() == [3, 4]
    np.testing.assert_allclose(found.scores, [0.45, 0.25], rtol=1e-6)  # the other tile saw no such object


def test_a_floor_longer_than_a_tile_is_one() -> None:
    parts = [
        _part(range(6 * i, 6 * i + 10), [range(6 * i, 6 * i + 10)], [1], [0.5], range(6 * i + 2, 6 * i + 8))
        for i in range(20)
    ]
    found = _merge(parts, 124)
    assert _found(found) == [list(range(124))]
    assert found.scores[0] == pytest.approx(0.5)


def test_object_cut_at_a_rim_comes_from_the_tile_that_sees_all_of_it() -> None:
    left = _part(range(0, 8), [[3, 4, 5]], [3], [0.9], range(0, 6))
    # A third of the table is also in the other tile, which predicts another class for it.
    right = _part(range(5, 12), [[5]], [7], [0.6], range(6, 12))
    found = _merge([left, right], 12)
    assert _found(found) == [[3, 4, 5]]
    assert found.labels.tolist() == [3]


def test_touching_by_one_superpoint_is_not_being_one() -> None:
    # Two walls of twelve superpoints; both tiles see one of the superpoints.
    left = _part(range(0, 14), [range(1, 13)], [2], [0.9], range(0, 13))
    right = _part(range(12, 26), [[12, *range(14, 25)]], [2], [0.9], range(13, 26))
    assert len(_merge([left, right], 26)) == 2
    assert len(_merge([left, right], 26, min_shared=0.0)) == 1


def test_views_average_and_vote() -> None:
    everything = range(0, 6)
    views = [
        _part(everything, [[0, 1, 2], [4, 5]], [0, 1], [0.9, 0.8], everything),
        _part(everything, [[0, 1, 2]], [0], [0.6], everything),
        _part(everything, [[0, 1, 2, 3]], [0], [0.6], everything),
        _part(everything, [[0, 1]], [0], [0.3], everything),
    ]
    found = _merge(views, 6)
    assert _found(found) == [[0, 1, 2], [4, 5]]
    expected = [(3 * 0.9 + 3 * 0.6 + 3 * 0.6 + 2 * 0.3) / 12, 0.2]
    np.testing.assert_allclose(found.scores, expected, rtol=1e-6)


def test_one_part_keeps_its_objects(rng: np.random.Generator) -> None:
    masks = rng.random((5, 12)) < 0.5
    masks[:, 0] = True
    scores = np.sort(rng.random(5))[::-1].astype(np.float32)
    given = _prediction(masks, np.array([0, 0, 1, 1, 2]), scores)
    found = _merge([(Tile(np.arange(12), np.ones(12, bool)), given)], 12)
    np.testing.assert_array_equal(found.masks.toarray(), masks)
    np.testing.assert_allclose(found.scores, scores, rtol=1e-6)
    np.testing.assert_array_equal(found.labels, given.labels)


def test_parts_without_objects() -> None:
    empty = _part(range(0, 8), [], [], [], range(0, 6))
    assert _merge([empty, empty], 8).masks.shape == (0, 8)
    one = _part(range(4, 12), [[8, 9]], [3], [0.7], range(6, 12))
    assert _found(_merge([empty, one], 12)) == [[8, 9]]


def test_weak_objects_go() -> None:
    part = _part(range(0, 6), [[0], [2, 3], [5]], [0, 1, 2], [0.2, 0.9, 0.5], range(0, 6))
    assert _merge([part], 6).labels.tolist() == [1, 2, 0]
    assert _merge([part], 6, score_threshold=0.3).labels.tolist() == [1, 2]
