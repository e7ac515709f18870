"""Result files survive a round trip, and all other files are refused with a one-line message."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import issparse

from pcseg.classes import S3DIS, ClassSet
from pcseg.prediction import Prediction, is_result
from pcseg.structures import Scene


def _room(rng: np.random.Generator, num_points: int = 50, num_superpoints: int = 7) -> Scene:
    return Scene(
        name="Büro «1» </script>",
        xyz=rng.random((num_points, 3), np.float32),
        rgb=rng.integers(0, 256, (num_points, 3)).astype(np.uint8),
        normal=rng.random((num_points, 3), np.float32),
        semantic=rng.integers(-1, 13, num_points).astype(np.int32),
        instance=rng.integers(0, 4, num_points).astype(np.int32),
        superpoint=np.arange(num_points, dtype=np.int32) % num_superpoints,
        faces=rng.integers(0, max(num_points, 1), (9, 3)).astype(np.int32),
    )


def _objects(rng: np.random.Generator, scene: Scene, columns: int, count: int) -> Prediction:
    """Objects over points, or over superpoints if there are as many columns."""
    scores = np.sort(rng.random(count, np.float32))[::-1].copy()
    masks, labels = rng.random((count, columns)) > 0.5, rng.integers(0, 13, count)
    superpoint = None if columns == len(scene) else scene.superpoint
    return Prediction(scene, masks, labels, scores, classes=S3DIS, superpoint=superpoint)


def _same(a: object, b: object) -> None:
    for key in a.__dataclass_fields__:
        x, y = getattr(a, key), getattr(b, key)
        if key in ("scene", "classes") and x is not None:
            _same(x, y)
            continue
        if issparse(x):
            x, y = x.toarray(), y.toarray()
        if isinstance(x, np.ndarray):
            assert x.dtype == y.dtype, key
            np.testing.assert_array_equal(x, y)
        else:
            assert x == y, key


@pytest.mark.parametrize("columns", [7, 50])
@pytest.mark.parametrize("count", [0, 1, 5])
def test_round_trip(tmp_path: Path, rng: np.random.Generator, columns: int, count: int) -> None:
    prediction = _objects(rng, _room(rng), columns, count)
    prediction = replace(prediction, semantic=rng.integers(-1, 13, 50).astype(np.int32))
    path = tmp_path / "room.npz"
    prediction.save(path)
    _same(Prediction.load(path), prediction)
    assert is_result(path)
    assert [p.name for p in tmp_path.iterdir()] == ["room.npz"], "no temporary file is left"


@pytest.mark.parametrize("classes", [None, S3DIS])
def test_parts_that_are_absent_stay_absent(tmp_path: Path, rng: np.random.Generator, classes: ClassSet | None) -> None:
    prediction = Prediction(Scene("bare", rng.random((3, 3), np.float32)), classes=classes)
    prediction.save(tmp_path / "a.npz")
    assert is_result(tmp_path / "a.npz")
    result = Prediction.load(tmp_path / "a.npz")
    assert not result.has_objects
    _same(result, prediction)


def test_class_set_comes_back_equal_and_old_files_load(tmp_path: Path) -> None:
    classes = ClassSet.from_dict(
        {
            **{"name": "mine", "names": ["chair", "wall", "lamp"], "ids": [4, 2, 9], "stuff": ["wall"]},
            **{"instance_names": ["lamp", "chair"], "groups": {"small": ["lamp"], "none": []}, "s3dis_protocols": True},
        }
    )
    path = tmp_path / "a.npz"
    Prediction(Scene.without_xyz("room", 1), classes=classes).save(path)
    assert Prediction.load(path).classes == classes
    _rewrite(path, class_groups=None, class_s3dis_protocols=None)
    assert Prediction.load(path).classes == replace(classes, groups={}, s3dis_protocols=False)


def test_empty_room(tmp_path: Path) -> None:
    prediction = Prediction(Scene.without_xyz("empty", 0), semantic=np.zeros(0, np.int32))
    prediction.save(tmp_path / "a.npz")
    assert len(Prediction.load(tmp_path / "a.npz").scene) == 0


def test_masks_are_packed(tmp_path: Path, rng: np.random.Generator) -> None:
    scene = Scene("big", np.zeros((8000, 3), np.float32))
    _objects(rng, scene, 8000, 100).save(tmp_path / "a.npz")
    assert (tmp_path / "a.npz").stat().st_size < 8000 * 100 / 8 + 10_000


def _rewrite(path: Path, **changes: np.ndarray | None) -> None:
    """The same file with some entries replaced, or left out where None."""
    with np.load(path) as archive:
        arrays = {key: archive[key] for key in archive.files} | changes
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": None}, "not a pcseg result"),
        ({"format": np.array("other")}, "not a pcseg result"),
        ({"version": np.array(99)}, "result version 99"),
        ({"xyz": None}, "no entry 'xyz'"),
        ({"xyz": np.zeros((50, 3))}, "entry 'xyz' must be float32, found float64"),
        ({"xyz": np.full((50, 3), np.nan, np.float32)}, "not finite"),
        ({"labels": None}, "no entry 'labels'"),
        ({"labels": np.array([99, 1])}, "class indices from 0 to 12"),
        ({"mask_bits": np.zeros((2, 9), np.uint8)}, "do not fit the packed bits"),
        ({"class_ids": np.arange(3)}, "expected ids as 13 different whole numbers"),
        ({"semantic": np.full(50, 13, np.int32)}, "semantic must be class indices from -1 to 12"),
    ],
)
def test_refuses_damaged_entries(tmp_path: Path, rng: np.random.Generator, changes: dict, message: str) -> None:
    path = tmp_path / "room.npz"
    _objects(rng, _room(rng), 7, 2).save(path)
    _rewrite(path, **changes)
    with pytest.raises(ValueError, match=message) as caught:
        Prediction.load(path)
    assert "\n" not in str(caught.value)


def test_refuses_other_files(tmp_path: Path) -> None:
    path = tmp_path / "room.npz"
    with pytest.raises(OSError, match="No such file"):
        Prediction.load(path)
    np.savez(path, points=np.zeros(3))
    with pytest.raises(ValueError, match="not a pcseg result"):
        Prediction.load(path)
    assert not is_result(path)
