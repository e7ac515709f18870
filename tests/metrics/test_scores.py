"""All scores of rooms, their tables and files, and what became of each object."""

import csv
import json
import math
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pcseg.classes import S3DIS, SCANNET20, SCANNET200, ClassSet
from pcseg.metrics.instance_ap import COCO_THRESHOLDS, SCANNET_THRESHOLDS, InstanceAP
from pcseg.metrics.matching import Curve
from pcseg.metrics.outcomes import OBJECT_OUTCOMES, PREDICTION_OUTCOMES, OutcomeResult
from pcseg.metrics.room_results import read_rooms, save_room, split_areas
from pcseg.metrics.scores import Scores
from pcseg.prediction import Prediction
from pcseg.synthetic import make_room
from pcseg.synthetic.predictions import ErrorRates, simulate_predictions
from tests.conftest import refuses
from tests.metrics.scenes import measured, predict
from tools.compare_metrics import compare_readings, interpolated_area

CHAIR, TABLE, SOFA = S3DIS.index("chair"), S3DIS.index("table"), S3DIS.index("sofa")
THREE = ClassSet.from_dict({"name": "test", "names": ["wall", "shower curtain", "chair"], "s3dis_protocols": True})
SEMANTIC = np.repeat([0, 2], [100, 200])
INSTANCE = np.repeat([1, 2, 3], 100)
ROOM = predict(np.stack([SEMANTIC == 0, INSTANCE == 2]), [0, 2], [0.9, 0.5], SEMANTIC, INSTANCE, classes=THREE)


@pytest.fixture(scope="module")
def rooms() -> list[Prediction]:
    scenes = [make_room(3, index, num_points=4000) for index in range(7)]
    return [simulate_predictions(scene, S3DIS, np.random.default_rng(i)) for i, scene in enumerate(scenes)]


def _scores(rooms: list[Prediction], classes: ClassSet = S3DIS, min_points: int = 20) -> Scores:
    return measured(Scores(classes, min_points=min_points), *rooms)


def test_equals_instance_ap_alone(rooms: list[Prediction]) -> None:
    result = _scores(rooms).compute()
    for found, thresholds in ((result.ap, SCANNET_THRESHOLDS), (result.coco, COCO_THRESHOLDS)):
        metric = measured(InstanceAP(S3DIS, thresholds=thresholds, min_points=20), *rooms)
        np.testing.assert_array_equal(found.per_threshold, metric.compute().per_threshold)
    assert result.coco.ap < result.ap.ap
    assert 0.2 < result.ap.ap50 < 0.9
    two, kinds = ClassSet.from_dict({"name": "two", "names": ["object", "surface"]}), np.append(S3DIS.is_stuff, -1)
    scenes = [room.scene.with_(semantic=kinds[room.scene.semantic].astype(np.int32)) for room in rooms]
    changes = [{"scene": scene, "labels": kinds[room.labels]} for room, scene in zip(rooms, scenes)]
    renamed = [replace(room, semantic=None, classes=two, **each) for room, each in zip(rooms, changes)]
    of_objects = measured(InstanceAP(two, min_points=20), *renamed).compute().per_class["object"]
    assert result.objects.mean == of_objects == result.to_json()["objects"]
    assert f"without surfaces: {100 * of_objects['ap']:.1f} / " in result.to_text()
    labels = [np.append(-1, room.labels)[room.point_ids(0.3)].astype(np.int32) for room in rooms]
    with_classes = [replace(room, semantic=semantic) for room, semantic in zip(rooms, labels)]
    assert repr(_scores(with_classes).compute().to_json()) == repr(result.to_json())


def test_files_of_rooms(rooms: list[Prediction], tmp_path: Path) -> None:
    whole = _scores(rooms)
    for i, name in enumerate(whole.names):
        assert save_room(tmp_path / str(i % 2), name, whole).stat().st_size < 60_000
    again = read_rooms([tmp_path / "0", tmp_path / "1"])
    assert repr(again.compute().to_json()) == repr(whole.compute().to_json())
    areas = split_areas(again)
    assert {name: len(part) for name, part in areas.items()} == {f"Area_{i}": 2 if i == 1 else 1 for i in range(1, 7)}
    other = _scores([replace(rooms[0], scene=rooms[0].scene.with_(name="other"))], min_points=100)
    assert split_areas(other) == {}
    path = save_room(tmp_path / "2", "other", other)
    refusals = {"00": "every room counts once", ".": "expected results of rooms"}
    for folders, message in {**refusals, "02": r"measured with .* \('s3dis', 100, 0.3\)"}.items():
        refuses(message, read_rooms, [tmp_path / folder for folder in folders])
    for content in (b"", b"no archive", path.read_bytes()[:-300]):
        path.write_bytes(content)
        refuses(r"other\.npz: not an \.npz archive", read_rooms, [tmp_path / "2"])


