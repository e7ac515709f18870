"""Rooms as reconstructed meshes: each surface patch is a grid of triangles without the unseen vertices."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from pcseg.classes import SCANNET20
from pcseg.kernels.ray_casting import evaluate_points
from pcseg.structures import Scene
from pcseg.synthetic.rooms import num_wanted, start_scan
from pcseg.synthetic.scanner import add_range_noise, colors_of, facing_weight, hidden, visibility
from pcseg.synthetic.scannet_classes import CATEGORIES
from pcseg.synthetic.shapes import Patches

# Segments are cut at this length, meters, and get at least this many vertices, as ScanNet's over-segmentation does.
TILE = 1.2
MIN_SEGMENT_VERTICES = 20


class _Grid(NamedTuple):
    """Vertices of many patch grids, one after another, and their triangles."""

    patch: Int64[np.ndarray, "n"]
    tile: Int64[np.ndarray, "n"]
    u: Float64[np.ndarray, "n"]
    v: Float64[np.ndarray, "n"]
    faces: Int64[np.ndarray, "f 3"]


def make_mesh_room(
    seed: int, index: int = 0, *, num_points: int = 60_000, min_instance_points: int = 50
) -> tuple[Scene, list[str]]:
    """A furnished room, scanned and reconstructed as a mesh; the same arguments give the same room.

    Args:
        seed: random seed of a series of rooms; `make_room` furnishes them in the same way.
        index: number of the room in it, which decides the kind of room.
        num_points: approximate number of vertices in a room of average size.
        min_instance_points: least number of visible vertices; instances with fewer are left out.

    Returns:
        Scene with colors, faces, classes of `pcseg.classes.SCANNET20` (-1 for others), instances 1..K and segments (as
        superpoints); and the raw category of each instance.

    Raises:
        ValueError: a number that is out of range.
    """
    rng, surfaces, plan, eyes, blocking = start_scan(seed, index, num_points)
    patches = surfaces.patches
    seen = np.flatnonzero(facing_weight(patches, eyes) > 0)
    spacing = np.sqrt(patches.areas()[seen].sum() / num_wanted(plan, num_points))
    grid = _grid(patches, seen, float(spacing))
    xyz, normal = evaluate_points(patches.kind, patches.frame, patches.extra, grid.patch, grid.u, grid.v)
    owner = surfaces.instance[grid.patch]
    weights = visibility(xyz, normal, patches.two_sided[grid.patch], eyes, blocking)
    keep = (weights.max(axis=0) > 0) & ~hidden(surfaces, xyz, owner)
    keep, faces = _whole_triangles(keep, grid.faces)
    count = np.bincount(owner[keep], minlength=len(surfaces.labels) + 1)
    keep, faces = _whole_triangles(keep & (count[owner] >= min_instance_points), faces)
    rows = np.flatnonzero(keep)
    faces = (np.cumsum(keep) - 1)[faces]
    patch, owner, xyz = grid.patch[rows], owner[rows], xyz[rows]
    scan = weights[:, rows].argmax(axis=0)
    rgb = colors_of(surfaces, patch, xyz, normal[rows], scan, blocking, rng)
    xyz = add_range_noise(xyz, eyes[scan], rng, outliers=0.0)
    ids, instance = np.unique(owner, return_inverse=True)
    segment = _segments(xyz, faces, grid.tile[rows], instance.astype(np.int64))
    categories = [surfaces.categories[k - 1] for k in ids]
    labels = SCANNET20.index_of_ids(np.array([CATEGORIES[name].nyu40id for name in categories], np.int64))
    scene = Scene(
        f"scene{index:04d}_00",
        xyz.astype(np.float32),
        rgb,
        semantic=labels[instance],
        instance=(instance + 1).astype(np.int32),
        superpoint=segment.astype(np.int32),
        faces=faces.astype(np.int32),
    )
    return scene, categories


def _grid(patches: Patches, rows: Int64[np.ndarray, "k"], spacing: float) -> _Grid:
    """Tessellates the patches of `rows`; tiles are numbered through all of them."""
    size = patches.sizes()[rows]
    least = np.where(patches.kind[rows] > 0, 8, 1)
    num_u = np.maximum(np.ceil(size[:, 0] / spacing).astype(np.int64), least)
    num_v = np.maximum(np.ceil(size[:, 1] / spacing).astype(np.int64), 1)
    count = (num_u + 1) * (num_v + 1)
    first = np.cumsum(count) - count
    patch = np.repeat(np.arange(len(rows)), count)
    local = np.arange(len(patch)) - first[patch]
    i, j = local // (num_v[patch] + 1), local % (num_v[patch] + 1)
    u, v = i / num_u[patch], j / num_v[patch]
    tiles_u, tiles_v = (np.ceil(size / TILE).astype(np.int64) + (size == 0)).T
    tile_count = tiles_u * tiles_v
    tile = (np.cumsum(tile_count) - tile_count)[patch]
    tile += np.minimum((u * tiles_u[patch]).astype(np.int64), tiles_u[patch] - 1) * tiles_v[patch]
    tile += np.minimum((v * tiles_v[patch]).astype(np.int64), tiles_v[patch] - 1)
    corner = np.flatnonzero((i < num_u[patch]) & (j < num_v[patch]))
    right = corner + num_v[patch[corner]] + 1
    lower = np.stack([corner, right, right + 1], axis=1)
    upper = np.stack([corner, right + 1, corner + 1], axis=1)
    return _Grid(rows[patch], tile, u, v, np.concatenate([lower, upper]))


def _whole_triangles(
    keep: Bool[np.ndarray, "n"], faces: Int64[np.ndarray, "f 3"]
) -> tuple[Bool[np.ndarray, "n"], Int64[np.ndarray, "g 3"]]:
    """Triangles without removed vertices, and the vertices of these triangles."""
    faces = faces[keep[faces].all(axis=1)]
    used = np.zeros(len(keep), bool)
    used[faces] = True
    return used, faces


def _segments(
    xyz: Float64[np.ndarray, "n 3"],
    faces: Int64[np.ndarray, "f 3"],
    tile: Int64[np.ndarray, "n"],
    instance: Int64[np.ndarray, "n"],
) -> Int64[np.ndarray, "n"]:
    """Connected pieces of tiles; small ones join the nearest big one of the same instance."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = edges[tile[edges[:, 0]] == tile[edges[:, 1]]]
    graph = coo_matrix((np.ones(len(edges), bool), (edges[:, 0], edges[:, 1])), shape=(len(xyz), len(xyz)))
    num, piece = connected_components(graph, directed=False)
    count = np.bincount(piece, minlength=num)
    center = np.stack([np.bincount(piece, xyz[:, k], num) for k in range(3)], axis=1) / count[:, None]
    owner = np.zeros(num, np.int64)
    owner[piece] = instance
    target = np.arange(num)
    for k in np.unique(owner):
        mine = np.flatnonzero(owner == k)
        big = mine[count[mine] >= MIN_SEGMENT_VERTICES]
        if len(big) == 0:
            target[mine] = mine[0]
        else:
            small = mine[count[mine] < MIN_SEGMENT_VERTICES]
            target[small] = big[KDTree(center[big]).query(center[small])[1]]
    return np.unique(target[piece], return_inverse=True)[1].reshape(-1)
