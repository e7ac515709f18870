"""Meshes and laser scans that the libraries of these formats write, and headers that other programs write."""

import json
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pcseg.data.mesh_files import MESH_SUFFIXES
from pcseg.data.scan_files import find_scans, read_scan
from tests.conftest import holds, refuses
from tests.data.test_scan_frame import read_and_said

SIZE = np.array([1.6, 2.0, 2.5])
REMEDIES = {"KHR_draco_mesh_compression": "run: pip install DracoPy, or export", "EXT_meshopt_compression": "export"}
LIBRARIES = {"a.e57": "pye57", "a.las": r"'laspy\[lazrs\]'", **{f"a{suffix}": "trimesh" for suffix in MESH_SUFFIXES}}
OBJ_POINTS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [5, 5, 5], [1, 1, 1], [0, 0, 0]]) / 100
OBJ_FACES = "usemtl a\nf 5/1 2/2 3/1\nusemtl b\nf 6/1 3/2 2/2\n"
RED, BLUE, GREEN = [255, 0, 0], [0, 0, 255], [0, 255, 0]
ZEROS = struct.pack("<3f", 0, 0, 0)


@pytest.fixture
def trimesh() -> Any:
    return pytest.importorskip("trimesh")


# trimesh leaves closing the files that it writes to Python.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("suffix", "unit"), [*((suffix, 1.0) for suffix in MESH_SUFFIXES), (".stl", 1000.0)])
def test_a_mesh_of_large_triangles_is_sampled(trimesh: Any, tmp_path: Path, suffix: str, unit: float) -> None:
    y_up, path = suffix in (".glb", ".gltf"), tmp_path / f"a{suffix}"
    mesh = trimesh.creation.box(SIZE[[0, 2, 1]] * unit if y_up else SIZE * unit)
    mesh.visual.vertex_colors = np.tile([200, 10, 20, 255], (8, 1))
    mesh.export(path)
    scene, said = read_and_said(path)
    assert "(12 triangles, surface" in said
    assert f"61,000 points are sampled, about {0.02 * unit:.3g} apart" in said
    np.testing.assert_allclose(np.ptp(scene.xyz, axis=0), SIZE, rtol=1e-4)
    assert np.isclose(np.abs(scene.xyz) / SIZE, 0.5, atol=1e-5).any(axis=1).all()
    expected = None if suffix in (".stl", ".off") else [[200, 10, 20]] * len(scene)  # trimesh writes no colors to these
    holds(scene, rgb=expected, faces=None)
    if y_up or unit > 1:
        assert (np.ptp(scene.file.xyz(scene.xyz), axis=0).argmax() == 1) == y_up
    np.testing.assert_array_equal(read_scan(path).xyz, scene.xyz)


@pytest.mark.parametrize("suffix", [".obj", ".glb"])
def test_textures_become_colors(trimesh: Any, tmp_path: Path, suffix: str) -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, :32], image[:, 32:] = (250, 0, 0), (0, 0, 250)
    mesh = trimesh.creation.box(SIZE)
    uv = mesh.vertices[:, :2] / SIZE[:2] + 0.5
    mesh.visual = trimesh.visual.TextureVisuals(uv * 0.98 + 0.01, image=Image.fromarray(image))
    mesh.export(tmp_path / f"a{suffix}")
    scene = read_scan(tmp_path / f"a{suffix}", up="z")
    clear = np.abs(scene.xyz[:, 0]) > 0.1
    np.testing.assert_array_equal(scene.rgb[clear, 0] == 250, scene.xyz[clear, 0] < 0)
    np.testing.assert_array_equal(scene.rgb[clear, 2] == 250, scene.xyz[clear, 0] > 0)