def test_groups(rooms: list[Prediction], tmp_path: Path) -> None:
    """Head, common and tail: means over the classes of a group that have objects; wall does not count here."""
    groups = {"head": ("wall", "chair", "table"), "common": ("door",), "tail": ("board", "sofa"), "none": ()}
    classes = replace(S3DIS, name="made up", groups=groups, instance_names=S3DIS.instance_names[3:])
    scores = _scores(rooms, classes)
    save_room(tmp_path, rooms[0].scene.name, scores)
    assert read_rooms([tmp_path]).classes == classes
    result = scores.compute()
    known = np.nanmean([result.ap.per_class[name]["ap50"] for name in ("chair", "table")])
    assert result.ap.per_group["head"]["ap50"] == pytest.approx(known)
    assert result.ap.per_group["common"] == pytest.approx(result.ap.per_class["door"], nan_ok=True)
    assert all(math.isnan(value) for value in result.ap.per_group["none"].values())
    assert result.to_json()["groups"]["head"]["ap50"] == result.ap.per_group["head"]["ap50"]
    assert result.to_json()["groups"]["none"] == {"ap": None, "ap50": None, "ap25": None}
    lines = [line.split()[0] for line in result.to_text().splitlines() if line.strip()]
    assert lines.index("board") < lines.index("head") < lines.index("tail") < lines.index("mean")
    rows = list(csv.DictReader(result.to_csv().splitlines()))
    assert [row["class"] for row in rows][-5:] == ["head", "common", "tail", "none", "mean"]


def test_thresholds_csv_and_the_area_under_the_curves(rooms: list[Prediction]) -> None:
    result = _scores(rooms).compute()
    content = result.to_json()
    assert list(content["thresholds"]) == [f"0.{i}" for i in (50, 55, 60, 65, 70, 75, 80, 85, 90, 25)]
    assert content["thresholds"]["0.50"] == content["ap50"]
    nine = [value for key, value in content["class_thresholds"]["chair"].items() if key != "0.25"]
    assert np.mean(nine) == pytest.approx(content["classes"]["chair"]["ap"])
    assert "COCO" in result.to_text()
    rows = {row["class"]: row for row in csv.DictReader(result.to_csv().splitlines())}
    assert float(rows["mean"]["ap"]) == content["ap"]
    assert float(rows["mean"]["ap_coco_thresholds"]) == content["coco_thresholds"]["ap"]
    assert float(rows["mean"]["iou"]) == content["semantic"]["miou"]
    assert float(rows["chair"]["pq"]) == content["panoptic"]["classes"]["chair"]["pq"]
    assert float(rows["chair"]["ap_iou_0.75"]) == content["class_thresholds"]["chair"]["0.75"]
    for curves in result.ap.curves.values():
        assert (curves[0.5].precision[-1], curves[0.5].recall[-1]) == (1.0, 0.0)
    half = [0.5, 1.0, 1.0], [1.0, 0.5, 0.0], (51 + 50 * 0.5) / 101
    for precision, recall, expected in (([1.0, 1.0], [1.0, 0.0], 1.0), half, ([1.0], [0.0], 0.0)):
        assert interpolated_area(Curve(np.array(precision), np.array(recall))) == pytest.approx(expected)


def test_perfect_predictions_are_perfect_in_every_reading() -> None:
    scenes = [make_room(1, index, num_points=4000) for index in range(2)]
    found = [simulate_predictions(scene, S3DIS, np.random.default_rng(0), ErrorRates(*[0.0] * 7)) for scene in scenes]
    # Certain, so that the protocol of confident predictions takes them.
    found = [replace(prediction, scores=np.ones(len(prediction))) for prediction in found]
    scores = _scores(found)
    readings = compare_readings(scores, _scores(found, min_points=1), split_areas(scores))
    assert sum(map(len, readings.values())) > 20
    for measure, values in readings.items():
        assert list(values.values()) == pytest.approx([1.0] * len(values)), measure


@pytest.mark.parametrize("num_points", [0, 1, 150])
def test_degenerate(num_points: int) -> None:
    """Nothing predicted, nothing labeled, hardly any points: numbers or nothing to measure, never a failure."""
    for classes in (S3DIS, SCANNET20, SCANNET200):
        for label in (-1, 5):
            truth = np.full(num_points, label), np.ones(num_points)
            room = predict(np.zeros((0, num_points)), [], [], *truth, name="Area_1_empty", classes=classes)
            result = _scores([room], classes).compute()
            assert result.ap.ap == pytest.approx(0.0 if label == 5 and num_points > 100 else math.nan, nan_ok=True)
            assert result.to_text()
            assert result.to_csv()
    assert Scores(S3DIS).compute().to_json()["ap"] is None
    assert Scores(S3DIS).compute().to_text()


