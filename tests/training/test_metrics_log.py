import json
import math
import resource
from pathlib import Path

import numpy as np
import pytest

from pcseg.training.metrics_log import append_record, keep_records, read_records


def test_numbers_survive_exactly(tmp_path: Path) -> None:
    path, value = tmp_path / "metrics.jsonl", float(np.float32(0.1) / 3)
    append_record(path, {"step": 1, "loss": value, "grad_norm": math.inf, "more": {"ap": math.nan, "of": [0.5, 2]}})
    assert np.float32(read_records(path)[0]["loss"]) == np.float32(value)
    assert json.loads(path.read_text(), parse_constant=pytest.fail)["grad_norm"] is None
    assert read_records(path)[0]["more"] == {"ap": None, "of": [0.5, 2]}


def test_torn_last_line_and_later_steps_go(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    for step in (1, 2, 3):
        append_record(path, {"step": step})
    with path.open("a") as file:
        file.write('{"step": 4, "lo')
    assert [record["step"] for record in read_records(path)] == [1, 2, 3]
    keep_records(path, 2)
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'
    keep_records(path, 0)
    assert path.read_text() == ""
    keep_records(tmp_path / "none.jsonl", 2)
    assert not (tmp_path / "none.jsonl").exists()


@pytest.mark.parametrize("line", ["nonsense\n", "[1]\n", '{"loss": 1}\n', '{"step": "x"}\n', "\x00\x00\n"])
def test_line_that_is_no_record(tmp_path: Path, line: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n' + line + '{"step": 3}\n')
    with pytest.raises(ValueError, match=r"metrics.jsonl: line 2 is not a record of a step"):
        read_records(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a.jsonl: no such file"):
        read_records(tmp_path / "a.jsonl")


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
