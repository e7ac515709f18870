import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pcseg.classes import S3DIS, SCANNET20, SCANNET200
from pcseg.metrics import benchmark_files as files
from pcseg.metrics.benchmark_files import read_ground_truth, read_predictions, write_ground_truth, write_predictions
from pcseg.metrics.mask_files import read_mask, rle_decode, rle_encode
from pcseg.prediction import Prediction
from pcseg.structures import Scene
from tests.conftest import holds, refuses
from tests.metrics.scenes import labeled

MASK = np.array([True, False, True, True, False, False, False, False, True])
PACKED = np.packbits(MASK)


def test_the_files_themselves_and_what_they_cannot_hold(tmp_path: Path) -> None:
    scene, mask = Scene.without_xyz("scene0000_00", 3), np.array([[True, False, True]] * 2)
    found = Prediction(scene, mask, np.array([2, 0]), np.array([0.5, 0.4]), classes=SCANNET20)
    assert write_predictions(tmp_path, found) == 1, "the benchmark has no walls"
    assert (tmp_path / "scene0000_00.txt").read_text() == "predicted_masks/scene0000_00_000.txt 3 0.5\n"
    assert (tmp_path / "predicted_masks/scene0000_00_000.txt").read_text() == "1\n0\n1\n"
    write_ground_truth(tmp_path / "gt", labeled([0, 2, -1, 4], [1, 12, 3, 0]), SCANNET20)
    assert (tmp_path / "gt" / "room.txt").read_text() == "1001\n3012\n0\n0\n"
    with pytest.raises(ValueError, match="ceiling has 1000 instances, the format holds 999"):
        write_ground_truth(tmp_path, labeled(np.zeros(1000), np.arange(1, 1001)), S3DIS)
    for label, instance, message in ((0, -1, "instance id -1"), (13, 1, "class index 13"), (-2, 1, "class index -2")):
        refuses(message, write_ground_truth, tmp_path, labeled([label], [instance]), S3DIS)
    for name in ("a\\b", "a/b", ""):
        refuses("is empty or has slashes", write_predictions, tmp_path, Prediction(Scene.without_xyz(name, 3)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gt", "predicted_masks", "scene0000_00.txt"]


@settings(max_examples=30, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), num_points=st.integers(0, 60))
def test_ground_truth_there_and_back(tmp_path_factory: pytest.TempPathFactory, seed: int, num_points: int) -> None:
    rng = np.random.default_rng(seed)
    class_of = rng.integers(-1, 13, 8)
    instance = rng.integers(0, 8, num_points).astype(np.int32)
    semantic = class_of[instance].astype(np.int32)
    instance *= rng.choice([1, 39_001])  # ids above 999 are numbered again
    path = write_ground_truth(tmp_path_factory.mktemp("gt"), labeled(semantic, instance), S3DIS)
    found_semantic, found_instance = read_ground_truth(path, S3DIS)
    known = (semantic >= 0) & (instance > 0)
    np.testing.assert_array_equal(found_semantic, np.where(known, semantic, -1))
    np.testing.assert_array_equal(found_instance > 0, known)
    pairs = set(zip(instance[known].tolist(), found_instance[known].tolist()))
    assert len(pairs) == len(set(instance[known].tolist())) == len(set(found_instance[known].tolist()))
    assert found_instance.max(initial=0) == len(pairs)


def test_ground_truth_of_the_benchmark(tmp_path: Path) -> None:
    """Unknown label ids are void; label id * 1000 without an instance is an object, as in the script."""
    path = tmp_path / "a.txt"
    for text, semantic, instance in (
        ("0\n3001\n13001\n3000\n4001\n2\n-1\n-3001\n\n", [-1, 2, -1, 2, 3, -1, -1, -1], [0, 2, 0, 1, 3, 0, 0, 0]),
        ("\ufeff3001\n4001\n", [2, 3], [1, 2]),
        ("", [], []),
    ):
        path.write_text(text, encoding="utf-8")
        assert [ids.tolist() for ids in read_ground_truth(path, SCANNET20)] == [semantic, instance]


def test_bad_ground_truth(tmp_path: Path) -> None:
    for text, message in (
        ("\xff\xfe\0", r"a\.txt: not a text file"),
        ("0\nchair\n", r"a\.txt:2: expected one whole number of 32 bits, found 'chair'"),
        ("0\n\n1\n", r"a\.txt:2: expected one whole number of 32 bits, found ''"),
        ("99999999999999999999\n", r"a\.txt:1: expected .*, found '99999999999999999999'"),
        *((ids, "found labels up to .* without instances") for ids in ("5\n7\n22", "0\n19\n255\n-100", "1191\n3\n-1")),
    ):
        (tmp_path / "a.txt").write_bytes(text.encode("latin1"))
        refuses(message, read_ground_truth, tmp_path / "a.txt", SCANNET200)


def test_bad_predictions(tmp_path: Path) -> None:
    for line, message in (
        ("m.txt 5", r"room\.txt:1: expected 'MASK_FILE LABEL_ID SCORE', found 'm\.txt 5'"),
        ("m.txt 5 0.5\nmissing.txt 5 0.5", r"room\.txt:2: there is no mask file .*missing\.txt"),
        ("m.txt chair 0.5", r"room\.txt:1: the label id must be a whole number, found 'chair'"),
        ("m.txt 5 nan", r"room\.txt:1: the score must be a finite number, found 'nan'"),
        ("../m.txt 5 0.5", r"room\.txt:1: mask file \.\./m\.txt must be a relative path inside"),
        ("m.txt 5 0.5\n./m.txt 5 0.5", r"room\.txt:2: mask file \./m\.txt was named by an earlier line"),
    ):
        (tmp_path / "m.txt").write_text("1\n0\n")
        (tmp_path / "room.txt").write_text(line)
        refuses(message, read_predictions, tmp_path / "room.txt", Scene.without_xyz("room", 2), SCANNET20)


def test_masks(tmp_path: Path) -> None:
    for content in (
        *("1\n0\n1\n", "1\n0\n1", "1\r\n0\r\n1\r\n", "7\n 0\n-1\n", "01\n0\n1\n\n"),
        *({"mask": MASK}, {"mask": MASK.astype(np.uint8) * 3}, {"packed": PACKED}, {"packed": PACKED, "num_points": 9}),
    ):
        if isinstance(content, str):
            (tmp_path / "m.txt").write_bytes(content.encode())
            assert read_mask(tmp_path / "m.txt", 3).tolist() == [True, False, True]
        else:
            np.savez(tmp_path / "m.npz", **content)
            np.testing.assert_array_equal(read_mask(tmp_path / "m.npz", 9), MASK)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(st.booleans(), max_size=40))
