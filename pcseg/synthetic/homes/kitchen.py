"""Kitchen cabinets along a wall, with a worktop, sinks, and upper cabinets."""

from typing import NamedTuple

import numpy as np

from pcseg.synthetic.homes import paint
from pcseg.synthetic.homes.models import Model
from pcseg.synthetic.homes.room import Room, half_extents
from pcseg.synthetic.homes.wall import Wall

COUNTER_DEPTH = 0.62  # meters
TOP_DEPTH, TOP_THICKNESS = 0.66, 0.05  # of a worktop, in meters


class _Unit(NamedTuple):
    """A part of a row: a model, or None for a plain front, whether it has a sink, and its width in meters."""

    model: Model | None
    has_sink: bool
    width: float


def add_counter_row(room: Room, wall: Wall) -> int:
    """Kitchen cabinets in a row with a worktop, sink, stove and upper cabinets; gives how many found room."""
    rng = room.rng
    length = rng.uniform(0.55, 0.95) * wall.length
    start = rng.uniform(0.05, max(wall.length - length - 0.05, 0.06))
    height = rng.uniform(0.82, 0.92)
    plain = rng.random() < 0.5
    lower = room.pick("kitchen cabinet", rng.choice(["lowerCabinet", "kitchenLower", "kitchenCabinet", "drawers"]))
    appliances = [room.pick("appliance", "ooker"), room.pick("appliance", "dishwasher")]
    waiting = [_Unit(model, False, model.size[0]) for model in appliances if rng.random() < 0.6]
    waiting += [_Unit(None, True, rng.uniform(0.6, 1.0))] * (rng.random() < 0.8)
    usual = _Unit(None, False, rng.uniform(0.35, 0.8)) if plain else _Unit(lower, False, lower.size[0])
    row: list[_Unit] = []
    while sum(unit.width for unit in row) < length - 0.6:
        row.append(waiting.pop() if waiting and rng.random() < 0.5 else usual)
    color, texture = paint.palette(rng), paint.planks(rng) if rng.random() < 0.3 else paint.speckle(rng)
    top = _Worktop(room, wall, height)
    cabinet, s = None, start
    for unit in row:
        left, right = s, s + unit.width
        s = right
        middle = wall.point((left + right) / 2, COUNTER_DEPTH / 2 + 0.02)
        half = half_extents((right - left, COUNTER_DEPTH), wall.yaw)
        if right > wall.length - 0.02 or not room.fits(middle, half) or not wall.is_free(left, right, 0.1, 0.9):
            continue
        if cabinet is None or rng.random() < 0.15:
            cabinet = room.surfaces.instance("cabinet")
        if unit.model is None:
            # The worktop covers it, so sides and a front are enough; a sink may sink in.
            side, up = (*(wall.along * (right - left - 0.006)), 0), (0, 0, height - 0.08)
            front = room.world(wall.point(left, COUNTER_DEPTH), 0.08)
            room.surfaces.add_quad(front, side, up, cabinet, color, texture)
            for edge in (left, right - 0.006):
                back = (*(-wall.inward * COUNTER_DEPTH), 0)
                room.surfaces.add_quad(room.world(wall.point(edge, COUNTER_DEPTH), 0.0), back, up, cabinet, color)
        else:
            scale = np.array([1.0, COUNTER_DEPTH / unit.model.size[1], height / unit.model.size[2]])
            owner = None if unit.model.kind == "appliance" else cabinet
            room.put(unit.model, middle, wall.yaw, scale=scale, instance=owner)
        if unit.model is None or unit.model.kind != "appliance":
            top.cover(left, right, unit.has_sink)
        room.occupy(middle, half, high=False)
    if top.num_parts:
        wall.used.append((top.left, top.right, 0.0, 1.2))
        if rng.random() < 0.5:  # a splashback
            corner = room.world(wall.point(top.left, 0.015), height)
            side = (*(wall.along * (top.right - top.left)), 0)
            room.surfaces.add_quad(corner, side, (0, 0, rng.uniform(0.05, 0.5)), top.instance, top.color)
    if top.num_parts > 1 and rng.random() < 0.8:
        _add_upper_cabinets(room, wall, start, min(start + length, wall.length), (color, texture) if plain else None)
    return top.num_parts


