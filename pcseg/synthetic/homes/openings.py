"""Doors and windows, which are holes in walls, and curtains."""

import numpy as np

from pcseg.synthetic.homes import paint
from pcseg.synthetic.homes.room import Room, half_extents
from pcseg.synthetic.homes.wall import Wall

GLASS = (0.15, 0.2, 0.65)  # shares of glass that a sensor sees, sees in part, or sees through
LUMP = 0.25  # length of the waves that glass has in a scan, in meters


def add_openings(room: Room, num_doors: int, num_windows: int) -> None:
    """Doors with free floor before them, windows, and curtains.

    Args:
        room: gets doors and windows.
        num_doors: number of doors to try.
        num_windows: number of windows to try.
    """
    rng = room.rng
    for _ in range(num_doors):
        (_add_door_model if rng.random() < 0.4 else _add_door)(room)
    for _ in range(num_windows):
        found = (_add_window_model if rng.random() < 0.4 else _add_window)(room)
        if found and rng.random() < 0.4:
            wall, s, width, top = found
            whole_wall = rng.random() < 0.3
            add_curtain(room, wall, s, wall.length * 0.9 if whole_wall else width, top + 0.1)
    if rng.random() < 0.15:
        width = rng.uniform(0.8, 3.0)
        hung = room.find_on_wall(width, 1.5, 0.5)
        if hung:
            add_curtain(room, *hung, width, rng.uniform(1.9, room.height), single=True)


def _cut(
    room: Room, wall: Wall, s: float, z: float, size: tuple[float, float], depth: float, instance: int, sill: int
) -> None:
    """A hole in a wall, with its four inner sides.

    Args:
        room: the room of the wall.
        wall: the wall.
        s: middle of the hole along the wall in meters.
        z: height of its lower edge in meters.
        size: width and height in meters.
        depth: how far its sides go back, in meters.
        instance: instance of the sides, but for the lower one.
        sill: instance of the lower side.
    """
    (width, height), color = size, paint.palette(room.rng) * 0.3 + 160
    wall.holes.append((s - width / 2, s + width / 2, z, z + height))
    back, side, up = (*(-wall.inward * depth), 0), (*(wall.along * width), 0), (0, 0, height)
    first, last = wall.point(s - width / 2), wall.point(s + width / 2)
    sides = (
        (first, z, up, instance),
        (last, z, up, instance),
        (first, z, side, sill),
        (first, z + height, side, instance),
    )
    for place, level, edge, owner in sides:
        room.surfaces.add_quad(room.world(place, level), edge, back, owner, color)


# Doors.


def _keep_clear(room: Room, wall: Wall, s: float, width: float) -> None:
    """Nothing stands before a door."""
    cells = room.cells(wall.point(s, 0.45), half_extents((width, 0.85), wall.yaw))
    room.is_free[cells] = room.takes_chair[cells] = False


def _add_door_model(room: Room) -> None:
    rng, model = room.rng, room.pick("door")
    scale = np.array([rng.uniform(0.9, 1.05), rng.uniform(0.4, 0.7), rng.uniform(0.96, 1.02)])
    found = room.find_on_wall(model.size[0], model.size[2], 0.06)
    if found:
        wall, s = found
        room.put(model, wall.point(s, 0.02), wall.yaw, scale=scale)
        _keep_clear(room, wall, s, model.size[0])


