import json
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest

from pcseg.classes import class_set
from pcseg.structures import Scene
from pcseg.synthetic.homes.assets import LIST, fetch_assets, load_models
from pcseg.synthetic.homes.catalog import read_catalogs
from pcseg.synthetic.homes.dataset import SENSORS, _as_shared, make_home, write_homes
from pcseg.synthetic.homes.furnish import PROGRAMS, SEQUENCE, furnish_home
from pcseg.synthetic.homes.kitchen import add_counter_row
from pcseg.synthetic.homes.models import class_of, kind_table
from pcseg.synthetic.homes.openings import add_openings
from pcseg.synthetic.homes.procedural import add_procedural
from pcseg.synthetic.homes.room import Room
from pcseg.synthetic.homes.sensors import join_things
from pcseg.synthetic.homes.surfaces import Surfaces
from pcseg.synthetic.homes.workplaces import add_desk_run
from tests.conftest import holds, refuses

pytest.importorskip("open3d", reason="no open3d: pip install 'pcseg[viz]'")
INDOOR = class_set("indoor")
VERTICES = ("0 0 0", "200 0 0", "200 100 0", "0 100 0", "0 0 80", "200 0 80")
OBJ = "mtllib part.mtl\n" + "".join(f"v {vertex}\n" for vertex in VERTICES)
OBJ += "usemtl wood\nf 1 2 3 4\nf 1 2 6 5\nf 4 3 6 5\nusemtl pane\nf 1 4 5\n"
MTL = "newmtl wood\nKd 0.5 0.25 0.1\nnewmtl pane\nKd 0.8 0.9 1.0\nd 0.2\n"
KEYS = ("id", "name", "category", "width", "depth", "height", "model", "creator")
ROWS = (
    ("Test#square", "Square table", "Living room", 120, 60, 75, "/parts/part.obj", "Somebody"),
    ("Test#truck", "Truck", "Vehicles", 500, 200, 300, "/parts/part.obj", "Somebody"),
)
CATALOG = "".join(f"{key}#{i}={value}\n" for i, row in enumerate(ROWS, 1) for key, value in zip(KEYS, row))


