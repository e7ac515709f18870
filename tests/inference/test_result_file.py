"""Result files come back as they were written, and everything else is refused in one sentence."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import issparse

from pcseg.classes import S3DIS
from pcseg.inference.result_file import is_result, load_result, save_result
from pcseg.structures import Instances, Scene


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


def _objects(rng: np.random.Generator, columns: int, count: int, superpoint: np.ndarray | None) -> Instances:
    scores = np.sort(rng.random(count, np.float32))[::-1].copy()
    return Instances(rng.random((count, columns)) > 0.5, rng.integers(0, 13, count), scores, superpoint)


def _same(a: object, b: object) -> None:
    for key in a.__dataclass_fields__:
        x, y = getattr(a, key), getattr(b, key)
        if issparse(x):
            x, y = x.toarray(), y.toarray()
        if isinstance(x, np.ndarray):
            assert x.dtype == y.dtype, key
            np.testing.assert_array_equal(x, y)
        else:
            assert x == y, key


@pytest.mark.parametrize("over_points", [False, True])
@pytest.mark.parametrize("count", [0, 1, 5])
def test_round_trip(tmp_path: Path, rng: np.random.Generator, over_points: bool, count: int) -> None:
    scene = _room(rng)
    objects = _objects(rng, 50, count, None) if over_points else _objects(rng, 7, count, scene.superpoint)
    semantic = rng.integers(-1, 13, 50).astype(np.int32)
    path = tmp_path / "room.npz"
    save_result(path, scene, objects, semantic, S3DIS)
    result = load_result(path)
    _same(scene, result.scene)
    _same(objects, result.instances)
    np.testing.assert_array_equal(semantic, result.semantic)
    assert result.classes == S3DIS
    assert is_result(path)
    assert [p.name for p in tmp_path.iterdir()] == ["room.npz"], "no temporary file is left"


def test_parts_that_are_absent_stay_absent(tmp_path: Path, rng: np.random.Generator) -> None:
    scene = Scene("bare", rng.random((3, 3), np.float32))
    save_result(tmp_path / "a.npz", scene, None, None, S3DIS)
    result = load_result(tmp_path / "a.npz")
    assert result.instances is None
    assert result.semantic is None
    _same(scene, result.scene)


def test_empty_room(tmp_path: Path) -> None:
    scene = Scene("empty", np.zeros((0, 3), np.float32))
    objects = Instances(np.zeros((0, 0), np.bool_), np.zeros(0, np.int64), np.zeros(0, np.float32))
    save_result(tmp_path / "a.npz", scene, objects, np.zeros(0, np.int32), S3DIS)
    assert len(load_result(tmp_path / "a.npz").scene) == 0


def test_masks_are_packed(tmp_path: Path, rng: np.random.Generator) -> None:
    scene = Scene("big", np.zeros((8000, 3), np.float32))
    objects = _objects(rng, 8000, 100, None)
    save_result(tmp_path / "a.npz", scene, objects, None, S3DIS)
    assert (tmp_path / "a.npz").stat().st_size < 8000 * 100 / 8 + 10_000


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, rng: np.random.Generator, monkeypatch) -> None:
    path = tmp_path / "room.npz"
    path.write_bytes(b"old")

    def no_space(*args: object, **kwargs: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(np, "savez_compressed", no_space)
    with pytest.raises(OSError, match="no space"):
        save_result(path, _room(rng), None, None, S3DIS)
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_refuses_parts_that_do_not_belong_together(tmp_path: Path, rng: np.random.Generator) -> None:
    scene, path = _room(rng), tmp_path / "room.npz"
    with pytest.raises(ValueError, match=r"room\.npz: masks are for 49 points, the room has 50"):
        save_result(path, scene, _objects(rng, 49, 2, None), None, S3DIS)
    with pytest.raises(ValueError, match="class indices from 0 to 12 of s3dis"):
        save_result(path, scene, Instances(np.ones((1, 50), np.bool_), np.array([13]), np.ones(1)), None, S3DIS)
    with pytest.raises(ValueError, match="masks have columns for 0 to 5"):
        save_result(path, scene, _objects(rng, 6, 2, scene.superpoint), None, S3DIS)
    with pytest.raises(ValueError, match="object 0 has no score"):
        save_result(path, scene, Instances(np.ones((1, 50), np.bool_), np.array([1]), np.array([np.nan])), None, S3DIS)
    with pytest.raises(ValueError, match="predicted semantic must have shape"):
        save_result(path, scene, None, np.zeros(3, np.int32), S3DIS)
    with pytest.raises(OSError, match="a folder; expected"):
        save_result(tmp_path, scene, None, None, S3DIS)
    assert not list(tmp_path.iterdir())


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
        ({"class_ids": np.arange(3)}, "they must agree"),
        ({"semantic": np.full(50, 13, np.int32)}, "semantic must be class indices from -1 to 12"),
    ],
)
def test_refuses_damaged_entries(tmp_path: Path, rng: np.random.Generator, changes: dict, message: str) -> None:
    path, scene = tmp_path / "room.npz", _room(rng)
    save_result(path, scene, _objects(rng, 7, 2, scene.superpoint), None, S3DIS)
    _rewrite(path, **changes)
    with pytest.raises(ValueError, match=message) as caught:
        load_result(path)
    assert "\n" not in str(caught.value)


def test_refuses_other_files(tmp_path: Path, rng: np.random.Generator) -> None:
    path = tmp_path / "room.npz"
    with pytest.raises(OSError, match="no such file"):
        load_result(path)
    with pytest.raises(ValueError, match="a folder"):
        load_result(tmp_path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="not a result file"):
        load_result(path)
    np.savez(path, points=np.zeros(3))
    with pytest.raises(ValueError, match="not a pcseg result"):
        load_result(path)
    assert not is_result(path)
    np.savez(path, format=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match="damaged or foreign"):
        load_result(path)


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9, 0.999])
def test_refuses_a_truncated_file(tmp_path: Path, rng: np.random.Generator, keep: float) -> None:
    path = tmp_path / "room.npz"
    save_result(path, _room(rng), None, None, S3DIS)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(ValueError, match=r"room\.npz"):
        load_result(path)


def test_refuses_flipped_bytes(tmp_path: Path, rng: np.random.Generator) -> None:
    path = tmp_path / "room.npz"
    save_result(path, replace(_room(rng), faces=None), None, None, S3DIS)
    data = bytearray(path.read_bytes())
    for start in range(600, len(data) - 1200, 300):
        damaged = bytearray(data)
        damaged[start : start + 40] = bytes(40)
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"room\.npz"):
            load_result(path)