def test_panoptic_of_objects_over_classes_and_records_are_small() -> None:
    """A point has the class of its best object, elsewhere its own; surfaces have no ids, weak objects no points."""
    chair, wall, table = (S3DIS.index(name) for name in ("chair", "wall", "table"))
    masks = np.array([[1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 1, 0]])
    truth = np.array([chair, chair, wall, wall, table, table]), np.array([1, 1, 0, 0, 0, 0])
    prediction = predict(masks, [chair, wall, table], [0.9, 0.8, 0.1], *truth, classes=S3DIS)
    result = _scores([replace(prediction, semantic=np.full(6, table, np.int32))]).compute()
    assert [result.panoptic.per_class[name]["pq"] for name in ("chair", "wall")] == [1.0, 1.0]
    assert result.semantic.per_class["table"]["iou"] == 2 / 6
    # Memory does not grow with points; a record keeps scores and overlaps, no masks.
    sizes = []
    for num_points in (2_000, 200_000):
        instance = np.repeat(np.arange(1, 11), num_points // 10)
        masks, semantic = instance[None] == np.arange(1, 11)[:, None], np.full(num_points, 8)
        room = predict(masks, np.full(10, 8), np.linspace(0.4, 0.9, 10), semantic, instance, classes=S3DIS)
        sizes.append(len(pickle.dumps(_scores([room]).state())))
    assert abs(sizes[0] - sizes[1]) < 64
    assert sizes[0] < 8192


def test_tables_and_json() -> None:
    ap = measured(InstanceAP(THREE), ROOM).compute()
    assert ap.to_text().splitlines()[-1].split() == ["mean", "75.0", "75.0", "75.0"]
    assert InstanceAP(THREE).compute().to_text().splitlines()[-1].split() == ["mean", "-", "-", "-"]
    content = ap.to_json()
    values = {"wall": 1.0, "shower curtain": None, "chair": 0.5}
    per_class = {name: dict.fromkeys(("ap", "ap50", "ap25"), value) for name, value in values.items()}
    assert content == {**dict.fromkeys(("ap", "ap50", "ap25"), 0.75), "classes": per_class}
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    result = measured(Scores(THREE), ROOM).compute()
    assert result.semantic.to_json()["classes"]["shower curtain"] == {"iou": None, "acc": None}
    assert result.semantic.to_text().endswith("oa: 66.7")
    assert result.panoptic.to_text().splitlines()[-7].split() == ["mean", "83.3", "100.0", "83.3"]


def _outcomes(predictions: list, sizes: tuple[int, ...] = (200, 200)) -> tuple[list[str], list[str], OutcomeResult]:
    """Chairs side by side on a line; predictions are (first point, end, class, score)."""
    instance = np.repeat(np.arange(1, len(sizes) + 1), sizes).astype(np.int32)
    points = np.arange(len(instance))
    first, end, labels, scores = np.array(predictions).reshape(-1, 4).T
    masks = (points >= first[:, None]) & (points < end[:, None])
    room = predict(masks, labels, scores, np.full(len(points), CHAIR), instance, classes=S3DIS)
    metric = measured(Scores(S3DIS), room)
    record = metric.records()[0].outcomes
    objects = [OBJECT_OUTCOMES[i] for i in record.object_outcome]
    return objects, [PREDICTION_OUTCOMES[i] for i in record.pred_outcome], metric.compute().outcomes


def test_outcomes_of_objects_and_predictions() -> None:
    for predictions, objects, found in (
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
    ):
        got_objects, got_found, _ = _outcomes(predictions)
        assert (got_objects, sorted(got_found)) == (objects, sorted(found))


def test_confusion_small_objects_and_void() -> None:
    confusion = _outcomes([(0, 200, TABLE, 0.9), (250, 360, SOFA, 0.9)], sizes=(200, 200, 200))[2].confusion
    assert (confusion[CHAIR, [TABLE, SOFA, -1]].tolist(), confusion.sum()) == ([1, 1, 1], 3)
    confusion = _outcomes([(150, 250, SOFA, 0.9)])[2].confusion
    assert (confusion[-1, SOFA], confusion[CHAIR, -1]) == (1, 2)
    objects, found, _ = _outcomes([(200, 400, CHAIR, 0.9), (0, 200, CHAIR, 0.8)], sizes=(99, 99, 202))
    assert (objects, found) == (["found"], ["right"])
    instance = np.repeat([0, 1], 200)
    room = predict((instance == 0)[None], [CHAIR], [0.9], np.full(400, CHAIR), instance, classes=S3DIS)
    assert len(measured(Scores(S3DIS), room).records()[0].outcomes.pred_outcome) == 0
    _, _, outcomes = _outcomes([(0, 200, CHAIR, 0.9), (0, 200, CHAIR, 0.8)])
    content = outcomes.to_json()
    assert content["found"] == content["missed"] == content["duplicate_predictions"] == 1
    assert content["classes"] == {"chair": {k: v for k, v in content.items() if k != "classes"}}
    assert "1 found, 0 wrong class, 0 split, 0 merged, 1 missed" in outcomes.to_text()
    assert "1 duplicates" in outcomes.to_text()
