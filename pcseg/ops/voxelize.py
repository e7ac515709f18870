"""Points to voxels: one row per occupied cell of a regular grid, and which superpoints share each cell."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int32, Integer, Shaped

from pcseg.kernels import voxelize as kernels
from pcseg.ops.overlap import by_first_seen

# With more blocks of 4 x 4 x 4 cells than this, as a far outlier makes them, keys are sorted instead.
_MAX_BLOCKS = 1 << 23


@dataclass(frozen=True)
class VoxelGrid:
    """Occupied voxels of one room, in the order of their first point."""

    coords: Int32[np.ndarray, "V 3"]  # cell of each voxel, >= 0, unique rows
    point_to_voxel: Int32[np.ndarray, "P"]  # row of coords of each point
    counts: Int32[np.ndarray, "V"]  # number of points in each voxel, >= 1
    origin: Float32[np.ndarray, "3"]  # corner of cell (0, 0, 0) in meters

    def __len__(self) -> int:
        return len(self.coords)


def voxelize(
    xyz: Float32[np.ndarray, "P 3"], voxel_size: float, *, origin: Float32[np.ndarray, "3"] | None = None
) -> VoxelGrid:
    """Assigns each point to the cell floor((xyz - origin) / voxel_size), computed in float64.

    Args:
        xyz: coordinates in meters.
        voxel_size: edge length of a cell in meters.
        origin: corner of cell (0, 0, 0) in meters, at or below every point; None takes the smallest coordinates.

    Returns:
        The occupied cells, numbered in the order of their first point.

    Raises:
        ValueError: a voxel size that is not positive, a non-finite coordinate, a point below the origin, or too many
            cells to number. The limits are 2^31 along one axis and 2^63 in all.

    >>> import numpy as np
    >>> grid = voxelize(np.array([[0, 0, 0], [0.07, 0, 0], [0.01, 0, 0]], np.float32), 0.05)
    >>> grid.coords.tolist(), grid.point_to_voxel.tolist()
    ([[0, 0, 0], [1, 0, 0]], [0, 1, 0])
    """
    if xyz.ndim != 2 or xyz.shape[1] != 3:
        raise ValueError(f"xyz must have shape (P, 3), got {xyz.shape}")
    if not (np.isfinite(voxel_size) and voxel_size > 0):
        raise ValueError(f"voxel_size must be a positive length in meters, got {voxel_size}")
    if len(xyz) == 0:
        start = np.zeros(3, np.float32) if origin is None else origin
        return VoxelGrid(np.zeros((0, 3), np.int32), np.zeros(0, np.int32), np.zeros(0, np.int32), start)
    xyz = np.require(xyz, requirements=["C", "W"])  # read-only arrays would have kernels of their own
    columns = np.ascontiguousarray(xyz.T)  # ten times faster than the minimum along the first axis
    low, high = (limit(axis=1).astype(np.float64) for limit in (columns.min, columns.max))
    if not np.isfinite([low, high]).all():
        row = int(np.isfinite(xyz).all(axis=1).argmin())
        raise ValueError(f"point {row} has a coordinate that is not finite: {xyz[row]}; remove such points first")
    start = low.astype(np.float32) if origin is None else origin
    if not (start <= low).all():
        raise ValueError(f"origin must be at or below every point, got origin {start} and smallest coordinates {low}")
    extent = np.floor((high - start.astype(np.float64)) / voxel_size) + 1
    if extent.max() > 2**31 - 1 or np.prod(extent) >= 2**63:
        remedy = "remove far outliers, take larger voxels, or check the unit of the coordinates (meters)"
        raise ValueError(f"a room of {high - low} m has too many cells of {voxel_size} m to number; {remedy}")
    few = np.prod(np.ceil(extent / 4)) <= _MAX_BLOCKS
    assign = kernels.block_voxels if few else _sorted_voxels
    cells = assign(xyz, start.astype(np.float64), float(voxel_size), extent.astype(np.int64))
    return VoxelGrid(cells[0], cells[1], cells[2], start)


def _sorted_voxels(
    xyz: Float32[np.ndarray, "P 3"], origin: np.ndarray, voxel_size: float, extent: np.ndarray
) -> tuple[np.ndarray, ...]:
    """The same as `kernels.block_voxels` for any extent, in three times the time."""
    cells = ((xyz - origin) / voxel_size).astype(np.int64)  # not below 0, so truncation is the floor
    rows, voxel = by_first_seen(np.asarray(np.ravel_multi_index(tuple(cells.T), tuple(extent))))
    return tuple(each.astype(np.int32) for each in (cells[rows], voxel, np.bincount(voxel)))


def bounding_box(xyz: Float[np.ndarray, "P 3"]) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"]]:
    """Smallest and largest coordinates.

    >>> import numpy as np
    >>> bounding_box(np.array([[1.0, 2.0, 3.0], [0.0, 5.0, 1.0]]))
    (array([0., 2., 1.]), array([1., 5., 3.]))
    """
    # One column at a time is many times faster than all rows at once.
    low, high = (np.array([of(xyz[:, axis]) for axis in range(3)]) for of in (np.min, np.max))
    return low, high


def voxel_mean(values: Shaped[np.ndarray, "P C"], grid: VoxelGrid) -> Float32[np.ndarray, "V C"]:
    """Mean of the point values, of any real dtype, in each voxel of the grid of these points.

    Raises:
        ValueError: values and grid have different numbers of points.
    """
    if len(values) != (num_points := len(grid.point_to_voxel)):
        raise ValueError(f"values must have one row per point of the grid ({num_points}), got {len(values)}")
    return kernels.mean_by_voxel(np.require(values, requirements=["C", "W"]), grid.point_to_voxel, grid.counts)


def pair_superpoints(
    point_to_voxel: Integer[np.ndarray, "P"], superpoint: Integer[np.ndarray, "P"]
) -> tuple[Int32[np.ndarray, "E"], Int32[np.ndarray, "E"], Int32[np.ndarray, "E"]]:
    """The pairs of a voxel and a superpoint that share points, from the voxel and the superpoint of each point.

    Returns:
        Voxel, superpoint and number of shared points of each pair, sorted by superpoint, then by voxel.
    """
    # Twice as fast as an overlap table, as points in scan order are almost sorted.
    num_voxels = max(int(point_to_voxel.max(initial=-1)) + 1, 1)
    pairs, points = np.unique(superpoint.astype(np.int64) * num_voxels + point_to_voxel, return_counts=True)
    return (pairs % num_voxels).astype(np.int32), (pairs // num_voxels).astype(np.int32), points.astype(np.int32)
