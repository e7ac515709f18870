"""Kernel maps have the same pairs as a dictionary of voxels, in the order that the kernels need."""

import itertools

import numpy as np
import pytest
import torch

from pcseg.ops.neighbors import BLOCK, KernelMap, SparseGrid, downsample_map, submanifold_map, voxel_keys
from tests.conftest import refuses
from tests.ops.conftest import random_coords
from tests.reference import neighbors as slow


def check_map(kernel_map: KernelMap, expected: list[set[tuple[int, int]]]) -> None:
    """The pairs are those expected, each in one block of its output and of its input, and no row is in two blocks."""
    for k, pairs in enumerate(expected):
        where = kernel_map.pairs(k)
        found = list(zip(kernel_map.in_index[where].tolist(), kernel_map.out_index[where].tolist()))
        assert len(found) == len(pairs)
        assert set(found) == pairs
    for each in (kernel_map, kernel_map.transposed()):
        index, blocks = each.out_index.numpy(), each.out_blocks
        assert blocks.shape == (-(-each.num_out // BLOCK) + 1, each.num_offsets) == (len(blocks), len(expected))
        assert (blocks[0, 0], blocks[-1, -1]) == (0, len(index))
        assert np.array_equal(blocks[-1, :-1], blocks[0, 1:])
        assert (np.diff(blocks, axis=0) >= 0).all()
        owner = np.full(each.num_out, -1)
        for b, k in itertools.product(range(len(blocks) - 1), range(each.num_offsets)):
            rows = index[blocks[b, k] : blocks[b + 1, k]]
            assert len(set(rows.tolist())) == len(rows)
            assert np.isin(owner[rows], [-1, b]).all()
            owner[rows] = b
        assert np.bincount(owner[owner >= 0], minlength=1).max() <= BLOCK


@pytest.mark.parametrize("num_voxels", [1, 2, 1500])
@pytest.mark.parametrize("is_sorted", [True, False])
def test_submanifold_map(rng: np.random.Generator, num_voxels: int, is_sorted: bool) -> None:
    coords = random_coords(rng, num_voxels)
    if is_sorted:
        coords = torch.tensor(sorted(coords.tolist()), dtype=torch.int32)
    check_map(submanifold_map(coords, 2), slow.submanifold_pairs(coords.tolist()))


@pytest.mark.parametrize("num_voxels", [1, 2, 1500])
def test_downsample_map(rng: np.random.Generator, num_voxels: int) -> None:
    coords = random_coords(rng, num_voxels, size=13)
    coarse, kernel_map = downsample_map(coords, 2)
    assert [*map(tuple, coarse.tolist())] == sorted({(b, x // 2, y // 2, z // 2) for b, x, y, z in coords.tolist()})
    check_map(kernel_map, slow.downsample_pairs(coords.tolist(), coarse.tolist()))


def test_grids_make_each_map_once_from_any_coordinates_but_bad_ones(rng: np.random.Generator) -> None:
    high = 900_000
    coords = torch.tensor([[0, high, high, high], [0, high, high, high - 1], [0, 0, 0, 0]], dtype=torch.int32)
    assert len(submanifold_map(coords, 1).in_index) == 3 + 2
    keys, _ = voxel_keys(coords.numpy(), 1)
    assert keys[0] - keys[1] == 1
    grid = SparseGrid(random_coords(rng, 100, size=11), 2)
    assert grid.submanifold is grid.submanifold
    coarse, _ = grid.coarser
    assert grid.coarser[0] is coarse
    assert (coarse.stride, coarse.finer) == (2, grid)
    assert coarse.extent == tuple((n + 1) // 2 for n in grid.extent)
    for rows, batch_size, message in (
        ([[0, 1, 1, 1], [0, 2, 2, 2], [0, 1, 1, 1]], 1, r"voxels 0 and 2 have the same coordinates: \[0, 1, 1, 1\]"),
        ([[0, 1, 1, 1], [0, 2, -2, 2]], 1, r"voxel 1 has a negative coordinate: \[0, 2, -2, 2\]"),
        ([[0, 1, 1, 1], [2, 1, 1, 1]], 2, "voxel 1 is in room 2"),
        ([[0, 1, 1, 1]], 0, "batch_size must be at least 1, got 0"),
        ([[0, 2**30, 1, 1], [0, 1, 2**30, 1], [0, 1, 1, 2**30]], 1, "use larger voxels"),
    ):
        refuses(message, SparseGrid, torch.tensor(rows, dtype=torch.int32), batch_size)
