"""Over-segmentation of clouds and meshes into superpoints: small patches that do not cross the border of an object."""

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64, UInt8

from pcseg.kernels import regions
from pcseg.kernels import superpoints as kernels
from pcseg.ops.overlap import by_first_seen
from pcseg.ops.superpoint_options import SuperpointOptions as SuperpointOptions
from pcseg.ops.voxelize import voxel_mean, voxelize

# Edge of the cells in which neighbors are looked for, in voxels: twelve of them lie that near on most surfaces.
CELL = 5


def over_segment(
    xyz: Float32[np.ndarray, "P 3"],
    rgb: UInt8[np.ndarray, "P 3"] | None = None,
    *,
    voxel_size: float = 0.02,
    threshold: float = 0.1,
    color_weight: float = 1.0,
    offset_weight: float = 0.2,
    min_points: int = 2,
    num_neighbors: int = 12,
    block_size: float | None = 0.5,
    max_superpoints: int | None = 2000,
) -> Int32[np.ndarray, "P"]:
    """Superpoints of a point cloud: pieces with one normal and one color, and no step inside.

    The cloud is thinned to the mean point of each voxel, with edges to its nearest neighbors; see
    `kernels.edge_weights`. Steps count in voxels, and colors are 0..1. Graph-based merging leaves too many pieces.
    The cheapest pair of neighbors is therefore merged repeatedly; see `regions`.

    Args:
        xyz: coordinates in meters.
        rgb: colors, or None if the scan has none.
        voxel_size: edge length of a voxel in meters.
        threshold: k of the merging criterion; a larger one gives larger superpoints.
        color_weight: weight of a difference of colors against one of normals.
        offset_weight: weight of a step of one voxel.
        min_points: least number of voxels in a superpoint, if there is a neighbor to merge with.
        num_neighbors: number of neighbors that give the normal; two thirds of them become edges.
        block_size: edge length in meters of blocks that pieces do not cross, unless they are too small; None for none.
        max_superpoints: number of pieces at which merging stops, or fewer if they are similar. A scan with more
            blocks than that, e.g. of a whole floor, may have one for each block. None sets no bound.

    Returns:
        Superpoint of each point, 0..S-1 without gaps, numbered in the order of their first point. The same input
        gives the same result on any number of threads.

    Raises:
        ValueError: parameters out of range, or input that `voxelize` refuses.

    Source: Felzenszwalb and Huttenlocher, Efficient Graph-Based Image Segmentation, IJCV 2004 (the pieces); Garland,
    Willmott and Heckbert, Hierarchical Face Clustering on Polygonal Surfaces, I3D 2001 (merging by planes).

    >>> import numpy as np
    >>> floor = np.array([[x, y, 0] for x in range(10) for y in range(10)], np.float32) / 20
    >>> table = floor + np.float32([0, 0, 0.7])
    >>> np.bincount(over_segment(np.concatenate([floor, table]), block_size=None)).tolist()
    [100, 100]
    """
    _check_at_least(0, threshold=threshold, color_weight=color_weight, offset_weight=offset_weight)
    _check_at_least(0, min_points=min_points)
    _check_at_least(4, num_neighbors=num_neighbors)  # fewer give no plane
    _check_at_least(1, max_superpoints=max_superpoints)
    if block_size is not None and not (np.isfinite(block_size) and block_size > 0):
        raise ValueError(f"block_size must be a positive length in meters or None, got {block_size}")
    if rgb is not None and rgb.shape != (len(xyz), 3):
        raise ValueError(f"rgb must have shape ({len(xyz)}, 3), as xyz, got {rgb.shape}")
    grid = voxelize(xyz, voxel_size)
    if len(grid) < 2:
        return np.zeros(len(xyz), np.int32)
    # Blocks bound the loss if a board is flush with its wall.
    num_cells = 2**31 - 1 if block_size is None else max(1, round(block_size / voxel_size))
    # One cell after another: near in memory what is near in space.
    order = np.argsort(_keys(grid.coords // CELL), kind="stable")
    coords, nodes = grid.coords[order], voxel_mean(xyz, grid)[order]
    colors = np.zeros((0, 3), np.float32) if rgb is None else voxel_mean(rgb, grid)[order] / np.float32(255)
    neighbors = _nearest(nodes, coords // CELL, grid.origin, CELL * voxel_size, num_neighbors)
    normals = kernels.plane_normals(nodes, neighbors)
    num_near = max(2 * neighbors.shape[1] // 3, min(2, neighbors.shape[1]))
    tail, head = kernels.neighbor_edges(neighbors, num_near)
    weights = (0.0 if rgb is None else float(color_weight), float(offset_weight / voxel_size))
    weight = kernels.edge_weights(nodes, normals, colors, tail, head, *weights)
    block = _keys(coords // num_cells)
    edges = _sorted_edges(weight)
    piece = kernels.merge_graph(len(nodes), tail, head, weight, edges, block, float(threshold), min_points)
    limit = len(nodes) if max_superpoints is None else max(max_superpoints, len(np.unique(block)))
    by_voxel = np.empty_like(piece)
    by_voxel[order] = _merge_regions(piece, tail, head, weight, nodes, colors, voxel_size, limit)
    # In the order of their first voxel, and so of their first point.
    return by_first_seen(by_voxel)[1].astype(np.int32)[grid.point_to_voxel]


def over_segment_voxels(xyz: Float32[np.ndarray, "P 3"], voxel_size: float = 0.2) -> Int32[np.ndarray, "P"]:
    """Coarse voxels as superpoints, the quickest and coarsest choice.

    Args:
        xyz: coordinates in meters.
        voxel_size: edge length of a voxel in meters.

    Returns:
        Superpoint of each point, 0..S-1 without gaps, numbered in the order of their first point.

    Raises:
        ValueError: input that `voxelize` refuses.
    """
    return voxelize(xyz, voxel_size).point_to_voxel


def over_segment_mesh(
    xyz: Float32[np.ndarray, "P 3"], faces: Int32[np.ndarray, "F 3"], *, threshold: float = 0.01, min_points: int = 20
) -> Int32[np.ndarray, "P"]:
    """Superpoints of a mesh, the same partition as ScanNet's program gives.

    Args:
        xyz: vertices in meters.
        faces: triangles, as indices of vertices; faces without area are left out.
        threshold: k of the merging criterion (ScanNet: 0.01).
        min_points: least number of vertices, if there is a neighbor to merge with (ScanNet: 20).

    Returns:
        Superpoint of each vertex, 0..S-1 without gaps; a vertex without a face is a superpoint of its own.

    Raises:
        ValueError: a vertex that is not finite, a face with a missing vertex, or parameters out of range.

    Source: ScanNet, Segmentator/segmentator.cpp; Felzenszwalb and Huttenlocher, IJCV 2004.
    """
    _check_at_least(0, threshold=threshold, min_points=min_points)
    for name, array in (("xyz", xyz), ("faces", faces)):
        if array.ndim != 2 or array.shape[1] != 3:
            raise ValueError(f"{name} must have three columns, got {array.shape}")
    if not np.isfinite(xyz).all():
        row = int(np.flatnonzero(~np.isfinite(xyz).all(axis=1))[0])
        raise ValueError(f"vertex {row} has a coordinate that is not finite: {xyz[row]}; remove such vertices first")
    if len(faces) and not (faces.min() >= 0 and faces.max() < len(xyz)):
        raise ValueError(f"faces must index the {len(xyz)} vertices, got indices {faces.min()}..{faces.max()}")
    tail, head, weight = kernels.mesh_graph(np.ascontiguousarray(xyz), np.ascontiguousarray(faces))
    block = np.zeros(len(xyz), np.int64)
    return kernels.merge_graph(len(xyz), tail, head, weight, _sorted_edges(weight), block, float(threshold), min_points)


def _check_at_least(least: int, **values: float | int | None) -> None:
    for name, value in values.items():
        if value is not None and not (np.isfinite(value) and value >= least):
            raise ValueError(f"{name} must be a finite number, {least} or more, got {value}")


def _keys(cell: Int32[np.ndarray, "V 3"]) -> Int64[np.ndarray, "V"]:
    """One number for each cell of a grid, by x, then y, then z, with a free one between any two rows."""
    steps = _steps(cell)
    return cell[:, 0] * steps[0] + cell[:, 1] * steps[1] + cell[:, 2]


def _steps(cell: Int32[np.ndarray, "V 3"]) -> Int64[np.ndarray, "2"]:
    """By what the number of a cell grows along x and y."""
    extent = cell.max(axis=0).astype(np.int64) + 3
    return np.array([extent[1] * extent[2], extent[2]])


def _nearest(
    nodes: Float32[np.ndarray, "V 3"],
    cell: Int32[np.ndarray, "V 3"],
    origin: Float32[np.ndarray, "3"],
    cell_size: float,
    num_neighbors: int,
) -> Int32[np.ndarray, "V k"]:
    """The nearest nodes of each node, itself first; nodes are sorted by the keys of their cells."""
    k = min(num_neighbors, len(nodes))
    neighbors, complete = kernels.nearest_in_cells(
        nodes, cell, _keys(cell), _steps(cell), origin.astype(np.float64), cell_size, k
    )
    lonely = np.flatnonzero(~complete)
    if len(lonely):
        from scipy.spatial import KDTree  # takes long to import, and training has superpoints

        tree = KDTree(nodes, balanced_tree=False, compact_nodes=False)
        neighbors[lonely] = tree.query(nodes[lonely], k=list(range(1, k + 1)))[1]  # type: ignore[arg-type]
    return neighbors


def _merge_regions(
    region: Int32[np.ndarray, "V"],
    tail: Int32[np.ndarray, "E"],
    head: Int32[np.ndarray, "E"],
    weight: Float32[np.ndarray, "E"],
    nodes: Float32[np.ndarray, "V 3"],
    colors: Float32[np.ndarray, "W 3"],
    voxel_size: float,
    max_regions: int,
) -> Int32[np.ndarray, "V"]:
    """The regions of a graph merged to at most max_regions, with gaps in their numbers; colors may be empty."""
    num_regions = int(region.max()) + 1
    a, b = region[tail], region[head]
    across = np.flatnonzero(a != b)
    a, b = a[across], b[across]
    keys = np.minimum(a, b).astype(np.int64) * num_regions + np.maximum(a, b)
    pairs, pair = np.unique(keys, return_inverse=True)
    # In voxels from the middle: sums of squares of large coordinates would cancel.
    places = (nodes.astype(np.float64) - nodes.mean(axis=0, dtype=np.float64)) / voxel_size
    merged = regions.merge_regions(
        np.stack([pairs // num_regions, pairs % num_regions], axis=1),
        np.bincount(pair.reshape(-1), weight[across], len(pairs)),
        np.bincount(pair.reshape(-1), minlength=len(pairs)),
        _region_sums(region, num_regions, places, colors),
        max_regions,
    )
    return merged[region].astype(np.int32)


def _region_sums(
    region: Int32[np.ndarray, "V"],
    num_regions: int,
    xyz: Float64[np.ndarray, "V 3"],
    colors: Float32[np.ndarray, "W 3"],
) -> Float64[np.ndarray, "R 13"]:
    """Sums over the points of each region: 1, x, y, z, xx, yy, zz, xy, xz, yz, and color channels, else 0."""
    x, y, z = xyz.T
    columns = [np.ones(len(xyz)), x, y, z, x * x, y * y, z * z, x * y, x * z, y * z, *colors.T]
    sums = np.zeros((num_regions, 13))
    for index, values in enumerate(columns if len(colors) else columns[:10]):
        sums[:, index] = np.bincount(region, values, num_regions)
    return sums


def _sorted_edges(weight: Float32[np.ndarray, "E"]) -> np.ndarray:
    """Edges from light to heavy, ties by number; as integers, which numpy sorts several times faster."""
    bits = (weight + np.float32(0)).view(np.uint32)  # + 0 turns -0 into 0
    # The bits of floats >= 0 sort like the floats; the bits of floats < 0 sort in reverse and last.
    rank = bits ^ np.where(bits >> np.uint32(31), np.uint32(0xFFFFFFFF), np.uint32(0x80000000))
    keys = rank.astype(np.uint64) << np.uint64(32) | np.arange(len(weight), dtype=np.uint64)
    keys.sort()
    return keys.astype(np.uint32)
