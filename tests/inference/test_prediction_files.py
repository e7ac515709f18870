from pathlib import Path

import numpy as np
import pytest
from plyfile import PlyData

from pcseg.classes import S3DIS
from pcseg.data.scan_files import read_scan
from pcseg.inference.exports import coco_document, object_rows, painted_colors, write_ply
from pcseg.inference.prediction_files import MAX_ROWS, SUFFIXES, object_table, prediction_targets, write_prediction
from pcseg.prediction import Prediction
from pcseg.structures import Scene
from tests.conftest import refuses
from tests.scenes import random_scene


def test_targets_bear_the_names_of_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "Area_5.2").mkdir()
    scans = [tmp_path / "Area_5.2", Path("scans/a.v2.ply"), Path("a.laz")]
    assert prediction_targets(scans, Path("out")) == [Path("out/Area_5.2"), Path("out/a.v2"), Path("out/a")]
    for names in (("x/a.ply", "y/a.npz"), ("a.ply", "a.ply")):
        refuses("the same name; rename one, or give each", prediction_targets, list(map(Path, names)), Path("out"))
    for suffix in SUFFIXES:  # a file that is read is not written as a result of another one
        scans = [tmp_path / "a.txt", tmp_path / f"a{suffix}"]
        refuses("would overwrite", prediction_targets, scans, tmp_path / "out" / "..")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_of_another_program_is_not_replaced(tmp_path: Path, suffix: str) -> None:
    path, scene = tmp_path / f"a{suffix}", Scene("a", np.zeros((3, 3), np.float32))
    prediction = Prediction(scene, np.ones((1, 3), np.bool_), np.array([7]), np.array([0.9]), classes=S3DIS)
    write_prediction(tmp_path / "a", prediction, suffixes=[suffix])
    assert prediction_targets([Path("a.las")], tmp_path) == [tmp_path / "a"]
    assert suffix != ".ids.npy" or np.load(path, mmap_mode="r").tolist() == [1, 1, 1]
    path.write_bytes(b"mine, made for pcseg")
    if suffix == ".ids.npy":
        np.save(path, np.ones(3, np.int32))
    refuses("exists and is not a result of pcseg; move it or", prediction_targets, [Path("a.las")], tmp_path)


def test_points_are_painted_by_object_then_by_class_then_as_they_are(rng: np.random.Generator) -> None:
    scene = Scene("a", rng.random((60, 3), np.float32), rng.integers(0, 256, (60, 3)).astype(np.uint8))
    masks = np.arange(60)[None] // 20 == np.array([[0], [1]])
    semantic = (np.arange(60) % 2).astype(np.int32)
    colors = painted_colors(Prediction(scene, masks, np.array([7, 8]), np.array([0.9, 0.6]), semantic, S3DIS), 0.25)
    assert [len(np.unique(colors[part], axis=0)) for part in (slice(20), slice(20, 40), slice(40, 60))] == [1, 1, 1]
    assert len(np.unique(colors, axis=0)) == 3
    of_classes = painted_colors(Prediction(scene, semantic=semantic, classes=S3DIS), 0.25)
    np.testing.assert_array_equal(of_classes, S3DIS.color_table()[semantic])
    np.testing.assert_array_equal(painted_colors(Prediction(scene), 0.25), scene.rgb)


def test_files_of_one_prediction_have_the_same_ids(tmp_path: Path, rng: np.random.Generator) -> None:
    scene, masks = random_scene(), rng.random((3, 10)) < 0.5
    given = masks, np.array([7, 8, 9]), np.array([0.9, 0.6, 0.1]), np.zeros(300, np.int32), S3DIS, scene.superpoint
    objects = Prediction(scene, *given)[::-1]
    write_prediction(tmp_path / "a", objects)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"a{suffix}" for suffix in SUFFIXES)
    ids = np.load(tmp_path / "a.ids.npy")
    assert ids.dtype == np.int32
    np.testing.assert_array_equal(ids, objects.point_ids(0.5))
    np.testing.assert_array_equal(PlyData.read(tmp_path / "a.ply")["vertex"].data["scalar_instance"], ids)
    assert len((tmp_path / "a.instances.csv").read_text().splitlines()) == 1 + len(np.unique(ids[ids > 0]))
    stages: list[str] = []
    write_prediction(tmp_path / "b", objects, suffixes=[".ids.npy"], stage=stages.append)
    assert [path.name for path in tmp_path.glob("b*")] == ["b.ids.npy"]
    assert stages == ["writing the ids"], "no picture and no page is drawn"


def test_table_of_many_objects() -> None:
    box = {"min_x": 0.0, "min_y": 0.0, "min_z": 0.0, "max_x": 1.0, "max_y": 2.0, "max_z": 11.5}
    rows = [{"id": k, "class": "trash can", "score": k / 100, "points": 10**k, **box} for k in range(1, 50)]
    lines = object_table(rows)
    assert len(lines) == 1 + MAX_ROWS + 1
    assert lines[1].startswith("  49  trash can   0.49   1.00 x  2.00 x 11.50"), "the best first"
    assert lines[-1].strip() == "and 9 more"
    walls = [{**row, "class": "wall", "score": 0.9} for row in rows[:3]]
    assert object_table([*walls, *rows[:4]], {"wall"})[1].startswith("   4  trash can   0.04")
    assert object_table([]) == []


def test_results_have_the_points_and_the_frame_of_the_file(tmp_path: Path, rng: np.random.Generator) -> None:
    path, xyz = tmp_path / "a.npz", rng.random((60, 3)) * [1, 1, 2.5] * 1000 + [5e8, 4e9, 0]
    xyz[7], xyz[20:30] = np.nan, xyz[:10]
    np.savez(path, xyz=xyz, rgb=np.full((60, 3), 9, np.uint8))
    scene = read_scan(path, scale=0.001, up="y", origin=(5e5, 0, 4e6), drop_duplicates=True, report=lambda text: None)
    masks = scene.xyz[None, :, 0] > 0.5
    write_prediction(tmp_path / "b", Prediction(scene, masks, np.array([7]), np.array([0.9]), classes=S3DIS))
    ids, left_out = np.load(tmp_path / "b.ids.npy"), np.isin(np.arange(60), [7, *range(20, 30)])
    np.testing.assert_array_equal(ids, np.where(left_out, -1, xyz[:, 0] > 5e8 + 500))
    again = Prediction.load(tmp_path / "b.npz")
    write_ply(tmp_path / "c.ply", again, 0.25)
    assert (tmp_path / "b.ply").read_bytes() == (tmp_path / "c.ply").read_bytes()
    vertex = PlyData.read(tmp_path / "c.ply")["vertex"].data
    np.testing.assert_allclose(np.stack([vertex[key] for key in "xyz"], axis=1), xyz, rtol=0, atol=0.001)
    np.testing.assert_array_equal(vertex["scalar_instance"], ids)
    row = object_rows(again)[0]
    np.testing.assert_allclose([row["min_x"], row["max_z"]], [xyz[ids == 1][:, 0].min(), xyz[ids == 1][:, 2].max()])
    assert row["meters_per_unit"] == 0.001
    assert (tmp_path / "b.instances.csv").read_text().splitlines()[1].endswith(",0.001")
    assert coco_document([again])["images"][0]["num_points"] == 60
