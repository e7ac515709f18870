import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pcseg.classes import ClassSet
from pcseg.metrics.result import Result
from pcseg.metrics.s3dis import COLUMNS
from pcseg.metrics.scores import Scores
from pcseg.prediction import Prediction
from tests.metrics.scenes import CLASSES, NAMES, measured, over_points, predict, random_scene, rooms_of
from tests.reference import average_precision, s3dis_protocols

S3DIS_LIKE = replace(CLASSES, s3dis_protocols=True)


def _measure(*rooms: Prediction, min_points: int = 100, classes: ClassSet = S3DIS_LIKE) -> Result:
    return measured(Scores(classes, min_points=min_points), *rooms).compute().s3dis


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.lists(st.tuples(st.integers(0, 80), st.integers(0, 8)), min_size=1, max_size=3),
    min_points=st.integers(0, 20),
)
def test_equals_slow_reference(seed: int, sizes: list[tuple[int, int]], min_points: int) -> None:
    rng = np.random.default_rng(seed)
    scenes = [random_scene(rng, *size) for size in sizes]
    slow = [average_precision.scene_of(**over_points(scene), counted=range(len(NAMES))) for scene in scenes]
    expected = [s3dis_protocols.measures(slow, label, min_points) for label in range(len(NAMES))]
    for form in (dict, over_points):
        result = _measure(*rooms_of(scenes, form), min_points=min_points)
        found = [[row[column] for column in COLUMNS] for row in result.per_class.values()]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
        means = [s3dis_protocols.mean(values) for values in zip(*expected)]
        np.testing.assert_allclose([result.mean[column] for column in COLUMNS], means, rtol=0, atol=1e-9)


def test_by_hand() -> None:
    # Chairs on points 0..9 and 10..19: the first found whole at 0.9 and again at 0.85, half of the second at 0.5.
    masks = np.array([np.isin(np.arange(20), points) for points in (range(10), range(10, 15), range(10))])
    result = _measure(predict(masks, [2] * 3, [0.9, 0.5, 0.85], np.full(20, 2), np.repeat([1, 2], 10)), min_points=1)
    chair = result.per_class["chair"]
    assert result.mean == chair
    assert all(math.isnan(value) for value in result.per_class["ceiling"].values())
    assert chair["mcov"] == chair["mwcov"] == pytest.approx((1 + 0.5) / 2)
    # The partition leaves the third prediction nothing; IoU 0.5 is enough here.
    assert (chair["precision_partition"], chair["recall_partition"]) == (1.0, 1.0)
    assert (chair["precision_confidence"], chair["recall_confidence"]) == (1.0, 0.5)
    # In ScanNet's matching 0.5 is not enough and the third is a duplicate.
    assert (chair["precision_best_f1"], chair["recall_best_f1"]) == (1.0, 0.5)
    masks = np.arange(20)[None] // 10 == np.arange(2)[:, None]
    result = _measure(predict(masks, [0, 0], [1, 1], np.zeros(20), np.ones(20)))
    assert result.per_class["ceiling"]["recall_partition"] == 1.0
    half = np.repeat([0, 2], 200)
    room = predict(np.stack([half == 0, half == 2]), [0, 2], [0.9, 0.9], half, half + 1)
    result = _measure(room, classes=replace(S3DIS_LIKE, instance_names=("chair",)))
    assert (list(result.per_class), result.mean) == (["chair"], dict.fromkeys(COLUMNS, 1.0))
