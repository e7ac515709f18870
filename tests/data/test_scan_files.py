"""Scans of every format, with and without color, whole and damaged."""

import struct
from pathlib import Path

import numpy as np
import pytest
from plyfile import PlyData, PlyElement

from pcseg.data.pcd import unpack_rgb
from pcseg.data.scan_checks import scan_warnings
from pcseg.data.scan_files import read_scan
from pcseg.data.store import Source, write_room
from pcseg.kernels.lzf import unpack_lzf
from pcseg.structures import Scene

XYZ = np.array([[0.5, 1.25, -2.0], [3.0, 4.5, 5.0], [6.0, -7.5, 8.0], [0.0, 0.0, 1.0]])
RGB = np.array([[255, 0, 10], [1, 2, 3], [0, 0, 0], [128, 200, 7]], np.uint8)


def write_ply(path: Path, *, text: bool = False, byte_order: str = "<", real: str = "f4", color: str = "u1") -> None:
    dtype = [(name, real) for name in ("x", "y", "z", "nx", "ny", "nz")]
    dtype += [(name, color) for name in ("red", "green", "blue")] + [("semantic", "i4"), ("instance", "i4")]
    vertex = np.zeros(4, dtype)
    for axis, name in enumerate("xyz"):
        vertex[name] = XYZ[:, axis]
    vertex["nz"] = 2
    for channel, name in enumerate(("red", "green", "blue")):
        vertex[name] = RGB[:, channel] / (255 if color.startswith("f") else 1)
    vertex["semantic"] = [0, 1, -1, 2]
    vertex["instance"] = [1, 1, 0, 2]
    face = np.empty(2, [("vertex_indices", "i4", (3,))])
    face["vertex_indices"] = [[0, 1, 2], [1, 2, 3]]
    elements = [PlyElement.describe(vertex, "vertex"), PlyElement.describe(face, "face")]
    PlyData(elements, text=text, byte_order="=" if text else byte_order).write(str(path))


def pack_lzf(data: bytes) -> bytes:
    """LZF that only ever copies literals, and runs of one byte where they are long."""
    out, at = bytearray(), 0
    while at < len(data):
        run = 1
        while at + run < len(data) and data[at + run] == data[at] and run < 265:
            run += 1
        if run >= 12:
            # A literal, and a copy from one byte back.
            out += bytes([0, data[at], 0xE0, run - 1 - 9, 0])
            at += run
        else:
            out += bytes([0, data[at]])
            at += 1
    return bytes(out)


def pcd_header(data: str, fields: str, size: str, kind: str, num_points: int = 4) -> bytes:
    count = " ".join("1" for _ in fields.split())
    return (
        f"# .PCD v0.7\nVERSION 0.7\nFIELDS {fields}\nSIZE {size}\nTYPE {kind}\nCOUNT {count}\nWIDTH {num_points}\n"
        f"HEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {num_points}\nDATA {data}\n"
    ).encode()


@pytest.mark.parametrize(
    "options",
    [
        {"text": True},
        {},
        {"byte_order": ">"},
        {"real": "f8"},
        {"real": "f8", "byte_order": ">", "color": "f4"},
        {"color": "f4"},
        {"color": "i4"},
        {"text": True, "color": "f8"},
    ],
)
def test_ply(tmp_path: Path, options: dict) -> None:
    write_ply(tmp_path / "room.ply", **options)
    scene = read_scan(tmp_path / "room.ply")
    assert scene.name == "room"
    np.testing.assert_array_equal(scene.xyz, XYZ.astype(np.float32))
    np.testing.assert_array_equal(scene.rgb, RGB)
    np.testing.assert_array_equal(scene.normal, [[0, 0, 1]] * 4)
    np.testing.assert_array_equal(scene.semantic, [0, 1, -1, 2])
    np.testing.assert_array_equal(scene.instance, [1, 1, 0, 2])
    np.testing.assert_array_equal(scene.faces, [[0, 1, 2], [1, 2, 3]])
    for array in (scene.xyz, scene.rgb, scene.semantic, scene.faces):
        assert array is not None
        assert array.dtype.isnative


