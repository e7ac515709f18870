"""Fittings and loose things: pictures, boards, wardrobes, columns, heaps, chairs around tables."""

import numpy as np

from pcseg.synthetic.homes import paint
from pcseg.synthetic.homes.room import CELL, Place, Room, half_extents
from pcseg.synthetic.homes.wall import Wall

SIDE = 0.03  # least distance of a wardrobe from a corner in meters


def add_pictures(room: Room, count: int) -> None:
    """Framed pictures on free parts of the walls."""
    rng = room.rng
    for _ in range(count):
        width, height, z = rng.uniform(0.25, 1.1), rng.uniform(0.25, 0.9), rng.uniform(1.1, 1.6)
        found = room.find_on_wall(width, height, z) if z + height < room.height - 0.1 else None
        if found:
            wall, s = found
            instance = room.add_panel(wall, s, z, (width, 0.03, height), "picture", paint.palette(rng))
            corner = room.world(wall.point(s - width * 0.45, 0.037), z + height * 0.05)
            side = (*(wall.along * width * 0.9), 0)
            white = (255, 255, 255)
            room.surfaces.add_quad(corner, side, (0, 0, height * 0.9), instance, white, paint.painting(rng), period=0.0)


def add_board(room: Room) -> None:
    """A whiteboard or blackboard, some as high as the wall."""
    rng = room.rng
    width, height, z = rng.uniform(1.0, 2.8), rng.uniform(0.8, 1.3), rng.uniform(0.7, 1.0)
    if rng.random() < 0.25:
        height = room.height - z - 0.06
    found = room.find_on_wall(width, height, z)
    if found:
        dark = rng.random() < 0.2
        color = (30, 50, 40) if dark else np.full(3, rng.uniform(200, 250))
        room.add_panel(*found, z, (width, rng.uniform(0.01, 0.08), height), "board", np.array(color, float))


def add_mirror(room: Room) -> None:
    """A mirror, mostly invisible to a sensor."""
    rng = room.rng
    width, height = rng.uniform(0.4, 1.0), rng.uniform(0.5, 0.9)
    found = room.find_on_wall(width, height, 1.1)
    if found:
        wall, s = found
        instance = room.surfaces.instance("other object")
        corner, dropout = room.world(wall.point(s - width / 2, 0.02), 1.1), 1.0 if rng.random() < 0.5 else 0.2
        side = (*(wall.along * width), 0)
        room.surfaces.add_quad(corner, side, (0, 0, height), instance, paint.palette(rng), dropout=dropout)


def add_wardrobe_wall(room: Room) -> None:
    """Wardrobes or open shelves from floor to ceiling along most of a wall."""
    rng = room.rng
    wall = room.walls[int(np.argmax([wall.length * rng.uniform(0.5, 1) for wall in room.walls]))]
    length, depth = wall.length * rng.uniform(0.5, 0.98), rng.uniform(0.3, 0.62)
    height = room.height * rng.uniform(0.85, 0.99)
    left = rng.uniform(SIDE, max(wall.length - length - SIDE, SIDE + 0.001))
    s, off = left + length / 2, depth / 2 + 0.02
    middle, half = wall.point(s, off), half_extents((length, depth), wall.yaw)
    part = (left, left + length, 0.0, height)
    if not room.fits(middle, half) or not wall.is_free(*part):
        return
    is_open = rng.random() < 0.35
    instance = room.surfaces.instance("bookshelf" if is_open else "cabinet")
    color, texture = paint.palette(rng), paint.speckle(rng) if rng.random() < 0.5 else paint.planks(rng)
    num = max(int(length / rng.uniform(0.4, 0.9)), 1)
    cell = length / num
    if is_open:  # a back, uprights and boards; books on them
        room.add_wall_box(wall, s, 0.03, height / 2, (length, 0.02, height), instance, color)
        for k in range(num + 1):
            room.add_wall_box(wall, left + k * cell, off, height / 2, (0.03, depth, height), instance, color)
        for z in np.arange(0.05, height, rng.uniform(0.28, 0.42)):
            room.add_wall_box(wall, s, off, z, (length, depth, 0.03), instance, color)
            for k in range(num):
                if rng.random() < 0.75:
                    add_books(room, wall, left + k * cell + 0.03, cell - 0.06, depth, z + 0.015, instance)
    else:
        for k in range(num):
            place = left + (k + 0.5) * cell, off + rng.normal(0, 0.004), height / 2
            room.add_wall_box(wall, *place, (cell - 0.006, depth, height), instance, color, texture, period=1.0)
    room.occupy(middle, half)
    wall.used.append(part)


