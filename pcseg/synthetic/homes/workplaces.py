"""Desks with chairs and monitors: single ones, and runs of desks along the walls."""

from itertools import pairwise

import numpy as np

from pcseg.synthetic.homes import fittings, paint
from pcseg.synthetic.homes.room import Room, half_extents
from pcseg.synthetic.homes.wall import Wall

BOARD = 0.03  # thickness of tops and panels in meters


def add_desk(room: Room) -> None:
    """A desk with a chair and monitors, mostly at a wall."""
    desk = room.pick("desk")
    if room.rng.random() < 0.85:
        found = room.put_against_wall(desk, front=0.5, things=6)
        if found:
            add_workplace(room, found.place, found.wall.yaw, desk.size, desk.top)
            return
    place = room.put_anywhere(desk, things=6)
    if place:
        add_workplace(room, *place, desk.size, desk.top)


def add_workplace(room: Room, place: np.ndarray, yaw: float, size: np.ndarray, top: float) -> None:
    """The chair and the monitors of a desk that is placed already.

    Args:
        room: gets them.
        place: middle of the desk in the plan.
        yaw: turn of the desk in radians.
        size: its width and depth in meters, and more.
        top: height of its top in meters; 0 or less if unknown.
    """
    rng = room.rng
    front = np.array([np.sin(yaw), -np.cos(yaw)])
    aside = np.array([-front[1], front[0]])
    chair = room.pick("chair", rng.choice(["office", "office", "kids_desk", "armchair", "chair"]))
    for _ in range(6):
        seat = place + front * (size[1] / 2 + rng.uniform(0.1, 0.45)) + rng.normal(0, 0.12, 2)
        if room.put_at(chair, seat, yaw + np.pi + rng.normal(0, 0.4)):
            break
    top = top if top > 0 else 0.74
    for k in range(room.count(0, 3)):
        side = aside * (k - 0.5) * 0.5
        screen = room.pick("television")
        scale = np.full(3, rng.uniform(0.4, 0.6) / screen.size[0])
        room.put(screen, place - front * 0.12 + side, yaw + rng.normal(0, 0.15), top, scale=scale)
    if rng.random() < 0.35:
        fittings.add_heap(room, place, top, np.asarray(size[:2]) / 2)
    for _ in range(room.count(0, 4)):  # computers, boxes and bags below the desk
        extent = rng.uniform((0.15, 0.25, 0.1), (0.35, 0.5, 0.5))
        u, v = rng.uniform(-0.5, 0.5, 2) * np.maximum(np.asarray(size[:2]) - extent[:2], 0)
        spot = room.world(place + aside * u + front * v, extent[2] / 2)
        thing = room.surfaces.instance(rng.choice(["other object", "other object", "box", "bag"]))
        room.surfaces.add_box(spot, extent, thing, paint.palette(rng), yaw=yaw + rng.normal(0, 0.2))


def add_desk_run(room: Room) -> None:
    """Desks side by side along a wall, around a corner where there is room, often with shelves above."""
    rng = room.rng
    k = int(rng.integers(len(room.walls)))
    wall, side = room.walls[k], room.walls[k - 1]
    depth, height = rng.uniform(0.55, 0.85), rng.uniform(0.68, 0.78)
    length = min(rng.uniform(1.3, 4.5), wall.length - 0.06)
    corner = rng.random() < 0.6
    left = 0.03 if corner else rng.uniform(0.03, wall.length - length - 0.02)
    color, texture = paint.palette(rng), paint.speckle(rng) if rng.random() < 0.6 else paint.planks(rng)
    run = _Run(room, depth, height, color, texture)
    num = max(int(length / rng.uniform(1.1, 2.2)), 1) if rng.random() < 0.7 else 1
    edges = np.linspace(left, left + length, num + 1)
    first = None
    for start, end in pairwise(edges):
        instance = run.add(wall, start, end)
        first = instance if start == left else first
    if corner and first is not None:  # the wing ends at the first desk
        wing = min(rng.uniform(0.7, 1.8), side.length - depth - 0.05)
        if wing > 0.5:
            end = side.length - depth - 0.03
            run.add(side, end - wing, end, first if rng.random() < 0.7 else None)
    if rng.random() < 0.5:
        _add_overhead(room, wall, left, left + length)


