import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from plyfile import PlyData

from pcseg.classes import S3DIS, SCANNET20, ClassSet
from pcseg.data.scan_files import read_scan
from pcseg.inference import exports
from pcseg.inference.exports import COLUMNS, coco_document, object_rows, painted_colors, write_csv, write_ply
from pcseg.prediction import Prediction
from pcseg.structures import Scene
from tests.conftest import holds, refuses

SCALARS = {"scalar_instance", "scalar_score", "scalar_semantic", "quality"}


@pytest.fixture
def objects(rng: np.random.Generator) -> Prediction:
    """Five objects that overlap; the fourth is under the first, the last scores little."""
    xyz = rng.uniform(-3, 3, (400, 3)).astype(np.float32)
    scene = Scene("room", xyz, superpoint=(np.arange(400) % 23).astype(np.int32))
    masks = rng.random((5, 23)) < 0.3
    masks[0, :4] = True
    masks[3] = np.isin(np.arange(23), (1, 2))
    labels, scores = np.array([8, 7, 12, 1, 0]), np.array([0.9, 0.8, 0.7, 0.6, 0.1], np.float32)
    return Prediction(scene, masks, labels, scores, classes=S3DIS, superpoint=scene.superpoint)


@pytest.mark.parametrize("threshold", [0.0, 0.5])
def test_rows_measure_the_ids(objects: Prediction, threshold: float) -> None:
    ids, rows = objects.point_ids(threshold), object_rows(objects, threshold)
    assert [row["id"] for row in rows] == sorted(set(ids.tolist()) - {0})
    assert 4 not in ids, "nothing is left of the one under a better one"
    assert (5 in ids) == (threshold == 0)
    for row in rows:
        points = objects.scene.xyz[ids == row["id"]].astype(np.float64)
        low, high = points.min(axis=0), points.max(axis=0)
        assert tuple(row) == COLUMNS
        label, score = objects.labels[row["id"] - 1], objects.scores[row["id"] - 1]
        assert [row[key] for key in ("class", "score", "points")] == [S3DIS.names[label], score, len(points)]
        expected = *points.mean(axis=0), *low, *high, (high - low).prod()
        assert [row[key] for key in COLUMNS[4:]] == pytest.approx([*expected, 1.0])


def test_no_objects(objects: Prediction, tmp_path: Path) -> None:
    none = objects.select(np.zeros(0, int))
    write_csv(tmp_path / "a.csv", none)
    assert (tmp_path / "a.csv").read_text() == ",".join(COLUMNS) + "\n"
    write_ply(tmp_path / "a.ply", none)
    vertex = PlyData.read(tmp_path / "a.ply")["vertex"].data
    assert not any(vertex[key].any() for key in ("scalar_instance", "scalar_score"))
    assert coco_document([none])["annotations"] == []
    assert not any(coco_document([])[key] for key in ("images", "categories", "annotations"))
    for write in (object_rows, lambda prediction: coco_document([prediction])):
        refuses("room: no objects were predicted", write, Prediction(objects.scene, classes=S3DIS))


def test_csv(objects: Prediction, tmp_path: Path) -> None:
    classes = ClassSet.from_dict({"names": [*S3DIS.names[:8], 'a, "chair"', *S3DIS.names[9:]]}, "test", "mine")
    write_csv(tmp_path / "a.csv", replace(objects, classes=classes), 0.5)
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == ['a, "chair"', "table", "clutter"]
    for row, expected in zip(rows, object_rows(objects, 0.5)):
        assert [float(row[key]) for key in COLUMNS[2:]] == pytest.approx([expected[k] for k in COLUMNS[2:]], abs=1e-4)


def test_ply(objects: Prediction, tmp_path: Path, rng: np.random.Generator) -> None:
    objects = replace(objects, semantic=rng.integers(-1, 13, 400).astype(np.int32))
    ids = objects.point_ids(0.5)
    classes = np.where(ids > 0, np.append(-1, objects.labels)[ids], objects.semantic)  # those of the objects
    said: list[str] = []
    write_ply(tmp_path / "a.ply", objects, 0.5)
    data = PlyData.read(tmp_path / "a.ply")
    assert (data.text, data.byte_order) == (False, "<")
    vertex = data["vertex"].data
    np.testing.assert_array_equal(np.stack([vertex[k] for k in "xyz"], axis=1), objects.scene.xyz)
    colors = np.stack([vertex[k] for k in ("red", "green", "blue")], axis=1)
    np.testing.assert_array_equal(colors, painted_colors(objects, 0.5))
    for key, expected in (("scalar_instance", ids), ("quality", ids), ("scalar_semantic", classes)):
        np.testing.assert_array_equal(vertex[key], expected)
    np.testing.assert_array_equal(vertex["scalar_score"][ids > 0], objects.scores[ids[ids > 0] - 1])
    assert not vertex["scalar_score"][ids == 0].any()
    assert all(vertex.dtype[name] == np.dtype("<f4") for name in SCALARS)
    assert "face" not in data
    holds(read_scan(tmp_path / "a.ply", report=said.append), rgb=None, instance=ids, semantic=classes)
    assert "colors are those that pcseg painted" in said[0]
    # A mesh keeps normals and faces; absent predictions are no scalars.
    normal = np.tile(np.array([[0, 0, 1]], np.float32), (400, 1))
    faces = np.array([[0, 1, 2], [7, 399, 3]], np.int32)
    write_ply(tmp_path / "a.ply", Prediction(objects.scene.with_(normal=normal, faces=faces)))
    assert not SCALARS & set(PlyData.read(tmp_path / "a.ply")["vertex"].data.dtype.names)
    holds(read_scan(tmp_path / "a.ply"), faces=faces, normal=normal)


