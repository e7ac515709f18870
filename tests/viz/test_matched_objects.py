"""Which objects are shown, and in which row."""

import numpy as np
import pytest

from pcseg.structures import Prediction, Scene
from pcseg.viz.matched_objects import MatchedObjects, compact_ids


@pytest.mark.parametrize("far", [1, 10**6])
def test_compact_ids(rng: np.random.Generator, far: int) -> None:
    ids = (rng.integers(-1, 9, 40) * far).astype(np.int32)
    numbers, rows = compact_ids(ids)
    assert numbers[0] == 0
    assert (np.diff(numbers) > 0).all()
    np.testing.assert_array_equal(numbers[rows], np.maximum(ids, 0))
    assert set(numbers.tolist()) == {0, *np.maximum(ids, 0).tolist()}


def test_weak_predictions_are_left_out(predicted: Prediction) -> None:
    every, some = (MatchedObjects.of(predicted, threshold) for threshold in (0.0, 0.85))
    assert every.pred_numbers.tolist() == [0, 1, 2, 3]
    assert some.pred_numbers.tolist() == [0, 1]
    assert some.pred_class.tolist() == [-1, int(predicted.labels[0])]
    np.testing.assert_array_equal(every.true_ids, some.true_ids)
    assert len(every.pairs) == len(every.ious) == 2
    assert len(some.pairs) == 1


def test_no_objects_at_all(room: Scene) -> None:
    objects = MatchedObjects.of(Prediction(room.with_(semantic=None, instance=None)), 0.0)
    assert objects.true_ids is None
    assert objects.pred_ids is None
    assert len(objects.pairs) == 0
