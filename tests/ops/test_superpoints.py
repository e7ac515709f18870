from pathlib import Path

import jaxtyping
import numpy as np
import pytest
from plyfile import PlyData

from pcseg.kernels import superpoints as kernels
from pcseg.ops import superpoints
from pcseg.ops.superpoints import over_segment, over_segment_mesh, over_segment_voxels
from pcseg.structures import Scene
from pcseg.synthetic import make_room
from tests.conftest import REFERENCE, ROOT, refuses
from tests.reference import regions as slow_regions
from tests.reference import superpoints as slow
from tools.superpoint_quality import oracle_miou

SEGMENTS = REFERENCE / "mesh_segments"
# The mesh of a whole room is too large to be part of the repository.
WHOLE_ROOM = ROOT.parent / "shared" / "reference" / "mesh_segments" / "synthetic_room.npz"


def _same_partition(a: np.ndarray, b: np.ndarray) -> bool:
    num_joint = len(np.unique(np.stack([a, b]), axis=1).T)
    return num_joint == len(np.unique(a)) == len(np.unique(b))


def _check_ids(superpoint: np.ndarray) -> None:
    """0..S-1 without gaps, numbered in the order of first appearance."""
    ids, first = np.unique(superpoint, return_index=True)
    assert (ids == np.arange(len(ids))).all()
    assert (np.diff(first) > 0).all()


@pytest.fixture(scope="module")
def room() -> Scene:
    return make_room(0, 0, num_points=60_000)


def test_normals_are_eigenvectors(rng: np.random.Generator) -> None:
    xyz = (rng.normal(size=(300, 3)) * [1, 0.7, 0.3] + [50, -20, 3]).astype(np.float32)
    neighbors = slow.nearest_in_cells(xyz, 16)
    cosines = (kernels.plane_normals(xyz, neighbors) * slow.plane_normals(xyz, neighbors)).sum(axis=1)
    assert np.abs(cosines).min() > 1 - 1e-5
    everyone = np.tile(np.arange(16, dtype=np.int32), (16, 1))
    for axis in ([0, 0, 1], [0, 1, 0], [1, 0, 0], [0.6, 0.48, 0.64]):  # exact planes
        points = rng.normal(size=(16, 3))
        points = (points - np.outer(points @ axis, axis)).astype(np.float32)
        normals = kernels.plane_normals(points, everyone)
        assert np.allclose(np.abs(normals @ np.array(axis, np.float32)), 1, atol=1e-5)
    line = np.outer(np.arange(16), [0, 0, 0.02]).astype(np.float32)  # has no normal
    assert (kernels.plane_normals(line, everyone) == 0).all()


