"""Compiled loops of `pcseg.ops.voxelize`."""

import numpy as np

from pcseg.kernels import kernel


@kernel("f4[:,::1], f8[::1], f8, i8[::1]")
def block_voxels(xyz, origin, voxel_size, extent):
    """Voxels in the order of their first point, for rooms whose table of blocks fits into memory.

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
    num_points = len(xyz)
    num_y, num_z = (extent[1] + 3) // 4, (extent[2] + 3) // 4
    table = np.zeros((extent[0] + 3) // 4 * num_y * num_z, np.int32)  # 0: not occupied
    capacity = 1 << 10
    pool = np.zeros(capacity * 64, np.int32)  # 1 + voxel of each cell, 0: none
    coords = np.empty((num_points, 3), np.int32)
    counts = np.empty(num_points, np.int32)
    point_to_voxel = np.empty(num_points, np.int32)
    num_blocks = num_voxels = 0
    for i in range(num_points):
        # Not below 0, so truncation is the floor.
        x = np.int32((np.float64(xyz[i, 0]) - origin[0]) / voxel_size)
        y = np.int32((np.float64(xyz[i, 1]) - origin[1]) / voxel_size)
        z = np.int32((np.float64(xyz[i, 2]) - origin[2]) / voxel_size)
        place = (np.int64(x >> 2) * num_y + np.int64(y >> 2)) * num_z + np.int64(z >> 2)
        block = table[place]
        if block == 0:
            num_blocks += 1
            if num_blocks >= capacity:
                larger = np.zeros(4 * capacity * 64, np.int32)
                for k in range(capacity * 64):  # slices would take seconds to compile
                    larger[k] = pool[k]
                pool = larger
                capacity *= 4
            block = num_blocks
            table[place] = block
        cell = np.int64(block) * 64 + np.int64(((x & 3) << 4) | ((y & 3) << 2) | (z & 3))
        voxel = pool[cell] - 1
        if voxel < 0:
            voxel = num_voxels
            coords[voxel, 0], coords[voxel, 1], coords[voxel, 2] = x, y, z
            counts[voxel] = 1
            num_voxels += 1
            pool[cell] = num_voxels
        else:
            counts[voxel] += 1
        point_to_voxel[i] = voxel
    return coords[:num_voxels].copy(), point_to_voxel, counts[:num_voxels].copy()


@kernel()
def _slot_of(key, mask):
    """Home slot of a key: the high bits of a product with the golden ratio, which spread neighboring keys."""
    h = np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)
    return np.int64((h ^ (h >> np.uint64(32))) & np.uint64(mask))


@kernel("f4[:,::1], f8[::1], f8, i8[::1]")
def hash_voxels(xyz, origin, voxel_size, extent):
    """The same as `block_voxels`, for rooms of any extent.

    Args:
        xyz: float32 (P, 3).
        origin: float64 (3,), corner of cell (0, 0, 0).
        voxel_size: edge length of a cell.
        extent: int64 (3,), number of cells along x, y and z.
    """
    num_points = len(xyz)
    coords = np.empty((num_points, 3), np.int32)
    counts = np.zeros(num_points, np.int32)
    point_to_voxel = np.empty(num_points, np.int32)
    # The table grows with the voxels, not the points: while it fits the cache a look-up is several times faster.
    mask = (1 << 12) - 1
    keys = np.full(mask + 1, -1, np.int64)
    voxels = np.empty(mask + 1, np.int32)
    num_voxels = 0
    for i in range(num_points):
        x = np.int64(np.floor((np.float64(xyz[i, 0]) - origin[0]) / voxel_size))
        y = np.int64(np.floor((np.float64(xyz[i, 1]) - origin[1]) / voxel_size))
        z = np.int64(np.floor((np.float64(xyz[i, 2]) - origin[2]) / voxel_size))
        key = (x * extent[1] + y) * extent[2] + z
        slot = _slot_of(key, mask)
        while keys[slot] != key and keys[slot] != -1:
            slot = (slot + 1) & mask
        if keys[slot] == -1:
            keys[slot] = key
            voxels[slot] = num_voxels
            coords[num_voxels, 0], coords[num_voxels, 1], coords[num_voxels, 2] = x, y, z
            point_to_voxel[i] = num_voxels
            counts[num_voxels] = 1
            num_voxels += 1
            if 2 * num_voxels > mask:
                mask = 4 * mask + 3
                keys, voxels = _grown(keys, voxels, mask)
        else:
            voxel = voxels[slot]
            point_to_voxel[i] = voxel
            counts[voxel] += 1
    return coords[:num_voxels].copy(), point_to_voxel, counts[:num_voxels].copy()


@kernel()
def _grown(keys, voxels, mask):
    """The same table with more slots."""
    new_keys = np.full(mask + 1, -1, np.int64)
    new_voxels = np.empty(mask + 1, np.int32)
    for old in range(len(keys)):
        if keys[old] != -1:
            slot = _slot_of(keys[old], mask)
            while new_keys[slot] != -1:
                slot = (slot + 1) & mask
            new_keys[slot] = keys[old]
            new_voxels[slot] = voxels[old]
    return new_keys, new_voxels


@kernel()
def mean_by_voxel(values, point_to_voxel, counts):
    """Mean of the rows of each voxel, summed in float64.

    Args:
        values: (P, C), of any real type.
        point_to_voxel: int32 (P,), voxel of each point.
        counts: int32 (V,), points of each voxel.

    Returns:
        float32 (V, C).
    """
    num_columns = values.shape[1]
    sums = np.zeros((len(counts), num_columns), np.float64)
    for i in range(len(values)):
        voxel = point_to_voxel[i]
        for c in range(num_columns):
            sums[voxel, c] += values[i, c]
    means = np.empty((len(counts), num_columns), np.float32)
    for voxel in range(len(counts)):
        for c in range(num_columns):
            means[voxel, c] = sums[voxel, c] / counts[voxel]
    return means
