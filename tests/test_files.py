import json
import math
import resource
from pathlib import Path

import numpy as np
import pytest

from pcseg.files import append_record, atomic_open, drop_records_after, none_for_nan, npz_bytes, read_npz, read_records
from tests.conftest import refuses


def _break_off(path: Path) -> None:
    with atomic_open(path) as file:
        file.write(b"half")
        raise RuntimeError("broken off")


def test_old_content_stays_until_the_new_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    refuses("broken off", _break_off, path, error=RuntimeError)
    assert path.read_bytes() == b"old"
    with atomic_open(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]
    assert path.stat().st_mode & 0o600 == 0o600
    with atomic_open(tmp_path / "b" / "a.bin") as file:  # in a folder that does not exist yet
        file.write(b"x")
    assert (tmp_path / "b" / "a.bin").read_bytes() == b"x"
    with pytest.raises(IsADirectoryError, match="a folder; expected"), atomic_open(tmp_path / "b"):
        pass


def test_read_npz(tmp_path: Path) -> None:
    path, arrays = tmp_path / "a.npz", {"a": np.arange(300), "b": np.array("text")}
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
        refuses(r"a\.npz: not an \.npz archive", read_npz, path)
    refuses(r"none\.npz", read_npz, tmp_path / "none.npz", error=OSError)


def test_records_survive_and_later_ones_go(tmp_path: Path) -> None:
    path, value = tmp_path / "metrics.jsonl", np.float32(0.1) / 3
    append_record(path, {"step": 1, "loss": float(value), "norm": math.inf, "more": {"ap": math.nan, "of": (0.5, "x")}})
    (record,) = read_records(path)
    assert json.loads(path.read_text(), parse_constant=pytest.fail) == record
    assert np.float32(record.pop("loss")) == value
    assert record == {"step": 1, "norm": None, "more": {"ap": None, "of": [0.5, "x"]}}
    assert none_for_nan([1 / 3, None], digits=9) == [0.333333333, None]
    path = tmp_path / "steps.jsonl"
    for step in (1, 2, 3):
        append_record(path, {"step": step})
    with path.open("a") as file:
        file.write('{"step": 4, "lo')
    assert [record["step"] for record in read_records(path)] == [1, 2, 3]
    for last, left in ((2, '{"step": 1}\n{"step": 2}\n'), (0, "")):
        drop_records_after(path, last)
        assert path.read_text() == left
    drop_records_after(tmp_path / "none.jsonl", 2)
    assert not (tmp_path / "none.jsonl").exists()


def test_line_that_is_no_record(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    refuses(r"metrics.jsonl: no such file", read_records, path)
    for line in ("nonsense\n", "[1]\n", '{"loss": 1}\n', '{"step": "x"}\n', "\x00\x00\n"):
        path.write_text('{"step": 1}\n' + line + '{"step": 3}\n')
        refuses(r"metrics.jsonl: line 2 is not a record of a step", read_records, path)


def test_full_disk(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    append_record(path, {"step": 1})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, before[1]))  # refuses as a full disk does, in the middle of a line
    try:
        with pytest.raises(OSError, match=r"metrics.jsonl: cannot be written: File too large"):
            append_record(path, {"step": 2, "loss": 0.5})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [record["step"] for record in read_records(path)] == [1]
