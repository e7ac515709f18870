"""The compiled pass over text against numpy's reader, and the lines that it must leave to others."""

import io

import numpy as np
import pytest

from pcseg.data.text_points import numbers_of_line, parse_text, show


def _bytes(text: bytes) -> np.ndarray:
    return np.frombuffer(text, np.uint8)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_same_as_loadtxt(rng: np.random.Generator, newline: str) -> None:
    values = rng.normal(0, 30, (500, 4))
    lines = [f"{a:.3f} {b:.6f}\t{c:+.1f}  {d:.0f}" for a, b, c, d in values.tolist()]
    text = newline.join(lines)
    rows = parse_text(_bytes(text.encode()), 4)
    np.testing.assert_array_equal(rows.values, np.loadtxt(io.StringIO(text)))
    np.testing.assert_array_equal(rows.lines, np.arange(1, 501))
    assert rows.odd == []


def test_numbers_that_are_not_plain_take_the_slow_way_and_keep_their_place() -> None:
    text = b"1 2 3\n1e-3 -2.5E2 nan\n\n.5 5. 123456789012345678901\n7 8 9"
    rows = parse_text(_bytes(text), 3)
    expected = [[1, 2, 3], [1e-3, -250, np.nan], [0.5, 5, 123456789012345678901.0], [7, 8, 9]]
    np.testing.assert_array_equal(rows.values, expected)
    assert rows.lines.tolist() == [1, 2, 4, 5]
    assert rows.odd == []


def test_odd_lines_are_listed_not_read() -> None:
    text = b"1 2 3\n1 2\n1 2 3 4\n1 2 x\n1 \x102 3\n1-2 3 4\n1_0 2 3\n--1 2 3\n1.2.3 4 5\n4 5 6\n"
    rows = parse_text(_bytes(text), 3)
    assert rows.values.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert rows.lines.tolist() == [1, 10]
    assert [line for line, _ in rows.odd] == list(range(2, 10))
    assert rows.odd[3][1] == b"1 \x102 3"


def test_separators_and_first_line() -> None:
    rows = parse_text(_bytes(b"x,y\n1, 2\n3 ,4\n5,\n,6\n7 8\n"), 2, separator=b",", first_line=2)
    assert rows.values.tolist() == [[1, 2], [3, 4]]
    assert rows.lines.tolist() == [2, 3]
    assert [line for line, _ in rows.odd] == [4, 5, 6]


@pytest.mark.parametrize("text", [b"", b"\n\n", b"   \n"])
def test_nothing(text: bytes) -> None:
    rows = parse_text(_bytes(text), 3)
    assert rows.values.shape == (0, 3)
    assert rows.odd == []


def test_numbers_of_line() -> None:
    assert numbers_of_line(b" 1 -2.5 3e2 \r") == [1, -2.5, 300]
    assert numbers_of_line(b"1;2", b";") == [1, 2]
    assert numbers_of_line(b"1 two") is None
    assert numbers_of_line(b"0x10 1") is None


def test_show_escapes_and_cuts() -> None:
    assert show(b"1 \x102\r") == r"'1 \x102'"
    assert len(show(b"9" * 1000)) < 70
