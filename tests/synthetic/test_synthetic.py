import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from pcseg.choices import SCANNET_LABEL_TABLE
from pcseg.classes import S3DIS, SCANNET20
from pcseg.data import s3dis, scannet
from pcseg.kernels.ray_casting import evaluate_points, nearest_depth
from pcseg.structures import Scene
from pcseg.synthetic import make_mesh_room, make_room, room_name, write_rooms, write_s3dis, write_scannet
from pcseg.synthetic.arrange import KINDS, furnished_room
from pcseg.synthetic.furniture import chair, desk, floor_item, sofa
from pcseg.synthetic.layout import Plan, Rect
from pcseg.synthetic.room import Room
from pcseg.synthetic.scanner import hidden, map_of, occluders, visibility
from pcseg.synthetic.scannet_classes import CATEGORIES
from pcseg.synthetic.shapes import Item, Patches, Shape
from pcseg.synthetic.writers import write_scannet_lists
from tests.conftest import holds, refuses
from tests.reference import ray_casting as slow
from tests.tools.commands import passes, refused

GRAY = (128.0, 128.0, 128.0)


@pytest.fixture(scope="module")
def rooms() -> list[Scene]:
    return [make_room(0, index) for index in range(12)]


def _points(patches: Patches, num: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    patch = np.repeat(np.arange(len(patches)), num)
    u, v = rng.random(len(patch)), rng.random(len(patch))
    return patch, *evaluate_points(patches.kind, patches.frame, patches.extra, patch, u, v)


def test_every_point_belongs_to_one_instance_of_one_class_and_every_class_occurs(rooms: list[Scene]) -> None:
    instances = np.zeros(13, int)
    for room in rooms:
        ids, first, count = np.unique(room.instance, return_index=True, return_counts=True)
        assert np.array_equal(ids, np.arange(1, len(ids) + 1))
        assert count.min() >= 50
        assert len(np.unique(np.stack([room.instance, room.semantic]), axis=1).T) == len(ids)
        instances += np.bincount(room.semantic[first], minlength=13)
    by_name = dict(zip(S3DIS.names, instances.tolist()))
    least = {**dict.fromkeys(S3DIS.names, 4), "chair": 20, "table": 12, "clutter": 60}
    assert all(by_name[name] >= count for name, count in least.items()), by_name
    assert by_name["ceiling"] == by_name["floor"] == 12


def test_rooms_have_the_requested_size_and_contrast(rooms: list[Scene]) -> None:
    counts = np.array([len(room) for room in rooms])
    assert 0.85 < counts.mean() / 60_000 < 1.15
    assert 0.45 * 60_000 < counts.min() < counts.max() <= 1.6 * 60_000
    for room in rooms:
        extent = np.ptp(room.xyz, axis=0)
        assert 2.4 < extent[2] < 3.8
        assert 6 < extent[0] * extent[1] < 60
        assert 70 < room.rgb.mean() < 220
        assert room.rgb.std(axis=0).min() > 15
    room = rooms[4]
    floor = room.xyz[room.semantic == S3DIS.index("floor")]
    assert 5e-4 < np.median(np.abs(floor[:, 2] - np.median(floor[:, 2]))) < 6e-3
    _, count = np.unique(np.floor(floor[:, :2] / 0.4).astype(int), axis=0, return_counts=True)
    assert np.quantile(count, 0.9) > 1.5 * np.quantile(count, 0.3)
    floor = rooms[5].xyz[rooms[5].semantic == S3DIS.index("floor")]  # it is missing under furniture
    cells = np.unique(np.floor(floor[:, :2] / 0.2).astype(int), axis=0)
    assert 0.4 < len(cells) / np.prod(np.ptp(cells, axis=0) + 1) < 0.97


def test_the_arguments_decide() -> None:
    rooms = [make_room(seed, index, num_points=5000) for seed, index in ((3, 2), (4, 2), (3, 0))]
    assert len({room.xyz.tobytes() for room in rooms}) == 3
    assert 20 < len(make_room(0, 0, num_points=100, min_instance_points=1)) <= 100
    for make in (make_room, make_mesh_room):
        refuses("got", make, 0, -1)


def test_lists_table_and_names(tmp_path: Path) -> None:
    names = [room_name(index) for index in range(132)]
    assert (len(set(names)), names[0]) == (len(names), "Area_1_office_1")
    for area in range(1, 7):
        assert {name.split("_")[2] for name in names if name.startswith(f"Area_{area}_")} == set(KINDS)
    for index in range(22):
        room = furnished_room(KINDS[index % len(KINDS)], index, np.random.default_rng(index))
        assert set(room.surfaces().categories) <= set(CATEGORIES)
    write_scannet_lists(tmp_path, 5)
    for split, numbers in (("train", range(4)), ("val", [4])):
        names = (tmp_path / "splits" / f"scannetv2_{split}.txt").read_text().split()
        assert names == [f"scene{k:04d}_00" for k in numbers]
    rows = [row.split("\t") for row in (tmp_path / "scannetv2-labels.combined.tsv").read_text().splitlines()]
    assert rows[0] == ["id", "raw_category", "category", "nyu40id", "nyu40class"]
    assert all(len(row) == 5 for row in rows)
    assert {row[1] for row in rows[1:]} == set(CATEGORIES)


def test_patches_are_those_of_the_slow_form(rng: np.random.Generator) -> None:
    shape = Shape().box((0, 0, 1), (0.6, 0.4, 0.8), GRAY, tilt=0.2, yaw=0.5, bulge=0.02)
    shape.tube((0, 0, 0.4), (0.1, 0, 1.6), 0.3, GRAY, top_radius=0.2).ellipsoid((0, 0, 1), (0.3, 0.2, 0.5), GRAY)
    solid = len(shape.patches())
    shape.sheet((1, 1, 1), (0.5, 0, 0), (0, 0.1, 0.6), GRAY, skew=(0.1, 0, 0), bend=0.1)
    patches = shape.patches()
    patch, xyz, normal = _points(patches, 200, rng)
    assert (np.einsum("nk,nk->n", xyz - (0.05, 0, 1), normal) > 0)[patch < solid].mean() > 0.995, "outward normals"
    patch = np.arange(len(patches)).repeat(8)
    u, v = rng.uniform(0.1, 0.9, (2, len(patch)))
    arguments = (patches.kind, patches.frame, patches.extra, patch, u, v)
    for found, expected, atol in zip(evaluate_points(*arguments), slow.evaluate_points(*arguments), (1e-12, 1e-6)):
        np.testing.assert_allclose(found, expected, atol=atol)


def test_areas_of_patches_and_variety_of_furniture(rng: np.random.Generator) -> None:
    patches = Shape().box((0, 0, 0), (1, 2, 3), GRAY).tube((0, 0, 0), (0, 0, 2), 0.5, GRAY).patches()
    assert patches.areas().sum() == pytest.approx(22 + 2 * np.pi + 0.5 * np.pi)
    assert Shape().ellipsoid((0, 0, 0), (1, 1, 1), GRAY).patches().areas()[0] == pytest.approx(4 * np.pi)
    moved = patches.moved((1, 2, 3), 0.7)
    assert np.allclose(moved.areas(), patches.areas())
    assert moved.sizes().max() == pytest.approx(np.pi)
    for make in (chair, desk, sofa, floor_item):
        assert len({tuple(np.round(make(rng).size, 3)) for _ in range(20)}) > 10


@pytest.mark.parametrize("kind", ["swivel", "four_leg", "shell", "sled", "stool", "armchair"])
def test_chairs_stand_on_the_floor_within_their_footprint(kind: str, rng: np.random.Generator) -> None:
    for _ in range(10):
        item = chair(rng, kind)
        _, xyz, _ = _points(item.patches, 50, rng)
        assert -0.005 < xyz[:, 2].min() < 0.05
        assert (np.abs(xyz[:, :2]).max(axis=0) < np.array(item.size[:2]) / 2 + 0.12).all()
        assert xyz[:, 2].max() < item.size[2] + 0.05


def test_rectangles_meet_as_their_points_do(rng: np.random.Generator) -> None:
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 41)] * 2), axis=-1).reshape(-1, 2)
    agree = 0
    for _ in range(200):
        a, b = (Rect(*rng.uniform(-1, 1, 2), *rng.uniform(0.2, 0.8, 2), rng.uniform(-3, 3)) for _ in range(2))
        cos, sin = np.cos(a.yaw), np.sin(a.yaw)
        x = a.x + cos * grid[:, 0] * a.half_x - sin * grid[:, 1] * a.half_y - b.x
        y = a.y + sin * grid[:, 0] * a.half_x + cos * grid[:, 1] * a.half_y - b.y
        cos, sin = np.cos(b.yaw), np.sin(b.yaw)
        inside = (np.abs(cos * x + sin * y) < b.half_x) & (np.abs(cos * y - sin * x) < b.half_y)
        assert a.meets(b) == b.meets(a)
        assert a.meets(b) or not inside.any()
        agree += a.meets(b) == inside.any()
    assert agree >= 196
    low = Rect(0.0, 0.0, 1.0, 1.0, low=0.0, high=1.0)
    assert [low.meets(Rect(0.0, 0.0, 1.0, 1.0, low=start, high=2.0)) for start in (1.0, 0.9)] == [False, True]


