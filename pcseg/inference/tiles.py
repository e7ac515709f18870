"""Tiles of a scan that is too large for one piece: overlapping boxes, each a set of whole superpoints."""

import itertools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from pcseg.ops.segment import group_rows
from pcseg.ops.voxelize import bounding_box


@dataclass(frozen=True)
class Tile:
    """Superpoints that are predicted together."""

    columns: Int64[np.ndarray, "n"]  # superpoints of the scan whose center is in the tile, ascending
    owned: Bool[np.ndarray, "n"]  # whether they are nearer to the middle of this tile than to that of any other


@dataclass(frozen=True)
class TileGrid:
    """Boxes of one size, spread evenly along x, y and z so that the first and the last end where the scan ends."""

    low: Float64[np.ndarray, "3"]  # smallest coordinates of the scan
    extent: Float64[np.ndarray, "3"]  # length of the scan along each axis in meters
    size: float  # edge of a tile in meters
    stride: Float64[np.ndarray, "3"]  # distance between neighboring tiles along each axis in meters
    shape: Int64[np.ndarray, "3"]  # number of tiles along each axis

    def __len__(self) -> int:
        return int(self.shape.prod())

    def cells(self, xyz: Float32[np.ndarray, "N 3"]) -> list[Int64[np.ndarray, "_"]]:
        """Rows of the points that are nearest to each tile: a partition without empty parts."""
        # One column at a time: three numbers for each point of a floor would be most of the memory.
        key = np.zeros(len(xyz), np.int64)
        for axis in range(3):
            key = key * self.shape[axis] + self._nearest(xyz[:, axis], axis)
        return group_rows(key)

    def tiles(self, centers: Float32[np.ndarray, "S 3"]) -> list[Tile]:
        """The tiles of superpoints with these centers; tiles that own none are left out."""
        nearest = np.stack([self._nearest(centers[:, axis], axis) for axis in range(3)], axis=1)
        place = centers - self.low
        # The clip keeps a superpoint in its nearest tile despite rounding.
        first = np.clip(np.ceil((place - self.size) / self.stride).astype(np.int64), 0, nearest)
        last = np.clip(np.floor(place / self.stride).astype(np.int64), nearest, self.shape - 1)
        rows, keys, owned = [], [], []
        for step in itertools.product(*(range(n + 1) for n in (last - first).max(axis=0, initial=0))):
            cell = first + step
            inside = np.flatnonzero((cell <= last).all(axis=1))
            rows.append(inside)
            keys.append((cell[inside, 0] * self.shape[1] + cell[inside, 1]) * self.shape[2] + cell[inside, 2])
            owned.append((cell[inside] == nearest[inside]).all(axis=1))
        all_rows, all_owned = np.concatenate(rows), np.concatenate(owned)
        found = []
        for members in group_rows(np.concatenate(keys)):
            members = members[np.argsort(all_rows[members])]
            if all_owned[members].any():
                found.append(Tile(all_rows[members], all_owned[members]))
        return found

    def _nearest(self, values: Float32[np.ndarray, "N"], axis: int) -> Int64[np.ndarray, "N"]:
        place = (values - self.low[axis] - self.size / 2) / self.stride[axis]
        return np.clip(np.rint(place), 0, self.shape[axis] - 1).astype(np.int64)


def tile_grid(xyz: Float32[np.ndarray, "P 3"], size: float, overlap: float) -> TileGrid:
    """The fewest tiles that cover the points.

    Args:
        xyz: coordinates in meters, at least one row.
        size: edge of a tile in meters.
        overlap: least overlap of neighboring tiles in meters.

    Raises:
        ValueError: sizes out of range, or a scan too large for its tiles to be numbered.
    """
    if not (np.isfinite(size) and size > 0):
        raise ValueError(f"the tile size must be a positive length in meters, got {size}")
    if not 0 <= overlap <= size / 2:
        raise ValueError(f"the overlap of tiles must be within 0 and half of their size ({size} m), got {overlap}")
    low, high = (corner.astype(np.float64) for corner in bounding_box(xyz))
    extent = high - low
    several = extent > size
    counts = np.where(several, np.ceil((extent - overlap) / (size - overlap)), 1.0)
    if counts.prod() >= 2**62:
        raise ValueError(
            f"a scan of {extent} m has too many tiles of {size} m; remove far outliers, take larger tiles, or check "
            "the unit of the coordinates (meters)"
        )
    stride = np.where(several, (extent - size) / np.maximum(counts - 1, 1), size)
    return TileGrid(low, extent, size, stride, counts.astype(np.int64))