@pytest.fixture(scope="module")
def bathrooms() -> dict[str, Scene]:
    """The same small bathroom by every sensor."""
    return {sensor: make_home(0, SEQUENCE.index("bathroom"), sensor=sensor) for sensor in SENSORS}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A Debian package with a catalog of two models, one of them furniture."""
    folder = tmp_path / "package/usr/share/sweethome3d/furniture"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "Tiny.sh3f", "w") as file:
        file.writestr("PluginFurnitureCatalog.properties", CATALOG)
        file.writestr("parts/part.obj", OBJ)
        file.writestr("parts/part.mtl", MTL)
    control = tmp_path / "package/DEBIAN/control"
    control.parent.mkdir()
    control.write_text("Package: tiny\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b.c>\nDescription: tiny\n")
    path = tmp_path / "tiny_1_all.deb"
    subprocess.run(["dpkg-deb", "-b", str(tmp_path / "package"), str(path)], check=True, capture_output=True)
    return path


@pytest.mark.parametrize("sensor", SENSORS)
def test_scans_are_labeled_rooms_and_made_the_same_again(bathrooms: dict[str, Scene], sensor: str) -> None:
    scene = bathrooms[sensor]
    assert 10_000 < len(scene) < 1_500_000
    assert (scene.faces is not None) == (sensor == "rgbd")
    names = {INDOOR.names[label] for label in np.unique(scene.semantic[scene.semantic >= 0])}
    assert {"wall", "floor", "toilet"} <= names
    assert all(len(np.unique(scene.semantic[scene.instance == k])) == 1 for k in np.unique(scene.instance) if k > 0)
    extent = np.ptp(scene.xyz, axis=0)
    assert 1.0 < extent.min() <= extent.max() < 6.0
    assert 5 < np.percentile(scene.rgb.mean(axis=1), 50) < 250
    again = make_home(0, SEQUENCE.index("bathroom"), sensor=sensor)
    holds(again, **{key: getattr(scene, key) for key in ("xyz", "rgb", "semantic", "instance", "faces")})


def test_only_tripods_see_the_ceiling_and_some_scans_lack_color_or_faces(bathrooms: dict[str, Scene]) -> None:
    ceiling = INDOOR.index("ceiling")
    share = {sensor: float((scene.semantic == ceiling).mean()) for sensor, scene in bathrooms.items()}
    assert min(share["tripod"], share["panorama"]) > max(0.03, share["rgbd"])
    scans = [_as_shared(bathrooms["rgbd"], np.random.default_rng(seed)) for seed in range(40)]
    assert {(scan.rgb is None, scan.faces is None) for scan in scans} == {(a, b) for a in (0, 1) for b in (0, 1)}
    assert all(len(scan) < len(bathrooms["rgbd"]) for scan in scans if scan.faces is None)


@pytest.mark.parametrize("index", range(len(SEQUENCE)))
def test_every_kind_of_room_is_furnished(index: int) -> None:
    surfaces, rooms, kind = furnish_home(add_procedural({}, np.random.default_rng(0), 1), 3, index)
    assert kind == SEQUENCE[index]
    assert set(surfaces.labels) <= set(INDOOR.names)
    assert sum(label not in INDOOR.stuff for label in surfaces.labels) >= 3
    for triangles, _, material, instance in surfaces.parts:
        assert np.isfinite(triangles).all()
        assert 0 <= material.min() <= material.max() < len(surfaces.materials)
        assert 1 <= instance <= len(surfaces.labels)
    assert all(room.kind in PROGRAMS for room in rooms)


def room_of(kind: str, seed: int) -> Room:
    """An empty room, with procedural furniture at hand."""
    rng = np.random.default_rng(seed)
    return Room(Surfaces(rng), add_procedural({}, rng, 1), kind, (0.0, 0.0), 5.0, 5.0)


def corners(surfaces: Surfaces, label: str) -> np.ndarray:
    """Corners of all triangles of a class (n, 3)."""
    found = [part[0].reshape(-1, 3) for part in surfaces.parts if surfaces.labels[part[3] - 1] == label]
    return np.concatenate(found) if found else np.zeros((0, 3))


def test_walls_have_no_surface_where_windows_and_doors_are() -> None:
    depths = []
    for seed in range(8):
        room = room_of("office", seed)
        add_openings(room, 2, 3)
        assert any(wall.holes for wall in room.walls)
        for wall in room.walls:
            parts = [*wall.solid_parts(room.height), *wall.holes]
            area = sum((right - left) * (top - bottom) for left, right, bottom, top in parts)
            assert area == pytest.approx(wall.length * room.height)
        # Frames, panes and leaves are at most a hole's depth behind the wall.
        glass = np.concatenate([corners(room.surfaces, "window"), corners(room.surfaces, "door")])[:, :2]
        depths.append(np.maximum(-glass, glass - (room.width, room.depth)).max())
    assert 0.1 < max(depths) < room.recess + 0.1


def test_sinks_are_below_the_worktop_and_desks_stand_along_walls() -> None:
    num_sinks = num_desks = 0
    for seed in range(12):
        room = room_of("kitchen", seed)
        add_counter_row(room, room.walls[0])
        sink, counter = corners(room.surfaces, "sink"), corners(room.surfaces, "counter")
        if len(sink):
            num_sinks += 1
            assert sink[:, 2].min() < counter[:, 2].min() - 0.05
            inside = (counter[:, :2] > sink[:, :2].min(0) + 0.08) & (counter[:, :2] < sink[:, :2].max(0) - 0.08)
            assert not inside.all(axis=1).any()
        room = room_of("office", seed)
        add_desk_run(room)
        desk = corners(room.surfaces, "desk")
        if len(desk):
            num_desks += 1
            assert 0.65 < desk[:, 2].max() < 0.8
            assert desk[:, :2].min() > -0.01
            assert (desk[:, :2].max(0) < (room.width + 0.01, room.depth + 0.01)).all()
    assert num_sinks > 3
    assert num_desks > 6


def test_a_laser_scan_has_the_things_on_one_desk_as_one_object() -> None:
    places = {
        "television": [(0.0, 0.0, 0.75), (0.5, 0.2, 1.1)],
        "plant": [(0.9, 0.0, 0.75), (1.1, 0.2, 1.0)],  # 40 cm from the monitor
        "bag": [(0.5, 0.0, 0.0), (0.7, 0.2, 0.4)],  # below both
        "box": [(1.0, 0.0, 0.0), (1.2, 0.2, 0.4)],  # 30 cm from the bag
        "lamp": [(1.7, 0.0, 0.75), (1.9, 0.2, 1.2)],  # 60 cm from the plant
        "picture": [(1.3, 0.0, 0.9), (1.32, 0.2, 1.2)],
        "desk": [(0.0, 0.0, 0.7), (1.9, 0.6, 0.75)],
    }
    labels = np.array([-1, *(INDOOR.names.index(name) for name in places)])
    instance, labels = join_things(np.concatenate(list(places.values())), np.repeat(np.arange(1, 8), 2), labels)
    np.testing.assert_array_equal(instance, np.repeat([1, 1, 3, 4, 5, 6, 7], 2))
    expected = ["other object", "other object", "bag", "box", "lamp", "picture", "desk"]
    assert [INDOOR.names[k] for k in labels[instance[::2]]] == expected


def test_assets_from_a_package_and_what_is_refused(package: Path, tmp_path: Path) -> None:
    assert fetch_assets(tmp_path / "assets", [package], any_version=True, note=lambda text: None) == {"table": 1}
    (table,) = load_models(tmp_path / "assets")["table"]
    assert table.name == "Tiny_square"
    np.testing.assert_allclose(table.size, [1.2, 0.6, 0.75])
    xyz = table.triangles.reshape(-1, 3)
    np.testing.assert_allclose([xyz.min(axis=0), xyz.max(axis=0)], [[-0.6, -0.3, 0.0], [0.6, 0.3, 0.75]], atol=1e-6)
    assert 0 < table.glass.sum() < len(table.glass)
    assert "Square table (Somebody)" in (tmp_path / "assets/ATTRIBUTION.md").read_text()
    refuses("no furniture models", load_models, tmp_path)
    absent, broken = tmp_path / "absent.deb", tmp_path / "broken.deb"
    broken.write_bytes(package.read_bytes()[:100])
    wrong = (package, False, "SHA-256"), (absent, False, "no such file"), (broken, True, "damaged")
    for path, any_version, message in wrong:
        refuses(message, fetch_assets, tmp_path / "assets", [path], any_version=any_version, note=lambda text: None)
    fetch_assets(tmp_path / "assets", [package], any_version=True, note=lambda text: None)
    next((tmp_path / "assets/models").glob("*.npz")).unlink()
    refuses("Tiny_square is missing", load_models, tmp_path / "assets")


def test_every_model_and_every_row_of_a_catalog_has_a_class(tmp_path: Path) -> None:
    library = tmp_path / "Tiny"
    library.mkdir()
    (library / "PluginFurnitureCatalog.properties").write_text(CATALOG)
    table, truck = read_catalogs(tmp_path)
    assert (table.id, table.kind, table.size) == ("square", "table", (1.2, 0.6, 0.75))
    assert truck.kind is None
    kinds = {kind for kind, _ in kind_table().rules if kind} | {"small", "floor"}
    assert {class_of(kind) for kind in kinds} <= set(INDOOR.names)


def test_scans_are_written_once_and_never_mixed(tmp_path: Path) -> None:
    options = {"num_homes": 1, "seed": 0, "sensor": "tripod"}
    (name,) = write_homes(tmp_path / "homes", **options)
    path = tmp_path / f"homes/{name}.npz"
    written = path.stat().st_mtime_ns
    assert list(write_homes(tmp_path / "homes", **options)) == [name]
    assert path.stat().st_mtime_ns == written
    with np.load(path) as file:
        assert {"xyz", "rgb", "semantic", "instance"} == set(file.files)
    refuses("made with", list, write_homes(tmp_path / "homes", num_homes=1, seed=1, sensor="tripod"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / LIST).write_text(json.dumps({"models": {"gone": "chair"}}))
    refuses("gone is missing", list, write_homes(tmp_path / "others", num_homes=1, seed=0, assets=tmp_path / "empty"))
