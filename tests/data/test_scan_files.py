"""Scans of every format, with and without color, whole and damaged."""

import struct
from pathlib import Path

import numpy as np
import pytest
from plyfile import PlyData, PlyElement

from pcseg.data.scan_checks import check_spacing, scan_warnings
from pcseg.data.scan_fields import keep_points
from pcseg.data.scan_files import read_scan
from pcseg.data.store import Source, write_room
from pcseg.kernels.lzf import unpack_lzf
from pcseg.structures import Scene
from tests.conftest import holds, refuses
from tests.data.test_scan_frame import box, read_and_said
from tests.reference import lzf as slow

XYZ = np.array([[0.5, 1.25, -2.0], [3.0, 4.5, 5.0], [6.0, -7.5, 8.0], [0.0, 0.0, 1.0]])
RGB = np.array([[255, 0, 10], [1, 2, 3], [0, 0, 0], [128, 200, 7]], np.uint8)
COLORS, LABELS = {"rgb": RGB[:2]}, {"semantic": [-1, 3], "instance": [0, 1]}
FRACTIONS = np.linspace(0, 1, 300).reshape(100, 3)
IDS = (np.arange(40_000) // 1000).astype(np.int32)


def write_ply(path: Path, form: str = "<", real: str = "f4", color: str = "u1") -> None:
    """Four points and two faces in ASCII or in a byte order."""
    normal, rgb = np.tile([0, 0, 2], (4, 1)), RGB / (255 if color.startswith("f") else 1)
    columns = dict(zip(("x", "y", "z", "nx", "ny", "nz"), np.hstack([XYZ, normal]).T.astype(real)))
    columns |= dict(zip(("red", "green", "blue"), rgb.T.astype(color)))
    columns |= {"semantic": np.int32([1, 1, -1, 2]), "instance": np.int32([1, 1, 0, 2])}
    vertex = np.rec.fromarrays(columns.values(), names=list(columns))
    face = np.empty(2, [("vertex_indices", "i4", (3,))])
    face["vertex_indices"] = [[0, 1, 2], [1, 2, 3]]
    elements = [PlyElement.describe(vertex, "vertex"), PlyElement.describe(face, "face")]
    PlyData(elements, text=form == "ascii", byte_order="=" if form == "ascii" else form).write(str(path))


def pack_lzf(data: bytes) -> bytes:
    """LZF that only ever copies literals, and runs of one byte where they are long."""
    out, at = bytearray(), 0
    while at < len(data):
        run = 1
        while at + run < len(data) and data[at + run] == data[at] and run < 265:
            run += 1
        long = run >= 12
        # A literal; if the run is long, a copy of the rest from one byte back.
        out += bytes([0, data[at]]) + bytes([0xE0, run - 1 - 9, 0] if long else [])
        at += run if long else 1
    return bytes(out)


def pcd_header(data: str, fields: str, size: str, kind: str, num_points: int = 4) -> bytes:
    count = " ".join("1" for _ in fields.split())
    columns = f"FIELDS {fields}\nSIZE {size}\nTYPE {kind}\nCOUNT {count}\n"
    place = f"WIDTH {num_points}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {num_points}\n"
    return f"# .PCD v0.7\nVERSION 0.7\n{columns}{place}DATA {data}\n".encode()


def write_pcd(path: Path, data: str, columns: dict[str, np.ndarray]) -> None:
    sizes, kinds = zip(*((str(column.itemsize), column.dtype.kind.upper()) for column in columns.values()))
    rows, unpacked = np.rec.fromarrays(columns.values()), b"".join(column.tobytes() for column in columns.values())
    if data == "ascii":
        body = "\n".join(" ".join(map(str, row)) for row in rows.tolist()).encode()
    elif data == "binary":
        body = rows.tobytes()
    else:
        body = struct.pack("<II", len(pack_lzf(unpacked)), len(unpacked)) + pack_lzf(unpacked)
    path.write_bytes(pcd_header(data, " ".join(columns), " ".join(sizes), " ".join(kinds), len(rows)) + body)


@pytest.mark.parametrize("form", ["ascii", "<", ">"])
@pytest.mark.parametrize(("real", "color"), [("f4", "u1"), ("f8", "f4"), ("f4", "i4"), ("f8", "f8")])
def test_ply(tmp_path: Path, form: str, real: str, color: str) -> None:
    write_ply(tmp_path / "room.ply", form, real, color)
    scene = read_scan(tmp_path / "room.ply")
    assert scene.name == "room"
    holds(scene, xyz=XYZ.astype(np.float32), rgb=RGB, normal=[[0, 0, 1]] * 4, semantic=[1, 1, -1, 2])
    holds(scene, instance=[1, 1, 0, 2], faces=[[0, 1, 2], [1, 2, 3]])
    assert all(array.dtype.isnative for array in (scene.xyz, scene.rgb, scene.semantic, scene.faces))


def test_ply_polygons_and_labels_by_benchmark_id(tmp_path: Path) -> None:
    path = tmp_path / "a.ply"
    faces = "element face 2\nproperty list uchar int vertex_index\nend_header\n"
    rows = "0 0 0 1\n1 0 0 39\n1 1 0 0\n0 1 0 13\n4 0 1 2 3\n3 0 2 1\n"
    path.write_text(PLY.format(4) + "property ushort label\n" + faces + rows)
    holds(read_scan(path), faces=[[0, 1, 2], [0, 2, 3], [0, 2, 1]], rgb=None, semantic=None)
    np.testing.assert_array_equal(read_scan(path, label_ids="scannet20").semantic, [0, 19, -1, -1])


@pytest.mark.parametrize("data", ["ascii", "binary", "binary_compressed"])
@pytest.mark.parametrize("kind", ["F", "U", None])
def test_pcd(tmp_path: Path, data: str, kind: str | None) -> None:
    columns = {**dict(zip("xyz", XYZ.T.astype("<f4"))), "instance": np.array([0, 1, 1, 300], "<u2")}
    if kind:
        packed = RGB.astype("<u4") @ np.array([65536, 256, 1], "<u4")
        columns["rgb"] = packed.view("<f4") if kind == "F" else packed
    write_pcd(tmp_path / "a.pcd", data, columns)
    scene = read_scan(tmp_path / "a.pcd")
    holds(scene, xyz=XYZ.astype(np.float32), instance=[0, 1, 1, 300], rgb=RGB if kind else None)


def test_lzf_round_trip_and_damage(rng: np.random.Generator) -> None:
    data = rng.integers(0, 3, 300).astype(np.uint8).tobytes() + b"\7" * 700 + b"abcabcabcabc"
    packed, out = np.frombuffer(pack_lzf(data), np.uint8), np.empty(len(data), np.uint8)
    assert unpack_lzf(packed, out) == len(data)
    assert out.tobytes() == slow.unpack_lzf(packed.tobytes()) == data
    # "abc", then nine bytes from three bytes back: the copy overlaps what it writes.
    assert unpack_lzf(np.frombuffer(b"\x02abc" + bytes([0xE0, 0, 2]), np.uint8), out) == 12
    assert out[:12].tobytes() == b"abcabcabcabc"
    assert unpack_lzf(packed[:-1], out) == unpack_lzf(packed, out[:-1]) == -1
    assert unpack_lzf(np.frombuffer(b"\x20\x05", np.uint8), out) == -1


def test_npz_npy_and_named_columns(tmp_path: Path) -> None:
    labels = {"semantic_nyu40": [1, 0, 40, 39], "instance": [0, 0, 1, -1], "superpoint": [7, 7, 9, 2]}
    for key in ("rgb", "color", "colors"):
        np.savez(tmp_path / "a.npz", xyz=XYZ, **{key: RGB}, **labels, extra=np.array(["a"]))
        scene = read_scan(str(tmp_path / "a.npz"), first_instance=0)
        holds(scene, rgb=RGB, semantic=[0, -1, -1, 19], instance=[1, 1, 2, 0], superpoint=[1, 1, 2, 0])
    refuses("first_instance", read_scan, tmp_path / "a.npz")
    refuses("an array of uint8 has colors", read_scan, RGB)
    refuses(r"expected Scene\(name, xyz, \.\.\.\), got ndarray as name", Scene, XYZ, "a")
    for ids in (np.array([0, 2**31 - 1, 7, 7]), np.uint32([0, 0xFFFF0000, 0xFF00FF00, 0xFF00FF00])):
        np.savez(tmp_path / "a.npz", xyz=XYZ, instance=ids)
        holds(read_scan(tmp_path / "a.npz"), instance=[0, 2, 1, 1])
    np.save(tmp_path / "a.npy", XYZ)
    assert read_scan(tmp_path / "a.npy").rgb is None
    np.save(tmp_path / "a.npy", np.hstack([XYZ, RGB]))
    np.testing.assert_array_equal(read_scan(tmp_path / "a.npy").rgb, RGB)
    (tmp_path / "a.txt").write_text("0 0 -2 1 2 3 4 5\n0 0 0 4 5 6 7 8\n")
    scene = read_scan(tmp_path / "a.txt", columns="nx,ny,nz,x,y,z,other,semantic")
    holds(scene, xyz=[[1, 2, 3], [4, 5, 6]], normal=[[0, 0, -1], [0, 0, 0]], semantic=[5, 8], rgb=None)
    (tmp_path / "a.txt").write_text("Pos_X,Pos_Y,Pos_Z,Class\n1,2,3,5\n4,5,6,8\n")
    holds(read_scan(tmp_path / "a.txt", columns="x y z semantic"), xyz=[[1, 2, 3], [4, 5, 6]], semantic=[5, 8])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_text(tmp_path: Path, encoding: str) -> None:
    for name, content, fields in (
        ("a.txt", "2\n0.5 1.25 -2\n3 4.5 5\n", {}),
        ("a.asc", "0.5 1.25 -2\n3 4.5 5\n", {}),
        ("a.txt", "0.5 1.25 -2\r3 4.5 5\r", {}),
        ("a.txt", "0.5 1.25 -2\r\n3 4.5 5\r\n", {}),
        ("a.csv", "x,y,z\n0.5,1.25,-2\n3,4.5,5\n", {}),
        ("a.csv", "x,y,z,\n0.5,1.25,-2,\n3,4.5,5,\n", {}),
        ("a.csv", '"X";"Y";"Z"\n"0.5";"1.25";"-2"\n"3";"4.5";"5"\n', {}),
        ("a.txt", "0.5 1.25 -2 255 0 10\n3 4.5 5e0 1 2 3\n", COLORS),
        ("a.xyz", "# a comment\n0.5\t1.25 -2 255 0 10\n// another\n3 4.5 5 1 2 3", COLORS),
        ("a.txt", "0.5 1.25 -2 1.0 0 0.0392157\n3 4.5 5 0.00392157 0.00784314 0.0117647\n", COLORS),
        ("a.txt", "0.5 1.25 -2 255 0 10 8\n3 4.5 5 1 2 3 -1\n", {**COLORS, "semantic": [8, -1]}),
        ("a.pts", "2\n0.5 1.25 -2 -1043 255 0 10\n3 4.5 5 900 1 2 3\n", COLORS),
        ("a.pts", "0.5 1.25 -2 -1043 255 0 10\r\n3 4.5 5 900 1 2 3\r\n", COLORS),
        ("a.csv", "x,y,z,red,green,blue\n0.5,1.25,-2,255,0,10\n3,4.5,5,1,2,3\n", COLORS),
        ("a.csv", "Red;Green;Blue;Time;X;Y;Z\n255;0;10;7;0.5;1.25;-2\n1;2;3;8;3;4.5;5\n", COLORS),
        ("a.csv", "0.5,1.25,-2,255,0,10\n3,4.5,5,1,2,3\n", COLORS),
        ("a.txt", "//X Y Z R G B\n0.5 1.25 -2 255 0 10\n3 4.5 5 1 2 3\n", COLORS),
        ("a.asc", "//X Y Z scalar_Semantic scalar_Instance\n0.5 1.25 -2 nan nan\n3 4.5 5 3 1\n", LABELS),
        ("a.asc", "//X Y Z Rf Gf Bf\n0.5 1.25 -2 1 0 0.04\n3 4.5 5 0.004 0.008 0.012\n", COLORS),
    ):
        (tmp_path / name).write_bytes(content.encode(encoding))
        scene, said = read_and_said(tmp_path / name)
        expected = {"xyz": XYZ[:2].astype(np.float32), "rgb": None, "semantic": None, "instance": None}
        holds(scene, **{**expected, **fields})
        assert ("1 of 2 points have no semantic (nan)" in said) == ("nan" in content)


PLY = "ply\nformat ascii 1.0\nelement vertex {}\nproperty float x\nproperty float y\nproperty float z\n"
FACE = "element face 1\nproperty list uchar int vertex_indices\nend_header\n"
SHORT_PLY = PLY.format(2).replace("ascii", "binary_little_endian") + "end_header\n" + "\0" * 20
XYZ_PCD = ("x y z", "4 4 4", "F F F")
COMPRESSED = pcd_header("binary_compressed", *XYZ_PCD)
BAD_FILES = [
    *((f"a.{suffix}", "", "the file is empty") for suffix in ("ply", "txt")),
    ("a.ply", "no", "not a PLY file"),
    ("a.ply", "ply\nformat ascii 1.0\nend_header\n", "it has no vertices, only a header"),
    ("a.ply", "ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nend_header\n1\n", "columns x y z, found x"),
    ("a.ply", "ply\nformat ascii 1.0\n" + FACE + "3 0 0 1\n", "it has no vertices, only face"),
    ("a.ply", SHORT_PLY, "damaged"),
    ("a.ply", PLY.format(1) + FACE + "0 0 0\n3 0 0 1\n", "faces name points 0..1, there are 1"),
    ("a.ply", PLY.format(0) + "end_header\n", "no points"),
    ("a.pcd", "nothing\n", "no line DATA"),
    ("a.pcd", "FIELDS x y z\nDATA ascii\n", "no line SIZE"),
    ("a.pcd", pcd_header("ascii", "x y", "4 4", "F F") + b"1 2\n" * 4, "expected columns x y z, found x y"),
    ("a.pcd", pcd_header("ascii", *XYZ_PCD) + b"1 2 3\n" * 3, "expected 4 points, found 3"),
    ("a.pcd", pcd_header("ascii", *XYZ_PCD) + b"1 2 3\n" * 3 + b"1 2\n", r"a\.pcd:15: expected 3 numbers"),
    ("a.pcd", pcd_header("binary", *XYZ_PCD) + b"\0" * 47, "expected 48 bytes of points, found 47"),
    ("a.pcd", pcd_header("binary", "x y z", "4 4 3", "F F F"), "damaged header"),
    ("a.pcd", pcd_header("zip", *XYZ_PCD), "expected DATA ascii"),
    ("a.pcd", COMPRESSED + struct.pack("<II", 9, 48) + b"\0", "cut short"),
    ("a.pcd", COMPRESSED + struct.pack("<II", 2, 48) + b"\x20\x05", "compressed points are damaged"),
    ("a.npz", b"PK\x03\x04 broken", "damaged"),
    ("a.npz", {"points": XYZ}, "expected an array xyz, found points"),
    ("a.npz", {"xyz": XYZ[:, :2]}, r"expected xyz as numbers \(P, 3\)"),
    ("a.npz", {"xyz": XYZ, "semantic": [1, 2]}, "semantic has 2 rows, xyz has 4"),
    ("a.npz", {"xyz": XYZ, "semantic": [0.5, 1, 2, 3]}, "expected whole numbers in semantic"),
    ("a.npz", {"xyz": XYZ, "faces": [[0, 1, np.nan]]}, "expected whole numbers in faces"),
    ("a.npz", {"xyz": XYZ, "instance": [2**60, 1, 2, 3]}, "expected instance within 54 bits"),
    ("a.npz", {"xyz": XYZ, "semantic": [2**31, 1, 2, 3]}, "expected semantic within 32 bits"),
    ("a.npz", {"xyz": XYZ, "rgb": RGB - 300.0}, "not clearly"),
    ("a.npy", np.hstack([XYZ, RGB, RGB]), "not clearly x y z r g b nx ny nz or x y z nx ny nz r g b"),
    ("a.npy", np.array([None]), "not an .npy file"),
    ("a.txt", "# only a comment\n", "no points"),
    ("a.txt", "1 2 3\n1 2\n", r"a\.txt:2: expected 3 numbers, found '1 2'"),
    ("a.txt", "hello\n", r"a\.txt:1: expected numbers or names of columns"),
    ("a.txt", "1 2 3 4\n", "found 4; name them, for example columns='x y z intensity'"),
    ("a.txt", f"{'1 ' * 10}\n", "found 10; name them, for example columns='x y z r g b semantic instance _ _'"),
    ("a.txt", "1 2 3 -0.5 0 1\n", "not clearly x y z nx ny nz or x y z r g b; name them"),
    ("a.txt", "1 2 3 87 10 20 30\n1 2 4 12 10 20 30\n", "not clearly x y z r g b semantic or x y z intensity r g b;"),
    ("a.txt", "".join(f"1 2 3 {i} 9 9 {i}\n" for i in range(256)), "clearly x y z intensity r g b or x y z r g b int"),
    ("a.txt", "# x y z of the points\n1 2 3 0.5\n", "found 4; name them"),
    ("a.npz", {"xyz": XYZ, "rgb": RGB / 100.0}, "not clearly 0..1"),
    ("a.txt", "//x y z r g b\n" + "1 2 3 0.1 0.2 0.5\n" * 99 + "1 2 3 0 0 7\n", "colors from 0 to 7 are not clearly"),
    *(("a.txt", f"{word}\n1 2 3\n", r"a\.txt:2: expected 1 numbers, found '1 2 3'") for word in ("inf", "nan")),
    ("a.pts", "3\n1 2 3\n", "counts 3 points, found 1"),
    ("a.csv", "x,y,z,red,green,bleu\n1,2,3,4,5,6\n", "of the columns red green blue, one is missing"),
    ("a.csv", "x,y,w\n1,2,3\n", r"a\.csv:1: .* names of columns, found 'x,y,w'; name them, for .* columns='x y z'$"),
    ("a.csv", "x,y,3\n1,2,3\n", r"a\.csv:1: .* names of columns, found 'x,y,3'$"),
    ("a.csv", "x,y,z\n1,2,3,4\n", "expected names of its 4 columns, found x y z"),
    *(("a.csv", f"1,5{c}2,5{c}3,5\n", r"a\.csv:1: its numbers have a decimal comma") for c in ";\t"),
    ("a.abc", "v 0 0 0", r"unknown extension '\.abc'; expected one of \.ply \.pcd \.npz"),
]


@pytest.mark.parametrize(("name", "content", "message"), BAD_FILES)
def test_bad_files(tmp_path: Path, name: str, content: str | bytes | dict | np.ndarray, message: str) -> None:
    if isinstance(content, dict):
        np.savez(tmp_path / name, **content)
    elif isinstance(content, np.ndarray):
        np.save(tmp_path / name, content)
    else:
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    refuses(message, read_scan, tmp_path / name)
    if name == "a.npz":
        refuses("columns name those of text files", read_scan, tmp_path / name, columns="x y z")


@pytest.mark.parametrize("name", ["a.las", "a.laz"])
def test_las(tmp_path: Path, name: str) -> None:
    laspy = pytest.importorskip("laspy")
    pytest.importorskip("lazrs")
    path = tmp_path / name
    path.write_bytes(b"not a las file")
    refuses("not a LAS file", read_scan, path)
    las = laspy.create(point_format=3, file_version="1.2")
    las.header.scales, las.header.offsets = [0.001] * 3, [0, 0, 0]
    las.x, las.y, las.z = XYZ.T
    las.red, las.green, las.blue = RGB.astype(np.uint16).T * 257
    for name in ("scalar_instance", "Semantic"):  # in any case, as CloudCompare names them too
        las.add_extra_dim(laspy.ExtraBytesParams(name, np.int32))
    las.scalar_instance, las.Semantic = np.arange(len(XYZ)) % 2, 5 + np.arange(len(XYZ)) % 2
    las.write(path)
    scene = read_scan(path)
    np.testing.assert_allclose(scene.xyz, XYZ, atol=1e-3)
    holds(scene, rgb=RGB, instance=np.arange(len(XYZ)) % 2, semantic=5 + np.arange(len(XYZ)) % 2)


def test_the_range_of_colors_comes_from_all_values(tmp_path: Path) -> None:
    for colors, options, expected, said in (
        (FRACTIONS, {}, 127.5, "taken as 0..1"),
        (np.append(FRACTIONS, [[1.0000001, 0.5, -1e-9]], axis=0), {}, 127.5, "2 of 303 values are clipped"),
        (np.append(FRACTIONS, [[3.0, 0.5, 0.5]], axis=0), {"color_range": 1}, 127.5, "1 of 303 values are clipped"),
        (FRACTIONS * 255, {}, 127.5, "taken as 0..255"),
        (np.rint(FRACTIONS * 255), {}, 127.5, ""),
        (np.rint(FRACTIONS * 65535), {}, 127.5, "taken as 0..65535"),
        ((FRACTIONS * 65535).astype(np.uint16), {"color_range": 65535}, 127.5, ""),
        (np.rint(FRACTIONS * 1023), {"color_range": 65535}, 1.5, ""),
    ):
        xyz = np.zeros((len(colors), 3))
        np.savez(tmp_path / "a.npz", xyz=xyz, rgb=colors)
        np.savetxt(tmp_path / "a.txt", np.hstack([xyz, colors]), fmt="%.9g", header="x y z r g b")
        for name in ("a.npz", "a.txt"):
            scene, notes = read_and_said(tmp_path / name, **options)
            assert abs(scene.rgb.mean() - expected) < 0.7
            assert said in notes if said else notes == ""


def test_columns_without_names(tmp_path: Path) -> None:
    for rows, names in (
        ("1 2 3 0 0.6 -0.8\n1 2 4 0 0 1\n", "x y z nx ny nz"),
        ("1 2 3 10 20 30\n1 2 4 0 0 1\n", "x y z r g b"),
        ("1 2 3 10 20 30 255\n1 2 4 10 20 30 255\n", "x y z r g b alpha"),
        ("1 2 3 -7.5 10 20 30\n1 2 4 12 10 20 30\n", "x y z intensity r g b"),
        ("".join(f"1 2 3 {i} {i} {i} {i // 99}\n" for i in range(200)), "x y z r g b semantic"),
        ("".join(f"1 2 3 99.5 9 9 {i % 256}\n" for i in range(300)), "x y z intensity r g b"),
        ("1 2 3 90 99 80 0.25\n1 2 4 9 30 20 0.5\n", "x y z r g b intensity"),
        ("".join(f"1 2 3 90 99 80 {99 * i}\n" for i in range(300)), "x y z r g b intensity"),
        ("1 2 3 10 20 30 0 -1 0\n1 2 4 0 0 1 0 0 1\n", "x y z r g b nx ny nz"),
    ):
        (tmp_path / "a.txt").write_text(rows)
        (tmp_path / "b.csv").write_text(names + "\n" + rows)
        (scene, said), named = read_and_said(tmp_path / "a.txt"), read_scan(tmp_path / "b.csv")
        assert f"taken as {names}:" in said
        holds(scene, rgb=named.rgb, normal=named.normal, semantic=named.semantic)


@pytest.mark.parametrize(("kind", "value"), [("F", "4.2108e+06"), ("I", "-8355616"), ("U", "4286611680")])
def test_pcd_text_colors_follow_their_type(tmp_path: Path, kind: str, value: str) -> None:
    header = pcd_header("ascii", "x y z rgb", "4 4 4 4", f"F F F {kind}", 1)
    (tmp_path / "a.pcd").write_bytes(header + f"0 0 0 {value}\n".encode())
    assert read_scan(tmp_path / "a.pcd").rgb.tolist() == [[128, 128, 224]]


def test_an_object_is_a_pair_of_class_and_id(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", xyz=np.zeros((6, 3)), semantic=[8, 8, 7, 7, 1, -1], instance=[1, 2, 1, 2, 0, 1])
    scene, said = read_and_said(tmp_path / "a.npz")
    assert scene.instance.tolist() == [2, 4, 1, 3, 0, 0]
    assert "the 2 ids are split into 4 objects" in said
    np.savez(tmp_path / "a.npz", xyz=np.zeros((3, 3)), semantic=[8, -1, -1], instance=[1, 2, 3])
    assert "2 of its 3 instance ids have no point with a class" in read_and_said(tmp_path / "a.npz")[1]
    ids = [1, 39001, 0xFF8000, 0xFF8000, 0, 7]
    np.savez(tmp_path / "a.npz", xyz=np.zeros((6, 3)), semantic=[8, 8, 7, 7, 1, -1], instance=ids)
    assert read_scan(tmp_path / "a.npz").instance.tolist() == ids


def test_nan_is_refused_or_dropped(tmp_path: Path) -> None:
    xyz = XYZ.copy()
    xyz[1, 2], xyz[3, 0] = np.nan, np.inf
    np.savez(tmp_path / "a.npz", xyz=xyz, rgb=RGB, faces=[[0, 1, 2], [0, 2, 0]], instance=[1, 2, 3, 4])
    refuses("2 of 4 points have .* not finite.*drop_nan=True", read_scan, tmp_path / "a.npz", drop_nan=False)
    scene, said = read_and_said(tmp_path / "a.npz")
    assert "a.npz: 2 of 4 points have coordinates that are not finite and are left out" in said
    assert scene.file.labels(np.array([5, 6])).tolist() == [5, -1, 6, -1]
    holds(scene, xyz=XYZ[[0, 2]].astype(np.float32), rgb=RGB[[0, 2]], instance=[1, 3], faces=[[0, 1, 0]])
    np.savez(tmp_path / "a.npz", xyz=xyz * np.nan)
    refuses("none of its 4 points", read_scan, tmp_path / "a.npz", drop_nan=True)


def test_scale_up_and_origin(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, xyz=[[1000.0, 2000.0, 3000.0]], normal=[[0.0, 1.0, 0.0]])
    np.testing.assert_allclose(read_scan(path, scale=0.001).xyz, [[1, 2, 3]])
    scene = read_scan(path, scale=0.001, up="y")
    np.testing.assert_allclose(scene.xyz, [[1, -3, 2]])
    np.testing.assert_allclose(scene.normal, [[0, 0, 1]])
    np.testing.assert_allclose(read_scan(path, scale=0.001, up="x").xyz, [[2, 3, 1]])
    np.testing.assert_allclose(read_scan(path, scale=0.001, origin=(1, 1, 1)).xyz, [[0, 1, 2]])
    np.savez(path, xyz=np.array([[500000.125, 5400000.25, 0.5]]))
    refuses(r"too far from 0.*origin=\(500000, 5400000, 0\)", read_scan, path)
    np.testing.assert_array_equal(read_scan(path, origin=(500000, 5400000, 0)).xyz, [[0.125, 0.25, 0.5]])
    for options in ({"scale": 0}, {"scale": np.nan}, {"up": "w"}, {"origin": (1, 2)}, {"first_instance": 2}):
        refuses("expected", read_scan, path, **options)


def test_missing_file_capital_extension_and_processed_room(tmp_path: Path, rng: np.random.Generator) -> None:
    refuses("no such file", read_scan, tmp_path / "a.ply")
    write_ply(tmp_path / "B.PLY")
    assert len(read_scan(tmp_path / "B.PLY")) == 4
    room = Scene("scene0707_00", rng.uniform(0, 3, (50, 3)).astype(np.float32), superpoint=np.zeros(50, np.int32))
    holds(read_scan(write_room(tmp_path, room, "s3dis", Source("", ""))), name=room.name, xyz=room.xyz)
    refuses(r"no manifest\.json in it", read_scan, tmp_path)


def test_warnings() -> None:
    for change, expected in (
        ({}, ""),
        ({"xyz": lambda xyz: xyz[:0], "rgb": lambda xyz: None}, "It has no points."),
        ({"xyz": lambda xyz: xyz[:1], "rgb": lambda xyz: None}, "It has only 1 point: expect no objects."),
        ({"xyz": lambda xyz: xyz * 1000}, "scale=0.001"),
        ({"xyz": lambda xyz: xyz / 1000}, "a room is larger"),
        ({"xyz": lambda xyz: np.append(xyz[1:], np.float32([[90, 9, 9]]), axis=0)}, "A few points make it 90"),
        ({"xyz": lambda xyz: np.ascontiguousarray(xyz[:, [0, 2, 1]])}, "up='y'"),
        ({"xyz": lambda xyz: np.ascontiguousarray(xyz[:, [2, 0, 1]])}, "up='x'"),
        ({"xyz": lambda xyz: xyz + 20000}, "origin=("),
        ({"rgb": lambda xyz: np.full(xyz.shape, 7, np.uint8)}, "one color, (7, 7, 7)"),
        ({"faces": lambda xyz: np.arange(3000, dtype=np.int32).reshape(-1, 3)}, "its points only their corners"),
        ({"faces": lambda xyz: np.zeros((0, 3), np.int32)}, ""),
        ({"semantic": lambda xyz: IDS, "instance": lambda xyz: IDS}, "first_instance=0"),
        ({"semantic": lambda xyz: IDS, "instance": lambda xyz: IDS + 1}, ""),
    ):
        rng = np.random.default_rng(0)
        xyz = box(rng, (6, 5, 2.5), has_ceiling=True).astype(np.float32)
        scene = Scene("room", xyz, rng.integers(0, 256, xyz.shape).astype(np.uint8))
        found = "\n".join(scan_warnings(scene.with_(**{key: make(xyz) for key, make in change.items()})))
        assert (expected in found) if expected else found == ""


def test_real_scans(real: Path) -> None:
    scene = read_scan(real / "room_scan1.pcd", drop_nan=True)
    assert len(scene) == 112586
    assert np.ptp(scene.xyz, axis=0).max() < 30
    mesh = read_scan(real / "scene0470_00_vh_clean_2.ply")
    assert (len(mesh), len(mesh.faces), scan_warnings(mesh)) == (67465, 127003, [])
    labels = read_scan(real / "scene0470_00_vh_clean_2.labels.ply", label_ids="scannet20")
    assert set(np.unique(labels.semantic)) <= set(range(-1, 20))
    assert read_scan(real / "s3dis" / "room_7.npz", first_instance=0).instance.min() == 1
    assert "first_instance=0" in "\n".join(scan_warnings(read_scan(real / "s3dis" / "room_7.npz")))
    nyu = read_scan(real / "scannet_scene0000_01.npz")
    assert (nyu.instance.max(), scan_warnings(nyu)) == (72, [])


def test_the_options_that_warnings_name_remove_them(tmp_path: Path, rng: np.random.Generator) -> None:
    xyz = rng.uniform(0, 3, (300, 3)).astype(np.float32)
    xyz[200:] = xyz[:100]
    instance = np.arange(300, dtype=np.int32) % 5
    path = tmp_path / "a.npz"
    np.savez(path, xyz=xyz, instance=instance, superpoint=instance)
    advice = "\n".join(scan_warnings(read_scan(path)))
    assert "100 of 300 points are duplicates of another one; drop_duplicates=True removes them" in advice
    assert "gray=True" in advice
    repaired = read_scan(path, drop_duplicates=True, gray=True)
    holds(repaired, xyz=xyz[:200], instance=instance[:200])
    assert (repaired.rgb == 127).all()
    assert not any("duplicates" in advice or "It has no color" in advice for advice in scan_warnings(repaired))
    np.savez(path, xyz=xyz, faces=np.array([[0, 1, 2]]))
    refuses("is a mesh; its vertices stay", read_scan, path, drop_duplicates=True)


@pytest.mark.parametrize(("step", "spacing"), [(1, 0.016), (20, 0.07)])
def test_scans_sparser_than_voxels_are_warned_of(example: Scene, step: int, spacing: float) -> None:
    scene = keep_points(example, np.arange(0, len(example), step))
    assert scene.spacing == pytest.approx(spacing, rel=0.1)
    found = ["apart, the model's voxels 0.05 m: expect floors and walls" in text for text in scan_warnings(scene, 0.05)]
    assert found == [True] * (step > 1), "a thinned scan gets a warning, the whole one none"
    check_spacing(scene, 0.05)
    large = scene.with_(xyz=1000 * scene.xyz)
    assert large.spacing == pytest.approx(1000 * scene.spacing, rel=0.1)
    refuses(r"measures 5\d\d\d x 4\d\d\d x 2\d\d\d m, and its points are about", check_spacing, large, 0.05)