def _add_door(room: Room) -> None:
    """A door in its frame, set back into the wall; it may stand open."""
    rng = room.rng
    width, height = rng.uniform(0.72, 1.0), min(rng.uniform(1.95, 2.2), room.height - 0.1)
    if rng.random() < 0.12:
        width *= 1.8
    found = room.find_on_wall(width + 0.2, height + 0.1, 0.06)
    if not found:
        return
    wall, s = found
    _keep_clear(room, wall, s, width)
    instance = room.surfaces.instance("door")
    # Some labels have frames of their own.
    around = room.surfaces.instance("door") if rng.random() < 0.25 else instance
    frame, edge, thick = paint.palette(rng), rng.uniform(0.04, 0.13), rng.uniform(0.005, 0.05)
    for side in (-1, 1):
        jamb = s + side * (width + edge) / 2
        room.add_wall_box(wall, jamb, thick / 2, height / 2, (edge, thick, height), around, frame)
    lintel = (width + 2 * edge, thick, edge)
    room.add_wall_box(wall, s, thick / 2, height + edge / 2, lintel, around, frame)
    leaf, texture = paint.palette(rng), paint.planks(rng) if rng.random() < 0.2 else paint.speckle(rng)
    is_open = room.recess > 0.2 and width < 1.1 and rng.random() < 0.35
    depth = rng.uniform(0.6, 1.5) if is_open else rng.uniform(0.0, min(room.recess, 0.15))
    passage, sill = (room.surfaces.instance("wall"), room.floor) if is_open else (around, around)
    _cut(room, wall, s, 0.0, (width, height), depth, passage, sill)
    back, up = (*(wall.along * width), 0), (0, 0, height)
    behind = room.world(wall.point(s - width / 2, -depth))
    if not is_open:
        room.surfaces.add_quad(behind, back, up, instance, leaf, texture, period=1.5)
        handle = s + rng.choice([-0.42, 0.42]) * width
        room.add_wall_box(wall, handle, 0.03 - depth, 1.02, (0.12, 0.06, 0.03), instance, frame)
        if rng.random() < 0.2:  # a pane
            pane = room.world(wall.point(s - width * 0.3, 0.005 - depth), height * 0.5)
            side = (*(wall.along * width * 0.6), 0)
            room.surfaces.add_quad(pane, side, (0, 0, height * 0.4), instance, frame, dropout=rng.choice([0.3, 1.0]))
        return
    if rng.random() < 0.6:  # the far side of the passage
        room.surfaces.add_quad(behind, back, up, passage, paint.palette(rng))
    if rng.random() < 0.7:  # the leaf, turned into the room
        hinge, turn = rng.choice([-1, 1]), rng.uniform(1.2, 1.9)
        ray = -hinge * np.cos(turn) * wall.along + np.sin(turn) * wall.inward
        start = wall.point(s + hinge * width / 2, 0.03)
        middle = start + ray * width / 2
        half = np.abs(ray) * width / 2 + 0.03
        if rng.random() < 0.5:
            instance = room.surfaces.instance("door")
        yaw = float(np.arctan2(ray[1], ray[0]))
        size = (width, 0.04, height - 0.02)
        room.surfaces.add_box(room.world(middle, height / 2), size, instance, leaf, texture, yaw=yaw)
        room.occupy(middle, half)


# Windows.


def _add_window_model(room: Room) -> tuple[Wall, float, float, float] | None:
    """A window of the catalog; gives its wall, its middle along it, its width, and its upper edge."""
    rng, model = room.rng, room.pick("window")
    scale = np.array([rng.uniform(0.85, 1.5), 0.1 / model.size[1], rng.uniform(0.8, 1.0)])
    width, _, height = model.size * scale
    z = max(model.elevation, 0.06)
    found = room.find_on_wall(width, height, z)
    if not found:
        return None
    wall, s = found
    instance, depth = room.surfaces.instance("window"), 0.0
    if model.elevation and rng.random() < 0.7:
        depth = rng.uniform(0.0, room.recess)
        sides = instance if rng.random() < 0.5 else wall.instance
        _cut(room, wall, s, z, (width, height), depth, sides, sides)
    room.put(model, wall.point(s, 0.055 - depth), wall.yaw, model.elevation, scale=scale, instance=instance)
    room.lights.append(room.world(wall.point(s, 0.6), 1.6))
    return wall, s, width, z + height