def test_ply_polygons_and_labels_by_benchmark_id(tmp_path: Path) -> None:
    path = tmp_path / "a.ply"
    path.write_text(
        "ply\nformat ascii 1.0\nelement vertex 4\nproperty float x\nproperty float y\nproperty float z\n"
        "property ushort label\nelement face 2\nproperty list uchar int vertex_index\nend_header\n"
        "0 0 0 1\n1 0 0 39\n1 1 0 0\n0 1 0 13\n4 0 1 2 3\n3 0 2 1\n"
    )
    scene = read_scan(path)
    np.testing.assert_array_equal(scene.faces, [[0, 1, 2], [0, 2, 3], [0, 2, 1]])
    assert scene.rgb is None
    assert scene.semantic is None
    np.testing.assert_array_equal(read_scan(path, label_ids="scannet20").semantic, [0, 19, -1, -1])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a PLY file"),
        (b"ply\nformat ascii 1.0\nend_header\n", "expected an element vertex"),
        (b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nend_header\n1\n", "properties x, y, z"),
        (b"ply\nformat binary_little_endian 1.0\nelement vertex 2\nproperty float x\nproperty float y\n"
         b"property float z\nend_header\n" + b"\0" * 20, "damaged"),
        (b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\nproperty float z\n"
         b"element face 1\nproperty list uchar int vertex_indices\nend_header\n0 0 0\n3 0 0 1\n",
         "faces name vertices"),
        (b"ply\nformat ascii 1.0\nelement vertex 0\nproperty float x\nproperty float y\nproperty float z\n"
         b"end_header\n", "no points"),
    ],
)  # fmt: skip
def test_damaged_ply(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.ply").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_scan(tmp_path / "a.ply")


@pytest.mark.parametrize("data", ["ascii", "binary", "binary_compressed"])
@pytest.mark.parametrize("kind", ["F", "U", None])
def test_pcd(tmp_path: Path, data: str, kind: str | None) -> None:
    dtype = [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("instance", "<u2")]
    records = np.zeros(4, dtype + ([("rgb", "<u4")] if kind else []))
    for axis, name in enumerate("xyz"):
        records[name] = XYZ[:, axis]
    records["instance"] = [0, 1, 1, 300]
    names, size, types = "x y z instance", "4 4 4 2", "F F F U"
    if kind:
        records["rgb"] = RGB.astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
        names, size, types = f"{names} rgb", f"{size} 4", f"{types} {kind}"
    body = records.tobytes()
    if data == "ascii":
        rows = []
        for record in records:
            values = [repr(float(record[name])) for name in "xyz"] + [str(record["instance"])]
            if kind:
                packed = record["rgb"]
                values.append(repr(float(packed.view("<f4"))) if kind == "F" else str(packed))
            rows.append(" ".join(values))
        body = "\n".join(rows).encode()
    elif data == "binary_compressed":
        unpacked = b"".join(np.ascontiguousarray(records[name]).tobytes() for name in records.dtype.names or ())
        packed = pack_lzf(unpacked)
        body = struct.pack("<II", len(packed), len(unpacked)) + packed
    (tmp_path / "a.pcd").write_bytes(pcd_header(data, names, size, types) + body)
    scene = read_scan(tmp_path / "a.pcd")
    np.testing.assert_array_equal(scene.xyz, XYZ.astype(np.float32))
    np.testing.assert_array_equal(scene.instance, [0, 1, 1, 300])
    if kind:
        np.testing.assert_array_equal(scene.rgb, RGB)
    else:
        assert scene.rgb is None


def test_lzf_round_trip_and_damage(rng: np.random.Generator) -> None:
    data = rng.integers(0, 3, 300).astype(np.uint8).tobytes() + b"\7" * 700 + b"abcabcabcabc"
    packed = np.frombuffer(pack_lzf(data), np.uint8)
    out = np.empty(len(data), np.uint8)
    assert unpack_lzf(packed, out) == len(data)
    assert out.tobytes() == data
    # "abc", then nine bytes from three bytes back: the copy overlaps what it writes.
    overlapping = np.frombuffer(b"\x02abc" + bytes([0xE0, 0, 2]), np.uint8)
    assert unpack_lzf(overlapping, out) == 12
    assert out[:12].tobytes() == b"abcabcabcabc"
    assert unpack_lzf(packed[:-1], out) == -1
    assert unpack_lzf(packed, out[:-1]) == -1
    assert unpack_lzf(np.frombuffer(b"\x20\x05", np.uint8), out) == -1


def test_packed_colors_of_both_kinds() -> None:
    bits = np.array([0x00FF8001, 0x00000000, 0x00000001, 0x00FFFFFF], np.uint32)
    expected = [[255, 128, 1], [0, 0, 0], [0, 0, 1], [255, 255, 255]]
    assert unpack_rgb(bits).tolist() == expected
    assert unpack_rgb(bits.view(np.float32)).tolist() == expected
    assert unpack_rgb(bits.astype(np.float64)).tolist() == expected
    assert unpack_rgb(bits.view(np.float32).astype(np.float64)).tolist() == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"nothing\n", "no line DATA"),
        (b"FIELDS x y z\nDATA ascii\n", "no line SIZE"),
        (pcd_header("ascii", "x y", "4 4", "F F") + b"1 2\n" * 4, "expected FIELDS x y z"),
        (pcd_header("ascii", "x y z", "4 4 4", "F F F") + b"1 2 3\n" * 3, "expected 4 points, found 3"),
        (pcd_header("ascii", "x y z", "4 4 4", "F F F") + b"1 2 3\n" * 3 + b"1 2\n", r"a\.pcd:15: expected 3 numbers"),
        (pcd_header("binary", "x y z", "4 4 4", "F F F") + b"\0" * 47, "expected 48 bytes of points, found 47"),
        (pcd_header("binary", "x y z", "4 4 3", "F F F"), "damaged header"),
        (pcd_header("zip", "x y z", "4 4 4", "F F F"), "expected DATA ascii"),
        (pcd_header("binary_compressed", "x y z", "4 4 4", "F F F") + b"\0" * 4, "cut short"),
        (pcd_header("binary_compressed", "x y z", "4 4 4", "F F F") + struct.pack("<II", 9, 48) + b"\0", "cut short"),
        (pcd_header("binary_compressed", "x y z", "4 4 4", "F F F") + struct.pack("<II", 2, 48) + b"\x20\x05",
         "compressed points are damaged"),
    ],
)  # fmt: skip
def test_damaged_pcd(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.pcd").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_scan(tmp_path / "a.pcd")


@pytest.mark.parametrize("key", ["rgb", "color", "colors"])
def test_npz(tmp_path: Path, key: str) -> None:
    labels = {"semantic_nyu40": [1, 0, 40, 39], "instance": [3, 0, 0, 1], "superpoint": [7, 7, 9, 2]}
    np.savez(tmp_path / "a.npz", xyz=XYZ, **{key: RGB}, **labels, extra=np.array(["a"]))
    scene = read_scan(str(tmp_path / "a.npz"))
    np.testing.assert_array_equal(scene.rgb, RGB)
    np.testing.assert_array_equal(scene.semantic, [0, -1, -1, 19])
    np.testing.assert_array_equal(scene.instance, [3, 0, 0, 1])
    np.testing.assert_array_equal(scene.superpoint, [1, 1, 2, 0])


def test_instances_from_zero(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", xyz=XYZ, semantic=[2, 2, 1, 1], instance=[0, 0, 1, -1])
    scene = read_scan(tmp_path / "a.npz", first_instance=0)
    np.testing.assert_array_equal(scene.instance, [1, 1, 2, 0])
    with pytest.raises(ValueError, match="first_instance"):
        read_scan(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"points": XYZ}, "expected an array xyz, found points"),
        ({"xyz": XYZ[:, :2]}, r"expected xyz as numbers \(P, 3\)"),
        ({"xyz": XYZ, "semantic": [1, 2]}, "semantic has 2 rows, xyz has 4"),
        ({"xyz": XYZ, "semantic": [0.5, 1, 2, 3]}, "expected whole numbers in semantic"),
        ({"xyz": XYZ, "instance": [2**40, 1, 2, 3]}, "expected instance within 32 bits"),
        ({"xyz": XYZ, "rgb": RGB - 300.0}, "expected colors"),
        ({"xyz": XYZ, "faces": [[0, 1, 4]]}, "faces name points"),
        ({"xyz": XYZ[:0]}, "no points"),
    ],
)
def test_bad_npz(tmp_path: Path, arrays: dict, message: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        read_scan(tmp_path / "a.npz")


def test_npy(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", XYZ)
    assert read_scan(tmp_path / "a.npy").rgb is None
    np.save(tmp_path / "a.npy", np.hstack([XYZ, RGB]))
    np.testing.assert_array_equal(read_scan(tmp_path / "a.npy").rgb, RGB)
    np.save(tmp_path / "a.npy", np.hstack([XYZ, RGB, RGB]))
    with pytest.raises(ValueError, match=r"expected \(P, 3\) or \(P, 6\), found \(4, 9\)"):
        read_scan(tmp_path / "a.npy")
    np.save(tmp_path / "a.npy", np.array([None]), allow_pickle=True)
    with pytest.raises(ValueError, match="damaged or foreign"):
        read_scan(tmp_path / "a.npy")
    (tmp_path / "b.npz").write_bytes(b"PK\x03\x04 broken")
    with pytest.raises(ValueError, match="damaged"):
        read_scan(tmp_path / "b.npz")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", "0.5 1.25 -2 255 0 10\n3 4.5 5e0 1 2 3\n"),
        ("a.xyz", "# a comment\n0.5\t1.25 -2 255 0 10\n// another\n3 4.5 5 1 2 3"),
        ("a.txt", "0.5 1.25 -2 1.0 0 0.0392157\n3 4.5 5 0.00392157 0.00784314 0.0117647\n"),
        ("a.txt", "0.5 1.25 -2 255 0 10 8\n3 4.5 5 1 2 3 -1\n"),
        ("a.pts", "2\n0.5 1.25 -2 -1043 255 0 10\n3 4.5 5 900 1 2 3\n"),
        ("a.pts", "0.5 1.25 -2 -1043 255 0 10\r\n3 4.5 5 900 1 2 3\r\n"),
        ("a.csv", "x,y,z,red,green,blue\n0.5,1.25,-2,255,0,10\n3,4.5,5,1,2,3\n"),
        ("a.csv", "Red;Green;Blue;Time;X;Y;Z\n255;0;10;7;0.5;1.25;-2\n1;2;3;8;3;4.5;5\n"),
        ("a.csv", "0.5,1.25,-2,255,0,10\n3,4.5,5,1,2,3\n"),
        ("a.txt", "//X Y Z R G B\n0.5 1.25 -2 255 0 10\n3 4.5 5 1 2 3\n"),
    ],
)
def test_text(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_bytes(content.encode())
    scene = read_scan(tmp_path / name)
    np.testing.assert_array_equal(scene.xyz, XYZ[:2].astype(np.float32))
    np.testing.assert_array_equal(scene.rgb, RGB[:2])
    labeled = "8\n" in content and name == "a.txt"
    assert (scene.semantic is not None) == labeled
    if labeled:
        np.testing.assert_array_equal(scene.semantic, [8, -1])


def test_text_with_named_columns(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("0 0 -2 1 2 3\n0 0 0 4 5 6\n")
    scene = read_scan(tmp_path / "a.txt", columns="nx,ny,nz,x,y,z")
    np.testing.assert_array_equal(scene.xyz, [[1, 2, 3], [4, 5, 6]])
    np.testing.assert_array_equal(scene.normal, [[0, 0, -1], [0, 0, 0]])
    (tmp_path / "a.txt").write_text("0 0 1 9 4 5\n")
    scene = read_scan(tmp_path / "a.txt", columns="x y z other semantic instance")
    assert scene.rgb is None
    np.testing.assert_array_equal(scene.semantic, [4])
    np.testing.assert_array_equal(scene.instance, [5])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "", "no points"),
        ("a.txt", "# only a comment\n", "no points"),
        ("a.txt", "1 2 3\n1 2\n", r"a\.txt:2: expected 3 numbers, found '1 2'"),
        ("a.txt", "1 2 3\n1 2 three\n", r"a\.txt:2: expected 3 numbers"),
        ("a.txt", "hello\n", r"a\.txt:1: expected numbers or names of columns"),
        ("a.txt", "1 2 3 4\n", "expected 3, 6, 7 columns, found 4"),
        ("a.txt", "1 2 3 -0.5 0 1\n", "name the columns if they are others"),
        ("a.txt", "".join(f"1 2 3 100 {i % 256} {i % 256} {i % 256}\n" for i in range(300)), "column 7 holds more"),
        ("a.pts", "3\n1 2 3\n", "counts 3 points, found 1"),
        ("a.csv", "x,y,w\n1,2,3\n", r"a\.csv:1: expected numbers or names of columns"),
        ("a.csv", "x,y,z\n1,2,3,4\n", "do not name x y z among the 4"),
    ],
)
def test_bad_text(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        read_scan(tmp_path / name)


def test_las(tmp_path: Path) -> None:
    path = tmp_path / "a.las"
    path.write_bytes(b"not a las file")
    try:
        import laspy
    except ImportError:
        with pytest.raises(ValueError, match=r"pip install 'laspy\[lazrs\]'"):
            read_scan(path)
        return
    with pytest.raises(ValueError, match="not a LAS file"):
        read_scan(path)
    las = laspy.create(point_format=3, file_version="1.2")
    las.header.scales, las.header.offsets = [0.001] * 3, [0, 0, 0]
    las.x, las.y, las.z = XYZ.T
    las.red, las.green, las.blue = RGB.astype(np.uint16).T * 257
    las.write(path)
    scene = read_scan(path)
    np.testing.assert_allclose(scene.xyz, XYZ, atol=1e-3)
    np.testing.assert_array_equal(scene.rgb, RGB)


def test_nan_is_refused_or_dropped(tmp_path: Path) -> None:
    xyz = XYZ.copy()
    xyz[1, 2] = np.nan
    xyz[3, 0] = np.inf
    np.savez(tmp_path / "a.npz", xyz=xyz, rgb=RGB, faces=[[0, 1, 2], [0, 2, 0]], instance=[1, 2, 3, 4])
    with pytest.raises(ValueError, match=r"2 of 4 points have coordinates that are not finite.*drop_nan=True"):
        read_scan(tmp_path / "a.npz")
    scene = read_scan(tmp_path / "a.npz", drop_nan=True)
    np.testing.assert_array_equal(scene.xyz, XYZ[[0, 2]].astype(np.float32))
    np.testing.assert_array_equal(scene.rgb, RGB[[0, 2]])
    np.testing.assert_array_equal(scene.instance, [1, 3])
    np.testing.assert_array_equal(scene.faces, [[0, 1, 0]])
    np.savez(tmp_path / "a.npz", xyz=xyz * np.nan)
    with pytest.raises(ValueError, match="none of its 4 points"):
        read_scan(tmp_path / "a.npz", drop_nan=True)


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
    with pytest.raises(ValueError, match=r"too far from 0.*origin=\(500000, 5400000, 0\)"):
        read_scan(path)
    np.testing.assert_array_equal(read_scan(path, origin=(500000, 5400000, 0)).xyz, [[0.125, 0.25, 0.5]])
    for options in ({"scale": 0}, {"scale": np.nan}, {"up": "w"}, {"origin": (1, 2)}, {"first_instance": 2}):
        with pytest.raises(ValueError, match="expected"):
            read_scan(path, **options)


def test_unknown_extension_and_missing_file(tmp_path: Path) -> None:
    (tmp_path / "a.obj").write_text("v 0 0 0")
    with pytest.raises(ValueError, match=r"unknown extension '\.obj'; expected one of \.ply \.pcd \.npz"):
        read_scan(tmp_path / "a.obj")
    with pytest.raises(ValueError, match="no such file"):
        read_scan(tmp_path / "a.ply")
    write_ply(tmp_path / "B.PLY")
    assert len(read_scan(tmp_path / "B.PLY")) == 4


def box(rng: np.random.Generator, num_points: int = 6000) -> np.ndarray:
    """Floor, ceiling and walls of a room of 6 x 5 x 2.5 m."""
    points = rng.random((num_points, 3)) * [6, 5, 2.5]
    face = rng.choice(6, num_points, p=[0.33, 0.33, 0.1, 0.1, 0.07, 0.07])
    for index, (axis, value) in enumerate([(2, 0), (2, 2.5), (0, 0), (0, 6), (1, 0), (1, 5)]):
        points[face == index, axis] = value
    return points.astype(np.float32)


def test_advice(rng: np.random.Generator) -> None:
    xyz = box(rng)
    rgb = rng.integers(0, 256, xyz.shape).astype(np.uint8)
    assert scan_warnings(Scene("room", xyz, rgb)) == []
    assert scan_warnings(Scene("none", np.zeros((0, 3), np.float32))) == ["It has no points."]

    def advice(scene: Scene) -> str:
        return "\n".join(scan_warnings(scene))

    assert "scale=0.001" in advice(Scene("mm", xyz * 1000, rgb))
    assert "a room is larger" in advice(Scene("km", xyz / 1000, rgb))
    assert "up='y'" in advice(Scene("up", np.ascontiguousarray(xyz[:, [0, 2, 1]]), rgb))
    assert "up='x'" in advice(Scene("up", np.ascontiguousarray(xyz[:, [2, 0, 1]]), rgb))
    assert "no color" in advice(Scene("gray", xyz))
    assert "one color" in advice(Scene("gray", xyz, rgb * 0))
    assert "origin=(" in advice(Scene("far", xyz + 20000, rgb))
    assert "6000 of 12000 points" in advice(Scene("double", np.concatenate([xyz, xyz]), np.concatenate([rgb, rgb])))
    ids = (np.arange(len(xyz)) // 1000).astype(np.int32)
    assert "first_instance=0" in advice(Scene("from zero", xyz, rgb, semantic=ids, instance=ids))
    assert "first_instance" not in advice(Scene("from one", xyz, rgb, semantic=ids, instance=ids + 1))


def test_real_scans(real: Path) -> None:
    scene = read_scan(real / "room_scan1.pcd", drop_nan=True)
    assert len(scene) == 112586
    assert np.ptp(scene.xyz, axis=0).max() < 30
    mesh = read_scan(real / "scene0470_00_vh_clean_2.ply")
    assert len(mesh) == 67465
    assert mesh.rgb is not None
    assert mesh.faces is not None
    assert len(mesh.faces) == 127003
    assert scan_warnings(mesh) == []
    labels = read_scan(real / "scene0470_00_vh_clean_2.labels.ply", label_ids="scannet20")
    assert labels.semantic is not None
    assert set(np.unique(labels.semantic)) <= set(range(-1, 20))
    room = read_scan(real / "s3dis" / "room_7.npz", first_instance=0)
    assert room.instance is not None
    assert room.instance.min() == 1
    assert "first_instance=0" in "\n".join(scan_warnings(read_scan(real / "s3dis" / "room_7.npz")))
    nyu = read_scan(real / "scannet_scene0000_01.npz")
    assert nyu.semantic is not None
    assert nyu.instance is not None
    assert nyu.instance.max() == 72
    assert scan_warnings(nyu) == []


def test_laz_is_las_compressed(tmp_path: Path) -> None:
    laspy = pytest.importorskip("laspy")
    pytest.importorskip("lazrs")
    las = laspy.create(point_format=3, file_version="1.2")
    las.header.scales, las.header.offsets = [0.001] * 3, [0, 0, 0]
    las.x, las.y, las.z = XYZ.T
    las.add_extra_dim(laspy.ExtraBytesParams("instance", np.int32))
    las.instance = np.arange(len(XYZ)) % 2
    las.write(tmp_path / "a.las")
    las.write(tmp_path / "a.laz")
    assert (tmp_path / "a.laz").read_bytes() != (tmp_path / "a.las").read_bytes()
    plain, packed = read_scan(tmp_path / "a.las"), read_scan(tmp_path / "a.laz")
    np.testing.assert_array_equal(plain.xyz, packed.xyz)
    np.testing.assert_array_equal(packed.instance, np.arange(len(XYZ)) % 2)


def test_advice_on_doubled_points_and_color_is_what_mends_them(tmp_path: Path, rng: np.random.Generator) -> None:
    xyz = rng.uniform(0, 3, (300, 3)).astype(np.float32)
    xyz[200:] = xyz[:100]
    instance = np.arange(300, dtype=np.int32) % 5
    path = tmp_path / "a.npz"
    np.savez(path, xyz=xyz, instance=instance, superpoint=instance)
    advice = "\n".join(scan_warnings(read_scan(path)))
    assert "100 of 300 points are duplicates of another one: read it with drop_duplicates=True" in advice
    assert "gray=True" in advice
    mended = read_scan(path, drop_duplicates=True, gray=True)
    np.testing.assert_array_equal(mended.xyz, xyz[:200])
    np.testing.assert_array_equal(mended.instance, instance[:200])
    assert mended.rgb is not None
    assert (mended.rgb == 127).all()
    advice = "\n".join(scan_warnings(mended))
    assert "duplicates" not in advice
    assert "It has no color" not in advice
    np.savez(path, xyz=xyz, faces=np.array([[0, 1, 2]]))
    with pytest.raises(ValueError, match="is a mesh; its vertices stay"):
        read_scan(path, drop_duplicates=True)


def test_a_processed_room_is_a_scan(tmp_path: Path, rng: np.random.Generator) -> None:
    xyz = rng.uniform(0, 3, (50, 3)).astype(np.float32)
    folder = write_room(
        tmp_path, Scene("scene0707_00", xyz, superpoint=np.zeros(50, np.int32)), "s3dis", Source("", "")
    )
    scene = read_scan(folder)
    assert scene.name == "scene0707_00"
    np.testing.assert_array_equal(scene.xyz, xyz)
    assert scene.semantic is None
    with pytest.raises(ValueError, match=r"no manifest\.json in it"):
        read_scan(tmp_path)