def add_books(room: Room, wall: Wall, left: float, width: float, depth: float, z: float, instance: int) -> None:
    """A row of books as part of a shelf on a wall.

    Args:
        room: the room of the wall.
        wall: the wall.
        left: left end of the shelf along the wall in meters.
        width: its length in meters.
        depth: its depth in meters.
        z: height of its upper side in meters.
        instance: instance of the shelf.
    """
    rng, s = room.rng, left
    end = left + width * rng.uniform(0.3, 1.0)
    while s < end:
        thick, tall, deep = rng.uniform(0.02, 0.08), rng.uniform(0.16, 0.28), depth * rng.uniform(0.5, 0.9)
        place = s + thick / 2, deep / 2 + 0.04, z + tall / 2
        room.add_wall_box(wall, *place, (thick, deep, tall), instance, paint.palette(rng))
        s += thick


def add_column(room: Room) -> None:
    """A column at a wall, and sometimes a beam below the ceiling."""
    rng = room.rng
    wall = room.walls[rng.integers(len(room.walls))]
    width, depth = rng.uniform(0.25, 0.7), rng.uniform(0.1, 0.5)
    if wall.length > width + 0.2:
        s = rng.uniform(width / 2 + 0.05, wall.length - width / 2 - 0.05)
        place, half = wall.point(s, depth / 2), half_extents((width, depth), wall.yaw)
        if wall.is_free(s - width / 2, s + width / 2, 0.0, room.height) and room.fits(
            wall.point(s, depth / 2 + 0.02), half
        ):
            color = np.full(3, rng.uniform(150, 240))
            instance = room.surfaces.instance("column")
            size = (width, depth, room.height)
            room.add_wall_box(wall, s, depth / 2, room.height / 2, size, instance, color, paint.speckle(rng))
            room.occupy(place, half)
            wall.used.append((s - width / 2, s + width / 2, 0.0, room.height))
    if rng.random() < 0.5:
        across, high, wide = rng.random() < 0.5, rng.uniform(0.15, 0.4), rng.uniform(0.2, 0.5)
        extent = np.array([room.width, room.depth - room.notch[1]])
        middle = np.where([across, not across], extent / 2, extent * rng.uniform(0.1, 0.9))
        size = (*np.where([across, not across], extent, wide), high)
        instance = room.surfaces.instance("beam")
        color = np.full(3, rng.uniform(170, 240))
        room.surfaces.add_box(room.world(middle, room.height - high / 2), size, instance, color)


def add_ceiling_lamps(room: Room) -> None:
    """Equal lamps in rows at the ceiling: panels in it, flat or hanging boxes, or pairs of wings below a rail."""
    rng, add_box = room.rng, room.surfaces.add_box
    extent = np.array([room.width, room.depth])
    num = np.maximum((extent / rng.uniform(1.2, 3.0, 2)).astype(int), 1)
    size = np.array([rng.uniform(0.1, 0.6), rng.uniform(0.5, 1.4), rng.uniform(0.04, 0.12)])
    if rng.random() < 0.25:
        size[1] = size[0] = rng.uniform(0.15, 0.6)
    drop, yaw = rng.choice([0.0, rng.uniform(0.05, 0.5)]), rng.integers(2) * np.pi / 2
    has_wings, color = rng.random() < 0.4, np.full(3, rng.uniform(150, 255))
    if rng.random() < 0.3:  # level with the ceiling: only their color differs
        size = np.array([*rng.choice([(0.6, 0.6), (0.6, 1.2), (0.3, 1.2)]), 0.006])
        drop, has_wings, color = 0.0, False, np.full(3, rng.uniform(200, 300))
    across = np.array([np.cos(yaw), np.sin(yaw), 0])
    along = np.array([-np.sin(yaw), np.cos(yaw), 0])
    for place in np.stack(np.meshgrid(*((np.arange(n) + 0.5) / n for n in num)), axis=-1).reshape(-1, 2) * extent:
        column, row = np.minimum((place / CELL).astype(int), np.array(room.is_free.shape) - 1)
        if not room.has_floor[column, row]:
            continue
        instance = room.surfaces.instance("lamp")
        middle = room.world(place, room.height - drop - size[2] / 2)
        if has_wings:
            wing, rise = size[0] * rng.uniform(0.8, 1.2), rng.uniform(-0.12, 0.12)
            for side in (-1, 1):
                start = middle + side * 0.03 * across - along * size[1] / 2
                out = side * wing * across + (0, 0, rise)
                room.surfaces.add_quad(start, out, along * size[1], instance, color)
            add_box(middle, (0.06, size[1], 0.05), instance, color, yaw=yaw)
        else:
            add_box(middle, size, instance, color, yaw=yaw)
        if drop:
            add_box(middle + np.array((0, 0, drop / 2)), (0.02, 0.02, drop), instance, color)


