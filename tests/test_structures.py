import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from pcseg.structures import Instances, Scene, SceneBatch, mask_rows


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


def _instances(masks: list[list[int]], scores: list[float], superpoint: list[int] | None = None) -> Instances:
    return Instances(
        np.array(masks, bool),
        np.zeros(len(masks), np.int64),
        np.array(scores),
        None if superpoint is None else np.array(superpoint, np.int32),
    )


def test_point_ids_give_overlaps_to_the_higher_score() -> None:
    instances = _instances([[1, 1, 0, 0], [0, 1, 1, 0]], [0.5, 0.9])
    assert instances.point_ids().tolist() == [1, 2, 2, 0]
    assert instances.point_ids(threshold=0.6).tolist() == [0, 2, 2, 0]


def test_point_ids_and_masks_spread_from_superpoints() -> None:
    instances = _instances([[0, 1, 0]], [0.5], superpoint=[0, 1, 1, 2])
    assert instances.num_points == 4
    assert instances.point_mask(0).tolist() == [False, True, True, False]
    assert instances.point_ids().tolist() == [0, 1, 1, 0]


def test_no_objects() -> None:
    instances = Instances(np.zeros((0, 5), bool), np.zeros(0, np.int64), np.zeros(0))
    assert len(instances) == 0
    assert instances.point_ids().tolist() == [0] * 5


def test_masks_become_sparse_and_may_be_given_so() -> None:
    dense = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 1]], bool)
    rows = mask_rows([np.array([0, 2]), np.zeros(0, np.int64), np.array([1, 2])], 3)
    labels, scores = np.zeros(3, np.int64), np.array([0.9, 0.8, 0.7])
    for masks in (dense, rows, csr_array(dense)):
        instances = Instances(masks, labels, scores)
        np.testing.assert_array_equal(instances.masks.toarray(), dense)
        assert (len(instances), instances.num_columns) == (3, 3)
        assert [instances.columns(row).tolist() for row in range(3)] == [[0, 2], [], [1, 2]]
        np.testing.assert_array_equal([instances.point_mask(row) for row in range(3)], dense)
    assert mask_rows([], 5).shape == (0, 5)


@pytest.mark.parametrize(("data", "columns"), [([True, False], [0, 2]), ([True, True], [2, 0]), ([True, True], [1, 1])])
def test_sparse_masks_are_true_where_they_are_given_at_all(data: list[bool], columns: list[int]) -> None:
    masks = csr_array((np.array(data), np.array(columns), np.array([0, 2])), shape=(1, 3))
    with pytest.raises(ValueError, match="each column once, ascending, and True alone"):
        Instances(masks, np.zeros(1, np.int64), np.ones(1))


def test_masks_are_bool() -> None:
    for masks in (np.ones((1, 3)), np.ones(3, bool), csr_array(np.ones((1, 3)))):
        with pytest.raises(ValueError, match="masks must be bool of two dimensions"):
            Instances(masks, np.zeros(1, np.int64), np.ones(1))


def test_instances_refuse_rows_that_differ() -> None:
    with pytest.raises(ValueError, match="one row per object, got 2, 2 and 1"):
        _instances([[1], [0]], [0.5])


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