def _add_window(room: Room) -> tuple[Wall, float, float, float] | None:
    """Panes between bars, set back into the wall, often as wide as a bay and up to the ceiling; gives as above."""
    rng = room.rng
    longest = max(wall.length for wall in room.walls) - 0.4
    width = min(rng.uniform(0.6, 1.6) if rng.random() < 0.5 else rng.uniform(1.6, 3.6), longest)
    z = rng.uniform(0.02, 0.5) if rng.random() < 0.2 else rng.uniform(0.5, 1.1)
    top = room.height - rng.uniform(0.0, 0.1) if rng.random() < 0.5 else rng.uniform(1.8, room.height - 0.15)
    height = top - z
    found = room.find_on_wall(width, height, z + 0.06, margin=0.0)
    if not found:
        return None
    wall, s = found
    instance = room.surfaces.instance("window")
    depth = rng.uniform(0.02, room.recess)
    sides = instance if rng.random() < 0.6 else wall.instance
    _cut(room, wall, s, z, (width, height), depth, sides, sides)
    frame, bar = paint.palette(rng), rng.uniform(0.1, 0.25) if rng.random() < 0.3 else rng.uniform(0.03, 0.1)
    columns, rows = max(int(width / rng.uniform(0.5, 1.3)), 1), int(rng.integers(1, 3))
    for along in np.linspace(-0.5, 0.5, columns + 1) * (width - bar):
        room.add_wall_box(wall, s + along, bar / 2 - depth, z + height / 2, (bar, bar, height), instance, frame)
    for level in np.linspace(0.0, 1.0, rows + 1) * (height - bar) + bar / 2:
        room.add_wall_box(wall, s, bar / 2 - depth, z + level, (width, bar, bar), instance, frame)
    # A sensor sees through glass, or sees it lumpy.
    shape = int(height / LUMP) + 2, int(width / LUMP) + 2
    lumps = rng.normal(0, rng.choice([0.0, 0.01, 0.03]), shape)
    across, up = np.meshgrid(np.linspace(-0.5, 0.5, shape[1]) * width, np.linspace(0, height, shape[0]))
    plan = wall.point(s) + wall.along * across[..., None] + wall.inward * (lumps - depth)[..., None]
    pane = np.concatenate([plan, z + up[..., None]], axis=-1) + room.origin
    outside = paint.palette(rng) * 0.4 + rng.choice([20, 120, 150])
    texture = paint.painting(rng) if rng.random() < 0.4 else None
    room.surfaces.add_grid(pane, instance, outside, texture, dropout=rng.choice([0.05, 0.5, 1.0], p=GLASS))
    if rng.random() < 0.3:  # blinds
        low = z + height * rng.choice([0.02, rng.uniform(0.0, 0.8)])
        corner = room.world(wall.point(s - width * 0.48, bar + 0.02 - depth), low)
        side, up = (*(wall.along * width * 0.96), 0), (0, 0, top - low - 0.01)
        room.surfaces.add_quad(corner, side, up, instance, paint.palette(rng), paint.streaks(rng).swapaxes(0, 1))
    room.lights.append(room.world(wall.point(s, 0.6), 1.6))
    return wall, s, width, top


def add_curtain(
    room: Room, wall: Wall, s: float, width: float, top: float, *, off: float = 0.0, single: bool = False
) -> None:
    """Cloth in waves, in one piece or two.

    Args:
        room: gets the curtain.
        wall: wall behind the curtain.
        s: middle of the curtain along the wall in meters.
        width: width to cover in meters.
        top: height of the upper edge in meters.
        off: distance from the wall in meters.
        single: whether it is one piece.
    """
    rng = room.rng
    low = 0.02 if rng.random() < 0.6 else top - rng.uniform(1.0, 1.6)
    top = min(max(top, low + 0.8), room.height - 0.05)
    share = rng.uniform(0.15, 0.45)
    pieces = [(s - width * 0.6, s - width * (0.5 - share)), (s + width * (0.5 - share), s + width * 0.6)]
    if single or rng.random() < 0.3:
        pieces = [(s - width * 0.55, s + width * rng.uniform(0.2, 0.55))]
    color, phase, wave = paint.palette(rng), rng.uniform(0, 6), rng.uniform(20, 70)
    size = rng.uniform(0.01, 0.045)
    off += size + 0.01 + rng.uniform(0.0, 0.1)
    texture = paint.streaks(rng) if rng.random() < 0.6 else paint.stripes(rng)
    instance = room.surfaces.instance("curtain")
    for left, right in pieces:
        left, right = max(left, 0.02), min(right, wall.length - 0.02)
        if right - left < 0.1:
            continue
        t = np.linspace(left, right, max(int((right - left) / 0.025), 8))
        distance = off + size * np.sin(t * wave + phase) + 0.01 * np.sin(t * 9)
        plan = wall.start + wall.along * t[:, None] + wall.inward * distance[:, None]
        edges = [np.column_stack([plan, np.full(len(t), z)]) + room.origin for z in (low, top)]
        room.surfaces.add_grid(np.stack(edges), instance, color, texture, period=1.0)
    wall.used.append((s - width * 0.6, s + width * 0.6, low, top))
