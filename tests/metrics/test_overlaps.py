"""Overlaps in points: masks over points and over superpoints against counting one by one."""

import numpy as np
import pytest

from pcseg.metrics.overlaps import find_objects, scene_overlaps
from tests.metrics.scenes import CLASSES, over_points, predict, random_scene


@pytest.mark.parametrize(("num_points", "num_preds"), [(0, 0), (0, 2), (1, 1), (64, 0), (203, 5)])
def test_equals_counting(num_points: int, num_preds: int, rng: np.random.Generator) -> None:
    scene = random_scene(rng, num_points, num_preds)
    overlaps = scene_overlaps(predict(**scene), CLASSES)
    masks, of_point = over_points(scene)["masks"], overlaps.objects.of_point
    columns = range(len(overlaps.objects) + 1)
    slow = [[int(np.sum(mask & (of_point == column))) for column in columns] for mask in masks]
    np.testing.assert_array_equal(overlaps.points, np.array(slow, np.int64).reshape(num_preds, len(columns)))
    np.testing.assert_array_equal(scene_overlaps(predict(**over_points(scene)), CLASSES).points, overlaps.points)


def test_objects_by_hand() -> None:
    semantic = np.array([2, 2, 0, 0, 1, -1, -1, 0], np.int32)
    instance = np.array([4, 4, 1, 0, 2, 3, 3, 4], np.int32)
    objects = find_objects(semantic, instance, np.array([True, False, True]))
    np.testing.assert_array_equal(objects.labels, [0, 0, 2])
    np.testing.assert_array_equal(objects.num_points, [1, 1, 2])
    np.testing.assert_array_equal(objects.of_point, [3, 3, 1, 0, 0, 0, 0, 2])
