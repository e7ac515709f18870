"""Rows of numbers in text files, by numpy's reader and line by line."""

from pathlib import Path

import numpy as np
import pytest

from pcseg.data.text import load_rows, read_rows, text_lines
from tests.conftest import refuses


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.txt"


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("comment", ["", "# a comment takes the slow way"])
def test_numbers_are_exact_on_both_ways(path: Path, rng: np.random.Generator, newline: str, comment: str) -> None:
    values = [[f"{x:.3f}", f"{y:.6f}", f"{z:+.1e}", "nan"] for x, y, z in rng.normal(0, 30, (50, 3)).tolist()]
    path.write_bytes(newline.join([comment, *map("\t ".join, values), "", "  "]).encode())
    assert (load_rows(path, 4) is None) == bool(comment)
    np.testing.assert_array_equal(read_rows(path, 4), np.array(values, np.float64))


@pytest.mark.parametrize("line", ["1 2", "1 2 3 4", "1 2 x", "1 \x102 3", "1-2 3 4", "1_0 2 3", "1.2.3 4 5", "0x1 2 3"])
def test_the_first_bad_line_is_named(path: Path, line: str) -> None:
    path.write_text(f"1 2 3\n\n{line}\nbad too\n")
    assert load_rows(path, 3) is None
    refuses(r"a\.txt:3: expected 3 numbers, found '1|'0", read_rows, path, 3)


def test_separator_first_line_and_nothing(path: Path) -> None:
    path.write_text("x,y\n1, 2\n3 ,4\n")
    assert read_rows(path, 2, separator=",", first_line=2).tolist() == [[1, 2], [3, 4]]
    assert list(text_lines(path, 3)) == [(3, b"3 ,4")]
    for line in ("5,", ",6", "7 8"):
        path.write_text(f"1,2\n{line}\n")
        refuses(r"a\.txt:2: expected 2 numbers", read_rows, path, 2, separator=",")
    for nothing in ("", "\n\n", "   \n", "# nothing\n"):
        path.write_text(nothing)
        assert read_rows(path, 3).shape == (0, 3)
