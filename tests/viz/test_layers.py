from dataclasses import replace

import numpy as np
import pytest

from pcseg.classes import S3DIS, SCANNET20, ClassSet
from pcseg.prediction import Prediction
from pcseg.structures import Scene
from pcseg.viz.layers import ERRORS, Objects, input_colors, match_objects, scene_layers
from tests.conftest import holds


def test_all_layers_and_one_to_one_matching(room: Scene, whole: Prediction) -> None:
    layers = scene_layers(whole)
    keys = ["truth", "prediction", "semantic_truth", "semantic_prediction", "superpoint", "errors"]
    assert [*layers] == [layer.key for layer in layers.values()] == keys
    for layer in layers.values():
        assert layer.ids.shape == (len(room),)
        assert len(layer.colors) == len(layer.entries) > layer.ids.max()
        sizes = np.bincount(layer.ids, minlength=len(layer.entries))
        assert [entry.num_points for entry in layer.entries] == sizes.tolist()

    def objects(ids: list[int]) -> Objects:
        return Objects(np.array(ids, np.int32), np.arange(4), np.zeros(4, np.int64))

    matches = match_objects(objects([1, 1, 1, 1, 2, 2, 0, 0]), objects([1, 1, 1, 2, 2, 2, 3, 3]))
    assert [(a, b) for a, b, _ in matches] == [(1, 1), (2, 2)]
    np.testing.assert_allclose([iou for _, _, iou in matches], [3 / 4, 2 / 3])
    assert match_objects(objects([0, 0]), objects([0, 0])) == match_objects(None, objects([1])) == []


@pytest.mark.parametrize("threshold", [0.0, 0.8])
def test_numbers_of_points_are_the_ids_of_objects(predicted: Prediction, threshold: float) -> None:
    predicted = predicted[::-1]
    layer = scene_layers(predicted, threshold)["prediction"]
    numbers = np.array([entry.number for entry in layer.entries])
    np.testing.assert_array_equal(numbers[layer.ids], predicted.point_ids(threshold))
    assert numbers.tolist() == ([0, 2, 1] if threshold else [0, 3, 2, 1])


def test_matched_predictions_have_the_color_of_the_truth_and_others_are_errors(predicted: Prediction) -> None:
    layers = scene_layers(predicted)
    truth, prediction = layers["truth"], layers["prediction"]
    np.testing.assert_array_equal(prediction.colors[1:3], truth.colors[7:9])
    assert not (truth.colors[1:] == prediction.colors[3]).all(axis=1).any()
    assert [entry.match for entry in prediction.entries] == [0, 7, 8, 0]
    assert prediction.entries[2].iou == pytest.approx(2 / 3)
    assert truth.entries[8].match == 2
    assert prediction.entries[1].score == pytest.approx(0.9)
    assert [entry.name for entry in prediction.entries[1:]] == ["table", "sofa", "clutter"]
    strength = np.ptp(truth.colors.astype(int), axis=1)
    assert strength[1:7].max() < 60 <= strength[7:9].min(), "floor, ceiling and walls are pale"
    count = {name: int((layers["errors"].ids == k).sum()) for k, name in enumerate(name for name, _, _ in ERRORS)}
    floor = len(predicted.columns(2))
    # The false object is in the floor, which S3DIS scores, and matches nothing.
    expected = {"correct": 1500, "wrong class": 1000, "wrong object": floor, "missed": 6 * 1500 - floor + 500}
    assert count == {**expected, "false positive": 0, "no object": 0}
    assert not scene_layers(replace(predicted, min_points=1501))["errors"].ids.any(), "too few points"


def _errors_of_tables(scene: Scene, masks: np.ndarray, classes: ClassSet) -> np.ndarray:
    labels = np.full(2, classes.index("table"))
    return scene_layers(Prediction(scene, masks, labels, np.array([0.9, 0.8]), classes=classes))["errors"].ids


def test_errors_of_classes_that_are_not_scored_and_of_classes_alone(room: Scene) -> None:
    table, chair = room.instance == 7, room.instance == 8
    semantic = np.full(len(room), -1, np.int32)
    semantic[:1500], semantic[table] = SCANNET20.index("floor"), SCANNET20.index("table")
    errors = _errors_of_tables(room.with_(semantic=semantic), np.stack([table, chair]), SCANNET20)
    assert (set(errors[table]), set(errors[:1500])) == ({1}, {0})
    assert set(errors[chair]) == {0}, "void in the truth: no mistake"
    loose = room.with_(instance=np.where(chair, 0, room.instance))
    errors = _errors_of_tables(loose, np.stack([table, chair]), S3DIS)
    assert {ERRORS[k][0] for k in errors[chair]} == {"false positive"}
    guess = room.semantic.copy()
    guess[:10] = 12
    scene = room.with_(instance=None, semantic=np.where(np.arange(len(room)) < 2, -1, room.semantic).astype(np.int32))
    errors = scene_layers(Prediction(scene, semantic=guess, classes=S3DIS))["errors"].ids
    assert errors[:11].tolist() == [0, 0] + [2] * 8 + [1]


def test_bare_scans_and_ids_with_gaps(rng: np.random.Generator, room: Scene) -> None:
    scene = Scene("bare", rng.random((9, 3), np.float32))
    assert (scene_layers(Prediction(scene)), input_colors(scene).shape) == ({}, (9, 3))
    unlabeled = scene.with_(instance=np.zeros(9, np.int32), semantic=np.full(9, -1, np.int32))
    assert [*scene_layers(Prediction(unlabeled, classes=S3DIS))] == ["semantic_truth"]
    nothing = Prediction(scene, np.zeros((0, 9), np.bool_))
    assert [entry.name for entry in scene_layers(nothing)["prediction"].entries] == ["no object"]
    scene = room.with_(instance=(room.instance * 1000).astype(np.int32), semantic=None)
    layer = scene_layers(Prediction(scene))["truth"]
    assert [entry.number for entry in layer.entries] == [1000 * k for k in range(9)]
    assert {entry.name for entry in layer.entries[1:]} == {"object"}


@pytest.mark.parametrize("labeled", [True, False])
def test_all_objects_with_the_errors_of_a_threshold(room: Scene, whole: Prediction, labeled: bool) -> None:
    prediction = whole if labeled else replace(whole, scene=room.with_(semantic=None, instance=None))
    mixed = scene_layers(prediction, 0.85, all_objects=True)
    some, every = scene_layers(prediction, 0.85), scene_layers(prediction)
    assert [*mixed] == [*every]
    for key, layer in mixed.items():
        expected = some[key] if key == "errors" else every[key]
        holds(layer, ids=expected.ids, colors=expected.colors)
        assert layer.entries == expected.entries
