from pathlib import Path

import numpy as np
import pytest

from pcseg.files import atomic_open, none_for_nan, npz_bytes, read_npz


def _break_off(path: Path) -> None:
    with atomic_open(path) as file:
        file.write(b"half")
        raise RuntimeError("broken off")


def test_old_content_stays_until_the_new_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError, match="broken off"):
        _break_off(path)
    assert path.read_bytes() == b"old"
    with atomic_open(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]
    assert path.stat().st_mode & 0o600 == 0o600


def test_folders(tmp_path: Path) -> None:
    with atomic_open(tmp_path / "b" / "a.bin") as file:
        file.write(b"x")
    assert (tmp_path / "b" / "a.bin").read_bytes() == b"x"
    with pytest.raises(IsADirectoryError, match="a folder; expected"), atomic_open(tmp_path / "b"):
        pass


def test_read_npz(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    arrays = {"a": np.arange(300), "b": np.array("text")}
    whole = npz_bytes(arrays)
    path.write_bytes(whole)
    for read, keys in ((read_npz(path), ["a", "b"]), (read_npz(path, ("a", "c")), ["a"])):
        assert list(read) == keys
        np.testing.assert_array_equal(read["a"], arrays["a"])
    flipped = bytearray(whole)
    flipped[60:100] = bytes(40)
    np.save(tmp_path / "array.npy", arrays["a"])
    np.savez(tmp_path / "objects.npz", a=np.array([None, {}], object))
    others = [(tmp_path / name).read_bytes() for name in ("array.npy", "objects.npz")]
    for content in (b"", b"text", whole[: len(whole) // 2], bytes(flipped), *others):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.npz: damaged or foreign"):
            read_npz(path)
    with pytest.raises(OSError, match=r"none\.npz"):
        read_npz(tmp_path / "none.npz")


def test_none_for_nan() -> None:
    value = {"a": [1 / 3, float("inf")], "b": (float("nan"), 2, "x", None)}
    assert none_for_nan(value) == {"a": [1 / 3, None], "b": [None, 2, "x", None]}
    assert none_for_nan(1 / 3, digits=9) == 0.333333333
