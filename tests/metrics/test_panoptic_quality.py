"""Panoptic quality by hand and against sets of points."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pcseg.metrics.panoptic_quality import PanopticQuality

NAMES = ("floor", "chair", "table")
STUFF = {"floor"}


def _segments(semantic: np.ndarray, instance: np.ndarray) -> list[tuple[int, set[int]]]:
    """(class, points) of each segment, by the definition."""
    found: dict[tuple[int, int], set[int]] = {}
    for point, (label, i) in enumerate(zip(semantic.tolist(), instance.tolist())):
        if label >= 0 and (NAMES[label] in STUFF or i > 0):
            found.setdefault((label, 0 if NAMES[label] in STUFF else i), set()).add(point)
    return [(label, points) for (label, _), points in found.items()]


def _slow(scenes: list[tuple]) -> dict[str, dict[str, float]]:
    counts = np.zeros((3, 4))
    for pred_semantic, pred_instance, gt_semantic, gt_instance in scenes:
        truth, found = _segments(gt_semantic, gt_instance), _segments(pred_semantic, pred_instance)
        void = set(range(len(gt_semantic))) - {point for _, points in truth for point in points}
        matched = set()
        for label, points in found:
            hit = None
            for number, (other, thing) in enumerate(truth):
                if other == label and len(points & thing) / len((points - void) | thing) > 0.5:
                    hit = number
                    counts[label] += [len(points & thing) / len((points - void) | thing), 1, 0, 0]
            if hit is not None:
                matched.add(hit)
            elif len(points & void) / len(points) <= 0.5:
                counts[label, 2] += 1
        for number, (label, _) in enumerate(truth):
            counts[label, 3] += number not in matched
    result = {}
    for name, (total, tp, fp, fn) in zip(NAMES, counts):
        if tp + fp + fn == 0:
            result[name] = {"pq": math.nan, "sq": math.nan, "rq": math.nan}
        else:
            rq = tp / (tp + fp / 2 + fn / 2)
            sq = total / tp if tp else 0.0
            result[name] = {"pq": sq * rq, "sq": sq, "rq": rq}
    return result


@settings(max_examples=60, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), num_points=st.integers(0, 120), num_scenes=st.integers(1, 3))
def test_equals_sets_of_points(seed: int, num_points: int, num_scenes: int) -> None:
    rng = np.random.default_rng(seed)
    metric, parts, scenes = PanopticQuality(NAMES, STUFF), [], []
    for _ in range(num_scenes):
        classes = rng.integers(-1, 3, 5)
        gt_instance = np.sort(rng.integers(0, 5, num_points)).astype(np.int32)
        noise = rng.random(num_points) < rng.choice([0.0, 0.2, 0.4])
        pred_instance = np.where(noise, rng.integers(0, 5, num_points), gt_instance)
        pred_classes = np.where(rng.random(5) < 0.8, classes, rng.integers(-1, 3, 5))
        scene = (pred_classes[pred_instance], pred_instance, classes[gt_instance].astype(np.int32), gt_instance)
        scenes.append(scene)
        part = PanopticQuality(NAMES, STUFF)
        part.add(*scene)
        parts.append(part.state())
    metric.merge(parts)
    result, expected = metric.compute(), _slow(scenes)
    for name in NAMES:
        for key, value in expected[name].items():
            np.testing.assert_allclose(result.per_class[name][key], value, rtol=0, atol=1e-12)
    for key in ("pq", "sq", "rq"):
        for group, names in (("all", NAMES), ("things", ("chair", "table")), ("stuff", ("floor",))):
            known = [expected[name][key] for name in names if not math.isnan(expected[name][key])]
            mean = sum(known) / len(known) if known else math.nan
            np.testing.assert_allclose(getattr(result, group)[key], mean, rtol=0, atol=1e-12)


def _one(pred_semantic: list, pred_instance: list, gt_semantic: list, gt_instance: list) -> PanopticQuality:
    metric = PanopticQuality(NAMES, STUFF)
    metric.add(*(np.array(values, np.int32) for values in (pred_semantic, pred_instance, gt_semantic, gt_instance)))
    return metric


def test_by_hand() -> None:
    # Chair 1: 3 of 4 points found, and one more point taken from the floor; chair 2 is missed.
    gt_semantic, gt_instance = [1, 1, 1, 1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 2, 2, 0, 0, 0]
    pred_semantic, pred_instance = [1, 1, 1, 0, 0, 0, 1, 0, 0], [7, 7, 7, 0, 0, 0, 7, 0, 0]
    result = _one(pred_semantic, pred_instance, gt_semantic, gt_instance).compute()
    assert result.per_class["chair"] == pytest.approx({"pq": 0.6 / 1.5, "sq": 0.6, "rq": 1 / 1.5})
    # Floor: 2 shared, 5 predicted, 3 true, IoU 2/6: no match, one false and one missed.
    assert result.per_class["floor"] == {"pq": 0.0, "sq": 0.0, "rq": 0.0}
    assert result.things["pq"] == pytest.approx(0.4)
    assert result.stuff["pq"] == 0.0
    assert result.all["pq"] == pytest.approx(0.2)
    assert result.summary()["pq_things"] == result.things["pq"]


def test_void() -> None:
    # Void does not lower the IoU of a match, and a prediction mostly on void is not counted.
    result = _one([1, 1, 1, 1, 2, 2, 2], [1, 1, 1, 1, 2, 2, 2], [1, 1, -1, -1, -1, -1, 1], [1, 1, 0, 0, 0, 0, 1])
    chair = result.compute().per_class["chair"]
    assert chair["sq"] == pytest.approx(2 / 3)
    assert chair["rq"] == 1.0
    assert math.isnan(result.compute().per_class["table"]["pq"])
    # Exactly half on void still counts as false.
    half = _one([2, 2], [1, 1], [-1, 0], [0, 0]).compute()
    assert half.per_class["table"]["pq"] == 0.0


def test_iou_of_one_half_does_not_match() -> None:
    assert _one([1, 1], [1, 1], [1, 2], [1, 2]).compute().per_class["chair"]["pq"] == 0.0


def test_nothing() -> None:
    for metric in (_one([], [], [], []), PanopticQuality(NAMES, STUFF), _one([-1], [0], [-1], [0])):
        assert all(math.isnan(value) for value in metric.compute().summary().values())


def test_refuses() -> None:
    with pytest.raises(ValueError, match="stuff holds 'lamp'"):
        PanopticQuality(NAMES, {"lamp"})
    with pytest.raises(ValueError, match=r"lengths \[1, 2, 1, 1\]"):
        _one([0], [0, 0], [0], [0])
    with pytest.raises(ValueError, match=r"pred_semantic holds class index 3, expected -1\.\.2"):
        _one([3], [0], [0], [0])
    with pytest.raises(ValueError, match="gt_instance holds -1"):
        _one([0], [0], [1], [-1])