def test_a_fine_mesh_keeps_its_faces_and_parts_are_joined(trimesh: Any, tmp_path: Path) -> None:
    ball = trimesh.creation.icosphere(5, 0.5)
    ball.export(tmp_path / "a.stl")
    trimesh.Scene([ball, ball.copy().apply_translation([3, 0, 0])]).export(tmp_path / "b.glb")
    one, two = read_scan(tmp_path / "a.stl"), read_scan(tmp_path / "b.glb")
    assert (len(one), len(one.faces)) == (len(ball.vertices), len(ball.faces))
    assert (len(two), len(two.faces)) == (2 * len(ball.vertices), 2 * len(ball.faces))
    centers = np.where(two.xyz[:, :1] > 1.5, [3, 0, 0], 0)
    np.testing.assert_allclose(np.linalg.norm(two.xyz - centers, axis=1), 0.5, rtol=1e-5)
    assert np.ptp(two.xyz[two.faces], axis=1).max() < 0.05


@pytest.mark.parametrize(
    ("materials", "more", "first", "last", "said"),
    [
        ("newmtl a\nKd 1 0 0\nnewmtl b\nKd 0 0 1\n", "", RED, BLUE, ""),
        ("newmtl a\nKd 1 0 0\nnewmtl b\nKd 0 0 1\n", " 0 1 0", GREEN, GREEN, ""),
        ("newmtl a\nmap_Kd -s 1 1 1 sub\\a b.png\nnewmtl b\n", " 0 255 0", BLUE, GREEN, ""),
        ("newmtl a\nmap_Kd -clamp on c.png\nnewmtl b\n", " 0 1 0", GREEN, GREEN, "textures c.png are missing"),
        ("newmtl a\nnewmtl b\n", "", None, None, ""),
        (None, "", None, None, "a.mtl are missing"),
        (None, " 0 1 0", GREEN, GREEN, "a.mtl are missing"),
    ],
)
def test_points_of_obj_files_are_their_vertices(trimesh, tmp_path, materials, more: str, first, last, said) -> None:
    (tmp_path / "sub").mkdir()
    Image.new("RGB", (4, 4), tuple(BLUE)).save(tmp_path / "sub/a b.png")
    if materials is not None:
        (tmp_path / "a.mtl").write_text(materials)
    points = "".join(f"v {x} {y} {z}{more}\n" for x, y, z in OBJ_POINTS)
    (tmp_path / "a.obj").write_text(f"mtllib a.mtl\n{points}vt 0 0\nvt 1 1\n{OBJ_FACES}")
    scene, notes = read_and_said(tmp_path / "a.obj", color_range=1)
    np.testing.assert_allclose(scene.xyz, OBJ_POINTS, atol=1e-7)
    assert sorted(scene.faces.tolist()) == [[4, 1, 2], [5, 2, 1]]
    assert said in notes
    assert bool(said) == bool(notes)
    assert (first, last) == (None, None) if scene.rgb is None else scene.rgb[[4, 5]].tolist() == [first, last]


def test_obj_numbers_that_count_back_and_colors_of_some_points(trimesh: Any, tmp_path: Path) -> None:
    block = "v {0}.01 0 0\nv {0} 0 0 1 0 0\nv {0} .01 0\nvn 0 0 1\nf -3//-1 -2//-1 -1//-1\n"
    (tmp_path / "a.obj").write_text(block.format(0) + block.format(7))
    scene, said = read_and_said(tmp_path / "a.obj")
    assert scene.faces.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert "2 of its 6 points have colors, which are not used" in said
    assert scene.rgb is None


