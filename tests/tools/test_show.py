"""pcseg show: pages and pictures from results, rooms and scans; one sentence and status 2 for the rest."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pcseg.classes import S3DIS
from pcseg.data.store import Source, write_room
from pcseg.inference.exports import read_painted_ply, write_ply
from pcseg.prediction import Prediction
from pcseg.structures import ScanFile, Scene
from tests.tools.commands import passes, refused, tool


@pytest.fixture
def scene(rng: np.random.Generator) -> Scene:
    xyz = rng.uniform(0, 3, (600, 3)).astype(np.float32)
    half = (np.arange(600) >= 300).astype(np.int32)
    return Scene("room", xyz, np.full((600, 3), 99, np.uint8), None, 8 * half, half, half)


@pytest.fixture
def result(scene: Scene, tmp_path: Path) -> Path:
    masks, found = np.eye(2, dtype=np.bool_)[1:], (np.array([8]), np.array([0.7], np.float32))
    Prediction(scene, masks, *found, scene.semantic, S3DIS, scene.superpoint).save(tmp_path / "room.npz")
    return tmp_path / "room.npz"


def test_result(result: Path, tmp_path: Path) -> None:
    png, page = tmp_path / "a.png", tmp_path / "a.html"
    out, err = passes("show", result, "--png", png, "--html", page, "--threshold", "0.5", "--cut", "2.5")
    assert (out.split(), err) == ([str(png), str(page)], "")
    with Image.open(png) as image:
        assert image.width > 3 * 600, "input, truth and prediction"
    assert '"key":"prediction"' in page.read_text(encoding="utf-8")


def test_processed_room_and_scan(scene: Scene, tmp_path: Path) -> None:
    folder = write_room(tmp_path / "rooms", scene, "s3dis", Source("made", "0"))
    assert passes("show", folder, "--png", tmp_path / "a.png")[1] == ""
    assert "rooms/room: expected a result" in refused("export", folder, "--ply", tmp_path / "a")
    unused = "is for files of scans; results and processed rooms stay as they are"
    for options in (("--classes", "s3dis"), ("--up=-y",), ("--scale", 0.1)):
        assert unused in refused("show", folder, "--png", tmp_path / "a.png", *options)
    command = ("show", tmp_path / "scan.npz", "--html", tmp_path / "a.html")
    np.savez(tmp_path / "scan.npz", xyz=scene.xyz * 1000)
    passes(*command, "--scale", 0.001, "--origin", 1, 2, 0)
    np.savez(tmp_path / "scan.npz", xyz=scene.xyz * [1, 0.01, 1], semantic=scene.semantic, instance=scene.instance)
    assert "--classes s3dis|scannet20" in refused(*command)
    assert "across y: if y points up in it, use --up y" in passes(*command, "--classes", "s3dis")[1]


def test_into_folders(result: Path, tmp_path: Path) -> None:
    """A name without a suffix is a folder, also for one result; of a folder, its results count."""
    other = tmp_path / "other.npz"
    other.write_bytes(result.read_bytes())
    np.savez(tmp_path / "scan.npz", xyz=np.zeros((3, 3), np.float32))
    passes("show", tmp_path, "--png", tmp_path / "pictures")
    passes("show", result, "--html", tmp_path / "pages")
    assert sorted(p.name for p in (tmp_path / "pictures").iterdir()) == ["other.png", "room.png"]
    assert [p.name for p in (tmp_path / "pages").iterdir()] == ["room.html"]
    for name in ("x.png", "x.gif"):
        error = refused("show", result, other, "--png", tmp_path / name)
        assert error == f"error: {tmp_path / name}: one file for 2 results; give a folder\n"
        assert not (tmp_path / name).exists()
    (tmp_path / "room.ply").touch()
    assert "has the same name" in refused("show", result, tmp_path / "room.ply", "--png", tmp_path / "pages")
    assert "pages: no scan in it; expected files" in refused("export", tmp_path / "pages", "--csv", tmp_path / "tables")


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_points_that_predict_wrote_are_a_prediction(result: Path, tmp_path: Path, order: slice) -> None:
    given = Prediction.load(result)
    rows, places = np.arange(600, dtype=np.int32)[order], np.arange(600, dtype=np.int32)[order]
    places = np.append(places, -1).astype(np.int32)  # the file has another point, without coordinates
    file = ScanFile(rows, places, np.diag([1e3, 1e3, 1e3, 1.0]))
    semantic = np.arange(600, dtype=np.int32) % 13  # of each point; an object has its own class
    given = replace(given, scene=given.scene.with_(semantic=None, instance=None, file=file), semantic=semantic)
    write_ply(tmp_path / "a.ply", given)
    found = read_painted_ply(tmp_path / "a.ply")
    assert (found.classes, found.labels.tolist(), found.scores.tolist()) == (S3DIS, [8], given.scores.tolist())
    np.testing.assert_array_equal(found.point_ids(), given.point_ids()[order])
    passes("show", tmp_path / "a.ply", "--html", tmp_path / "a.html")
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert '"key":"prediction"' in page
    assert '"key":"truth"' not in page


def test_bad_options(result: Path, tmp_path: Path) -> None:
    for options, message in (
        (("--png", "a.gif"), "a.gif: expected a name that ends with .png, or a folder"),
        (("--threshold", "7"), "--threshold must be from 0 to 1, got 7.0"),
        (("--views", "4"), "a picture has 1 to 3 views, got 4"),
        (("--cut", "-50"), "no point is below the cut"),
    ):
        assert message in refused("show", result, "--png", tmp_path / "a.png", *options)
        if options[0] in ("--cut", "--views"):
            assert f"{options[0]} is for pictures" in refused("show", result, "--html", tmp_path / "a.html", *options)
        assert [p.name for p in tmp_path.iterdir()] == ["room.npz"]


def test_bad_input(result: Path, tmp_path: Path) -> None:
    result.write_bytes(result.read_bytes()[:-300])
    damaged = f"error: {result}: not an .npz archive, or damaged"
    nowhere = tmp_path / "nowhere.npz"
    for path, message in ((nowhere, "no such file or folder"), (tmp_path, damaged), (result, damaged)):
        assert message in refused("show", path, "--png", tmp_path / "a.png")
    assert tool("show")[0] == 2