def test_plan_of_an_l_and_walls_without_their_holes() -> None:
    plan = Plan(4.0, 3.0, 2.5, notch=(1.0, 1.5))
    assert (plan.area, len(plan.walls)) == (pytest.approx(10.5), 6)
    assert sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in plan.floor_rects()) == pytest.approx(plan.area)
    assert plan.fits(Rect(1.0, 1.0, 0.5, 0.5))
    assert not any(map(plan.fits, (Rect(3.5, 2.3, 0.2, 0.2), Rect(0.1, 1.0, 0.5, 0.5))))
    assert all(plan.fits(Rect(*wall.at(wall.length / 2, 0.3), 0.1, 0.1)) for wall in plan.walls)
    wall = Plan(4.0, 3.0, 2.5).walls[0]
    wall.holes += [(0.5, 1.5, 0.0, 2.0), (2.0, 3.0, 1.0, 2.0), (1.2, 1.4, 2.1, 2.3)]
    pieces = wall.pieces(2.5)
    assert sum((b - a) * (d - c) for a, b, c, d in pieces) == pytest.approx(4 * 2.5 - 2 - 1 - 0.04)
    for one, two in itertools.combinations(pieces, 2):
        assert one[1] <= two[0] or two[1] <= one[0] or one[3] <= two[2] or two[3] <= one[2]


