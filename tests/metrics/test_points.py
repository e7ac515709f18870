import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pcseg.classes import ClassSet
from pcseg.metrics.points import count_classes, count_segments, panoptic_quality, semantic_iou
from pcseg.metrics.result import Result

NAMES = ("floor", "chair", "table")
CLASSES = ClassSet.from_dict({"name": "test", "names": NAMES, "stuff": ["floor"]})


def test_semantic_equals_counting(rng: np.random.Generator) -> None:
    scenes = [(rng.integers(-1, 3, 200).astype(dtype), rng.integers(-1, 3, 200)) for dtype in (np.int8, np.int32)]
    result = semantic_iou(sum(count_classes(*scene, 3).dense(3, 4) for scene in scenes), CLASSES)
    pred, gt = np.concatenate(scenes, axis=1)
    pred, gt = pred[gt >= 0], gt[gt >= 0]
    for i, name in enumerate(NAMES):
        iou = np.sum((pred == i) & (gt == i)) / np.sum((pred == i) | (gt == i))
        assert result.per_class[name] == pytest.approx({"iou": iou, "acc": np.mean(pred[gt == i] == i)}, abs=1e-12)
    miou, macc = (np.mean([row[key] for row in result.per_class.values()]) for key in ("iou", "acc"))
    assert result.mean == pytest.approx({"miou": miou, "macc": macc, "oa": np.mean(pred == gt)}, abs=1e-12)


def _segments(semantic: np.ndarray, instance: np.ndarray) -> list[tuple[int, set[int]]]:
    """(class, points) of each segment, by the definition."""
    found: dict[tuple[int, int], set[int]] = {}
    for point, (label, i) in enumerate(zip(semantic.tolist(), instance.tolist())):
        is_stuff = label >= 0 and NAMES[label] in CLASSES.stuff
        if label >= 0 and (is_stuff or i > 0):
            found.setdefault((label, 0 if is_stuff else i), set()).add(point)
    return [(label, points) for (label, _), points in found.items()]


def _slow(scenes: list[tuple]) -> dict[str, dict[str, float]]:
    counts = np.zeros((3, 4))  # per class: sum of IoU, true positives, false positives, false negatives
    for pred_semantic, pred_instance, gt_semantic, gt_instance in scenes:
        truth, found = _segments(gt_semantic, gt_instance), _segments(pred_semantic, pred_instance)
        void = set(range(len(gt_semantic))) - {point for _, points in truth for point in points}
        matched = set()
        for label, points in found:
            ious = [len(points & thing) / len((points - void) | thing) * (other == label) for other, thing in truth]
            hits = [number for number, iou in enumerate(ious) if iou > 0.5]
            for number in hits:
                counts[label] += [ious[number], 1, 0, 0]
            matched.update(hits)
            counts[label, 2] += not hits and len(points & void) / len(points) <= 0.5
        for number, (label, _) in enumerate(truth):
            counts[label, 3] += number not in matched
    result = {}
    for name, (total, tp, fp, fn) in zip(NAMES, counts):
        rq = tp / (tp + fp / 2 + fn / 2) if tp + fp + fn else math.nan
        sq = total / tp if tp else rq  # 0, or nan without segments
        result[name] = {"pq": sq * rq, "sq": sq, "rq": rq}
    return result


def _panoptic(*scenes: tuple) -> Result:
    is_stuff = np.isin(NAMES, list(CLASSES.stuff))
    scenes = tuple(tuple(np.array(values, np.int32) for values in scene) for scene in scenes)
    return panoptic_quality(sum(count_segments(scene[:2], scene[2:], is_stuff) for scene in scenes), CLASSES)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), num_points=st.integers(0, 120), num_scenes=st.integers(1, 3))
def test_panoptic_equals_sets_of_points(seed: int, num_points: int, num_scenes: int) -> None:
    rng, scenes = np.random.default_rng(seed), []
    for _ in range(num_scenes):
        classes = rng.integers(-1, 3, 5)
        gt_instance = np.sort(rng.integers(0, 5, num_points)).astype(np.int32)
        noise = rng.random(num_points) < rng.choice([0.0, 0.2, 0.4])
        pred_instance = np.where(noise, rng.integers(0, 5, num_points), gt_instance)
        pred_classes = np.where(rng.random(5) < 0.8, classes, rng.integers(-1, 3, 5))
        scenes.append((pred_classes[pred_instance], pred_instance, classes[gt_instance], gt_instance))
    result, expected = _panoptic(*scenes), _slow(scenes)
    for name in NAMES:
        assert result.per_class[name] == pytest.approx(expected[name], abs=1e-12, nan_ok=True)
    for key in ("pq", "sq", "rq"):
        for suffix, names in (("", NAMES), ("_things", ("chair", "table")), ("_stuff", ("floor",))):
            known = [expected[name][key] for name in names if not math.isnan(expected[name][key])]
            mean = sum(known) / len(known) if known else math.nan
            assert result.mean[key + suffix] == pytest.approx(mean, abs=1e-12, nan_ok=True)


def test_panoptic_void_and_iou_of_one_half() -> None:
    # Void does not lower the IoU of a match, and a prediction mostly on void is not counted.
    ids = [1, 1, 1, 1, 2, 2, 2]
    result = _panoptic((ids, ids, [1, 1, -1, -1, -1, -1, 1], [1, 1, 0, 0, 0, 0, 1]))
    assert result.per_class["chair"] == pytest.approx({"pq": 2 / 3, "sq": 2 / 3, "rq": 1.0})
    assert math.isnan(result.per_class["table"]["pq"])
    # Exactly half on void still counts as false; an IoU of one half does not match.
    assert _panoptic(([2, 2], [1, 1], [-1, 0], [0, 0])).per_class["table"]["pq"] == 0.0
    assert _panoptic(([1, 1], [1, 1], [1, 2], [1, 2])).per_class["chair"]["pq"] == 0.0
