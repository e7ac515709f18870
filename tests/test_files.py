from pathlib import Path

import pytest

from pcseg.files import atomic_open


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