def test_edges_are_listed_once_and_weighted(rng: np.random.Generator) -> None:
    neighbors = slow.nearest_in_cells(rng.normal(size=(200, 3)), 8)
    tail, head = kernels.neighbor_edges(neighbors, 5)
    listed = [frozenset(pair) for pair in zip(tail.tolist(), head.tolist())]
    assert len(set(listed)) == len(listed)
    assert set(listed) == slow.neighbor_edges(neighbors, 5)
    weight = np.round(rng.normal(0, 1, 3000), 2).astype(np.float32)
    weight[:4] = [0.0, -0.0, np.float32(-1e-7), np.float32(1e-7)]
    np.testing.assert_array_equal(superpoints._sorted_edges(weight), np.argsort(weight, kind="stable"))
    normals, colors, xyz = rng.normal(size=(3, 20, 3)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    tail, head = np.arange(20, dtype=np.int32).reshape(2, 10)
    for factors in ((0.0, 0.0), (3.0, 0.0), (3.0, 5.0)):
        arguments = (xyz, normals, colors, tail, head, *factors)
        np.testing.assert_allclose(kernels.edge_weights(*arguments), slow.edge_weights(*arguments), atol=1e-5)


@pytest.mark.parametrize(("threshold", "min_size"), [(0.1, 1), (0.5, 4), (3.0, 8), (0.0, 3)])
def test_merging_is_that_of_sets(rng: np.random.Generator, threshold: float, min_size: int) -> None:
    num_nodes, num_edges = 150, 500
    tail, head = rng.integers(0, num_nodes, (2, num_edges)).astype(np.int32)
    weight = rng.integers(0, 50, num_edges).astype(np.float32) / 50
    block = rng.integers(0, 2, num_nodes)
    order = np.argsort(weight, kind="stable").astype(np.uint32)
    component = kernels.merge_graph(num_nodes, tail, head, weight, order, block, threshold, min_size)
    edges = [(weight[e], int(tail[e]), int(head[e])) for e in order]
    expected = slow.merge_graph(num_nodes, edges, block, threshold, min_size)
    assert [set(np.flatnonzero(component == c)) for c in range(component.max() + 1)] == expected


@pytest.mark.parametrize("colored", [True, False])
@pytest.mark.parametrize("max_regions", [25, 9, 1])
def test_regions_merge_as_in_the_obvious_form(rng: np.random.Generator, colored: bool, max_regions: int) -> None:
    num_points, num_regions = 160, 24
    xyz = (rng.uniform(0, 0.5, (num_points, 3)) * [1, 1, 0.1] + [30, 20, 1]).astype(np.float32)
    near = slow.nearest_in_cells(xyz, 6)
    region = slow.nearest_in_cells(np.concatenate([xyz[:num_regions], xyz]), num_points)[num_regions:]
    region = np.array([next(i for i in row if i < num_regions) for row in region], np.int32)
    region[-1] = num_regions  # one point alone, without an edge
    colors = rng.uniform(0, 1, (num_points, 3)).astype(np.float32)
    given = colors if colored else colors[:0]
    tail, head = kernels.neighbor_edges(near, 5)
    linked = (tail < num_points - 1) & (head < num_points - 1)
    tail, head = tail[linked], head[linked]
    weight = rng.uniform(0, 1, len(tail)).astype(np.float32)
    merged = superpoints._merge_regions(region, tail, head, weight, xyz, given, 0.02, max_regions)
    edges = list(zip(weight.tolist(), tail.tolist(), head.tolist()))
    places = (xyz.astype(np.float64) - xyz.mean(axis=0)) / 0.02
    expected = slow_regions.merge_regions(region, edges, places, colors if colored else 0 * colors, max_regions)
    assert {num_regions} in expected  # the point alone stays alone
    assert len(expected) <= max(2, max_regions)
    assert sorted((set(region[merged == m].tolist()) for m in np.unique(merged)), key=min) == expected


def test_neighbors_are_the_nearest_everywhere(rng: np.random.Generator) -> None:
    # Dense, sparse, crowded in one place, and a few far away: those that the cells cannot answer come from a tree.
    dense, sparse = rng.uniform(0, 0.3, (300, 3)), rng.uniform(-2, 2, (60, 3))
    crowd, far = rng.normal(1, 0.002, (90, 3)), rng.uniform(-500, 500, (5, 3))
    xyz = np.concatenate([dense, sparse, crowd, far]).astype(np.float32)
    origin = xyz.min(axis=0)
    cell = np.floor((xyz.astype(np.float64) - origin) / 0.1).astype(np.int32)
    order = np.argsort(superpoints._keys(cell), kind="stable")
    xyz, cell = xyz[order], cell[order]
    found = superpoints._nearest(xyz, cell, origin, 0.1, 12)
    assert (found[:, 0] == np.arange(len(xyz))).all()
    both = found, slow.nearest_in_cells(xyz, 12)
    near, nearest = (np.linalg.norm(xyz[rows] - xyz[:, None], axis=2) for rows in both)
    np.testing.assert_allclose(near, nearest, rtol=1e-5, atol=1e-6)


def test_outliers_least_size_and_order(room: Scene, rng: np.random.Generator) -> None:
    xyz, rgb = room.xyz, room.rgb
    superpoint = over_segment(xyz, rgb)
    _check_ids(superpoint)
    assert (superpoint == over_segment(xyz.copy(), rgb.copy())).all()
    order = rng.permutation(len(xyz))
    assert abs(int(over_segment(xyz[order], rgb[order]).max()) - int(superpoint.max())) < 20
    far = np.array([[1000, 0, 0], [0, 1000, 0], [0, 0, 1000], [-1000, 0, 0], [1000, 1000, 1000]], np.float32)
    outliers = over_segment(np.concatenate([xyz, far]), np.concatenate([rgb, rgb[:5]]))
    _check_ids(outliers)
    assert oracle_miou(outliers[:-5], room.instance) >= 0.96
    assert np.bincount(over_segment(xyz, rgb, min_points=40)).min() >= 40


def test_blocks_and_the_most_superpoints_are_bounds(rng: np.random.Generator, room: Scene) -> None:
    plane = (rng.uniform(0, 1, (40000, 3)) * [3, 3, 0]).astype(np.float32)
    assert over_segment(plane, block_size=None).max() == 0
    superpoint = over_segment(plane)
    assert 9 <= superpoint.max() < 50
    assert max(np.ptp(plane[superpoint == s], axis=0).max() for s in range(superpoint.max() + 1)) < 1.5
    assert (over_segment(np.full((500, 3), 2.5, np.float32)) == 0).all()
    line = np.outer(np.linspace(0, 0.4, 300), [1, 0, 0]).astype(np.float32)
    assert (over_segment(line, min_points=30) == 0).all()
    xyz, rgb = room.xyz[::2], room.rgb[::2]
    assert over_segment(xyz, rgb, max_superpoints=500, block_size=None).max() + 1 == 500
    coarse = over_segment(xyz, rgb, max_superpoints=10)
    assert 10 < coarse.max() < 2000  # not fewer than there are blocks
    assert over_segment(xyz, rgb, max_superpoints=None).max() > 600


@pytest.mark.parametrize("num_points", [0, 1, 2, 3, 5, 17])
def test_few_points(rng: np.random.Generator, num_points: int) -> None:
    xyz = rng.uniform(0, 1, (num_points, 3)).astype(np.float32)
    rgb = rng.integers(0, 256, (num_points, 3)).astype(np.uint8)
    for superpoint in (over_segment(xyz, rgb), over_segment(xyz), over_segment_voxels(xyz)):
        assert superpoint.shape == (num_points,)
        _check_ids(superpoint)


def _quality(xyz: np.ndarray, rgb: np.ndarray | None, instance: np.ndarray) -> float:
    superpoint = over_segment(xyz.astype(np.float32), rgb)
    assert 500 < superpoint.max() < 2000
    return oracle_miou(superpoint, instance)


def test_quality(room: Scene, rng: np.random.Generator) -> None:
    dense_room = make_room(0, 0, num_points=300_000)
    assert _quality(dense_room.xyz, dense_room.rgb, dense_room.instance) >= 0.97
    assert _quality(dense_room.xyz, None, dense_room.instance) >= 0.95
    across = (dense_room.xyz[:, 0] - dense_room.xyz[:, 0].min()) / np.ptp(dense_room.xyz[:, 0])
    keep = rng.random(len(dense_room)) < 0.1 + 0.9 * across  # uneven density
    assert _quality(dense_room.xyz[keep], dense_room.rgb[keep], dense_room.instance[keep]) >= 0.95
    assert _quality(room.xyz, room.rgb, room.instance) >= 0.96
    assert _quality(room.xyz + rng.normal(0, 0.008, room.xyz.shape), room.rgb, room.instance) >= 0.93


CUT = SEGMENTS / "synthetic_cut.npz"
needs_whole_room = pytest.mark.skipif(not WHOLE_ROOM.is_file(), reason="no reference data beside the repository")
WHOLE = pytest.param(WHOLE_ROOM, "k001", 0.01, marks=needs_whole_room)


@pytest.mark.parametrize(("path", "key", "threshold"), [(CUT, "k001", 0.01), (CUT, "k005", 0.05), WHOLE])
def test_mesh_segments_are_scannets(path: Path, key: str, threshold: float) -> None:
    with np.load(path) as case:
        segments = over_segment_mesh(case["vertices"], case["faces"].astype(np.int32), threshold=threshold)
        _check_ids(segments)
        assert _same_partition(segments, case[key])


def test_a_real_room_without_color_and_mesh_segments_of_a_real_scan_are_scannets(real: Path) -> None:
    with np.load(real / "s3dis" / "room_0.npz") as room:
        assert _quality(room["xyz"], None, room["instance"] + 1) > 0.88
    mesh = PlyData.read(real / "scene0470_00_vh_clean_2.ply")
    xyz = np.stack([mesh["vertex"][c] for c in "xyz"], axis=1).astype(np.float32)
    faces = np.vstack(mesh["face"]["vertex_indices"]).astype(np.int32)
    with np.load(SEGMENTS / "scene0470_00.npz") as expected:
        for key, threshold in (("k001", 0.01), ("k005", 0.05)):
            assert _same_partition(over_segment_mesh(xyz, faces, threshold=threshold), expected[key])


def test_faces_without_area_are_left_out() -> None:
    xyz = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [2, 0, 0], [9, 9, 9]], np.float32)
    faces = np.array([[0, 1, 2], [1, 3, 2]], np.int32)
    flat = np.array([[0, 1, 4], [2, 2, 3], [5, 5, 5]], np.int32)  # on a line, an edge, a point
    expected = over_segment_mesh(xyz, faces, min_points=2)
    assert expected.tolist() == [0, 0, 0, 0, 1, 2]
    assert (over_segment_mesh(xyz, np.concatenate([faces, flat]), min_points=2) == expected).all()
    assert over_segment_mesh(xyz, np.zeros((0, 3), np.int32)).tolist() == [0, 1, 2, 3, 4, 5]
    assert over_segment_mesh(xyz[:0], np.zeros((0, 3), np.int32)).shape == (0,)