def add_signs(room: Room, count: int) -> None:
    """Small flat things on walls: signs, switches, vents, clocks.

    Args:
        room: gets the things.
        count: number of things to try.
    """
    rng = room.rng
    for _ in range(count):
        width, height, z = rng.uniform(0.12, 0.6), rng.uniform(0.12, 0.5), rng.uniform(0.3, room.height - 0.6)
        found = room.find_on_wall(width, height, z)
        if found:
            size = (width, rng.choice([0.004, 0.015, rng.uniform(0.02, 0.15)]), height)
            room.add_panel(*found, z, size, "other object", paint.palette(rng))


def add_rail(room: Room) -> None:
    """A long box high on a wall: a curtain rail, a duct, or an air conditioner."""
    rng = room.rng
    width, height = rng.choice([rng.uniform(0.8, 1.2), rng.uniform(2.0, 5.0)]), rng.uniform(0.12, 0.5)
    z = room.height - height - rng.uniform(0.02, 0.4)
    _add_strip(room, width, height, z, (0.06, 0.35))


def add_duct(room: Room) -> None:
    """A cable duct, a handrail or a row of pipes along most of a wall, within reach."""
    rng = room.rng
    width = max(wall.length for wall in room.walls) * rng.uniform(0.4, 0.95) - 0.2
    height, z = rng.uniform(0.06, 0.3), rng.uniform(0.1, 1.0)
    _add_strip(room, width, height, z, (0.04, 0.12))


def _add_strip(room: Room, width: float, height: float, z: float, thickness: tuple[float, float]) -> None:
    """A long box on a free part of a wall, its thickness between two bounds."""
    found = room.find_on_wall(width, height, z, margin=0.0)
    if found:
        size = (width, room.rng.uniform(*thickness), height)
        room.add_panel(*found, z, size, "other object", paint.palette(room.rng))


def add_clutter(room: Room, num_on_floor: int, share: float) -> None:
    """Small things on tops and on the floor.

    Args:
        room: gets the things.
        num_on_floor: number of things to try on the floor.
        share: filled share of the tops, 0 to 1.
    """
    rng = room.rng
    for top in room.tops:
        taken: list[tuple[np.ndarray, float]] = []
        for _ in range(rng.integers(0, top.most + 1)):
            model = room.pick(rng.choice(["small", "small", "small", "plant", "lamp"]))
            radius = max(model.size[:2]) / 2
            if radius > 0.35 or model.size[2] > 0.7 or rng.random() > share:
                continue
            if (top.high - top.low < 1.2 * radius).any():
                continue
            place = rng.uniform(top.low + radius * 0.5, top.high - radius * 0.5)
            if all(np.linalg.norm(place - other) > radius + reach for other, reach in taken):
                room.put(model, place, rng.uniform(-np.pi, np.pi), top.z)
                taken.append((place, radius))
        if rng.random() < 0.25 * share:
            add_heap(room, (top.low + top.high) / 2, top.z, (top.high - top.low) / 2)
    for _ in range(num_on_floor):
        kind = rng.random()
        if kind < 0.25:
            room.put_anywhere(room.pick("small"), margin=0.02, tries=6, yaw=rng.uniform(-np.pi, np.pi))
        elif kind < 0.45:
            add_carton(room)
        elif kind < 0.55:
            add_bag(room)
        elif kind < 0.7:
            room.put_against_wall(room.pick("floor"), tries=5)
        elif kind < 0.85:
            room.put_anywhere(room.pick("trash can"), margin=0.02, tries=6)
        else:
            room.put_against_wall(room.pick("plant"), tries=5)


def add_heap(room: Room, middle: np.ndarray, z: float, spread: np.ndarray) -> None:
    """A pile of paper, books and cloth on a top, as one object without a clear border.

    Args:
        room: gets the pile.
        middle: mean place of the pieces in the plan.
        z: height of the top in meters.
        spread: half extents of the top in meters; the pieces have 0.3 of it as standard deviation.
    """
    rng, instance = room.rng, room.surfaces.instance("other object")
    for _ in range(rng.integers(4, 14)):
        size = rng.uniform((0.12, 0.1, 0.005), (0.34, 0.26, 0.09))
        place = middle + rng.normal(0, 0.3, 2) * spread
        height = z + rng.uniform(0, 0.12)
        room.surfaces.add_box(
            room.world(place, height + size[2] / 2 - 0.005), size, instance, paint.palette(rng), yaw=rng.uniform(0, 3)
        )


