"""Splits a floor into rooms along its walls, so that each is predicted alone, as the rooms of training were."""

from typing import cast

import numpy as np
from jaxtyping import Float32, Int32

_CELL = 0.1  # meters: cell of the plan; larger where points are sparse
_LARGEST_CELL = 0.3  # meters: larger cells do not show doors
_LAYER = 0.25  # meters: height of a layer
_WALL_HEIGHT = 1.8  # meters: least height of a wall
_WALL_FILL = 0.6  # least share of the layers under its top in which a wall has points
_DOOR = 1.1  # meters: narrower openings connect two rooms, wider ones make them one
_LEAST_CORE = 0.5  # m^2: least area of a room without its rim of half a door
_MAX_CELLS = 1 << 24  # cells of the plan times layers; a scan with outliers that need more is one room


def split_rooms(xyz: Float32[np.ndarray, "P 3"]) -> Int32[np.ndarray, "P"]:
    """The room of each point, by the plan of one storey.

    The plan is a grid of cells; cells filled from the floor up are walls. The space between them that is at least half
    a door away from any wall is the seeds. The rooms grow from the seeds until they meet, in doors and inside walls.

    Args:
        xyz: coordinates in meters, z up; at least one point.

    Returns:
        0..R-1, each of them at least once; 0 everywhere if at most one room was found.

    Source: Morphological room segmentation, Bormann et al. 2016, "Room segmentation: survey, implementation, and
    analysis", section III.A, on a plan that is made from the points.
    """
    low = xyz.min(axis=0)
    low[2] = np.quantile(xyz[:, 2], 0.005)
    area = float(np.ptp(xyz[:, 0])) * float(np.ptp(xyz[:, 1]))
    size = max(_CELL, 3 * np.sqrt(area / len(xyz)))
    sizes = np.array([size, size, _LAYER])
    shape = (np.floor((xyz.max(axis=0) - low) / sizes) + 3).astype(np.int64)  # the plan gets a free rim
    if size > _LARGEST_CELL or shape.prod() > _MAX_CELLS:
        return np.zeros(len(xyz), np.int32)
    x, y = (((xyz[:, axis] - low[axis]) / size).astype(np.int64) + 1 for axis in range(2))
    cell = x * shape[1] + y
    del x, y  # large for a large scan
    filled = np.zeros((shape[0] * shape[1], shape[2]), np.bool_)
    filled[cell, np.maximum((xyz[:, 2] - low[2]) / _LAYER, 0).astype(np.int64)] = True
    seen = filled.any(axis=1)
    top = shape[2] - filled[:, ::-1].argmax(axis=1)  # layers up to the highest with a point
    walls = (top * _LAYER > _WALL_HEIGHT) & (filled.sum(axis=1) >= _WALL_FILL * top)
    from scipy import ndimage  # takes long to import, and only large scans need it

    plan = (int(shape[0]), int(shape[1]))
    space = ndimage.binary_closing(seen.reshape(plan)) & ~walls.reshape(plan)
    distance = np.asarray(ndimage.distance_transform_edt(space, sampling=size))
    seeds, num = cast("tuple[np.ndarray, int]", ndimage.label(distance > _DOOR / 2))
    large = np.bincount(seeds.ravel(), minlength=num + 1) * size**2 >= _LEAST_CORE
    large[0] = False
    if large.sum() < 2:
        return np.zeros(len(xyz), np.int32)
    seeds = np.where(large[seeds], seeds, 0)
    parts, _ = cast("tuple[np.ndarray, int]", ndimage.label(space))
    space = np.isin(parts, parts[seeds > 0])
    # Rooms grow at one pace between the walls; a wall belongs to the room that is nearest to it.
    basins = ndimage.watershed_ift((~space).astype(np.uint8), seeds.astype(np.int32))
    nearest = np.asarray(ndimage.distance_transform_edt(~space, return_distances=False, return_indices=True))
    room = basins[tuple(nearest)].ravel()
    return np.searchsorted(np.unique(room[seen]), room).astype(np.int32)[cell]