def test_depth_maps_are_those_of_the_slow_form(rng: np.random.Generator) -> None:
    shape = Shape().box((1.5, 0.1, 0.6), (1.0, 1.1, 0.9), GRAY).ellipsoid((-2, 1, 1), (0.4, 0.5, 0.6), GRAY)
    patches, eye = shape.patches(), np.array([0.0, 0.1, 1.5])
    depth = map_of(patches, eye, 16)
    expected = slow.depth_map(patches.kind, patches.frame, patches.extra, eye, 16)
    assert 70 < np.isfinite(depth).sum() < 200
    assert (np.isfinite(depth) != np.isfinite(expected)).sum() <= 12  # at outlines
    both = np.isfinite(depth) & np.isfinite(expected)
    # The slow form takes the nearest of many places in a pixel, the depth map one of a few.
    difference = depth[both] - expected[both]
    assert difference.min() > -0.02
    assert np.median(difference) < 0.03
    assert np.quantile(difference, 0.95) < 0.1
    arguments = (eye + rng.normal(size=(200, 3)), eye, depth, 16)
    np.testing.assert_array_equal(nearest_depth(*arguments), slow.nearest_depth(*arguments))


def test_solid_boxes_and_flat_things_hide_points(rng: np.random.Generator) -> None:
    room = Room("office", Plan(5.0, 4.0, 2.6), rng)
    room.build_shell()
    room.add(Shape().box((2.5, 2.0, 0.3), (1.0, 1.0, 0.6), GRAY).patches(), "clutter", "box")
    eyes, blocking = np.array([[1.0, 1.0, 1.5]]), occluders(room.surfaces(), walls=False)
    at = np.array([[2.5, 2, 0], [2.2, 1.8, 0], [3.2, 2.5, 0], [0.5, 3, 0], [4.5, 0.5, 0], [2.5, 2, 0.6]])
    up = np.tile([0.0, 0.0, 1.0], (len(at), 1))
    seen = visibility(at, up, np.zeros(len(at), bool), eyes, blocking)[0] > 0
    assert seen.tolist() == [False, False, False, True, True, True]
    assert not visibility(at, -up, np.zeros(len(at), bool), eyes, blocking)[0].any()
    assert (visibility(at, -up, np.ones(len(at), bool), eyes, blocking)[0] > 0).tolist() == seen.tolist()
    room = Room("office", Plan(4.0, 4.0, 2.6), rng)
    paper = Shape().box((0, 0, 0.005), (0.3, 0.2, 0.01), GRAY).patches()
    owner = room.put(Item(paper, (0.3, 0.2, 0.01), "clutter", "paper", thin=True), 2.0, 2.0, 0.5, 0.7)
    at = np.array([[2.0, 2.0, 0.7], [2.1, 2.05, 0.7], [2.3, 2.0, 0.7], [2.0, 2.0, 0.5]])
    surfaces = room.surfaces()
    assert hidden(surfaces, at, np.full(4, owner + 1)).tolist() == [True, True, False, False]
    assert not hidden(surfaces, at, np.full(4, owner)).any()
    xyz, owners = rng.normal([2, 2, 0.7], 0.1, (100, 3)), rng.integers(1, 3, 100)
    boxes = surfaces.hidden_center, surfaces.hidden_axes, surfaces.hidden_owner
    np.testing.assert_array_equal(hidden(surfaces, xyz, owners), slow.inside_foreign_box(xyz, owners, *boxes))


