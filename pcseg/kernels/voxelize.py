"""Compiled loops of `pcseg.ops.voxelize`."""

import numpy as np

from pcseg.kernels import kernel


def block_voxels(xyz, origin, voxel_size, extent):
    """Voxels in the order of their first point, where a table of blocks fits into memory.

    A table holds a number for each block of 4 x 4 x 4 cells; a pool holds 64 cells for each occupied block. Nearby
    points therefore read nearby memory, and no keys are compared.

    Args:
        xyz: float32 (P, 3).
        origin: float64 (3,), corner of cell (0, 0, 0).
        voxel_size: edge length of a cell.
        extent: int64 (3,), number of cells along x, y and z.

    Returns:
        cell of each voxel int32 (V, 3), voxel of each point int32 (P,), points of each voxel int32 (V,).
    """
    num_blocks = (extent + 3) // 4
    table = np.zeros(num_blocks.prod(), np.int32)  # 0: not occupied
    pool = np.zeros((1 << 10, 64), np.int32)  # 1 + voxel of each cell, 0: none
    coords, (point_to_voxel, counts) = np.empty((len(xyz), 3), np.int32), np.empty((2, len(xyz)), np.int32)
    done = np.zeros(3, np.int64)
    while not _fill_blocks(xyz, origin, voxel_size, num_blocks, table, pool, coords, point_to_voxel, counts, done):
        pool = np.concatenate([pool, np.zeros((3 * len(pool), 64), np.int32)])
    return coords[: done[2]].copy(), point_to_voxel, counts[: done[2]].copy()


@kernel("f4[:,::1], f8[::1], f8, i8[::1], i4[::1], i4[:,::1], i4[:,::1], i4[::1], i4[::1], i8[::1]")
def _fill_blocks(xyz, origin, voxel_size, extent, table, pool, coords, point_to_voxel, counts, done):
    """Whether all points are in voxels; `done` has the numbers of points, blocks and voxels until the pool is full."""
    begin, num_blocks, num_voxels = done[0], done[1], done[2]
    for i in range(begin, len(xyz)):
        # Not below 0, so truncation is the floor.
        x = np.int32((np.float64(xyz[i, 0]) - origin[0]) / voxel_size)
        y = np.int32((np.float64(xyz[i, 1]) - origin[1]) / voxel_size)
        z = np.int32((np.float64(xyz[i, 2]) - origin[2]) / voxel_size)
        place = (np.int64(x >> 2) * extent[1] + np.int64(y >> 2)) * extent[2] + np.int64(z >> 2)
        block = table[place]
        if block == 0:
            if num_blocks + 1 == len(pool):
                done[0], done[1], done[2] = i, num_blocks, num_voxels
                return False
            num_blocks += 1
            block = num_blocks
            table[place] = block
        cell = ((x & 3) << 4) | ((y & 3) << 2) | (z & 3)
        voxel = pool[block, cell] - 1
        if voxel < 0:
            voxel = num_voxels
            coords[voxel, 0], coords[voxel, 1], coords[voxel, 2] = x, y, z
            counts[voxel] = 1
            num_voxels += 1
            pool[block, cell] = num_voxels
        else:
            counts[voxel] += 1
        point_to_voxel[i] = voxel
    done[2] = num_voxels
    return True


def mean_by_voxel(values, point_to_voxel, counts):
    """Mean of the rows of each voxel, summed in float64.

    Args:
        values: (P, C), of any real type.
        point_to_voxel: int32 (P,), voxel of each point.
        counts: int32 (V,), points of each voxel.

    Returns:
        float32 (V, C).
    """
    sums = np.zeros((len(counts), values.shape[1]))
    _add_by_voxel(values.astype(np.float32) if values.dtype == np.uint8 else values, point_to_voxel, sums)
    return (sums / counts[:, None]).astype(np.float32)


@kernel("f4[:,::1], i4[::1], f8[:,::1]")
def _add_by_voxel(values, point_to_voxel, sums):
    for i in range(len(values)):
        for c in range(values.shape[1]):
            sums[point_to_voxel[i], c] += values[i, c]
