import json
import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pcseg.classes import S3DIS, SCANNET20
from pcseg.metrics import InstanceAP
from pcseg.metrics.instance_ap import COCO_THRESHOLDS, SCANNET_THRESHOLDS
from pcseg.prediction import Prediction
from pcseg.structures import Scene
from tests.conftest import REFERENCE, refuses
from tests.metrics.scenes import CLASSES, NAMES, measured, over_points, predict, random_scene, rooms_of
from tests.reference import average_precision as slow

OFFICIAL = REFERENCE / "scannet_ap"
EXPECTED = json.loads((OFFICIAL / "expected.json").read_text())


def official_scenes(case: str) -> list[Prediction]:
    data, scenes = np.load(OFFICIAL / f"{case}.npz"), []
    for i in range(int(data["n_scenes"])):
        gt = data[f"gt_{i}"].astype(np.int64)
        masks = np.unpackbits(data[f"masks_{i}"], axis=1, count=len(gt)).astype(np.bool_)
        labels = SCANNET20.index_of_ids(data[f"labels_{i}"].astype(np.int64))
        truth = SCANNET20.index_of_ids(gt // 1000), np.unique(gt, return_inverse=True)[1] + 1
        scenes.append(predict(masks, labels, data[f"scores_{i}"], *truth, name=f"scene{i}", classes=SCANNET20))
    return scenes


@pytest.mark.parametrize("case", sorted(EXPECTED))
def test_equals_the_official_script(case: str) -> None:
    result, expected = measured(InstanceAP(SCANNET20), *official_scenes(case)).compute(), EXPECTED[case]
    assert list(result.per_class) == list(expected["classes"])
    for found, wanted in [(result.mean, expected), *zip(result.per_class.values(), expected["classes"].values())]:
        wanted = np.array([wanted["AP"], wanted["AP50"], wanted["AP25"]], np.float64)  # None becomes nan
        np.testing.assert_allclose([found["ap"], found["ap50"], found["ap25"]], wanted, rtol=0, atol=1e-9)
    per_threshold = np.array(expected["ap_per_threshold"], np.float64)
    np.testing.assert_allclose(result.per_threshold, per_threshold, rtol=0, atol=1e-9)


def test_class_zero_void_and_thresholds() -> None:
    semantic, instance = np.repeat([0, 2], 200), np.repeat([1, 2], 200)  # one ceiling and one chair
    result = measured(InstanceAP(CLASSES), predict((semantic == 0)[None], [0], [0.9], semantic, instance)).compute()
    found = [list(row.values()) for row in result.per_class.values()]
    np.testing.assert_array_equal(found, [[1.0] * 3, [math.nan] * 3, [0.0] * 3])
    assert result.ap == result.ap50 == result.ap25 == 0.5
    assert result.num_gt == {"ceiling": 1, "floor": 0, "chair": 1}
    assert result.num_pred == {"ceiling": 1, "floor": 0, "chair": 0}
    instance = np.repeat([0, 1], 150)
    room = predict(np.stack([instance == 0, instance == 1]), [2, 2], [0.9, 0.5], np.full(300, 2), instance)
    assert measured(InstanceAP(CLASSES), room).compute().ap == 1.0
    # IoU 0.92 is enough for ScanNet's nine thresholds and not for the tenth.
    room = predict(np.arange(100)[None] < 92, [0], [0.9], np.zeros(100), np.ones(100))
    metrics = (InstanceAP(CLASSES, thresholds=t, min_points=1) for t in (SCANNET_THRESHOLDS, COCO_THRESHOLDS, [0.5]))
    scannet, coco, half = (measured(metric, room).compute() for metric in metrics)
    assert [scannet.ap, coco.ap, half.ap] == pytest.approx([1.0, 0.9, 1.0])
    assert coco.per_threshold.shape == (3, 11)
    assert math.isnan(half.ap25)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.lists(st.tuples(st.integers(0, 150), st.integers(0, 12)), min_size=1, max_size=3),
    min_points=st.integers(0, 20),
)
def test_superpoints_and_points_equal_slow_reference(seed: int, sizes: list[tuple[int, int]], min_points: int) -> None:
    rng, counted = np.random.default_rng(seed), [0, 2]
    classes = replace(CLASSES, instance_names=tuple(NAMES[label] for label in counted))
    scenes = [random_scene(rng, *size) for size in sizes]
    first, second = (
        measured(InstanceAP(classes, min_points=min_points), *rooms_of(scenes, form)).compute()
        for form in (dict, over_points)
    )
    np.testing.assert_array_equal(first.per_threshold, second.per_threshold)
    np.testing.assert_equal(first.mean, second.mean)
    # Sizes of this few points hit thresholds exactly, so the reference must use the very same numbers.
    slow_scenes = [slow.scene_of(**over_points(scene), counted=counted) for scene in scenes]
    expected = slow.table(slow_scenes, counted, min_points, SCANNET_THRESHOLDS)
    np.testing.assert_allclose(first.per_threshold, expected, rtol=0, atol=1e-9)


def test_merge_and_what_is_refused(rng: np.random.Generator) -> None:
    whole, merged, *parts = (InstanceAP(CLASSES, min_points=10) for _ in range(5))
    for i in range(5):
        prediction = predict(**random_scene(rng, 300, 8), name=f"room{i}")
        for metric in (whole, parts[i % 3]):
            metric.add(prediction)
    merged.merge(pickle.loads(pickle.dumps([part.state() for part in parts])))
    np.testing.assert_array_equal(merged.compute().per_threshold, whole.compute().per_threshold)
    assert len(merged) == 5
    refuses(r"room0.*two processes", merged.merge, [{}, parts[0].state()])
    refuses(r"room1.*two processes", InstanceAP(CLASSES).merge, [parts[1].state(), parts[1].state()])
    metric, objects = InstanceAP(CLASSES), (np.ones((1, 4), np.bool_), [0], [0.5], np.zeros(4), np.ones(4))
    refuses("scene room: it has no ground truth", metric.add, Prediction(Scene.without_xyz("room", 4)))
    refuses("scene room: its classes are s3dis, expected test", metric.add, predict(*objects, classes=S3DIS))
    metric.add(predict(*objects))  # nothing of the refused scenes was stored
    refuses("'room' was added before", metric.add, predict(*objects))
