from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pcseg.data.augment import Composition
from pcseg.data.dataset import DataOptions, RoomDataset, collate, make_batch, make_targets, point_features
from pcseg.data.sampler import ResumableSampler
from pcseg.data.store import Source, write_room
from pcseg.structures import Scene, SceneBatch
from tests.conftest import refuses
from tests.scenes import random_scene


def _batch(*scenes: Scene) -> SceneBatch:
    return make_batch(scenes, voxel_size=0.3, features=("rgb", "xyz"), instance_classes=(0, 1, 2))


def test_superpoints_count_every_point_once_at_the_mean_of_their_points() -> None:
    scene = random_scene()
    batch = _batch(scene)
    counts = torch.zeros(10).index_add(0, batch.pair_superpoint, batch.pair_points)
    np.testing.assert_array_equal(counts.numpy(), np.bincount(scene.superpoint))
    assert len(torch.unique(batch.voxel_coords, dim=0)) == len(batch.voxel_coords)
    low, high = scene.xyz.min(0), scene.xyz.max(0)
    center = np.array([*(low + high)[:2] / 2, low[2]])
    expected = [scene.xyz[scene.superpoint == s].mean(0) - center for s in range(10)]
    np.testing.assert_allclose(batch.superpoint_xyz.numpy(), np.array(expected), atol=1e-5)


def test_rooms_of_a_batch_keep_their_own_indices() -> None:
    scenes = [random_scene("a", 200, 1), random_scene("b", 300, 2)]
    both, alone = _batch(*scenes), _batch(scenes[1])
    in_b = both.voxel_coords[:, 0] == 1
    assert torch.equal(both.voxel_coords[in_b][:, 1:], alone.voxel_coords[:, 1:])
    assert both.superpoint_offsets.tolist() == [0, 10, 20]
    assert torch.equal(both.pair_voxel[both.pair_superpoint >= 10] - int((~in_b).sum()), alone.pair_voxel)
    assert (both.names, len(both.targets)) == (["a", "b"], 2)
    scene = random_scene()
    keep = scene.superpoint != 4
    batch = _batch(Scene("part", scene.xyz[keep], scene.rgb[keep], superpoint=scene.superpoint[keep]))
    assert (batch.superpoint_xyz.shape, batch.targets) == ((9, 3), None)


def test_targets_by_majority() -> None:
    superpoint = np.array([0, 0, 0, 1, 1, 2, 3, 3, 4])
    semantic, instance = np.array([[1, 1, 0, 2, 2, -1, 0, 0, 1], [7, 7, 3, 5, 5, 0, 0, 0, 7]], np.int32)
    scene = Scene("room", np.zeros((9, 3), np.float32), semantic=semantic, instance=instance)
    targets = make_targets(scene, superpoint, 5, (1, 2), np.zeros(3, np.float32))
    # Instance 3 is of a class without instances and wins nothing; superpoint 2 is not labeled; 3 is background.
    assert targets["labels"].tolist() == [2, 1]
    assert targets["instance_labels"].tolist() == [2, 1, -1, 0, 2]
    assert targets["semantic_labels"].tolist() == [1, 2, -1, 0, 1]
    assert targets["point_counts"].tolist() == [3, 2, 1, 2, 1]
    scene = random_scene().with_(semantic=np.full(300, -1, np.int32), instance=np.zeros(300, np.int32))
    targets = _batch(scene).targets[0]
    assert (len(targets["labels"]), targets["instance_labels"].tolist()) == (0, [-1] * 10)


def test_features_and_scenes_without_what_they_need() -> None:
    scene, gray, origin = random_scene(), random_scene().with_(rgb=None), np.zeros(3, np.float32)
    features = point_features(scene, origin, ("height", "rgb"))
    assert features.shape == (300, 4)
    height = scene.xyz[:, 2] - np.quantile(scene.xyz[:, 2], 0.01)
    np.testing.assert_allclose(features[:, 0], height / 1.5 - 1, rtol=1e-4)
    assert -1 <= features[:, 1:].min() < features[:, 1:].max() <= 1
    np.testing.assert_allclose(point_features(gray, origin, ("rgb_or_gray",)), 127 / 127.5 - 1, atol=1e-6)
    refuses("scene room has no rgb, but the model takes rgb", point_features, gray, origin, ("rgb",))
    refuses("data.features has 'intensity'; known: rgb, rgb_or_gray", point_features, scene, origin, ("intensity",))
    refuses("scene room has no superpoints", _batch, random_scene().with_(superpoint=None))
    refuses("scene empty has no points", _batch, Scene("empty", np.zeros((0, 3), np.float32)))


def test_sampler_is_a_function_of_seed_and_step() -> None:
    whole = list(ResumableSampler(7, 2, 10, seed=3))
    assert list(ResumableSampler(7, 2, 10, seed=3, start=6)) == whole[6:]
    assert list(ResumableSampler(7, 2, 10, seed=4)) != whole
    rooms = [room for step in whole for _, room in step]
    assert sorted(rooms[:7]) == sorted(rooms[7:14]) == list(range(7))
    assert len({seed for step in whole for seed, _ in step}) == 20
    shares = [list(ResumableSampler(7, 2, 10, seed=3, rank=r, world=2)) for r in (0, 1)]
    assert [a + b for a, b in zip(*shares)] == whole
    refuses("no rooms to train on", ResumableSampler, 0, 2, 10, seed=0)
    message = "batch_size 3 must be at least 4: one room for each of 2 processes"
    refuses(message, ResumableSampler, 5, 3, 10, seed=0, world=2, accumulate=2)


