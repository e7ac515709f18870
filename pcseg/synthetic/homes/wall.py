"""A wall of a room: places on it, what stands or hangs there, and its holes."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

MARGIN = 0.02  # least distance of things on a wall from its ends in meters


@dataclass
class Wall:
    """A side of a room, seen from inside from left to right.

    Args:
        start: its left end in the room's plan, in meters.
        along: unit vector to its right end.
        inward: unit vector into the room.
        length: meters.
        instance: its instance.
        used: occupied parts: left, right, bottom and top in meters.
        holes: parts without a surface, in the same form.
    """

    start: np.ndarray
    along: np.ndarray
    inward: np.ndarray
    length: float
    instance: int
    used: list[tuple[float, float, float, float]] = field(default_factory=list)
    holes: list[tuple[float, float, float, float]] = field(default_factory=list)

    @property
    def yaw(self) -> float:
        """Turn of a model whose back is to the wall."""
        return float(np.arctan2(self.inward[0], -self.inward[1]))

    def point(self, s: float, off: float = 0.0) -> np.ndarray:
        """Place in the plan: `s` meters along the wall and `off` meters into the room."""
        return self.start + self.along * s + self.inward * off

    def is_free(self, left: float, right: float, bottom: float, top: float) -> bool:
        """Whether nothing is on a part of the wall, and the part is inside of it.

        Args:
            left: left end of the part along the wall in meters.
            right: right end of the part.
            bottom: height of its lower edge in meters.
            top: height of its upper edge in meters.
        """
        inside = left >= MARGIN and right <= self.length - MARGIN
        return inside and not any(left < b and a < right and bottom < d and c < top for a, b, c, d in self.used)

    def solid_parts(self, height: float) -> Iterator[tuple[float, float, float, float]]:
        """Rectangles that cover the wall without its holes: left, right, bottom and top in meters.

        Args:
            height: height of the wall in meters.
        """
        edges = sorted({0.0, self.length, *(edge for hole in self.holes for edge in hole[:2])})
        for left, right in pairwise(edges):
            z = 0.0
            for _, _, bottom, top in sorted(
                (hole for hole in self.holes if hole[0] < right and left < hole[1]), key=lambda hole: hole[2]
            ):
                if bottom > z:
                    yield left, right, z, bottom
                z = max(z, top)
            if z < height:
                yield left, right, z, height
