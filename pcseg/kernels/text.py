"""Numba kernel behind pcseg.data.text_points: rows of plain decimal numbers out of the bytes of a text file."""

import numpy as np
from numba import njit

# Powers of ten that double precision holds exactly: a 53-bit whole number divided by one of them is rounded correctly.
_POWERS = 10.0 ** np.arange(23)
_NEWLINE, _RETURN, _TAB, _BLANK, _COMMA, _SEMICOLON = 10, 13, 9, 32, 44, 59
_PLUS, _MINUS, _POINT, _ZERO, _NINE = 43, 45, 46, 48, 57
_LARGEST = 2**53
_MAX_DIGITS = 17


@njit(cache=True)
def _parse_number(text, at):
    """The plain decimal that starts at byte `at`: where it ends, and its value, nan where there is none."""
    size = len(text)
    negative = text[at] == _MINUS
    if negative or text[at] == _PLUS:
        at += 1
    whole = 0
    digits = 0
    decimals = 0
    point = False
    while at < size and digits <= _MAX_DIGITS:
        byte = text[at]
        if byte >= _ZERO and byte <= _NINE:
            whole = whole * 10 + (byte - _ZERO)
            digits += 1
            if point:
                decimals += 1
        elif byte == _POINT and not point:
            point = True
        else:
            break
        at += 1
    if digits == 0 or digits > _MAX_DIGITS or whole > _LARGEST:
        return at, np.nan
    number = whole / _POWERS[decimals]
    return at, -number if negative else number


@njit(cache=True)
def parse_rows(text, first, separator, num_columns, values, row_lines, odd_lines):
    """Read every line of exactly `num_columns` plain decimals; list the other lines.

    Plain decimals are signs, digits and one point; anything else (exponents, letters, control bytes, other counts of
    columns) makes a line odd, and odd lines are left to slower code. Blank lines are passed over.

    Args:
        text: uint8 (bytes,).
        first: byte where the first line starts.
        separator: 32 for blanks and tabs, otherwise the byte between columns (44 comma, 59 semicolon).
        num_columns: columns of a row.
        values: float64 (lines, num_columns), written.
        row_lines: int64 (lines,), line of each row, written; lines count from 0 at `first`.
        odd_lines: int64 (lines, 3), line, first byte and last byte + 1 of each odd line, written.

    Returns:
        number of rows, number of odd lines.
    """
    size = len(text)
    at = first
    line = 0
    rows = 0
    odds = 0
    while at < size:
        start = at
        column = 0
        good = True
        separated = True  # a column may start here
        while at < size and text[at] != _NEWLINE:
            byte = text[at]
            if byte in (_BLANK, _TAB):
                at += 1
                if separator == _BLANK:
                    separated = True
                continue
            if byte == _RETURN and (at + 1 == size or text[at + 1] == _NEWLINE):
                at += 1
                continue
            if byte == separator:
                if separated:
                    good = False
                    break
                at += 1
                separated = True
                continue
            if not separated or column == num_columns:
                good = False
                break
            at, number = _parse_number(text, at)
            if np.isnan(number):
                good = False
                break
            values[rows, column] = number
            column += 1
            separated = False
        while at < size and text[at] != _NEWLINE:
            at += 1
        if good and column == num_columns and not (separator != _BLANK and separated):
            row_lines[rows] = line
            rows += 1
        elif not (good and column == 0):
            odd_lines[odds, 0] = line
            odd_lines[odds, 1] = start
            odd_lines[odds, 2] = at
            odds += 1
        line += 1
        at += 1
    return rows, odds
