"""Semantic measures by hand and against counting points."""

import math

import numpy as np
import pytest

from pcseg.metrics.semantic_iou import SemanticIoU

NAMES = ("wall", "floor", "chair")


def test_by_hand() -> None:
    metric = SemanticIoU(NAMES)
    gt = np.array([0, 0, 0, 0, 1, 1, -1, -1])
    pred = np.array([0, 0, 0, 1, 1, -1, 0, 2])
    metric.add(pred, gt)
    result = metric.compute()
    assert result.per_class["wall"] == {"iou": 3 / 4, "acc": 3 / 4}
    assert result.per_class["floor"] == {"iou": 1 / 3, "acc": 1 / 2}  # no class predicted is wrong, void is left out
    assert math.isnan(result.per_class["chair"]["iou"])
    assert result.miou == pytest.approx((3 / 4 + 1 / 3) / 2)
    assert result.macc == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert result.oa == pytest.approx(4 / 6)


def test_equals_counting(rng: np.random.Generator) -> None:
    metric, other = SemanticIoU(NAMES), SemanticIoU(NAMES)
    preds, gts = [], []
    for i in range(4):
        pred = rng.integers(-1, 3, 200).astype(rng.choice([np.int8, np.int32, np.int64]))
        gt = rng.integers(-1, 3, 200).astype(np.int32)
        (metric if i % 2 else other).add(pred, gt)
        preds.append(pred)
        gts.append(gt)
    metric.merge([other.state()])
    result, pred, gt = metric.compute(), np.concatenate(preds), np.concatenate(gts)
    pred, gt = pred[gt >= 0], gt[gt >= 0]
    for i, name in enumerate(NAMES):
        iou = np.sum((pred == i) & (gt == i)) / np.sum((pred == i) | (gt == i))
        assert result.per_class[name]["iou"] == pytest.approx(iou, abs=1e-12)
        assert result.per_class[name]["acc"] == pytest.approx(np.mean(pred[gt == i] == i), abs=1e-12)
    assert result.oa == pytest.approx(np.mean(pred == gt), abs=1e-12)


@pytest.mark.parametrize("num_points", [0, 5])
def test_nothing_labeled(num_points: int) -> None:
    metric = SemanticIoU(NAMES)
    metric.add(np.zeros(num_points, np.int32), np.full(num_points, -1, np.int32))
    result = metric.compute()
    assert math.isnan(result.miou)
    assert math.isnan(result.macc)
    assert math.isnan(result.oa)


def test_state_is_a_copy() -> None:
    metric = SemanticIoU(NAMES)
    state = metric.state()
    metric.add(np.zeros(3, np.int32), np.zeros(3, np.int32))
    assert state.sum() == 0


def test_refuses() -> None:
    metric = SemanticIoU(NAMES)
    with pytest.raises(ValueError, match="pred has 3 points, gt has 2"):
        metric.add(np.zeros(3, np.int32), np.zeros(2, np.int32))
    with pytest.raises(ValueError, match=r"gt holds class index 3, expected -1\.\.2"):
        metric.add(np.zeros(2, np.int32), np.array([0, 3]))
    with pytest.raises(ValueError, match=r"pred holds class index -2, expected -1\.\.2"):
        metric.add(np.array([-2, 0]), np.zeros(2, np.int32))