class _Run:
    """Desks of one kind."""

    def __init__(self, room: Room, depth: float, height: float, color: np.ndarray, texture: np.ndarray) -> None:
        self.room, self.depth, self.height = room, depth, height
        self.look = color, texture
        self.is_dark = room.rng.random() < 0.4  # legs and panels of another color
        self.gap = room.rng.uniform(0.0, 0.04)

    def add(self, wall: Wall, left: float, right: float, instance: int | None = None) -> int | None:
        """One desk against a wall; gives its instance, or None where something stands.

        Args:
            wall: the wall.
            left: left end of the desk along it in meters.
            right: right end.
            instance: an instance that it becomes part of.
        """
        room, rng, depth, height = self.room, self.room.rng, self.depth, self.height
        s, off = (left + right) / 2, depth / 2 + 0.01 + self.gap
        place, width = wall.point(s, off), right - left
        half = half_extents((width - 0.02, depth), wall.yaw)
        if not room.fits(place, half) or not wall.is_free(left, right, 0.0, height):
            return None
        joined, instance = instance is not None, instance or room.surfaces.instance("desk")
        self._box(wall, s, off, height - BOARD / 2, (width - 0.004, depth, BOARD), instance)
        legs = self.look if not self.is_dark else (np.full(3, rng.uniform(30, 120)), None)
        low = height - BOARD
        for side in (-1, 1):
            edge = s + side * (width / 2 - 0.03)
            kind = rng.random()
            if kind < 0.35:
                self._box(wall, edge, off, low / 2, (BOARD, depth * 0.92, low), instance, legs)
            elif kind < 0.65:
                for out in (-0.42, 0.42):
                    self._box(wall, edge, off + out * depth, low / 2, (0.05, 0.05, low), instance, legs)
            elif kind < 0.9 and width > 0.9:  # drawers
                owner = instance if rng.random() < 0.6 else room.surfaces.instance("cabinet")
                size = (0.42, depth * 0.85, low - rng.choice([0.0, 0.06]))
                self._box(wall, s + side * (width / 2 - 0.23), off, size[2] / 2, size, owner)
        if rng.random() < 0.4:  # a panel at the back
            self._box(wall, s, 0.05 + self.gap, low * 0.65, (width * 0.94, 0.02, low * 0.7), instance, legs)
        room.occupy(place, half, high=False, legroom=0.25)
        wall.used.append((left, right, 0.0, height + 0.25))
        inner = np.array(half) * 0.85
        room.add_top(place - inner, place + inner, height, 6)
        if rng.random() < 0.3:
            self._add_row(wall, left, right)
        if not joined:
            add_workplace(room, place, wall.yaw, np.array([width, depth]), height)
        return instance

    def _add_row(self, wall: Wall, left: float, right: float) -> None:
        """Things in a row at the back of a desk, as one object without clear borders."""
        room, rng = self.room, self.room.rng
        instance, s = room.surfaces.instance("other object"), left + rng.uniform(0.0, 0.4) * (right - left)
        end = s + rng.uniform(0.3, 1.0) * (right - s)
        while s < end - 0.05:
            size = rng.uniform((0.04, 0.06, 0.03), (0.35, 0.25, 0.35))
            place = wall.point(s + size[0] / 2, self.gap + size[1] / 2 + rng.uniform(0.01, 0.12))
            middle = room.world(place, self.height + size[2] / 2)
            yaw = wall.yaw + rng.normal(0, 0.15)
            room.surfaces.add_box(middle, size, instance, paint.palette(rng), yaw=yaw)
            s += size[0] * rng.uniform(0.7, 1.3)

    def _box(
        self,
        wall: Wall,
        s: float,
        off: float,
        z: float,
        size: tuple[float, float, float],
        instance: int,
        look: tuple[np.ndarray, np.ndarray | None] | None = None,
    ) -> None:
        self.room.add_wall_box(wall, s, off, z, size, instance, *(look or self.look), period=1.0)


def _add_overhead(room: Room, wall: Wall, left: float, right: float) -> None:
    """Open shelves with books, or closed boxes, on the wall above desks."""
    rng = room.rng
    low, depth = rng.uniform(1.1, 1.5), rng.uniform(0.25, 0.4)
    num = int(rng.integers(1, 4))
    high = min(low + num * rng.uniform(0.28, 0.4), room.height - 0.05)
    if not wall.is_free(left, right, low, high):
        return
    wall.used.append((left, right, low, high))
    is_open = rng.random() < 0.65
    instance = room.surfaces.instance("bookshelf" if is_open else "cabinet")
    color, s, width = paint.palette(rng), (left + right) / 2, right - left
    off, middle, height = depth / 2 + 0.005, (low + high) / 2, high - low
    if not is_open:
        room.add_wall_box(wall, s, off, middle, (width, depth, height), instance, color, paint.speckle(rng))
        return
    ends = [left + 0.02, right - 0.02] if rng.random() < 0.6 else []
    for edge in ends:
        room.add_wall_box(wall, edge, off, middle, (BOARD, depth, height), instance, color)
    for level in np.linspace(low, high, num + 1)[:num]:
        room.add_wall_box(wall, s, off, level, (width, depth, BOARD), instance, color)
        fittings.add_books(room, wall, left + 0.04, width - 0.08, depth, level + BOARD / 2, instance)