def test_las_and_one_file_per_object(objects: Prediction, tmp_path: Path, rng: np.random.Generator) -> None:
    laspy = pytest.importorskip("laspy")
    colors, semantic = rng.integers(0, 256, (400, 3)).astype(np.uint8), np.full(400, 5, np.int32)
    objects = replace(objects, semantic=semantic)
    ids = objects.point_ids(0.5)
    exports.write_las(tmp_path / "a.las", objects, 0.5)
    assert read_scan(tmp_path / "a.las").rgb is None
    exports.write_las(tmp_path / "a.las", replace(objects, scene=objects.scene.with_(rgb=colors)), 0.5)
    again = read_scan(tmp_path / "a.las")
    np.testing.assert_allclose(again.xyz, objects.scene.xyz, atol=1e-4)
    holds(again, rgb=colors, instance=ids, semantic=objects.point_labels(0.5))
    las = laspy.read(tmp_path / "a.las")
    names = las.header.vlrs.get("ClassificationLookupVlr")[0].lookups
    assert {names[code].decode() if isinstance(names[code], bytes) else names[code] for code in las.classification} == {
        S3DIS.names[label] for label in {5, *objects.labels[np.unique(ids[ids > 0]) - 1].tolist()}
    }
    colored = replace(objects, scene=objects.scene.with_(rgb=colors))
    written = exports.write_object_plys(str(tmp_path / "each"), colored, 0.5)
    assert [path.name for path in written] == ["001_chair.ply", "002_table.ply", "003_clutter.ply"]
    for number, path in enumerate(written, 1):
        inside = ids == number
        holds(read_scan(path), xyz=objects.scene.xyz[inside], rgb=colors[inside], instance=ids[inside])
    many = replace(objects, classes=ClassSet.from_dict({"name": "many", "names": [f"class {k}" for k in range(200)]}))
    refuses("LAS has codes for 192 classes, many has 200", exports.write_las, tmp_path / "a.las", many)


def test_coco_through_json(objects: Prediction) -> None:
    other = replace(objects.select(np.array([1, 4])), scene=objects.scene.with_(name="other"))
    document = json.loads(json.dumps(coco_document(iter([objects, other]), threshold=0.5)))
    assert [image["file_name"] for image in document["images"]] == ["room", "other"]
    assert all(image["num_points"] == image["height"] == 400 for image in document["images"])
    categories = [(category["name"], category["id"]) for category in document["categories"]]
    assert categories == list(zip(S3DIS.names, S3DIS.ids))
    assert document["categories"][S3DIS.index("wall")]["isthing"] == 0
    ids = [(entry["id"], entry["image_id"]) for entry in document["annotations"]]
    assert ids == [(1, 1), (2, 1), (3, 1), (4, 1), (5, 2)]
    for row, entry in zip([0, 1, 2, 3, 1], document["annotations"]):
        # What COCO says of uncompressed RLE, word by word: runs of 0 and 1 in turn, from 0 on.
        counts = entry["segmentation"]["counts"]
        mask = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
        assert entry["segmentation"]["size"] == [len(mask), 1]
        np.testing.assert_array_equal(mask, objects.point_mask(row))
        points = objects.scene.xyz[mask]
        assert (entry["area"], entry["category_id"]) == (len(points), S3DIS.ids[objects.labels[row]])
        assert entry["score"] == pytest.approx(float(objects.scores[row]), abs=1e-6)
        assert entry["bbox"] == pytest.approx([*points.min(axis=0), *np.ptp(points, axis=0)], abs=1e-4)
    message = "room has the classes of scannet20, those before it the classes of s3dis"
    refuses(message, coco_document, [other, replace(objects, classes=SCANNET20)])
