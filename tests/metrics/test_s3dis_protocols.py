"""The S3DIS measures by hand and against a slow reference."""

import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pcseg.metrics.s3dis_protocols import COLUMNS, S3DISProtocols, S3DISResult
from tests.reference import average_precision, s3dis_protocols

NAMES = ("ceiling", "floor", "chair")


def _random_scene(rng: np.random.Generator, num_points: int, num_preds: int) -> dict:
    num_superpoints = max(num_points // 4, 1)
    superpoint = rng.integers(0, num_superpoints, num_points).astype(np.int32)
    instance = np.where(rng.random(num_points) < 0.9, superpoint % 5, rng.integers(0, 5, num_points)).astype(np.int32)
    classes = rng.integers(-1, len(NAMES), 5)
    target = rng.integers(0, 5, num_preds)
    masks = (np.arange(num_superpoints) % 5)[None] == target[:, None]
    masks ^= rng.random(masks.shape) < 0.15
    return {
        "masks": masks,
        "labels": np.maximum(classes[target], 0),
        "scores": rng.choice([0.3, 0.6, 0.8, 0.95], num_preds),
        "gt_semantic": classes[instance].astype(np.int32),
        "gt_instance": instance,
        "superpoint": superpoint,
    }


def _reference(scenes: list, min_points: int) -> dict[str, dict[str, float]]:
    per_class = {}
    for label, name in enumerate(NAMES):
        values = (
            *s3dis_protocols.coverage(scenes, label),
            *s3dis_protocols.rates(scenes, label, 0.8),
            *s3dis_protocols.best_f1(scenes, label, min_points),
            *s3dis_protocols.rates(scenes, label, -math.inf),
        )
        per_class[name] = dict(zip(COLUMNS, values))
    return per_class


def _values(per_class: dict[str, dict[str, float]]) -> np.ndarray:
    return np.array([[row[column] for column in COLUMNS] for row in per_class.values()])


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.lists(st.tuples(st.integers(0, 80), st.integers(0, 8)), min_size=1, max_size=3),
    min_points=st.integers(0, 20),
)
def test_equals_slow_reference(seed: int, sizes: list[tuple[int, int]], min_points: int) -> None:
    rng = np.random.default_rng(seed)
    metric, expanded, scenes = (
        S3DISProtocols(NAMES, min_points=min_points),
        S3DISProtocols(NAMES, min_points=min_points),
        [],
    )
    for number, (num_points, num_preds) in enumerate(sizes):
        scene = _random_scene(rng, num_points, num_preds)
        metric.add(f"room{number}", **scene)
        scene = {**scene, "masks": scene["masks"][:, scene["superpoint"]], "superpoint": None}
        expanded.add(f"room{number}", **scene)
        arguments = [scene[key] for key in ("masks", "labels", "scores", "gt_semantic", "gt_instance")]
        scenes.append(average_precision.scene_of(*arguments, counted=range(len(NAMES))))
    result = metric.compute()
    np.testing.assert_array_equal(_values(result.per_class), _values(expanded.compute().per_class))
    expected = _reference(scenes, min_points)
    np.testing.assert_allclose(_values(result.per_class), _values(expected), rtol=0, atol=1e-9)
    for column in COLUMNS:
        mean = s3dis_protocols.mean([row[column] for row in expected.values()])
        np.testing.assert_allclose(result.mean[column], mean, rtol=0, atol=1e-9)


def _two_chairs(*, masks: list, scores: list, min_points: int = 1) -> S3DISResult:
    """A room of 20 points: chairs on 0..9 and 10..19."""
    metric = S3DISProtocols(NAMES, min_points=min_points)
    metric.add(
        "room",
        np.array([np.isin(np.arange(20), points) for points in masks], np.bool_).reshape(len(masks), 20),
        np.full(len(masks), 2),
        np.array(scores, np.float64),
        np.full(20, 2, np.int32),
        np.repeat([1, 2], 10).astype(np.int32),
    )
    return metric.compute()


def test_by_hand() -> None:
    # The first chair whole at 0.9; half of the second at 0.5; a third prediction covers the first again at 0.85.
    result = _two_chairs(masks=[range(10), range(10, 15), range(10)], scores=[0.9, 0.5, 0.85])
    chair = result.per_class["chair"]
    assert chair["mcov"] == chair["mwcov"] == pytest.approx((1 + 0.5) / 2)
    # The partition leaves the third prediction nothing; IoU 0.5 is enough here.
    assert (chair["precision_partition"], chair["recall_partition"]) == (1.0, 1.0)
    assert (chair["precision_confidence"], chair["recall_confidence"]) == (1.0, 0.5)
    # In ScanNet's matching 0.5 is not enough and the third is a duplicate.
    assert (chair["precision_best_f1"], chair["recall_best_f1"]) == (1.0, 0.5)
    assert result.mean == chair
    assert all(math.isnan(value) for value in result.per_class["ceiling"].values())