@pytest.mark.parametrize(
    ("text", "rgb"),
    [
        ("OFF\n3 0 0\n0 0 0\n1 0 0\n0 1 0 # a point\n", None),
        ("COFF 3 1 0\n0 0 0 255 0 0 255\n.01 0 0 0 255 0 255\n0 .01 0 0 0 255 255\n3 0 1 2\n", [RED, GREEN, BLUE]),
        ("CNOFF\n3 0 0\n0 0 0 0 0 1 1 0 0\n1 0 0 0 0 1 0 1 0\n0 1 0 0 0 1 0 0 1\n", [RED, GREEN, BLUE]),
        ("OFF\n3 1 0\n0 0 0\n.01 0 0\n0 .01 0\n3 0 1 2 0 0 1\n", [BLUE] * 3),
        ("OFF\n3 1 0\n0 0 0\n.01 0 0\n0 .01 0\n", "cut short"),
        ("OFF\n3 1 0\n0 0 0\n.01 0 0\n0 .01\n3 0 1 2\n", "inhomogeneous"),
        ("OFF\n3 1 0\n0 0 0\n.01 0 0\n0 .01 0\n3 0 1 3\n", "faces name points 0..3"),
        ("4OFF\n3 0 0\n", "expected OFF, COFF"),
        ("OFF\n0 0 0\n", "no points in it"),
    ],
)
def test_off(trimesh: Any, tmp_path: Path, text: str, rgb: list | str | None) -> None:
    (tmp_path / "a.off").write_text(text)
    if isinstance(rgb, str):
        refuses(rf"a\.off: .*{rgb}", read_scan, tmp_path / "a.off")
    else:
        scene = read_scan(tmp_path / "a.off", as_is=True)
        assert (scene.rgb if rgb is None else scene.rgb[:3].tolist()) == rgb


