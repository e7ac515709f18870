from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from pcseg.classes import S3DIS
from pcseg.prediction import Prediction, mask_rows
from pcseg.structures import Scene, SceneBatch


def _scene(num_points: int = 4, **fields: np.ndarray) -> Scene:
    return Scene("room", np.zeros((num_points, 3), np.float32), **fields)


def test_scene_refuses_arrays_of_another_length() -> None:
    with pytest.raises(ValueError, match="scene room: rgb has 3 rows, xyz has 4"):
        _scene(rgb=np.zeros((3, 3), np.uint8))


def test_scene_refuses_nan() -> None:
    xyz = np.zeros((4, 3), np.float32)
    xyz[2, 1] = np.nan
    with pytest.raises(ValueError, match="point 2 has a coordinate that is not finite"):
        Scene("room", xyz)


def test_empty_scene_has_no_superpoints() -> None:
    assert _scene(0, superpoint=np.zeros(0, np.int32)).num_superpoints == 0


def _prediction(masks: list[list[int]], scores: list[float], superpoint: list[int] | None = None) -> Prediction:
    owner = None if superpoint is None else np.array(superpoint, np.int32)
    scene = Scene.without_xyz("room", len(masks[0]) if superpoint is None else len(superpoint))
    labels = np.full(len(masks), S3DIS.index("chair"))
    return Prediction(scene, np.array(masks, bool), labels, np.array(scores), classes=S3DIS, superpoint=owner)


def test_point_ids_give_overlaps_to_the_higher_score() -> None:
    prediction = _prediction([[1, 1, 0, 0], [0, 1, 1, 0]], [0.5, 0.9])
    assert prediction.point_ids().tolist() == [1, 2, 2, 0]
    assert prediction.point_ids(threshold=0.6).tolist() == [0, 2, 2, 0]


def test_point_ids_and_masks_spread_from_superpoints() -> None:
    prediction = _prediction([[0, 1, 0]], [0.5], superpoint=[0, 1, 1, 2])
    assert (prediction.num_points, prediction.num_columns) == (4, 3)
    assert prediction.point_mask(0).tolist() == [False, True, True, False]
    assert prediction.point_ids().tolist() == [0, 1, 1, 0]


def test_objects_one_by_one() -> None:
    prediction = _prediction([[1, 0], [0, 1], [0, 0]], [0.9, 0.5, 0.1], superpoint=[0, 1, 1])
    xyz = np.array([[1, 2, 3], [4, 5, 6], [7, 4, 6]], np.float32)
    first, second, empty = replace(prediction, scene=Scene("room", xyz))
    assert (first.label, first.score, first.num_points) == ("chair", 0.9, 1)
    assert second.mask.tolist() == [False, True, True]
    assert second.box.tolist() == [[4, 4, 6], [7, 5, 6]]
    assert (empty.num_points, empty.box.tolist()) == (0, [[0, 0, 0], [0, 0, 0]])


def test_selected_rows() -> None:
    prediction = _prediction([[1, 0], [0, 1], [1, 1]], [0.9, 0.5, 0.1]).select(np.array([2, 0]))
    assert prediction.scores.tolist() == [0.1, 0.9]
    assert prediction.masks.toarray().tolist() == [[True, True], [True, False]]


@pytest.mark.parametrize("masks", [np.zeros((0, 5), bool), None])
def test_no_objects(masks: np.ndarray | None) -> None:
    scene = Scene.without_xyz("room", 5)
    prediction = Prediction(scene) if masks is None else Prediction(scene, masks)
    assert (len(prediction), list(prediction)) == (0, [])
    assert prediction.has_objects == (masks is not None)
    assert prediction.point_ids().tolist() == [0] * 5
    assert repr(prediction).startswith("Prediction('room', 5 points, ")


def test_masks_become_sparse_and_may_be_given_so() -> None:
    dense = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 1]], bool)
    rows = mask_rows([np.array([0, 2]), np.zeros(0, np.int64), np.array([1, 2])], 3)
    given = _prediction(dense.tolist(), [0.9, 0.8, 0.7])
    for masks in (dense, rows, csr_array(dense)):
        prediction = replace(given, masks=masks)
        np.testing.assert_array_equal(prediction.masks.toarray(), dense)
        assert (len(prediction), prediction.num_columns) == (3, 3)
        assert [prediction.columns(row).tolist() for row in range(3)] == [[0, 2], [], [1, 2]]
        np.testing.assert_array_equal([prediction.point_mask(row) for row in range(3)], dense)
    assert mask_rows([], 5).shape == (0, 5)


def _sparse(data: list[bool], columns: list[int]) -> csr_array:
    return csr_array((np.array(data), np.array(columns), np.array([0, 2])), shape=(1, 3))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *[({"masks": m}, "masks must be bool of two dimensions") for m in (np.ones((1, 3)), np.ones(3, bool))],
        ({"masks": _sparse([True, False], [0, 2])}, "each column once, ascending, and only True"),
        ({"masks": _sparse([True, True], [2, 0])}, "each column once, ascending, and only True"),
        ({"masks": _sparse([True, True], [1, 1])}, "each column once, ascending, and only True"),
        ({"scores": np.ones(2)}, "one row per object, got 1, 1 and 2"),
        ({"scores": np.array([np.nan])}, "the score of object 0 is nan, not a finite number"),
        ({"labels": np.array([13])}, "labels of objects must be class indices from 0 to 12 of s3dis, got 13 to 13"),
        ({"labels": np.array([-1])}, "labels of objects must be class indices from 0"),
        ({"classes": None}, "it has class labels .labels of objects., so the class set must be given"),
        ({"semantic": np.zeros(2, np.int32)}, r"predicted semantic must have shape \(3,\), got \(2,\)"),
        ({"semantic": np.full(3, 13, np.int32)}, "predicted semantic must be class indices from -1 to 12"),
        ({"superpoint": np.zeros(2, np.int32)}, "masks are for 2 points, the scene has 3"),
        ({"superpoint": np.full(3, 3, np.int32)}, "superpoints run from 3 to 3, the masks have columns for 0 to 2"),
        ({"scene": _scene()}, "masks are for 3 points, the scene has 4"),
        ({"scene": _scene(3, semantic=np.full(3, -2, np.int32))}, "semantic must be class indices from -1 to 12"),
        ({"scene": _scene(3, instance=np.full(3, -1, np.int32))}, "instance must be 0 for none or an id from 1"),
    ],
)
def test_parts_that_do_not_belong_together(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=f"scene room: .*{message}"):
        replace(_prediction([[1, 0, 1]], [0.5]), **changes)


def test_offsets_of_a_batch_stay_on_the_host() -> None:
    rows = torch.zeros(2, dtype=torch.int64)
    batch = SceneBatch(
        voxel_coords=torch.zeros(2, 4, dtype=torch.int32),
        voxel_features=torch.zeros(2, 3),
        pair_voxel=rows,
        pair_superpoint=rows,
        pair_points=torch.ones(2),
        superpoint_xyz=torch.zeros(1, 3),
        superpoint_offsets=torch.tensor([0, 1]),
        names=["room"],
        targets=[{"labels": rows[:0], "instance_labels": rows[:1]}],
    )
    moved = batch.to("meta")
    on_host = [name for name, value in vars(moved).items() if isinstance(value, torch.Tensor) and not value.is_meta]
    assert on_host == ["superpoint_offsets"]
    assert moved.targets is not None
    assert all(value.is_meta for value in moved.targets[0].values())