def add_carton(room: Room) -> None:
    """A cardboard box, or two on top of each other."""
    rng = room.rng
    size = rng.uniform((0.2, 0.2, 0.1), (0.6, 0.5, 0.5))
    place = _occupy_free_spot(room, size, 0.3)
    if place is None:
        return
    z = 0.0
    for _ in range(1 + (rng.random() < 0.25)):
        instance, yaw = room.surfaces.instance("box"), rng.uniform(0, 3)
        color = np.array((190, 150, 105)) * rng.uniform(0.7, 1.2) if rng.random() < 0.6 else paint.palette(rng)
        room.surfaces.add_box(room.world(place, z + size[2] / 2), size, instance, color, paint.speckle(rng), yaw=yaw)
        z, size = z + size[2], size * rng.uniform(0.7, 1.0, 3)


def add_bag(room: Room) -> None:
    """A bag: a lumpy body of a few boxes."""
    rng = room.rng
    size = rng.uniform((0.25, 0.12, 0.25), (0.5, 0.3, 0.55))
    place = _occupy_free_spot(room, size, 0.2)
    if place is None:
        return
    instance, color, yaw = room.surfaces.instance("bag"), paint.palette(rng), rng.uniform(0, 3)
    for wide, high in ((1.0, 0.6), (0.85, 0.85), (0.6, 1.0)):
        part = size * (wide, wide, high)
        room.surfaces.add_box(room.world(place, part[2] / 2), part, instance, color, yaw=yaw + rng.normal(0, 0.1))


def _occupy_free_spot(room: Room, size: np.ndarray, margin: float) -> np.ndarray | None:
    """Takes a random free place for a low thing in any turn; None if there is none in six tries."""
    half = np.full(2, np.hypot(*size[:2]) / 2)
    for _ in range(6):
        place = room.rng.uniform(margin, (room.width - margin, room.depth - margin))
        if room.fits(place, half):
            room.occupy(place, half, high=False)
            return place
    return None


def add_pillows(room: Room, place: np.ndarray, z: float, spread: float, count: int) -> None:
    """Pillows and folded cloth on a bed or sofa.

    Args:
        room: gets the pillows.
        place: mean place of the pillows.
        z: height of the surface under the pillows in meters.
        spread: standard deviation of the places in meters.
        count: number of pillows.
    """
    rng = room.rng
    for _ in range(count):
        size = np.array([rng.uniform(0.3, 0.6), rng.uniform(0.25, 0.4), rng.uniform(0.08, 0.18)])
        middle = room.world(place + rng.normal(0, spread, 2), z + size[2] / 2 - 0.02)
        instance, color, yaw = room.surfaces.instance("pillow"), paint.palette(rng), rng.uniform(0, 3)
        for wide, high in ((1.0, 0.5), (0.8, 1.0)):  # a flat edge and a thicker middle
            room.surfaces.add_box(middle, size * (wide, wide, high), instance, color, yaw=yaw)


def add_chairs_around(
    room: Room, place: np.ndarray, size: Place, yaw: float, count: int, *, pattern: str = "", out: float = 0.12
) -> None:
    """Chairs of one model around a table, turned to it.

    Args:
        room: gets the chairs.
        place: middle of the table.
        size: width and depth of the table in meters.
        yaw: rotation of the table in radians.
        count: number of chairs to try.
        pattern: part of the names of preferred models.
        out: distance from the edge of the table to the middle of a chair in meters.
    """
    rng = room.rng
    chair = room.pick("chair", pattern)
    width, depth = size[:2]
    along = np.linspace(-1, 1, 2 * max(int(width / 0.65), 1) + 1)[1::2] * width / 2
    seats = [(x, side * (depth / 2 + out), np.pi if side < 0 else 0.0) for side in (-1, 1) for x in along]
    seats += [(width / 2 + out, 0.0, -np.pi / 2), (-width / 2 - out, 0.0, np.pi / 2)]
    cos, sin = np.cos(yaw), np.sin(yaw)
    for k in rng.permutation(len(seats))[:count]:
        x, y, turn = seats[k]
        turn += yaw + rng.normal(0, 0.25)
        for _ in range(4):
            seat = np.array([x * cos - y * sin, x * sin + y * cos]) + rng.normal(0, 0.08, 2)
            if room.put_at(chair, place + seat, turn):
                break
