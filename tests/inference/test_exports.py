"""Tables and files for other programs say what the instances say."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from plyfile import PlyData

from pcseg.classes import S3DIS
from pcseg.data.scan_files import read_scan
from pcseg.inference.exports import COLUMNS, object_table, write_csv, write_ply
from pcseg.structures import Prediction, Scene

SCALARS = {"scalar_instance", "scalar_score", "scalar_semantic", "quality"}


@pytest.fixture
def scene(rng: np.random.Generator) -> Scene:
    xyz = rng.uniform(-3, 3, (400, 3)).astype(np.float32)
    return Scene("room", xyz, superpoint=(np.arange(400) % 23).astype(np.int32))


@pytest.fixture
def objects(scene: Scene, rng: np.random.Generator) -> Prediction:
    """Five objects that overlap; the fourth hides under the first, the last scores little."""
    masks = rng.random((5, 23)) < 0.3
    masks[0, :4] = True
    masks[3] = False
    masks[3, 1:3] = True
    labels, scores = np.array([8, 7, 12, 1, 0]), np.array([0.9, 0.8, 0.7, 0.6, 0.1], np.float32)
    return Prediction(scene, masks, labels, scores, classes=S3DIS, superpoint=scene.superpoint)


@pytest.mark.parametrize("threshold", [0.0, 0.5])
def test_table_is_what_the_ids_measure(scene: Scene, objects: Prediction, threshold: float) -> None:
    ids = objects.point_ids(threshold)
    table = object_table(objects, threshold)
    assert table.ids.tolist() == sorted(set(ids.tolist()) - {0})
    assert 4 not in table.ids, "nothing is left of the one that lies under a better one"
    assert (5 in table.ids) == (threshold == 0)
    for row, number in enumerate(table.ids):
        points = scene.xyz[ids == number].astype(np.float64)
        assert table.labels[row] == objects.labels[number - 1]
        assert table.scores[row] == objects.scores[number - 1]
        assert table.num_points[row] == len(points)
        np.testing.assert_allclose(table.centers[row], points.mean(axis=0), rtol=1e-9)
        np.testing.assert_array_equal(table.low[row], points.min(axis=0))
        np.testing.assert_array_equal(table.high[row], points.max(axis=0))
        assert table.volumes[row] == pytest.approx(np.ptp(points, axis=0).prod())


def test_table_of_points_that_stand_at_one_place_has_no_volume() -> None:
    scene = Scene("dot", np.ones((3, 3), np.float32))
    one = Prediction(scene, np.ones((1, 3), np.bool_), np.array([2]), np.array([0.5]), classes=S3DIS)
    table = object_table(one)
    assert (table.volumes.tolist(), table.num_points.tolist()) == ([0.0], [3])


def test_no_objects(scene: Scene, tmp_path: Path) -> None:
    none = Prediction(scene, np.zeros((0, 23), np.bool_), superpoint=scene.superpoint)
    assert len(object_table(none)) == 0
    write_csv(tmp_path / "a.csv", none)
    assert (tmp_path / "a.csv").read_text() == ",".join(COLUMNS) + "\n"
    write_ply(tmp_path / "a.ply", none, np.zeros((400, 3), np.uint8))
    vertex = PlyData.read(tmp_path / "a.ply")["vertex"].data
    assert not vertex["scalar_instance"].any()
    assert not vertex["scalar_score"].any()


def test_csv(scene: Scene, objects: Prediction, tmp_path: Path) -> None:
    ids = objects.point_ids(0.5)
    write_csv(tmp_path / "a.csv", objects, 0.5)
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    table = object_table(objects, 0.5)
    assert [row["class"] for row in rows] == ["chair", "table", "clutter"]
    assert [int(row["id"]) for row in rows] == table.ids.tolist()
    assert sum(int(row["points"]) for row in rows) == np.count_nonzero(ids)
    for row, low, volume in zip(rows, table.low, table.volumes):
        assert [float(row[f"min_{axis}"]) for axis in "xyz"] == pytest.approx(low.tolist(), abs=1e-4)
        assert float(row["volume"]) == pytest.approx(volume, abs=1e-4)


def test_class_names_with_commas_and_quotes(scene: Scene, objects: Prediction, tmp_path: Path) -> None:
    classes = S3DIS.from_dict({"names": ['a, "b"', *S3DIS.names[1:]]}, "test", "mine")
    write_csv(tmp_path / "a.csv", replace(objects, classes=classes))
    with (tmp_path / "a.csv").open(newline="") as file:
        assert 'a, "b"' in {row["class"] for row in csv.DictReader(file)}


def test_ply(scene: Scene, objects: Prediction, tmp_path: Path, rng: np.random.Generator) -> None:
    colors = rng.integers(0, 256, (400, 3)).astype(np.uint8)
    semantic = rng.integers(-1, 13, 400).astype(np.int32)
    ids = objects.point_ids(0.5)
    write_ply(tmp_path / "a.ply", replace(objects, semantic=semantic, classes=S3DIS), colors, 0.5)
    data = PlyData.read(tmp_path / "a.ply")
    assert (data.text, data.byte_order) == (False, "<")
    vertex = data["vertex"].data
    np.testing.assert_array_equal(np.stack([vertex[k] for k in "xyz"], axis=1), scene.xyz)
    np.testing.assert_array_equal(np.stack([vertex[k] for k in ("red", "green", "blue")], axis=1), colors)
    np.testing.assert_array_equal(vertex["scalar_instance"], ids)
    np.testing.assert_array_equal(vertex["quality"], ids)
    np.testing.assert_array_equal(vertex["scalar_semantic"], semantic)
    np.testing.assert_array_equal(vertex["scalar_score"][ids > 0], objects.scores[ids[ids > 0] - 1])
    assert not vertex["scalar_score"][ids == 0].any()
    assert all(vertex.dtype[name] == np.dtype("<f4") for name in SCALARS)
    assert "face" not in data


def test_ply_keeps_normals_and_faces_and_leaves_out_what_was_not_predicted(scene: Scene, tmp_path: Path) -> None:
    normal = np.tile(np.array([[0, 0, 1]], np.float32), (400, 1))
    faces = np.array([[0, 1, 2], [7, 399, 3]], np.int32)
    mesh = scene.with_(normal=normal, faces=faces)
    write_ply(tmp_path / "a.ply", Prediction(mesh), np.zeros((400, 3), np.uint8))
    assert not SCALARS & set(PlyData.read(tmp_path / "a.ply")["vertex"].data.dtype.names)
    again = read_scan(tmp_path / "a.ply")
    np.testing.assert_array_equal(again.faces, faces)
    np.testing.assert_array_equal(again.normal, normal)


def test_open3d_reads_points_colors_and_scalars(scene: Scene, objects: Prediction, tmp_path: Path) -> None:
    open3d = pytest.importorskip("open3d", exc_type=ImportError)
    colors = np.tile(np.array([[255, 0, 51]], np.uint8), (400, 1))
    write_ply(tmp_path / "a.ply", objects, colors, 0.5)
    cloud = open3d.io.read_point_cloud(str(tmp_path / "a.ply"))
    np.testing.assert_array_equal(np.asarray(cloud.points, np.float32), scene.xyz)
    np.testing.assert_allclose(np.asarray(cloud.colors)[0], [1, 0, 0.2])
    table = open3d.t.io.read_point_cloud(str(tmp_path / "a.ply"))
    np.testing.assert_array_equal(table.point["scalar_instance"].numpy()[:, 0], objects.point_ids(0.5))