def _rooms(sampler: ResumableSampler) -> list[list[int]]:
    return [[room for _, room in visits] for visits in sampler]


@pytest.mark.parametrize(("batch_size", "world", "parts"), [(5, 2, 2), (3, 2, 1), (4, 1, 3), (6, 3, 2)])
def test_processes_and_parts_share_each_step(batch_size: int, world: int, parts: int) -> None:
    """Uneven shards too: together they take what one process takes, and none is without a room."""
    whole = [sorted(rooms) for rooms in _rooms(ResumableSampler(7, batch_size, 9, seed=3))]
    options = {"seed": 3, "world": world, "accumulate": parts}
    ranks = [_rooms(ResumableSampler(7, batch_size, 9, rank=rank, **options)) for rank in range(world)]
    sizes = {len(visits) for rank in ranks for visits in rank}
    assert 0 < min(sizes) <= max(sizes) <= min(sizes) + 1
    for step, expected in enumerate(whole):
        taken = [room for rank in ranks for visits in rank[step * parts : (step + 1) * parts] for room in visits]
        assert sorted(taken) == expected
    sampler = ResumableSampler(7, batch_size, 9, rank=world - 1, start=4, **options)
    assert _rooms(sampler) == ranks[-1][4 * parts :]
    assert len(sampler) == 5 * parts


def test_voxel_budget() -> None:
    sizes = [10, 90, 30, 20, 200, 40]
    options = {"seed": 1, "num_voxels": sizes, "max_voxels": 100}
    batches = _rooms(ResumableSampler(6, 3, 40, **options))
    assert [4] in batches, "a room beyond the budget comes alone"
    assert all(sum(sizes[room] for room in rooms) <= 100 for rooms in batches if rooms != [4])
    assert max(map(len, batches)) == 3
    in_order = [room for rooms in _rooms(ResumableSampler(6, 1, 40, seed=1)) for room in rooms]
    assert [room for rooms in batches for room in rooms][: len(in_order)] == in_order, "no room is passed over"
    assert _rooms(ResumableSampler(6, 3, 40, start=11, **options)) == batches[11:]
    halves = [_rooms(ResumableSampler(6, 4, 40, rank=rank, world=2, **options)) for rank in (0, 1)]
    assert all(len(a) <= 2 and len(b) <= 2 for a, b in zip(*halves))
    assert [room for pair in zip(*halves) for rooms in pair for room in rooms][:40] == in_order


def test_items_come_from_the_store_and_repeat(tmp_path: Path) -> None:
    for name in "ab":
        write_room(tmp_path, random_scene(name), "s3dis", source=Source("made", "0"))
    shake = Composition((lambda scene, rng: scene.with_(xyz=scene.xyz + rng.normal(size=3).astype(np.float32)),))
    dataset = RoomDataset(DataOptions(tmp_path, voxel_size=0.3, features=("xyz",)), augment=shake)
    first, again, other = dataset[((1, 2), 0)], dataset[((1, 2), 0)], dataset[((1, 3), 0)]
    assert torch.equal(first.voxel_features, again.voxel_features)
    assert not torch.equal(first.voxel_features, other.voxel_features[: len(first.voxel_features)])
    assert collate([first, dataset[((1, 2), 1)]]).names == ["a", "b"]
    plain, again = dataset[1], replace(dataset, augment=None)[((1, 2), 1)]
    assert torch.equal(plain.voxel_features, again.voxel_features)


def test_scene_refuses_arrays_of_another_length_or_type_and_nan() -> None:
    xyz = np.zeros((4, 3), np.float32)
    refuses("scene room: rgb has 3 rows, xyz has 4", Scene, "room", xyz, np.zeros((3, 3), np.uint8))
    refuses(r"rgb must be uint8 \(P, 3\), 0..255, got float32", Scene, "room", xyz, xyz)
    found = r"float64 \(4, 3\)", r"float32 \(4, 2\)", "list"
    for kind, wrong in zip(found, (xyz.astype(float), xyz[:, :2], xyz.tolist())):
        refuses(rf"must be float32 \(P, 3\) in meters, got {kind}; convert it with np.float32", Scene, "room", wrong)
    for key, wrong in (("instance", np.arange(4)), ("semantic", np.zeros((4, 1), np.int32)), ("normal", xyz[:, :2])):
        refuses(rf"{key} must be .*, got {wrong.dtype} .*; convert it with np", Scene, "room", xyz, **{key: wrong})
    xyz[2, 1] = np.nan
    refuses("point 2 has a coordinate that is not finite", Scene, "room", xyz)
    assert Scene.without_xyz("room", 0, superpoint=np.zeros(0, np.int32)).num_superpoints == 0


def test_offsets_of_a_batch_stay_on_the_host() -> None:
    zeros = np.zeros(2, np.int32)
    scene = Scene.without_xyz("room", 2, semantic=zeros, instance=zeros, superpoint=zeros)
    moved = make_batch([scene], voxel_size=0.1, features=["xyz"], instance_classes=[0]).to("meta")
    on_host = [name for name, value in vars(moved).items() if isinstance(value, torch.Tensor) and not value.is_meta]
    assert on_host == ["superpoint_offsets"]
    assert all(value.is_meta for value in moved.targets[0].values())