def test_rle_there_and_back(values: list[bool]) -> None:
    mask = np.array(values, np.bool_)
    encoded = json.loads(json.dumps(rle_encode(mask)))
    np.testing.assert_array_equal(rle_decode(encoded), mask)
    as_list = {**encoded, "counts": [int(run) for run in encoded["counts"].split()]}
    np.testing.assert_array_equal(rle_decode(as_list), mask)


def test_bad_mask_files(tmp_path: Path) -> None:
    of_rle = (
        ([1, 2], 'expected an object with "length" and "counts"'),
        ({"length": -1, "counts": ""}, "length is -1"),
        ({"length": 10**15, "counts": ""}, "length is 1000000000000000"),
        *(({"length": 4, "counts": run}, "a run .* outside 1..4") for run in ("0 2", "9223372036854775807 2")),
        *(({"length": 4, "counts": run}, "pairs of whole numbers") for run in ("1 2 3", [1, None], f"{10**20 - 1} 2")),
    )
    for name, content, message in (
        *(("m.json", json.dumps(rle), rf"m\.json: not a run-length mask: .*({message})") for rle, message in of_rle),
        ("m.json", '{"length": 4, "cou', r"m\.json: not a run-length mask"),
        ("m.png", "", r"masks are \.txt, \.npz or \.json files, found \.png"),
        ("m.txt", "1\n0\n", r"m\.txt: the mask has 2 points, the ground truth of the scene has 4"),
        ("m.npz", {"other": MASK}, "expected an array 'mask' or 'packed', found neither"),
        ("m.npz", {"mask": MASK.astype(np.float32)}, "got float32"),
        ("m.npz", {"mask": MASK[None]}, r"got bool \(1, 9\)"),
        ("m.npz", {"mask": MASK}, "the mask has 9 points, the ground truth of the scene has 4"),
        ("m.npz", {"mask": np.array([None, {}], object)}, r"m\.npz: not an \.npz archive"),
        ("m.npz", {"packed": np.packbits(MASK).astype(np.int64)}, "got int64"),
        ("m.npz", {"packed": np.packbits(MASK)}, "packed must hold 1 bytes for 4 points"),
        ("m.npz", {"packed": np.packbits(MASK), "num_points": 9}, "the mask has 9 points"),
    ):
        if isinstance(content, dict):
            np.savez(tmp_path / name, **content)
        else:
            (tmp_path / name).write_text(content)
        refuses(message, read_mask, tmp_path / name, 4)