def test_s3dis_files_are_read_back(rooms: list[Scene], tmp_path: Path) -> None:
    room = rooms[0]
    refuses("must be named", write_s3dis, room.with_(name="kitchen"), tmp_path)
    refuses("must have rgb", write_s3dis, room.with_(rgb=None), tmp_path)
    refuses("every point", write_s3dis, room.with_(instance=room.instance - 1), tmp_path)
    assert not list(tmp_path.iterdir())
    folder = write_s3dis(room, tmp_path)
    assert folder == tmp_path / "Area_1" / "office_1"
    found = s3dis.read_room(folder)
    assert (found.scene.name, found.notes) == (room.name, [])
    ids, first = np.unique(room.instance, return_index=True)
    names = [S3DIS.names[label] for label in room.semantic[first]]
    in_order = [k for _, k in sorted(zip(names, ids))]  # the order of the files
    rows = np.concatenate([np.flatnonzero(room.instance == k) for k in in_order])
    assert np.abs(found.scene.xyz - room.xyz[rows]).max() < 5.1e-4
    numbers = np.repeat(ids, np.bincount(room.instance)[in_order])
    holds(found.scene, instance=numbers, rgb=room.rgb[rows], semantic=room.semantic[rows])
    parts = [path.read_text() for path in (folder / "Annotations").glob("*.txt")]
    assert sorted("".join(parts).splitlines()) == sorted((folder / "office_1.txt").read_text().splitlines())
    assert not list(tmp_path.rglob("*.tmp"))
    refuses("exists already", write_s3dis, room, tmp_path)