@pytest.mark.parametrize("extension", REMEDIES)
@pytest.mark.parametrize("suffix", [".glb", ".gltf"])
def test_compressed_gltf(trimesh: Any, tmp_path: Path, suffix: str, extension: str, monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    content = json.dumps({"asset": {"version": "2.0"}, "extensionsRequired": [extension]}).encode()
    head = struct.pack("<4sIIII", b"glTF", 2, 20 + len(content), len(content), 0x4E4F534A)
    (tmp_path / f"a{suffix}").write_bytes(head * (suffix == ".glb") + content)
    message = rf"its points are compressed \({extension}\); {REMEDIES[extension]} it without"
    refuses(message, read_scan, tmp_path / f"a{suffix}")


def test_a_damaged_stl_file_prints_no_traceback(trimesh: Any, tmp_path: Path, caplog) -> None:
    corners = "outer loop\nvertex 0 0 0\nvertex .01 0 0\nvertex 0 .01 0\nendloop\nendfacet\n"
    (tmp_path / "a.stl").write_text(f"solid a\nfacet normal 0 0\n{corners}endsolid a\n")
    assert len(read_scan(tmp_path / "a.stl")) == 3
    assert not caplog.records


def write_e57(path: Path) -> None:
    """Two scans of 300 points, one with color, the other with a pose."""
    scan = {f"cartesian{axis}": column for axis, column in zip("XYZ", np.random.default_rng(0).random((300, 3)).T)}
    colors = {f"color{name}": np.full(300, 40, np.uint8) for name in ("Red", "Green", "Blue")}
    file = pytest.importorskip("pye57").E57(str(path), mode="w")
    file.write_scan_raw({**scan, **colors})
    file.write_scan_raw(scan, rotation=np.array([0.5**0.5, 0, 0, 0.5**0.5]), translation=np.array([10.0, 0, 0]))
    file.close()


def write_ptx(path: Path) -> None:
    """The same in text, with one more point of each scan that the scanner did not see."""
    points = np.random.default_rng(0).random((300, 3))
    turns = ([[1, 0, 0], [0, 1, 0], [0, 0, 1]], [[0, 1, 0], [-1, 0, 0], [0, 0, 1]])
    with path.open("w") as file:
        for turn, shift, rest in zip(turns, ([0, 0, 0], [10, 0, 0]), (" 0.5 40 40 40", " 0.5")):
            file.write("7\n43\n" + "0 0 0\n1 0 0\n0 1 0\n0 0 1\n")
            np.savetxt(file, np.block([[np.array(turn), np.zeros((3, 1))], [np.array([*shift, 1])]]))
            file.writelines(" ".join(f"{x:.9g}" for x in p) + rest + "\n\n" for p in [*points, np.zeros(3)])


@pytest.mark.parametrize(("name", "write", "num_missing"), [("a.e57", write_e57, 0), ("a.ptx", write_ptx, 2)])
def test_scans_with_poses(tmp_path: Path, name: str, write: object, num_missing: int) -> None:
    write(tmp_path / name)
    scene, said = read_and_said(tmp_path / name)
    points = np.random.default_rng(0).random((300, 3)).astype(np.float32)
    np.testing.assert_allclose(scene.xyz[:300], points, atol=1e-6)
    np.testing.assert_allclose(scene.xyz[300:], points[:, [1, 0, 2]] * [-1, 1, 1] + [10, 0, 0], atol=1e-5)
    assert scene.rgb[[0, 299, 300]].tolist() == [[40] * 3, [40] * 3, [127] * 3]
    assert (f"{num_missing} of 602 points" in said) == bool(num_missing)


@pytest.mark.parametrize("limited", [True, False])
@pytest.mark.parametrize("largest", [1.0, 255, 65535])
def test_e57_colors_of_any_range(tmp_path: Path, largest: float, limited: bool) -> None:
    pye57 = pytest.importorskip("pye57")
    lib, file = pye57.libe57, pye57.E57(str(tmp_path / "a.e57"), mode="w")
    scan, limits, fields = (lib.StructureNode(file.image_file) for _ in range(3))
    number = lib.FloatNode if largest == 1 else lib.IntegerNode
    kind = (lib.E57_DOUBLE, 0.0, 1.0) if largest == 1 else (0, largest)
    columns, buffers = np.array([[0, 1, 1], [0, 0, 1], [0, 0, 0]], float), lib.VectorSourceDestBuffer()
    for axis, color in zip("XYZ", ("Red", "Green", "Blue")):
        fields.set(f"cartesian{axis}", lib.FloatNode(file.image_file, 0.0, lib.E57_DOUBLE, 0.0, 1.0))
        fields.set(f"color{color}", number(file.image_file, 0, *kind))
        limits.set(f"color{color}Maximum", number(file.image_file, largest))
    values = [column for axis in columns for column in (axis, axis * largest)]
    for index, column in enumerate(values):
        buffers.append(lib.SourceDestBuffer(file.image_file, fields.get(index).elementName(), column, 3, True, True))
    scan.set("guid", lib.StringNode(file.image_file, "{a}"))
    if limited:
        scan.set("colorLimits", limits)
    points = lib.CompressedVectorNode(file.image_file, fields, lib.VectorNode(file.image_file, True))
    scan.set("points", points)
    file.data3d.append(scan)
    writer = points.writer(buffers)
    writer.write(3)
    writer.close()
    file.close()
    assert read_scan(tmp_path / "a.e57").rgb.tolist() == [[0, 0, 0], [255, 0, 0], [255, 255, 0]]


@pytest.mark.parametrize(("name", "library"), LIBRARIES.items())
def test_a_missing_library_is_named(tmp_path: Path, name: str, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / name).write_bytes(b"a")
    monkeypatch.setitem(sys.modules, library.strip("'").split("\\")[0], None)
    refuses(rf"{name}: reading it needs .*, run: pip install {library}$", read_scan, tmp_path / name)


HEADER, ROWS = "ply\nformat ascii 1.0\n", "0 0 0\n1 0 0\n0 1 2\n"
VERTEX = "element vertex 3\nproperty float x\nproperty float y\nproperty float z\n"
PLY_HEADERS = {
    "blank after ply": "ply \nformat ascii 1.0\n" + VERTEX + "end_header\n" + ROWS,
    "blank at the end": HEADER + VERTEX + "end_header \n" + ROWS,
    "empty line": HEADER + "\n" + VERTEX + "end_header\n" + ROWS,
    "umlaut": HEADER + "comment Büro 3, Übersicht\n" + VERTEX + "end_header\n" + ROWS,
    "byte order mark": "\ufeff" + HEADER + VERTEX + "end_header\n" + ROWS,
    "property twice": HEADER + VERTEX + 2 * "property float q\n" + "end_header\n" + ROWS.replace("\n", " 1 1\n"),
    "vertices": HEADER + VERTEX + "element face 1\nproperty list uchar int vertices\nend_header\n" + ROWS + "3 0 1 2\n",
}
LABELED = VERTEX.replace("float x", "float X") + "property int scalar_Instance\nend_header\n"
PLY_HEADERS["capitals"] = HEADER + LABELED + ROWS.replace("\n", " 7\n")


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
@pytest.mark.parametrize("kind", PLY_HEADERS)
def test_ply_headers(tmp_path: Path, kind: str, encoding: str) -> None:
    (tmp_path / "a.ply").write_bytes(PLY_HEADERS[kind].encode(encoding if kind == "umlaut" else "utf-8"))
    scene = read_scan(tmp_path / "a.ply")
    assert scene.xyz.tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 2]]
    assert (scene.faces is not None) == (kind == "vertices")
    assert kind != "capitals" or scene.instance.tolist() == [7] * 3


