"""Speed of voxelization, against spconv and numpy."""

from typing import Any

import numpy as np
import torch

from pcseg.benchmarks.measure import VOXEL_SIZE, Step, median_ms, print_row
from pcseg.ops import voxelize as voxelizer
from pcseg.synthetic import make_room


def voxelizers(xyz: np.ndarray) -> dict[str, Step]:
    """Voxelizers to compare, each returning its number of voxels."""
    every: Any = {"return_inverse": True, "return_counts": True}

    def cells() -> np.ndarray:
        return np.floor((xyz - xyz.min(0)) / VOXEL_SIZE).astype(np.int64)

    def by_keys() -> int:
        grid = cells()
        extent = grid.max(0) + 1
        unique, _, _ = np.unique(np.ravel_multi_index(grid.T, extent), **every)
        return len(np.stack(np.unravel_index(unique, extent), axis=1))

    found: dict[str, Step] = {
        "pcseg": lambda: len(voxelizer.voxelize(xyz, VOXEL_SIZE)),
        "np.unique(axis=0)": lambda: len(np.unique(cells(), axis=0, **every)[0]),
        "np.unique of int64 keys": by_keys,
    }
    try:
        from spconv.pytorch.utils import PointToVoxel
    except ImportError as error:
        print(f"spconv is not installed ({error})")
        return found
    points, extent = torch.from_numpy(xyz), [*xyz.min(0).tolist(), *(xyz.max(0) + VOXEL_SIZE).tolist()]

    def by_spconv() -> int:
        # Depends on the room size, so each room needs its own. One point per voxel is the least work.
        made = PointToVoxel([VOXEL_SIZE] * 3, extent, 3, len(xyz), 1)
        return len(made.generate_voxel_with_id(points)[1])

    return {**found, "spconv PointToVoxel": by_spconv}


def voxelize(rounds: int, num_points: int = 1_000_000) -> dict[str, Any]:
    """Times the voxelization of a room to 2 cm: coordinates, inverse and counts."""
    in_order = np.ascontiguousarray(make_room(1, 0, num_points=num_points).xyz)
    shuffled = np.random.default_rng(0).permutation(in_order)
    result: dict[str, Any] = {}
    for order, xyz in (("as scanned", in_order), ("shuffled", shuffled)):
        steps = voxelizers(xyz)
        times = median_ms(steps, min(rounds, 5))
        print(f"{len(xyz):,} points {order} to {VOXEL_SIZE} m")
        for name, ms in times.items():
            print_row(name, {"ms": ms, "voxels": steps[name]()})
        result[order] = {"points": len(xyz), "ms": times}
    return result