def test_meshes_are_consistent_and_read_back(tmp_path: Path) -> None:
    scene, categories = make_mesh_room(0, 0, num_points=20_000)
    np.testing.assert_array_equal(np.unique(scene.faces), np.arange(len(scene)))
    of_faces = np.stack([scene.instance, scene.semantic])[:, scene.faces]
    assert (of_faces == of_faces[..., :1]).all()
    assert np.array_equal(np.unique(scene.instance), np.arange(1, len(categories) + 1))
    assert np.array_equal(np.unique(scene.superpoint), np.arange(scene.num_superpoints))
    assert len(np.unique(np.stack([scene.superpoint, scene.instance]), axis=1).T) == scene.num_superpoints
    corners = scene.xyz[scene.faces]
    assert np.quantile(np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2), 0.99) < 0.2, "edges are short"
    for label, category in zip(scene.semantic[np.unique(scene.instance, return_index=True)[1]], categories):
        nyu40 = CATEGORIES[category].nyu40id
        assert label == (SCANNET20.ids.index(nyu40) if nyu40 in SCANNET20.ids else -1)
    alignment = np.array([[0.6, -0.8, 0, 1.5], [0.8, 0.6, 0, -2.0], [0, 0, 1, 0.25], [0, 0, 0, 1]])
    folder = write_scannet(scene, tmp_path, categories, alignment=alignment)
    assert folder == tmp_path / "scans" / "scene0000_00"
    write_scannet_lists(tmp_path, 1)
    found = scannet.read_room(folder, label_table=tmp_path / SCANNET_LABEL_TABLE)
    assert (found.scene.name, found.notes) == (scene.name, [])
    assert np.abs(found.scene.xyz - scene.xyz).max() < 1e-5
    holds(found.scene, **{key: getattr(scene, key) for key in ("rgb", "faces", "semantic", "instance", "superpoint")})
    text = (folder / "scene0000_00.txt").read_text()
    assert np.allclose(np.array(text.split("axisAlignment = ")[1].split()[:16], float).reshape(4, 4), alignment)
    groups = json.loads((folder / "scene0000_00.aggregation.json").read_text())["segGroups"]
    assert [group["label"] for group in groups] == categories


def _files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("layout", ["s3dis", "scannet"])
def test_rooms_do_not_depend_on_their_number_or_on_workers(layout: str, tmp_path: Path) -> None:
    options = {"format": layout, "seed": 5, "num_points": 3000}
    workers = 2 if layout == "s3dis" else 1
    assert len(set(write_rooms(tmp_path / "a", num_rooms=2, num_workers=workers, **options))) == 2
    list(write_rooms(tmp_path / "b", num_rooms=1, **options))
    one = _files(tmp_path / "b")
    words = ("--format", layout, "--rooms", 2, "--seed", 5, "--points", 3000, "--workers", 1)
    assert "2/2" in passes("synth", tmp_path / "b", *words)[1]
    two = _files(tmp_path / "b")
    assert two == _files(tmp_path / "a")
    assert all(two[path] == content for path, content in one.items() if "splits" not in path)


def test_foreign_folders_are_left_alone(tmp_path: Path) -> None:
    options = {"format": "s3dis", "num_rooms": 1, "num_points": 1000}
    list(write_rooms(tmp_path / "a", seed=0, **options))
    before = _files(tmp_path / "a")
    refuses("holds rooms made with", list, write_rooms(tmp_path / "a", seed=1, **options))
    assert _files(tmp_path / "a") == before
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "mine.txt").write_text("x")
    refuses("not empty", list, write_rooms(tmp_path / "b", seed=0, **options))
    refuses("is a file", list, write_rooms(tmp_path / "b" / "mine.txt", seed=0, **options))


@pytest.mark.parametrize("option", ["rooms 0", "points 10", "seed -4", "workers 0", "format kitti", "sensor rgbd"])
def test_bad_arguments_write_nothing(option: str, tmp_path: Path) -> None:
    assert option.split()[0] in refused("synth", tmp_path / "raw", "--format", "s3dis", *f"--{option}".split())
    assert not (tmp_path / "raw").exists()
