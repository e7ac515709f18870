"""The plan of a room: its outline, its walls and occupied space."""

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from pcseg.synthetic.shapes import Item


@dataclass(frozen=True)
class Rect:
    """A rotated rectangle on the floor with a range of heights, in meters: center, half lengths, yaw in radians."""

    x: float
    y: float
    half_x: float
    half_y: float
    yaw: float = 0.0
    low: float = 0.0
    high: float = 3.0

    def corners(self) -> list[tuple[float, float]]:
        """The four corners, in order."""
        cos, sin = np.cos(self.yaw), np.sin(self.yaw)
        ux, uy, vx, vy = self.half_x * cos, self.half_x * sin, -self.half_y * sin, self.half_y * cos
        return [(self.x + a * ux + b * vx, self.y + a * uy + b * vy) for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))]

    def meets(self, other: "Rect") -> bool:
        """Whether both overlap in plan and in height (separating axis theorem)."""
        if self.low >= other.high or other.low >= self.high:
            return False
        reach = np.hypot(self.half_x, self.half_y) + np.hypot(other.half_x, other.half_y)
        dx, dy = other.x - self.x, other.y - self.y
        if dx * dx + dy * dy >= reach * reach:
            return False
        turn = other.yaw - self.yaw
        cos, sin = abs(np.cos(turn)), abs(np.sin(turn))
        for a, b in ((self, other), (other, self)):
            ca, sa = np.cos(a.yaw), np.sin(a.yaw)
            if abs(dx * ca + dy * sa) >= a.half_x + b.half_x * cos + b.half_y * sin:
                return False
            if abs(dy * ca - dx * sa) >= a.half_y + b.half_x * sin + b.half_y * cos:
                return False
        return True


@dataclass
class Wall:
    """One wall plane: from `start` along `direction`, the room to its left.

    Args:
        start: x, y of its first corner.
        direction: unit vector along it.
        length: meters.
        holes: openings (s0, s1, z0, z1), along the wall and up.
        used: rectangles that hang on it or open in it, holes included.
    """

    start: tuple[float, float]
    direction: tuple[float, float]
    length: float
    holes: list[tuple[float, float, float, float]] = field(default_factory=list)
    used: list[tuple[float, float, float, float]] = field(default_factory=list)

    @property
    def yaw(self) -> float:
        """Yaw that points the front (+y) of an item into the room."""
        return float(np.arctan2(self.direction[1], self.direction[0]))

    def at(self, along: float, out: float = 0.0) -> tuple[float, float]:
        """The point at a distance `along` the wall and `out` into the room."""
        dx, dy = self.direction
        return self.start[0] + along * dx - out * dy, self.start[1] + along * dy + out * dx

    def is_free(self, s0: float, s1: float, z0: float, z1: float) -> bool:
        """Whether nothing hangs or opens in a part of the wall.

        Args:
            s0: start of the part along the wall in meters.
            s1: end of the part along the wall.
            z0: height of its lower edge in meters.
            z1: height of its upper edge.
        """
        return all(s1 <= a or b <= s0 or z1 <= c or d <= z0 for a, b, c, d in self.used)

    def pieces(self, height: float) -> list[tuple[float, float, float, float]]:
        """The wall without its holes, as rectangles (s0, s1, z0, z1)."""
        cuts = sorted({0.0, self.length, *(s for hole in self.holes for s in hole[:2])})
        pieces = []
        for s0, s1 in pairwise(cuts):
            z = 0.0
            for low, high in sorted((c, d) for a, b, c, d in self.holes if a < s1 and s0 < b):
                if low > z:
                    pieces.append((s0, s1, z, low))
                z = high
            if z < height:
                pieces.append((s0, s1, z, height))
        return pieces


class Plan:
    """Outline of a room, from (0, 0) to (width, depth), with an optional missing corner (an L), and occupied space.

    Args:
        width: length along x in meters.
        depth: length along y in meters.
        height: height of the ceiling in meters.
        notch: width and depth of the missing corner at (width, depth); None for a rectangle.
    """

    def __init__(self, width: float, depth: float, height: float, notch: tuple[float, float] | None = None) -> None:
        self.width, self.depth, self.height, self.notch = width, depth, height, notch
        corners = [(0.0, 0.0), (width, 0.0), (width, depth), (0.0, depth)]
        self.taken: list[Rect] = []
        if notch is not None:
            x, y = width - notch[0], depth - notch[1]
            corners[2:3] = [(width, y), (x, y), (x, depth)]
            self.taken.append(Rect((x + width) / 2, (y + depth) / 2, notch[0] / 2, notch[1] / 2, high=height))
        self.walls = []
        for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1]):
            length = float(np.hypot(x1 - x0, y1 - y0))
            self.walls.append(Wall((x0, y0), ((x1 - x0) / length, (y1 - y0) / length), length))

    @property
    def area(self) -> float:
        """Floor area in square meters."""
        missing = 0.0 if self.notch is None else self.notch[0] * self.notch[1]
        return self.width * self.depth - missing

    def floor_rects(self) -> list[tuple[float, float, float, float]]:
        """The floor as rectangles (x0, y0, x1, y1)."""
        if self.notch is None:
            return [(0.0, 0.0, self.width, self.depth)]
        x = self.width - self.notch[0]
        return [(0.0, 0.0, x, self.depth), (x, 0.0, self.width, self.depth - self.notch[1])]

    def fits(self, rect: Rect) -> bool:
        """Whether the rectangle is inside the room and meets nothing."""
        for x, y in rect.corners():
            if not (-1e-6 <= x <= self.width + 1e-6 and -1e-6 <= y <= self.depth + 1e-6):
                return False
        return not any(rect.meets(other) for other in self.taken)

    def rect_of(self, item: Item, x: float, y: float, yaw: float, base: float = 0.0, margin: float = 0.0) -> Rect:
        """Footprint and heights of an item.

        Args:
            item: its size counts.
            x: place of its middle in meters.
            y: place of its middle in meters.
            yaw: turn about z in radians.
            base: height of its lower side in meters.
            margin: free floor around it in meters, part of the footprint.
        """
        half_x, half_y = item.size[0] / 2 + margin, item.size[1] / 2 + margin
        return Rect(x, y, half_x, half_y, yaw, base, base + item.size[2])
