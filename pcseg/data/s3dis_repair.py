"""Mends damaged lines of the S3DIS release: control bytes inside numbers, glued columns, missing columns."""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

# Tab, line feed and carriage return belong to text; a carriage return inside a line does not.
_CONTROL = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")
_NUMERIC_ONLY = re.compile(rb"[0-9+\-. \t]*")
_COORDINATE = re.compile(rb"-?(0|[1-9]\d*)(?:\.(\d+))?")
_COLOR = re.compile(rb"(0|[1-9]\d*)(?:\.0+)?")
# What may stand where a control byte stands: nothing, a blank, or the byte that it was before a bit was lost.
_STANDINS = (b"", b" ", b".", b"-", *(str(digit).encode() for digit in range(10)))
_MAX_CONTROL_BYTES = 3
_MAX_LINE = 100
# A mended point may lie this far outside the sound points of its object, in meters.
_MARGIN = 1.0


@dataclass(frozen=True)
class Plausible:
    """What the sound lines of a file say about its damaged ones.

    Args:
        decimals: numbers of decimals that coordinates are written with; empty admits any.
        low: smallest coordinates of the sound points, less a margin.
        high: largest coordinates of the sound points, plus a margin.
    """

    decimals: frozenset[int]
    low: tuple[float, ...]
    high: tuple[float, ...]

    @staticmethod
    def of(sound_lines: list[bytes], xyz: Float32[np.ndarray, "P 3"]) -> "Plausible":
        """From some sound lines of a file and all of its sound points."""
        decimals = set()
        for line in sound_lines:
            for field in line.split()[:3]:
                match = _COORDINATE.fullmatch(field)
                if match:
                    decimals.add(len(match[2] or b""))
        if len(xyz) == 0:
            return Plausible(frozenset(decimals), (-np.inf,) * 3, (np.inf,) * 3)
        low, high = (xyz.min(axis=0) - _MARGIN).tolist(), (xyz.max(axis=0) + _MARGIN).tolist()
        return Plausible(frozenset(decimals), tuple(low), tuple(high))

    def number(self, column: int, field: bytes) -> float | None:
        """The number of a field when it could stand in this column (0..2 coordinates, 3..5 colors), otherwise None."""
        if column >= 3:
            return float(field) if _COLOR.fullmatch(field) and float(field) <= 255 else None
        match = _COORDINATE.fullmatch(field)
        if not match or (self.decimals and len(match[2] or b"") not in self.decimals):
            return None
        return float(field) if self.low[column] <= float(field) <= self.high[column] else None

    def row(self, line: bytes) -> tuple[float, ...] | None:
        """The six numbers of a line when they could be a point of this file, otherwise None."""
        fields = line.split()
        if len(fields) != 6:
            return None
        numbers = []
        for column, field in enumerate(fields):
            number = self.number(column, field)
            if number is None:
                return None
            numbers.append(number)
        return tuple(numbers)


def has_control_byte(line: bytes) -> bool:
    """Whether a line holds a byte that no text holds; the carriage return of its line break does not count."""
    return _CONTROL.search(line.rstrip(b"\r")) is not None


def is_mendable(line: bytes) -> bool:
    """Whether a damaged line holds only digits, signs, points and blanks beside its control bytes."""
    return _NUMERIC_ONLY.fullmatch(_CONTROL.sub(b"", line.rstrip(b"\r"))) is not None


def mend(line: bytes, plausible: Plausible) -> tuple[float, ...] | None:
    """The six numbers that a damaged line stood for, when exactly one reading is plausible.

    A control byte is read as nothing, a blank, a point, a minus or any digit; glued columns, which no column
    would take as they are, are parted at any place. A reading is plausible when its coordinates have the decimals that
    the file's sound lines have and lie near the sound points, and its colors are whole numbers 0..255 without leading
    zeros.

    Args:
        line: bytes of the line.
        plausible: what the file's sound lines look like.

    Returns:
        x, y, z, r, g, b, or None where there is no plausible reading or more than one.
    """
    line = line.rstrip(b"\r")
    readings: set[tuple[float, ...]] = set()
    for text in _without_control_bytes(line):
        reading = plausible.row(text)
        if reading is not None:
            readings.add(reading)
        if len(readings) > 1:
            return None
    if not readings and not has_control_byte(line):
        for text in _parted(line, plausible):
            reading = plausible.row(text)
            if reading is not None:
                readings.add(reading)
    return readings.pop() if len(readings) == 1 else None


def _without_control_bytes(line: bytes) -> Iterator[bytes]:
    """Every reading of the control bytes of a line; none where there are too many of them."""
    parts = _CONTROL.split(line)
    if len(parts) - 1 > _MAX_CONTROL_BYTES:
        return
    for standins in itertools.product(_STANDINS, repeat=len(parts) - 1):
        pieces = [parts[0]]
        for standin, part in zip(standins, parts[1:]):
            pieces += [standin, part]
        yield b"".join(pieces)


def _parted(line: bytes, plausible: Plausible) -> Iterator[bytes]:
    """Every way to part glued columns so that there are six; fields that some column would take stay whole."""
    fields = line.split()
    missing = 6 - len(fields)
    if not 1 <= missing <= 2 or len(line) > _MAX_LINE:
        return
    places = []
    start = 0
    for index, field in enumerate(fields):
        fits = any(plausible.number(column, field) is not None for column in range(index, index + missing + 1))
        if not fits:
            places += range(start + 1, start + len(field))
        start += len(field) + 1
    joined = b" ".join(fields)
    for cuts in itertools.combinations(places, missing):
        pieces = [joined[start:end] for start, end in zip((0, *cuts), (*cuts, len(joined)))]
        yield b" ".join(pieces)
