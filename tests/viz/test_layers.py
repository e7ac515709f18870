"""Layers say for each point what it belongs to, and mistakes are named rightly."""

from dataclasses import replace

import numpy as np
import pytest

from pcseg.classes import S3DIS, SCANNET20
from pcseg.structures import Prediction, Scene
from pcseg.viz.errors import ERROR_NAMES, match_ids
from pcseg.viz.layers import Layer, input_colors, scene_layers, with_all_objects


def _by_key(layers: list[Layer]) -> dict[str, Layer]:
    return {layer.key: layer for layer in layers}


def test_all_layers(room: Scene, whole: Prediction) -> None:
    layers = scene_layers(whole)
    keys = ["truth", "prediction", "semantic_truth", "semantic_prediction", "superpoint", "errors"]
    assert [layer.key for layer in layers] == keys
    for layer in layers:
        assert layer.ids.shape == (len(room),)
        assert len(layer.colors) == len(layer.entries) > layer.ids.max()
        sizes = np.bincount(layer.ids, minlength=len(layer.entries))
        assert [entry.num_points for entry in layer.entries] == sizes.tolist()


@pytest.mark.parametrize("threshold", [0.0, 0.8])
def test_numbers_of_points_are_the_ids_of_objects(predicted: Prediction, threshold: float) -> None:
    layer = _by_key(scene_layers(predicted, threshold))["prediction"]
    np.testing.assert_array_equal(layer.point_numbers(), predicted.point_ids(threshold))


def test_matched_predictions_have_the_color_of_the_truth(predicted: Prediction) -> None:
    layers = _by_key(scene_layers(predicted))
    truth, prediction = layers["truth"], layers["prediction"]
    np.testing.assert_array_equal(prediction.colors[1], truth.colors[7])
    np.testing.assert_array_equal(prediction.colors[2], truth.colors[8])
    assert not (truth.colors[1:] == prediction.colors[3]).all(axis=1).any()
    assert [entry.match for entry in prediction.entries] == [0, 7, 8, 0]
    assert prediction.entries[2].iou == pytest.approx(2 / 3)
    assert truth.entries[8].match == 2
    assert prediction.entries[1].score == pytest.approx(0.9)
    assert [entry.name for entry in prediction.entries[1:]] == ["table", "sofa", "clutter"]
    strength = np.ptp(truth.colors.astype(int), axis=1)
    assert strength[1:7].max() < 40 < strength[7:9].min(), "floor, ceiling and walls are pale"


def test_errors(predicted: Prediction) -> None:
    layer = _by_key(scene_layers(predicted))["errors"]
    count = {name: int((layer.ids == k).sum()) for k, name in enumerate(ERROR_NAMES)}
    floor = len(predicted.columns(2))
    assert count["correct"] == 1500
    assert count["wrong class"] == 1000
    assert count["wrong object"] == floor, "it lies in the floor, which S3DIS scores, and matches nothing"
    assert count["missed"] == 6 * 1500 - floor + 500
    assert count["false positive"] == count["no object"] == 0


def test_errors_leave_classes_out_that_are_not_scored(room: Scene) -> None:
    semantic = np.full(len(room), -1, np.int32)
    semantic[:1500] = SCANNET20.index("floor")
    semantic[room.instance == 7] = SCANNET20.index("table")
    scene = room.with_(semantic=semantic)
    masks = np.stack([room.instance == 7, room.instance == 8])
    found = Prediction(scene, masks, np.full(2, SCANNET20.index("table")), np.array([0.9, 0.8]), classes=SCANNET20)
    errors = _by_key(scene_layers(found))["errors"].ids
    assert set(errors[room.instance == 7]) == {1}
    assert set(errors[room.instance == 8]) == {0}, "void in the truth: no mistake"
    assert set(errors[:1500]) == {0}
    loose = room.with_(instance=np.where(room.instance == 8, 0, room.instance))
    masks = np.stack([room.instance == 7, room.instance == 8])
    found = Prediction(loose, masks, np.full(2, S3DIS.index("table")), np.array([0.9, 0.8]), classes=S3DIS)
    errors = _by_key(scene_layers(found))["errors"].ids
    assert {ERROR_NAMES[k] for k in errors[room.instance == 8]} == {"false positive"}


def test_errors_of_classes_alone(room: Scene) -> None:
    guess = room.semantic.copy()
    guess[:10] = 12
    scene = room.with_(instance=None, semantic=np.where(np.arange(len(room)) < 2, -1, room.semantic).astype(np.int32))
    errors = _by_key(scene_layers(Prediction(scene, semantic=guess, classes=S3DIS)))["errors"].ids
    assert errors[:11].tolist() == [0, 0] + [2] * 8 + [1]


def test_threshold_leaves_predictions_out(predicted: Prediction) -> None:
    layer = _by_key(scene_layers(predicted, 0.5))["prediction"]
    assert [entry.number for entry in layer.entries] == [0, 1, 2]


def test_matching_is_one_to_one_from_the_best_down() -> None:
    truth = np.array([1, 1, 1, 1, 2, 2, 0, 0], np.int32)
    found = np.array([1, 1, 1, 2, 2, 2, 3, 3], np.int32)
    pairs, iou = match_ids(truth, found)
    assert pairs.tolist() == [[1, 1], [2, 2]]
    np.testing.assert_allclose(iou, [3 / 4, 2 / 3])
    none = np.zeros(4, np.int32)
    assert len(match_ids(none, none)[0]) == 0


def test_bare_scans(rng: np.random.Generator) -> None:
    scene = Scene("bare", rng.random((9, 3), np.float32))
    assert scene_layers(Prediction(scene)) == []
    assert input_colors(scene).shape == (9, 3)
    unlabeled = scene.with_(instance=np.zeros(9, np.int32), semantic=np.full(9, -1, np.int32))
    layers = scene_layers(Prediction(unlabeled, classes=S3DIS))
    assert [layer.key for layer in layers] == ["semantic_truth"]
    nothing = Prediction(scene, np.zeros((0, 9), np.bool_))
    assert [entry.name for entry in scene_layers(nothing)[0].entries] == ["no object"]
    with pytest.raises(ValueError, match="no points"):
        scene_layers(Prediction(Scene.without_xyz("none", 0)))


def test_instance_ids_may_have_gaps(room: Scene) -> None:
    scene = room.with_(instance=(room.instance * 1000).astype(np.int32), semantic=None)
    layer = scene_layers(Prediction(scene))[0]
    assert [entry.number for entry in layer.entries] == [1000 * k for k in range(9)]
    assert {entry.name for entry in layer.entries[1:]} == {"object"}


@pytest.mark.parametrize("labeled", [True, False])
def test_all_objects_from_layers_that_show_some(room: Scene, whole: Prediction, labeled: bool) -> None:
    scene = room if labeled else room.with_(semantic=None, instance=None)
    prediction = replace(whole, scene=scene)
    some = scene_layers(prediction, 0.85)
    every = with_all_objects(some, prediction)
    expected = scene_layers(prediction)
    assert [layer.key for layer in every] == [layer.key for layer in expected]
    for layer, other, before in zip(every, expected, some):
        if layer.key in ("truth", "prediction"):
            np.testing.assert_array_equal(layer.ids, other.ids)
            np.testing.assert_array_equal(layer.colors, other.colors)
            assert layer.entries == other.entries
        else:
            assert layer is before
    assert with_all_objects(some[:1], Prediction(scene, classes=S3DIS)) == some[:1]
