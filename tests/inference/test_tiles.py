from itertools import pairwise

import numpy as np
import pytest

from pcseg.inference.tiles import tile_grid
from tests.conftest import refuses


def _points(rng: np.random.Generator, *extent: float) -> np.ndarray:
    xyz = rng.random((2000, 3)) * extent + 5
    xyz[0], xyz[1] = 5, np.add(extent, 5)
    return xyz.astype(np.float32)


@pytest.mark.parametrize("extent", [(4.0, 4, 2), (9.5, 4, 2), (20, 31, 3), (4, 4, 30)])
@pytest.mark.parametrize("overlap", [0.0, 1.0, 2.0])
def test_tiles_cover_every_superpoint_and_each_has_one_owner(rng, extent: tuple[float, ...], overlap: float) -> None:
    centers = _points(rng, *extent)
    grid = tile_grid(centers, 4.0, overlap)
    owners, seen = np.zeros(len(centers), int), np.zeros(len(centers), int)
    for tile in grid.tiles(centers):
        assert (np.diff(tile.columns) > 0).all()
        assert (np.ptp(centers[tile.columns], axis=0) <= 4.0 + 1e-4).all()
        owners[tile.columns[tile.owned]] += 1
        seen[tile.columns] += 1
    assert (owners == 1).all()
    assert seen.min() == 1
    assert seen.max() > 1 or overlap == 0 or len(grid) == 1


def test_neighbors_share_the_overlap_and_the_last_tile_ends_with_the_scan(rng: np.random.Generator) -> None:
    centers = _points(rng, 9.0, 3.0, 2.0)
    grid = tile_grid(centers, 4.0, 1.0)
    assert grid.shape.tolist() == [3, 1, 1]
    np.testing.assert_allclose(grid.stride[0], 2.5)
    tiles = grid.tiles(centers)
    for left, right in pairwise(tiles):
        shared = np.intersect1d(left.columns, right.columns)
        both = (centers[:, 0] >= centers[right.columns, 0].min()) & (centers[:, 0] <= centers[left.columns, 0].max())
        np.testing.assert_array_equal(shared, np.flatnonzero(both))
        assert np.ptp(centers[shared, 0]) > 1.4
    assert centers[tiles[-1].columns, 0].max() == centers[:, 0].max()


def test_cells_are_a_partition_by_the_nearest_tile(rng: np.random.Generator) -> None:
    xyz = _points(rng, 17.0, 11.0, 3.0)
    grid = tile_grid(xyz, 4.0, 1.0)
    cells = grid.cells(xyz)
    np.testing.assert_array_equal(np.sort(np.concatenate(cells)), np.arange(len(xyz)))
    owned = [tile.columns[tile.owned].tolist() for tile in grid.tiles(xyz)]
    assert sorted(cell.tolist() for cell in cells) == sorted(owned)


@pytest.mark.parametrize(
    ("points", "tiles"),
    [([[0, 0, 0]], [[0]]), ([[0, 0, 0], [3, 4, 1]], [[0, 1]]), ([[0, 0, 0], [1, 1, 1], [1e5, 1e5, 0]], [[0, 1], [2]])],
)
def test_only_tiles_with_points_cost_something(points: list[list[float]], tiles: list[list[int]]) -> None:
    xyz = np.array(points, np.float32)
    grid = tile_grid(xyz, 4.0, 1.0)
    assert len(grid) == 1 if len(tiles) == 1 else len(grid) > 10**9
    assert [tile.columns.tolist() for tile in grid.tiles(xyz)] == tiles
    assert [cell.tolist() for cell in grid.cells(xyz)] == tiles
    assert all(tile.owned.all() for tile in grid.tiles(xyz))


def test_bad_sizes_are_refused() -> None:
    xyz = np.array([[0, 0, 0], [9, 9, 9]], np.float32)
    refuses("the tile size must be a positive length in meters, got -1", tile_grid, xyz, -1.0, 0.0)
    refuses(r"the overlap of tiles must be within 0 and half of their size \(4.0 m\), got 3", tile_grid, xyz, 4.0, 3.0)
    refuses("remove far outliers", tile_grid, xyz * np.float32(1e9), 1.0, 0.5)