@pytest.mark.parametrize(
    ("fields", "size", "kind", "count", "record"),
    [
        ("x y z _ i", "4 4 4 1 4", "F F F U F", "1 1 1 0 1", ZEROS + bytes(4)),
        ("X Y Z", "4 4 4", "F F F", "1 1 1", ZEROS),
        ("x y z red green blue", "4 4 4 1 1 1", "F F F U U U", "1 1 1 1 1 1", ZEROS + bytes([16, 32, 48])),
        ("x y z rgb", "4 4 4 1", "F F F U", "1 1 1 3", ZEROS + bytes([16, 32, 48])),
        ("x y z rgba", "4 4 4 1", "F F F U", "1 1 1 4", ZEROS + bytes([48, 32, 16, 255])),
        ("x y z rgb", "4 4 4 8", "F F F U", "1 1 1 1", ZEROS + struct.pack("<Q", 0x102030)),
        ("x y z", "4 4 4", "F F F", "2 1 1", ZEROS + bytes(4)),
        ("x y z instance", "4 4 4 4", "F F F U", "1 1 1 2", ZEROS + bytes(8)),
        ("x y z rgb", "4 4 4 4", "F F F U", "1 1 1 2", ZEROS + bytes(8)),
    ],
)
@pytest.mark.parametrize("word", ["FIELDS", "COLUMNS"])
def test_pcd_headers(tmp_path: Path, word: str, fields: str, size: str, kind: str, count: str, record: bytes) -> None:
    header = f"VERSION .7\n{word} {fields}\nSIZE {size}\nTYPE {kind}\nCOUNT {count}\nWIDTH 2\nHEIGHT 1\nPOINTS 2\n"
    (tmp_path / "a.pcd").write_bytes((header + "DATA binary\n").encode() + 2 * record)
    if "2" in count:
        refuses(r"a\.pcd: expected (one number of (x|instance)|rgb as one number)", read_scan, tmp_path / "a.pcd")
    else:
        scene = read_scan(tmp_path / "a.pcd")
        assert len(scene) == 2
        assert scene.rgb is None or scene.rgb.tolist() == [[16, 32, 48]] * 2


def test_folders_with_what_is_no_scan(tmp_path: Path) -> None:
    notes: list[str] = []
    folder = tmp_path / "scans"
    (folder / "sub").mkdir(parents=True)
    for name in ("b.ply", "a.xyz", "._a.xyz", "notes.md", "b.mtl", ".hidden"):
        (folder / name).write_text("1 2 3\n")
    (folder / "c.ply").symlink_to(folder / "gone.ply")
    assert [path.name for path in find_scans(folder, notes.append)] == ["a.xyz", "b.ply"]
    skipped = "._a.xyz (hidden), c.ply (a link to a missing file), notes.md (not a scan), sub (a folder)"
    assert notes == [f"{folder}: skipped {skipped}."]
    refuses("no scan in it; expected files", find_scans, folder / "sub")
    refuses("no such folder", find_scans, folder / "absent", error=FileNotFoundError)
    refuses("no scan in it, but in its folders scans; expected files", find_scans, tmp_path)