@pytest.mark.parametrize("mask_format", ["txt", "npz", "json"])
def test_own_submission_passes_and_reads_back(tmp_path: Path, mask_format: str, rng: np.random.Generator) -> None:
    folder, path = tmp_path / "pred", tmp_path / "s.zip"
    masks, superpoint = rng.random((3, 6)) < 0.5, np.sort(np.arange(50, dtype=np.int32) % 6)
    scene, other, left_over = (Scene.without_xyz(name, 50) for name in ("meeting room", "scene0001_00", "left_over"))
    labels, scores = np.array([4, 4, 2]), np.array([0.1, 1 / 3, 1e-12])
    found = Prediction(scene, masks, labels, scores, classes=SCANNET20, superpoint=superpoint)
    for prediction in (found, Prediction(other, np.zeros((0, 50), np.bool_)), replace(found, scene=left_over)):
        write_predictions(folder, prediction, mask_format=mask_format)
    refuses("absent", files.write_submission, path, folder, ["absent"], error=FileNotFoundError)
    assert list(tmp_path.iterdir()) == [folder]
    files.write_submission(path, folder, ["scene0001_00", "meeting room"])
    assert files.check_submission(path, SCANNET20, {"meeting room": 50, "scene0001_00": None}) == (2, 3)
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "out")
    for where in (folder, tmp_path / "out"):
        again = read_predictions(where / "meeting room.txt", scene, SCANNET20)
        holds(again, masks=masks[:, superpoint], labels=labels, scores=scores)
        assert len(read_predictions(where / "scene0001_00.txt", other, SCANNET20)) == 0
    assert not (tmp_path / "out" / "left_over.txt").exists()
    assert not list(tmp_path.rglob("*.tmp"))


def _check(folder: Path, contents: dict[str, bytes | None]) -> None:
    with zipfile.ZipFile(folder / "s.zip", "w") as archive:
        for name, content in contents.items():
            if content is not None:
                archive.writestr(name, content)
    files.check_submission(folder / "s.zip", SCANNET20, {"a": 3, "b": None})


def test_broken_rules(tmp_path: Path) -> None:
    good = {
        "a.txt": b"predicted_masks/a_0.txt 5 0.5\npredicted_masks/a_1.txt 39 0.25\n",
        "b.txt": b"",
        "predicted_masks/a_0.txt": b"0\n1\n1\n",
        "predicted_masks/a_1.txt": b"1\r\n0\r\n1",
    }
    for changes, message in (
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
        ({**dict.fromkeys(good), "pred/a.txt": b""}, r"no SCENE\.txt at the root"),
    ):
        _check(tmp_path, good)
        refuses(message, _check, tmp_path, good | changes)
        (tmp_path / "s.zip").write_bytes(b"no")
        refuses("not a zip file", files.check_submission, tmp_path / "s.zip", SCANNET20)
