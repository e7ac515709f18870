import numpy as np
import pytest

from pcseg.classes import S3DIS
from pcseg.metrics.outcomes import OBJECT_OUTCOMES, PREDICTION_OUTCOMES, OutcomeResult
from pcseg.metrics.scores import Scores
from tests.metrics.scenes import predict

CHAIR, TABLE, SOFA = S3DIS.index("chair"), S3DIS.index("table"), S3DIS.index("sofa")


def _outcomes(
    predictions: list[tuple[int, int, int, float]], sizes: tuple[int, ...] = (200, 200)
) -> tuple[list[str], list[str], OutcomeResult]:
    """Chairs side by side on a line; predictions are (first point, end, class, score)."""
    instance = np.repeat(np.arange(1, len(sizes) + 1), sizes).astype(np.int32)
    points = np.arange(len(instance))
    masks = np.array([(points >= a) & (points < b) for a, b, _, _ in predictions], np.bool_)
    labels, scores = [p[2] for p in predictions], [p[3] for p in predictions]
    metric = Scores(S3DIS)
    masks = masks.reshape(len(predictions), len(points))
    metric.add(predict(masks, labels, scores, np.full(len(points), CHAIR), instance, classes=S3DIS))
    record = metric.records()[0].outcomes
    return (
        [OBJECT_OUTCOMES[i] for i in record.object_outcome],
        [PREDICTION_OUTCOMES[i] for i in record.pred_outcome],
        metric.compute().outcomes,
    )


@pytest.mark.parametrize(
    ("predictions", "objects", "found"),
    [
        ([(0, 200, CHAIR, 0.9), (200, 400, CHAIR, 0.8)], ["found", "found"], ["right", "right"]),
        ([(0, 200, CHAIR, 0.9), (0, 180, CHAIR, 0.8)], ["found", "missed"], ["right", "duplicate"]),
        ([(0, 180, CHAIR, 0.8), (0, 200, CHAIR, 0.9)], ["found", "missed"], ["right", "duplicate"]),
        ([(0, 200, TABLE, 0.9)], ["wrong class", "missed"], ["wrong class"]),
        ([(0, 200, TABLE, 0.9), (0, 200, CHAIR, 0.4)], ["found", "missed"], ["wrong class", "right"]),
        ([(0, 100, CHAIR, 0.9), (100, 200, CHAIR, 0.9)], ["split", "missed"], ["no object", "no object"]),
        ([(0, 400, CHAIR, 0.9)], ["merged", "merged"], ["no object"]),
        # At least half is not more than half: IoU 0.5 finds nothing.
        ([(0, 100, CHAIR, 0.9)], ["missed", "missed"], ["no object"]),
        ([(0, 101, CHAIR, 0.9)], ["found", "missed"], ["right"]),
        # Too small and too unsure predictions do not count.
        ([(0, 99, CHAIR, 0.9), (0, 200, CHAIR, 0.2)], ["missed", "missed"], []),
        ([], ["missed", "missed"], []),
    ],
)
def test_words(predictions: list, objects: list[str], found: list[str]) -> None:
    got_objects, got_found, _ = _outcomes(predictions)
    assert got_objects == objects
    assert sorted(got_found) == sorted(found)


def test_confusion() -> None:
    confusion = _outcomes([(0, 200, TABLE, 0.9), (250, 360, SOFA, 0.9)], sizes=(200, 200, 200))[2].confusion
    assert confusion[CHAIR, TABLE] == 1
    assert confusion[CHAIR, SOFA] == 1
    assert confusion[CHAIR, -1] == 1
    assert confusion.sum() == 3
    confusion = _outcomes([(150, 250, SOFA, 0.9)])[2].confusion
    assert confusion[-1, SOFA] == 1
    assert confusion[CHAIR, -1] == 2


def test_small_objects_and_void_are_no_errors() -> None:
    objects, found, _ = _outcomes([(200, 400, CHAIR, 0.9), (0, 200, CHAIR, 0.8)], sizes=(99, 99, 202))
    assert objects == ["found"]
    assert found == ["right"]
    instance = np.repeat([0, 1], 200)
    metric = Scores(S3DIS)
    metric.add(predict((instance == 0)[None], [CHAIR], [0.9], np.full(400, CHAIR), instance, classes=S3DIS))
    assert len(metric.records()[0].outcomes.pred_outcome) == 0


def test_text_and_json_agree() -> None:
    _, _, outcomes = _outcomes([(0, 200, CHAIR, 0.9), (0, 200, CHAIR, 0.8)])
    content = outcomes.to_json()
    assert content["found"] == content["missed"] == content["duplicate_predictions"] == 1
    assert content["classes"] == {"chair": {k: v for k, v in content.items() if k != "classes"}}
    assert "1 found, 0 wrong class, 0 split, 0 merged, 1 missed" in outcomes.to_text()
    assert "1 duplicates" in outcomes.to_text()
