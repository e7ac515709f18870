import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pcseg.classes import SCANNET20
from pcseg.metrics.benchmark_files import check_submission, read_predictions, write_predictions, write_submission
from pcseg.prediction import Prediction
from pcseg.structures import Scene

CHAIR = SCANNET20.index("chair")


@pytest.mark.parametrize("mask_format", ["txt", "npz", "json"])
def test_own_submission_passes(tmp_path: Path, mask_format: str, rng: np.random.Generator) -> None:
    folder, path = tmp_path / "pred", tmp_path / "s.zip"
    masks = rng.random((3, 50)) < 0.5
    scene, other, left_over = (Scene.without_xyz(name, 50) for name in ("scene0000_00", "scene0001_00", "left_over"))
    labels, scores = np.array([CHAIR, CHAIR, 2]), np.array([0.1, 1 / 3, 1e-12])
    found = Prediction(scene, masks, labels, scores, classes=SCANNET20)
    for prediction in (found, Prediction(other, masks[:0]), replace(found, scene=left_over)):
        write_predictions(folder, prediction, mask_format=mask_format)
    with pytest.raises(FileNotFoundError):
        write_submission(path, folder, ["absent"])
    assert list(tmp_path.iterdir()) == [folder]
    write_submission(path, folder, ["scene0001_00", "scene0000_00"])
    counts = check_submission(path, SCANNET20, {"scene0000_00": 50, "scene0001_00": None})
    assert (counts.num_scenes, counts.num_objects) == (2, 3)
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "out")
    again = read_predictions(tmp_path / "out" / "scene0000_00.txt", scene, SCANNET20)
    np.testing.assert_array_equal(again.masks.toarray(), masks)
    np.testing.assert_array_equal(again.scores, found.scores)
    assert not (tmp_path / "out" / "left_over.txt").exists()


GOOD = {
    "a.txt": b"predicted_masks/a_0.txt 5 0.5\npredicted_masks/a_1.txt 39 0.25\n",
    "b.txt": b"",
    "predicted_masks/a_0.txt": b"0\n1\n1\n",
    "predicted_masks/a_1.txt": b"1\r\n0\r\n1",
}


def _check(folder: Path, files: dict[str, bytes | None]) -> None:
    with zipfile.ZipFile(folder / "s.zip", "w") as archive:
        for name, content in files.items():
            if content is not None:
                archive.writestr(name, content)
    check_submission(folder / "s.zip", SCANNET20, {"a": 3, "b": None})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"a.txt": b"predicted_masks/a_0.txt 5\n"}, r"a\.txt:1: expected 'MASK_FILE LABEL_ID SCORE'"),
        ({"a.txt": b"a_0.txt 5 0.5\n"}, "must be in a folder of the zip"),
        ({"a.txt": b"predicted_masks/no.txt 5 0.5\n"}, r"no mask file predicted_masks/no\.txt"),
        ({"a.txt": b"predicted_masks/a_0.txt 1 0.5\n"}, "label id 1 is not one of the class set's"),
        ({"a.txt": b"predicted_masks/a_0.txt 5.0 0.5\n"}, "label id 5.0"),
        ({"a.txt": b"\xff\xfe"}, r"a\.txt: not a text file"),
        ({"a.txt": b"predicted_masks/a_0.txt 5 0.5\n"}, r"a_1\.txt is named by no SCENE\.txt"),
        ({"predicted_masks/a_1.txt": b"0\n2\n1\n"}, r"a_1\.txt:2: expected 0 or 1, found '2'"),
        ({"predicted_masks/a_1.txt": b"0\n1\n"}, "has 2 points, the scene has 3"),
        ({"b.txt": None}, "scene b is missing"),
        ({"c.txt": b""}, "c is not one of the scenes"),
        ({"readme.md": b""}, r"readme\.md at the root is no SCENE\.txt"),
        ({**dict.fromkeys(GOOD), "pred/a.txt": b""}, r"no SCENE\.txt at the root"),
    ],
)
def test_broken_rules(tmp_path: Path, changes: dict[str, bytes | None], message: str) -> None:
    _check(tmp_path, GOOD)
    with pytest.raises(ValueError, match=message):
        _check(tmp_path, GOOD | changes)
    (tmp_path / "s.zip").write_bytes(b"no")
    with pytest.raises(ValueError, match="not a zip file"):
        check_submission(tmp_path / "s.zip", SCANNET20)