def test_oracle_is_that_of_a_loop_and_bad_input_is_named(rng: np.random.Generator, monkeypatch) -> None:
    instance = rng.integers(0, 6, 2000)
    superpoint = instance * 30 + rng.integers(0, 30, 2000)
    assert oracle_miou(superpoint, instance) == 1
    superpoint[:700] = rng.integers(0, 180, 700)
    assert oracle_miou(superpoint, instance) == pytest.approx(slow.oracle_miou(superpoint, instance))
    assert np.isnan(oracle_miou(np.zeros(3, np.int32), np.zeros(3, np.int32)))
    xyz = np.zeros((4, 3), np.float32)
    for options, message in (
        ({"threshold": -1.0}, "threshold must be a finite number"),
        ({"num_neighbors": 2}, "num_neighbors must be a finite number, 4 or more"),
        ({"block_size": 0.0}, "block_size must be a positive length"),
        ({"max_superpoints": 0}, "max_superpoints must be a finite number, 1 or more, got 0"),
    ):
        refuses(message, over_segment, xyz, **options)
    refuses(r"faces must index the 4 vertices, got .* 0\.\.4", over_segment_mesh, xyz, np.array([[0, 1, 4]], np.int32))
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as it is outside of tests
    for call, wrong in ((over_segment, xyz[:, :2]), (over_segment, xyz[0]), (over_segment_mesh, xyz[:, :2])):
        refuses(r"xyz must have .*, got \(", call, wrong, *([xyz.astype(int)] * (call is over_segment_mesh)))
    refuses(r"rgb must have shape \(4, 3\), as xyz, got \(4, 4\)", over_segment, xyz, np.zeros((4, 4), np.uint8))
    refuses(r"faces must have three columns, got \(1, 4\)", over_segment_mesh, xyz, np.zeros((1, 4), np.int32))
    xyz[2, 0] = np.nan
    refuses("point 2 has a coordinate that is not finite", over_segment, xyz)
    refuses("vertex 2 has a coordinate that is not finite", over_segment_mesh, xyz, np.zeros((0, 3), np.int32))
