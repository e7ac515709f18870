import numpy as np
import pytest

from pcseg.ops import voxelize as voxelizer
from pcseg.ops.voxelize import pair_superpoints, voxel_mean, voxelize
from tests.conftest import holds, refuses
from tests.reference import voxelize as slow


@pytest.mark.parametrize("num_points", [1, 2, 5000])
@pytest.mark.parametrize("voxel_size", [0.05, 0.3])
@pytest.mark.parametrize("shift", [None, 0.7])
def test_voxels_are_those_of_a_dictionary(num_points: int, voxel_size: float, shift: float | None) -> None:
    xyz = np.random.default_rng(0).uniform(-2, 2, (num_points, 3)).astype(np.float32)
    origin = xyz.min(axis=0) - np.float32(shift or 0)
    grid = voxelize(xyz, voxel_size, origin=origin if shift else None)
    coords, point_to_voxel, counts = slow.block_voxels(xyz, origin, voxel_size)
    holds(grid, origin=origin, coords=coords, point_to_voxel=point_to_voxel, counts=counts)


def test_sorted_keys_and_memory_layout_do_not_matter(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    xyz = rng.uniform(-30, 30, (20000, 3)).astype(np.float32)
    table = voxelize(xyz, 0.4)
    for other in (np.asfortranarray(xyz), np.repeat(xyz, 2, axis=0)[::2]):
        np.testing.assert_array_equal(voxelize(other, 0.4).point_to_voxel, table.point_to_voxel)
    monkeypatch.setattr(voxelizer, "_MAX_BLOCKS", 0)
    by_keys = voxelize(xyz, 0.4)
    for key in ("coords", "point_to_voxel", "counts", "origin"):
        np.testing.assert_array_equal(getattr(table, key), getattr(by_keys, key))


def test_degenerate_clouds() -> None:
    grid = voxelize(np.zeros((0, 3), np.float32), 0.02)
    assert grid.coords.shape == (0, 3)
    assert voxel_mean(np.zeros((0, 4), np.float32), grid).shape == (0, 4)
    grid = voxelize(np.full((7, 3), 3.14, np.float32), 0.02)
    assert (grid.counts.tolist(), grid.coords.tolist()) == ([7], [[0, 0, 0]])
    # A far outlier costs no memory.
    grid = voxelize(np.array([[0, 0, 0], [1000, -1000, 1000], [0, 0, 0.001]], np.float32), 0.02)
    assert grid.point_to_voxel.tolist() == [0, 1, 0]


def test_bad_input_is_named() -> None:
    for point, options, message in (
        ([0, np.nan, 0], {}, "point 1 has a coordinate that is not finite"),
        ([0, 0, -np.inf], {}, "point 1 has a coordinate that is not finite"),
        ([1e9, 0, 0], {}, "too many cells"),
        ([3e5, 3e5, 3e5], {}, "too many cells"),
        ([1, 1, 1], {"voxel_size": 0.0}, "voxel_size must be a positive length"),
        ([1, 1, 1], {"voxel_size": np.nan}, "voxel_size must be a positive length"),
        ([1, 1, 1], {"origin": np.array([0, 0.1, 0], np.float32)}, "origin must be at or below every point"),
    ):
        refuses(message, voxelize, np.array([[0, 0, 0], point], np.float32), **{"voxel_size": 0.02, **options})


def test_voxel_mean(rng: np.random.Generator) -> None:
    grid = voxelize(rng.uniform(0, 1, (500, 3)).astype(np.float32), 0.2)
    for values in (rng.normal(size=(500, 4)).astype(np.float32), rng.integers(0, 256, (500, 3)).astype(np.uint8)):
        expected = slow.mean_by_voxel(values, grid.point_to_voxel, grid.counts)
        np.testing.assert_allclose(voxel_mean(values, grid), expected, rtol=1e-6)
    refuses("one row per point of the grid", voxel_mean, np.zeros((3, 1), np.float32), grid)


def test_pairs_are_those_of_a_counter(rng: np.random.Generator) -> None:
    for num_points in (0, 1000):
        point_to_voxel, superpoint = (rng.integers(0, most, num_points).astype(np.int32) for most in (40, 7))
        voxel, owner, points = pair_superpoints(point_to_voxel, superpoint)
        assert list(zip(owner, voxel, points)) == slow.pair_superpoints(point_to_voxel, superpoint)
