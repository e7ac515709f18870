"""Instance AP against the official script's numbers, a slow reference, and by hand."""

import json
import math
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pcseg.classes import SCANNET20
from pcseg.metrics import histogram
from pcseg.metrics.instance_ap import COCO_THRESHOLDS, SCANNET_THRESHOLDS, InstanceAP
from tests.reference import average_precision as slow

OFFICIAL = Path(__file__).resolve().parent.parent / "reference" / "scannet_ap"
EXPECTED = json.loads((OFFICIAL / "expected.json").read_text())


def _official_scenes(case: str) -> list[tuple]:
    data = np.load(OFFICIAL / f"{case}.npz")
    scenes = []
    for i in range(int(data["n_scenes"])):
        gt = data[f"gt_{i}"].astype(np.int64)
        masks = np.unpackbits(data[f"masks_{i}"], axis=1, count=len(gt)).astype(np.bool_)
        labels = SCANNET20.index_of_ids(data[f"labels_{i}"].astype(np.int64))
        instance = np.unique(gt, return_inverse=True)[1].astype(np.int32) + 1
        scenes.append((f"scene{i}", masks, labels, data[f"scores_{i}"], SCANNET20.index_of_ids(gt // 1000), instance))
    return scenes


def _numbers(values: list) -> np.ndarray:
    return np.array(values, np.float64)  # None becomes nan


@pytest.mark.parametrize("case", sorted(EXPECTED))
def test_equals_the_official_script(case: str) -> None:
    metric = InstanceAP(SCANNET20.names, counted_classes=SCANNET20.instance_classes)
    for scene in _official_scenes(case):
        metric.add(*scene)
    result, expected = metric.compute(), EXPECTED[case]
    np.testing.assert_allclose(
        [result.ap, result.ap50, result.ap25],
        _numbers([expected["AP"], expected["AP50"], expected["AP25"]]),
        rtol=0,
        atol=1e-9,
    )
    assert list(result.per_class) == list(expected["classes"])
    for name, values in expected["classes"].items():
        np.testing.assert_allclose(
            result.per_class[name], _numbers([values["AP"], values["AP50"], values["AP25"]]), rtol=0, atol=1e-9
        )
    np.testing.assert_allclose(result.per_threshold, _numbers(expected["ap_per_threshold"]), rtol=0, atol=1e-9)


@pytest.mark.parametrize("case", ["duplicates", "multi_scene", "tiny", "void"])
def test_slow_reference_equals_the_official_script(case: str) -> None:
    counted = SCANNET20.instance_classes
    scenes = [slow.scene_of(*scene[1:], counted=counted) for scene in _official_scenes(case)]
    thresholds = SCANNET_THRESHOLDS
    expected = _numbers(EXPECTED[case]["ap_per_threshold"])
    np.testing.assert_allclose(slow.table(scenes, counted, thresholds=thresholds), expected, rtol=0, atol=1e-9)


def test_thresholds() -> None:
    np.testing.assert_allclose(SCANNET_THRESHOLDS, [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.25])
    np.testing.assert_allclose(COCO_THRESHOLDS, [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.25])


NAMES = ("ceiling", "floor", "chair")


def _room(num_points: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Half ceiling, half chair, one object each."""
    semantic = np.repeat([0, 2], num_points // 2).astype(np.int32)
    return semantic, np.repeat([1, 2], num_points // 2).astype(np.int32)


def test_class_zero_is_not_void() -> None:
    semantic, instance = _room()
    metric = InstanceAP(NAMES)
    metric.add("room", (semantic == 0)[None], np.array([0]), np.array([0.9]), semantic, instance)
    result = metric.compute()
    assert result.per_class["ceiling"] == (1.0, 1.0, 1.0)
    assert result.per_class["chair"] == (0.0, 0.0, 0.0)
    assert all(math.isnan(value) for value in result.per_class["floor"])
    assert result.ap == result.ap50 == result.ap25 == 0.5
    assert result.num_gt == {"ceiling": 1, "floor": 0, "chair": 1}
    assert result.num_pred == {"ceiling": 1, "floor": 0, "chair": 0}


def test_a_false_ceiling_counts() -> None:
    """A ceiling where none is must cost precision, and a ceiling on the chair is not hidden by void."""
    semantic, instance = _room()
    metric = InstanceAP(NAMES)
    masks = np.stack([semantic == 2, semantic == 0])
    metric.add("room", masks, np.array([0, 0]), np.array([0.9, 0.5]), semantic, instance)
    # Kept from 0.5: P 1/2, R 1; from 0.9: P 0, R 0; then (1, 0).
    assert metric.compute().per_class["ceiling"][1] == pytest.approx(0.5 * 0.5)


def test_classes_that_do_not_count_are_void() -> None:
    semantic, instance = _room()
    metric = InstanceAP(NAMES, counted_classes=[1, 2])
    masks = np.stack([semantic == 0, semantic == 2, semantic == 0])
    metric.add("room", masks, np.array([0, 2, 2]), np.array([0.9, 0.5, 0.8]), semantic, instance)
    result = metric.compute()
    assert list(result.per_class) == ["floor", "chair"]
    # The chair on the ceiling lies on void and is no false positive; the predicted ceiling is dropped.
    assert result.per_class["chair"] == (1.0, 1.0, 1.0)
    assert result.num_pred == {"floor": 0, "chair": 2}


def test_points_of_a_class_without_object_are_void() -> None:
    semantic = np.full(300, 2, np.int32)
    instance = np.repeat([0, 1], [150, 150]).astype(np.int32)
    metric = InstanceAP(NAMES)
    masks = np.stack([instance == 0, instance == 1])
    metric.add("room", masks, np.array([2, 2]), np.array([0.9, 0.5]), semantic, instance)
    assert metric.compute().ap == 1.0


@pytest.mark.parametrize(
    ("num_points", "num_preds"), [(0, 0), (0, 2), (1, 0), (1, 1), (99, 1), (100, 1), (500, 0)], ids=str
)
@pytest.mark.parametrize("void", [False, True])
def test_degenerate(num_points: int, num_preds: int, void: bool) -> None:
    semantic = np.full(num_points, -1 if void else 0, np.int32)
    metric = InstanceAP(NAMES)
    metric.add(
        "room",
        np.ones((num_preds, num_points), np.bool_),
        np.zeros(num_preds, np.int64),
        np.ones(num_preds, np.float32),
        semantic,
        np.ones(num_points, np.int32),
    )
    result = metric.compute()
    if void or num_points < 100:
        assert math.isnan(result.ap)
        assert math.isnan(result.ap50)
        assert math.isnan(result.ap25)
    else:
        assert result.ap == (1.0 if num_preds else 0.0)


def test_nothing_added() -> None:
    result = InstanceAP(NAMES).compute()
    assert math.isnan(result.ap)
    assert result.per_threshold.shape == (3, 10)


def test_empty_superpoints() -> None:
    """Superpoint columns that no point has, and predictions without points, are harmless, even without a least size."""
    metric = InstanceAP(NAMES, min_points=0)
    masks = np.array([[True, False, True], [False, False, True]])
    superpoint = np.array([0, 0, 1, 1], np.int32)
    metric.add("room", masks, np.array([0, 0]), np.array([0.5, 0.9]), np.zeros(4, np.int32), superpoint + 1, superpoint)
    result = metric.compute()
    assert result.num_pred["ceiling"] == 1
    assert result.per_class["ceiling"][1] == 0.5


def test_coco_thresholds() -> None:
    """IoU 0.92 is enough for ScanNet's nine thresholds and not for the tenth."""
    semantic, instance = np.zeros(100, np.int32), np.ones(100, np.int32)
    mask = np.arange(100)[None] < 92
    results = []
    for thresholds in (SCANNET_THRESHOLDS, COCO_THRESHOLDS, [0.5]):
        metric = InstanceAP(NAMES, thresholds=thresholds, min_points=1)
        metric.add("room", mask, np.array([0]), np.array([0.9]), semantic, instance)
        results.append(metric.compute())
    assert [result.ap for result in results] == pytest.approx([1.0, 0.9, 1.0])
    assert results[1].per_threshold.shape == (3, 11)
    assert math.isnan(results[2].ap25)


def test_iou_must_be_greater() -> None:
    semantic, instance = np.zeros(200, np.int32), np.ones(200, np.int32)
    for num_points, expected in ((100, 0.0), (101, 1.0)):
        metric = InstanceAP(NAMES)
        mask = np.arange(200)[None] < num_points
        metric.add("room", mask, np.array([0]), np.array([0.9]), semantic, instance)
        assert metric.compute().ap50 == expected


def _random_scene(rng: np.random.Generator, num_points: int, num_preds: int, num_classes: int) -> dict:
    """Objects in runs of superpoints, predictions that are objects with some superpoints swapped."""
    num_superpoints = int(rng.integers(1, max(num_points // 5, 1) + 1))
    superpoint = np.sort(rng.integers(0, num_superpoints, num_points)).astype(np.int32)
    object_of_superpoint = np.sort(rng.integers(0, 6, num_superpoints))
    class_of_object = np.append(-1, rng.integers(-1, num_classes, 6))
    instance = object_of_superpoint[superpoint]
    # Superpoints do not follow the objects exactly.
    moved = rng.random(num_points) < 0.1
    instance = np.where(moved, rng.integers(0, 6, num_points), instance).astype(np.int32)
    target = rng.integers(0, 6, num_preds)
    masks = object_of_superpoint[None] == target[:, None]
    masks ^= rng.random(masks.shape) < rng.choice([0.0, 0.1, 0.3], (num_preds, 1))
    labels = np.where(rng.random(num_preds) < 0.8, class_of_object[target], rng.integers(0, num_classes, num_preds))
    return {
        "masks": masks,
        "labels": np.maximum(labels, 0).astype(np.int64),
        "scores": rng.choice([0.1, 0.25, 0.5, 0.75, 0.9], num_preds),
        "gt_semantic": class_of_object[instance].astype(np.int32),
        "gt_instance": instance,
        "superpoint": superpoint,
    }


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.lists(st.tuples(st.integers(0, 150), st.integers(0, 12)), min_size=1, max_size=3),
    min_points=st.integers(0, 20),
    big_table=st.booleans(),
)
def test_superpoints_equal_points_equal_slow_reference(
    seed: int, sizes: list[tuple[int, int]], min_points: int, big_table: bool
) -> None:
    rng = np.random.default_rng(seed)
    counted = [0, 2]
    options = {"min_points": min_points, "counted_classes": counted}
    by_superpoint, by_point, scenes = InstanceAP(NAMES, **options), InstanceAP(NAMES, **options), []
    with pytest.MonkeyPatch.context() as patch:
        if big_table:
            patch.setattr(histogram, "MAX_TABLE", 0)
        for number, (num_points, num_preds) in enumerate(sizes):
            scene = _random_scene(rng, num_points, num_preds, len(NAMES))
            by_superpoint.add(f"room{number}", **scene)
            expanded = {**scene, "masks": scene["masks"][:, scene["superpoint"]], "superpoint": None}
            by_point.add(f"room{number}", **expanded)
            arguments = [expanded[key] for key in ("masks", "labels", "scores", "gt_semantic", "gt_instance")]
            scenes.append(slow.scene_of(*arguments, counted=counted))
    first, second = by_superpoint.compute(), by_point.compute()
    np.testing.assert_array_equal(first.per_threshold, second.per_threshold)
    np.testing.assert_equal([first.ap, first.ap50, first.ap25], [second.ap, second.ap50, second.ap25])
    # Sizes of this few points hit thresholds exactly, so the reference must use the very same numbers.
    expected = slow.table(scenes, counted, min_points, SCANNET_THRESHOLDS)
    np.testing.assert_allclose(first.per_threshold, expected, rtol=0, atol=1e-9)


def test_large_instance_ids(rng: np.random.Generator) -> None:
    """Ids too large for a table give the same as small ones."""
    scene = _random_scene(rng, 400, 10, len(NAMES))
    scene["gt_semantic"] = (scene["gt_instance"] % len(NAMES)).astype(np.int32)  # points without object have a class
    results = []
    for factor in (1, 300_000_000):
        metric = InstanceAP(NAMES, min_points=10)
        metric.add("room", **{**scene, "gt_instance": scene["gt_instance"].astype(np.int64) * factor})
        results.append(metric.compute())
    np.testing.assert_array_equal(results[0].per_threshold, results[1].per_threshold)
    assert results[0].num_gt == results[1].num_gt
    assert sum(results[0].num_gt.values()) > 0


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int64, np.uint64])
def test_any_integers(dtype: type) -> None:
    """Labels outside the set are void whatever their type."""
    semantic = np.repeat([0, 2, 3, 120, 255 if dtype == np.uint8 else 127], 100).astype(dtype)
    if np.issubdtype(dtype, np.signedinteger):
        semantic[200:300] = -100
    metric = InstanceAP(NAMES)
    masks = np.stack([semantic == 0, semantic == 2, np.arange(500) >= 200])
    metric.add("room", masks, np.array([0, 2, 2]), np.array([0.5, 0.5, 0.9]), semantic, np.full(500, 5, dtype))
    result = metric.compute()
    assert result.ap == 1.0
    assert result.num_gt == {"ceiling": 1, "floor": 0, "chair": 1}


def test_merge(rng: np.random.Generator) -> None:
    scenes = {f"room{i}": _random_scene(rng, 300, 8, len(NAMES)) for i in range(5)}
    whole, parts = InstanceAP(NAMES, min_points=10), [InstanceAP(NAMES, min_points=10) for _ in range(3)]
    for i, (name, scene) in enumerate(scenes.items()):
        whole.add(name, **scene)
        parts[i % 3].add(name, **scene)
    states = [pickle.loads(pickle.dumps(part.state())) for part in parts]
    merged = InstanceAP(NAMES, min_points=10)
    merged.merge(states)
    np.testing.assert_allclose(merged.compute().per_threshold, whole.compute().per_threshold, rtol=0, atol=1e-12)
    assert len(merged) == 5
    with pytest.raises(ValueError, match=r"room0.*two processes"):
        merged.merge([parts[0].state()])
    with pytest.raises(ValueError, match=r"room1.*two processes"):
        InstanceAP(NAMES).merge([parts[1].state(), parts[1].state()])


def test_state_does_not_grow_with_points() -> None:
    sizes = []
    for num_points in (1_000, 100_000):
        metric = InstanceAP(NAMES)
        semantic, instance = _room(num_points)
        metric.add("room", (semantic == 2)[None], np.array([2]), np.array([0.9]), semantic, instance)
        sizes.append(len(pickle.dumps(metric.state())))
    assert abs(sizes[0] - sizes[1]) < 64
    assert sizes[0] < 4096


BAD = [
    ({"masks": np.ones((1, 4), np.int8)}, "bool of two dimensions, got int8"),
    ({"masks": np.ones(4, np.bool_)}, "bool of two dimensions"),
    ({"masks": np.ones((2, 4), np.bool_)}, "one row per prediction, got 2, 1 and 1"),
    ({"masks": np.ones((1, 5), np.bool_)}, "masks cover 5 points, the ground truth has 4"),
    ({"scores": np.array([np.nan])}, "score of prediction 0 is nan"),
    ({"scores": np.array([np.inf])}, "score of prediction 0 is inf"),
    ({"labels": np.array([3])}, r"prediction 0 has class index 3, expected 0\.\.2"),
    ({"labels": np.array([-1])}, r"prediction 0 has class index -1, expected 0\.\.2"),
    ({"gt_instance": np.array([0, 1, 1, -1])}, "gt_instance holds -1"),
    ({"gt_instance": np.array([0, 1, 1])}, "gt_semantic has 4 points, gt_instance has 3"),
    ({"superpoint": np.array([0, 1, 2])}, "superpoint cover 3 points, the ground truth has 4"),
    ({"superpoint": np.array([0, 1, 2, 4])}, "masks have 4 superpoints, but superpoint ids run from 0 to 4"),
    ({"superpoint": np.array([0, 1, 2, -1])}, "superpoint ids run from -1 to 2"),
]


@pytest.mark.parametrize(("change", "message"), BAD, ids=[message for _, message in BAD])
def test_refuses(change: dict, message: str) -> None:
    good = {
        "masks": np.ones((1, 4), np.bool_),
        "labels": np.array([0]),
        "scores": np.array([0.5]),
        "gt_semantic": np.zeros(4, np.int32),
        "gt_instance": np.ones(4, np.int32),
    }
    metric = InstanceAP(NAMES)
    with pytest.raises(ValueError, match=f"scene room: .*{message}"):
        metric.add("room", **{**good, **change})
    metric.add("room", **good)  # nothing of the refused scene was kept
    with pytest.raises(ValueError, match="'room' was added before"):
        metric.add("room", **good)


def test_refuses_unknown_counted_class() -> None:
    with pytest.raises(ValueError, match=r"counted_classes holds 3, expected class indices 0\.\.2"):
        InstanceAP(NAMES, counted_classes=[0, 3])
