"""tools/visualize.py: pages and pictures from results, rooms and scans; one sentence and status 2 for the rest."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pcseg.classes import S3DIS
from pcseg.data.store import source_of, write_room
from pcseg.prediction import Prediction
from pcseg.structures import Scene

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def visualize(tool: Run) -> Run:
    return partial(tool, "visualize")


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


def test_result(result: Path, tmp_path: Path, visualize: Run) -> None:
    png, page = tmp_path / "a.png", tmp_path / "a.html"
    status, out, err = visualize(result, "--png", png, "--html", page, "--threshold", "0.5", "--cut", "2.5")
    assert (status, err) == (0, "")
    assert out.split() == [str(png), str(page)]
    with Image.open(png) as image:
        assert image.width > 3 * 600, "input, truth and prediction"
    assert '"key":"prediction"' in page.read_text(encoding="utf-8")


def test_processed_room(scene: Scene, tmp_path: Path, visualize: Run) -> None:
    raw = tmp_path / "raw.txt"
    raw.write_text("raw")
    folder = write_room(tmp_path / "rooms", scene, "s3dis", source_of(raw, [raw]))
    status, _, err = visualize(folder, "--png", tmp_path / "a.png")
    assert (status, err) == (0, "")


def test_scan(scene: Scene, tmp_path: Path, visualize: Run) -> None:
    np.savez(tmp_path / "scan.npz", xyz=scene.xyz)
    assert visualize(tmp_path / "scan.npz", "--html", tmp_path / "a.html")[0] == 0
    np.savez(tmp_path / "scan.npz", xyz=scene.xyz, semantic=scene.semantic, instance=scene.instance)
    status, _, err = visualize(tmp_path / "scan.npz", "--html", tmp_path / "a.html")
    assert status == 2
    assert "--classes s3dis|scannet20" in err
    assert visualize(tmp_path / "scan.npz", "--html", tmp_path / "a.html", "--classes", "s3dis")[0] == 0


def test_several_results_go_into_a_folder(result: Path, tmp_path: Path, visualize: Run) -> None:
    other = tmp_path / "other.npz"
    other.write_bytes(result.read_bytes())
    assert visualize(result, other, "--png", tmp_path / "pictures")[0] == 0
    assert sorted(p.name for p in (tmp_path / "pictures").iterdir()) == ["other.png", "room.png"]


def test_one_result_goes_into_a_folder_that_is_there(result: Path, tmp_path: Path, visualize: Run) -> None:
    (tmp_path / "pages").mkdir()
    assert visualize(result, "--html", tmp_path / "pages")[0] == 0
    assert [p.name for p in (tmp_path / "pages").iterdir()] == ["room.html"]


def test_one_sentence_for_bad_input(result: Path, tmp_path: Path, visualize: Run) -> None:
    cases = {
        "no such file or folder": (tmp_path / "nowhere.npz", "--png", tmp_path / "a.png"),
        "a.gif: pictures are written as .png": (result, "--png", tmp_path / "a.gif"),
        "expected a processed room": (tmp_path, "--png", tmp_path / "a.png"),
        "--threshold must be from 0 to 1, got 7.0": (result, "--threshold", "7", "--png", tmp_path / "a.png"),
        "a picture has 1 to 3 views, got 4": (result, "--views", "4", "--png", tmp_path / "a.png"),
        "no point is below the cut": (result, "--cut", "-50", "--png", tmp_path / "a.png"),
    }
    for message, arguments in cases.items():
        status, out, err = visualize(*arguments)
        assert (status, out) == (2, ""), message
        assert message in err
        assert err.count("\n") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["room.npz"]


def test_damaged_result(result: Path, tmp_path: Path, visualize: Run) -> None:
    result.write_bytes(result.read_bytes()[:-300])
    status, _, err = visualize(result, "--png", tmp_path / "a.png")
    assert status == 2
    assert err.startswith(f"error: {result}")


def test_usage(visualize: Run) -> None:
    assert visualize()[0] == 2