class _Worktop:
    """The top over the cabinets of a row, with sinks let into it."""

    def __init__(self, room: Room, wall: Wall, height: float) -> None:
        self.room, self.wall, self.height = room, wall, height
        self.color, self.texture = paint.palette(room.rng), paint.speckle(room.rng)
        self.num_parts, self.left, self.right, self.instance = 0, np.inf, 0.0, 0

    def cover(self, left: float, right: float, has_sink: bool) -> None:
        """Covers one cabinet.

        Args:
            left: its left end along the wall in meters.
            right: its right end.
            has_sink: whether a sink is let in.
        """
        rng = self.room.rng
        self.instance = self.instance or self.room.surfaces.instance("counter")
        self.num_parts, self.left, self.right = self.num_parts + 1, min(self.left, left), max(self.right, right)
        if has_sink:
            width, near = min(rng.uniform(0.35, 0.7), right - left - 0.1), rng.uniform(0.06, 0.14)
            far, s = near + rng.uniform(0.32, 0.44), (left + right) / 2
            self._add_sink(s - width / 2, s + width / 2, near, far)
            self._add_part(left, s - width / 2, 0.0, TOP_DEPTH)
            self._add_part(s + width / 2, right, 0.0, TOP_DEPTH)
            self._add_part(s - width / 2, s + width / 2, 0.0, near)
            self._add_part(s - width / 2, s + width / 2, far, TOP_DEPTH)
            return
        self._add_part(left, right, 0.0, TOP_DEPTH)
        half = np.array(half_extents(((right - left) * 0.9, 0.5), self.wall.yaw))
        place = self.wall.point((left + right) / 2, 0.3)
        self.room.add_top(place - half, place + half, self.height + TOP_THICKNESS, 3)

    def _add_part(self, left: float, right: float, near: float, far: float) -> None:
        middle = (left + right) / 2, (near + far) / 2, self.height + TOP_THICKNESS / 2
        size, look = (right - left, far - near, TOP_THICKNESS), (self.instance, self.color, self.texture)
        self.room.add_wall_box(self.wall, *middle, size, *look, period=0.5)

    def _add_sink(self, left: float, right: float, near: float, far: float) -> None:
        """One or two basins below the worktop, and a tap behind them."""
        room, wall, rng = self.room, self.wall, self.room.rng
        instance, color = room.surfaces.instance("sink"), np.full(3, rng.uniform(110, 240))
        deep, level = rng.uniform(0.12, 0.22), self.height + TOP_THICKNESS + 0.004
        edges = [left, right] if right - left < 0.55 or rng.random() < 0.5 else [left, (left + right) / 2, right]
        side, back, down = (*(wall.along * (right - left)), 0), (*(wall.inward * (far - near)), 0), (0, 0, -deep)
        room.surfaces.add_quad(room.world(wall.point(left, near), level - deep), side, back, instance, color)
        for off in (near, far):
            room.surfaces.add_quad(room.world(wall.point(left, off), level), side, down, instance, color)
        for edge in edges:
            room.surfaces.add_quad(room.world(wall.point(edge, near), level), back, down, instance, color)
        if rng.random() < 0.6:  # a rim on the worktop
            wide = rng.uniform(0.02, 0.05)
            for s, off, size in (
                ((left + right) / 2, near - wide / 2, (right - left, wide)),
                ((left + right) / 2, far + wide / 2, (right - left, wide)),
                (left - wide / 2, (near + far) / 2, (wide, far - near + 2 * wide)),
                (right + wide / 2, (near + far) / 2, (wide, far - near + 2 * wide)),
            ):
                room.add_wall_box(wall, s, off, level, (*size, 0.008), instance, color)
        tall, s = rng.uniform(0.12, 0.35), (left + right) / 2
        for off, z, size in (
            (near - 0.03, level + tall / 2, (0.03, 0.03, tall)),
            (near + 0.06, level + tall, (0.03, 0.2, 0.03)),
        ):
            room.add_wall_box(wall, s, off, z, size, instance, color)


def _add_upper_cabinets(
    room: Room, wall: Wall, start: float, end: float, look: tuple[np.ndarray, np.ndarray] | None
) -> None:
    """A row of cabinets on the wall above.

    Args:
        room: gets the cabinets.
        wall: wall behind them.
        start: left end of the row along the wall in meters.
        end: right end.
        look: color and texture of plain boxes; None takes a model.
    """
    rng, instance = room.rng, room.surfaces.instance("cabinet")
    if look is None:
        upper = room.pick("upper cabinet")
        for left in np.arange(start, end - upper.size[0], upper.size[0]):
            right = left + upper.size[0]
            if wall.is_free(left, right, 1.4, 2.2) and rng.random() < 0.8:
                place = wall.point((left + right) / 2, upper.size[1] / 2 + 0.01)
                room.put(upper, place, wall.yaw, 1.42, instance=instance, scale=np.ones(3))
                wall.used.append((left, right, 1.4, 2.2))
        return
    low, depth = rng.uniform(1.3, 1.6), rng.uniform(0.28, 0.4)
    high = room.height - 0.01 if rng.random() < 0.4 else min(low + rng.uniform(0.5, 0.9), room.height - 0.05)
    cell = rng.uniform(0.35, 0.8)
    for left in np.arange(start, end - cell, cell):
        if wall.is_free(left, left + cell, low, high):
            middle = left + cell / 2, depth / 2 + 0.005, (low + high) / 2
            room.add_wall_box(wall, *middle, (cell - 0.006, depth, high - low), instance, *look)
            wall.used.append((left, left + cell, low, high))
