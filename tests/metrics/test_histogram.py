"""Overlaps in points: every layout of masks against counting one by one."""

import numpy as np
import pytest

from pcseg.metrics.histogram import count_overlaps, find_objects

COUNTED = np.array([True, False, True])


def _slow(masks: np.ndarray, of_point: np.ndarray, num_columns: int) -> np.ndarray:
    counts = [[sum(1 for p in np.flatnonzero(mask) if of_point[p] == k) for k in range(num_columns)] for mask in masks]
    return np.array(counts, np.int64).reshape(len(masks), num_columns)


@pytest.mark.parametrize("num_points", [0, 1, 7, 8, 9, 64, 203])
@pytest.mark.parametrize("num_preds", [0, 1, 5])
@pytest.mark.parametrize("layout", ["by mask", "by point", "strided", "superpoints", "read-only"])
def test_every_layout(num_points: int, num_preds: int, layout: str, rng: np.random.Generator) -> None:
    semantic = rng.integers(-1, 4, num_points).astype(np.int32)
    instance = rng.integers(0, 5, num_points).astype(np.int32)
    objects = find_objects(semantic, instance, COUNTED)
    superpoint = None
    masks = rng.random((num_preds, num_points)) < 0.3
    if layout == "by point":
        masks = np.asfortranarray(masks)
    elif layout == "strided":
        masks = np.repeat(masks, 2, axis=1)[:, ::2]
    elif layout == "read-only":
        masks.flags.writeable = False
    elif layout == "superpoints":
        superpoint = rng.integers(0, 6, num_points).astype(np.int32)
        masks = rng.random((num_preds, 6)) < 0.3
    points = masks if superpoint is None else masks[:, superpoint]
    counts = count_overlaps(masks, objects, superpoint)
    np.testing.assert_array_equal(counts, _slow(points, objects.of_point, len(objects) + 1))


def test_objects_by_hand() -> None:
    semantic = np.array([2, 2, 0, 0, 1, -1, 3, 0], np.int32)
    instance = np.array([4, 4, 1, 0, 2, 3, 3, 4], np.int32)
    objects = find_objects(semantic, instance, COUNTED)
    np.testing.assert_array_equal(objects.labels, [0, 0, 2])
    np.testing.assert_array_equal(objects.num_points, [1, 1, 2])
    np.testing.assert_array_equal(objects.of_point, [3, 3, 1, 0, 0, 0, 0, 2])