def test_two_halves_do_not_pass_recall_one() -> None:
    metric = S3DISProtocols(NAMES)
    masks = np.arange(20)[None] // 10 == np.arange(2)[:, None]
    metric.add("a", masks, np.zeros(2, np.int64), np.ones(2), np.zeros(20, np.int32), np.ones(20, np.int32))
    assert metric.compute().per_class["ceiling"]["recall_partition"] == 1.0


def test_weighted_coverage_weighs_points() -> None:
    metric = S3DISProtocols(NAMES)
    instance = np.repeat([1, 2], [30, 10]).astype(np.int32)
    metric.add("a", (instance == 1)[None], np.array([0]), np.ones(1), np.zeros(40, np.int32), instance)
    ceiling = metric.compute().per_class["ceiling"]
    assert (ceiling["mcov"], ceiling["mwcov"]) == (0.5, 0.75)


def test_coverage_is_averaged_over_rooms() -> None:
    """One object found in one room and three missed in another: 1/2 over rooms, not 1/4 over objects."""
    metric = S3DISProtocols(NAMES)
    metric.add("a", np.ones((1, 9), np.bool_), np.array([0]), np.ones(1), np.zeros(9, np.int32), np.ones(9, np.int32))
    nothing = (np.zeros((0, 9), np.bool_), np.zeros(0, np.int64), np.zeros(0))
    metric.add("b", *nothing, np.zeros(9, np.int32), np.repeat([1, 2, 3], 3).astype(np.int32))
    metric.add("c", *nothing, np.full(9, 1, np.int32), np.ones(9, np.int32))  # no ceiling here
    assert metric.compute().per_class["ceiling"]["mcov"] == 0.5


def test_points_of_no_prediction_are_no_ceiling() -> None:
    metric = S3DISProtocols(NAMES)
    half = np.repeat([0, 1], 200).astype(np.int32)
    metric.add("a", (half == 1)[None], np.array([2]), np.array([0.9]), half * 2, half + 1)
    result = metric.compute()
    assert result.per_class["ceiling"] == dict.fromkeys(COLUMNS, 0.0)
    assert result.per_class["chair"] == dict.fromkeys(COLUMNS, 1.0)
    assert result.mean == dict.fromkeys(COLUMNS, 0.5)


def test_of_equal_scores_the_later_wins() -> None:
    result = _two_chairs(masks=[range(20), range(10)], scores=[0.9, 0.9])
    assert result.per_class["chair"]["mcov"] == 1.0


def test_no_predictions_and_no_truth() -> None:
    empty = _two_chairs(masks=[], scores=[])
    assert empty.per_class["chair"] == dict.fromkeys(COLUMNS, 0.0)
    assert all(math.isnan(value) for value in S3DISProtocols(NAMES).compute().mean.values())
    metric = S3DISProtocols(NAMES)
    nothing = (np.zeros((0, 0), np.bool_), np.zeros(0, np.int64), np.zeros(0))
    metric.add("no points", *nothing, np.zeros(0, np.int32), np.zeros(0, np.int32))
    assert all(math.isnan(value) for value in metric.compute().mean.values())


def test_counted_classes() -> None:
    metric = S3DISProtocols(NAMES, counted_classes=[2])
    half = np.repeat([0, 2], 200).astype(np.int32)
    masks = np.stack([half == 0, half == 2])
    metric.add("a", masks, np.array([0, 2]), np.array([0.9, 0.9]), half, half + 1)
    result = metric.compute()
    assert list(result.per_class) == ["chair"]
    assert result.mean == dict.fromkeys(COLUMNS, 1.0)


def test_merge(rng: np.random.Generator) -> None:
    whole, parts = S3DISProtocols(NAMES), [S3DISProtocols(NAMES) for _ in range(2)]
    for i in range(4):
        scene = _random_scene(rng, 500, 6)
        whole.add(f"room{i}", **scene)
        parts[i % 2].add(f"room{i}", **scene)
    merged = S3DISProtocols(NAMES)
    merged.merge(pickle.loads(pickle.dumps([part.state() for part in parts])))
    np.testing.assert_array_equal(_values(merged.compute().per_class), _values(whole.compute().per_class))
    with pytest.raises(ValueError, match="room0"):
        merged.merge([parts[0].state()])
    with pytest.raises(ValueError, match=r"room3.*before"):
        merged.add("room3", **scene)
