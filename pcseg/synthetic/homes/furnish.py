"""Furnishes rooms by rules for bedrooms, offices, classrooms and others."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from pcseg.synthetic.homes import fittings, openings, workplaces
from pcseg.synthetic.homes.kitchen import add_counter_row
from pcseg.synthetic.homes.models import Model
from pcseg.synthetic.homes.room import Room
from pcseg.synthetic.homes.surfaces import Surfaces

PARTITION = 0.12  # thickness of the walls between the rooms of a flat in meters


def bedroom(room: Room) -> None:
    rng = room.rng
    openings.add_openings(room, 1 + (rng.random() < 0.4), 1 + (rng.random() < 0.4))
    for _ in range(1 + (rng.random() < 0.2)):
        bed = room.pick("bed")
        found = room.put_against_wall(bed, tries=60)
        if found:
            top = max(bed.top, 0.45)
            fittings.add_pillows(room, found.place - found.wall.inward * found.depth * 0.3, top, 0.15, room.count(0, 4))
            fittings.add_pillows(room, found.place, top, 0.4, room.count(0, 3))
            table = room.pick("cabinet", "edside")
            for side in (-1, 1):
                s = found.s + side * (found.half + table.size[0] / 2 + 0.05)
                if rng.random() < 0.7:
                    room.put_at(table, found.wall.point(s, 0.3), found.wall.yaw, things=3)
    if rng.random() < 0.5:
        fittings.add_wardrobe_wall(room)
    for _ in range(room.count(1, 5)):
        room.put_against_wall(room.pick("cabinet"), things=4)
    if rng.random() < 0.6:
        workplaces.add_desk(room)
    if rng.random() < 0.3:
        room.put_anywhere(room.pick("chair"))
    if rng.random() < 0.3:
        room.put_against_wall(room.pick("bookshelf"), things=4)


def living(room: Room) -> None:
    rng = room.rng
    openings.add_openings(room, 1 + (rng.random() < 0.5), room.count(1, 4))
    for _ in range(room.count(1, 3)):
        sofa = room.pick("sofa")
        found = room.put_against_wall(sofa, gap=(0.0, 0.4), tries=60)
        if found:
            fittings.add_pillows(room, found.place, max(sofa.top, 0.4), 0.35, room.count(0, 5))
            table = room.pick("table", rng.choice(["offee", "saloon", "living", "rattan", "iron"]))
            off = found.depth / 2 + table.size[1] / 2 + rng.uniform(0.3, 0.5)
            room.put_at(table, found.place + found.wall.inward * off, found.wall.yaw, things=4)
    for _ in range(room.count(0, 3)):
        room.put_anywhere(room.pick("chair", rng.choice(["rmchair", "rmChair", "fotel", "mid-century"])), margin=0.1)
    stand = room.pick("cabinet", rng.choice(["tv", "dresser", "chest", "televisionCabinet"]))
    found = room.put_against_wall(stand, things=2)
    if found and stand.top > 0 and rng.random() < 0.7:
        room.put(room.pick("television"), found.place, found.wall.yaw, stand.top)
    if rng.random() < 0.6:
        add_dining(room, 6)
    if rng.random() < 0.35:
        fittings.add_wardrobe_wall(room)
    for _ in range(room.count(1, 6)):
        kind = rng.choice(["bookshelf", "cabinet", "desk", "appliance", "chair"])
        room.put_against_wall(room.pick(kind), things=4)


def bathroom(room: Room) -> None:
    rng = room.rng
    openings.add_openings(room, 1, room.count(0, 2))
    if rng.random() < 0.75:
        found = room.put_against_wall(room.pick("bathtub"), gap=(0.0, 0.01), tries=60)
        if found and rng.random() < 0.6:
            openings.add_curtain(room, found.wall, found.s, 2 * found.half, 2.0, off=found.depth - 0.1, single=True)
    if rng.random() < 0.5:
        add_shower(room)
    for kind, count in (("toilet", 1), ("sink", 1 + (rng.random() < 0.2))):
        for _ in range(count):
            room.put_against_wall(room.pick(kind), gap=(0.0, 0.02), tries=60)
    if rng.random() < 0.5:
        room.put_against_wall(room.pick("cabinet", rng.choice(["edside", "chest", "filing"])), things=4)
    if rng.random() < 0.4:
        room.put_against_wall(room.pick("appliance", rng.choice(["wash", "Washer", "adiator", "bidet"])), things=2)
    for _ in range(room.count(0, 4)):
        model = room.pick("wall")
        z = max(model.elevation, 0.8)
        found = room.find_on_wall(model.size[0], model.size[2], z) if model.size[0] < 0.8 else None
        if found:
            wall, s = found
            room.put(model, wall.point(s, model.size[1] / 2 + 0.01), wall.yaw, z)
    fittings.add_mirror(room)


def kitchen(room: Room) -> None:
    rng = room.rng
    openings.add_openings(room, 1 + (rng.random() < 0.3), room.count(0, 2))
    num_rows = 0
    for k in np.argsort([-wall.length * rng.uniform(0.5, 1) for wall in room.walls]):
        num_rows += add_counter_row(room, room.walls[k]) > 1
        if num_rows > room.count(0, 3):
            break
    room.put_against_wall(room.pick("refrigerator"), things=2, tries=40)
    if rng.random() < 0.7:
        add_dining(room, 4)
    for _ in range(room.count(0, 2)):
        room.put_against_wall(room.pick(rng.choice(["cabinet", "kitchen cabinet"])), things=3)
    for _ in range(room.count(0, 3)):
        room.put_anywhere(room.pick("stool"))


def office(room: Room) -> None:
    rng = room.rng
    openings.add_openings(room, 1, room.count(0, 3))
    if rng.random() < 0.3:
        fittings.add_column(room)
    in_a_row = rng.random() < 0.6
    for _ in range(room.count(1, 3 + int(room.width * room.depth / 6))):
        (workplaces.add_desk_run if in_a_row and rng.random() < 0.7 else workplaces.add_desk)(room)
    if rng.random() < 0.3:
        fittings.add_wardrobe_wall(room)
    for _ in range(room.count(1, 5)):
        room.put_against_wall(room.pick(rng.choice(["bookshelf", "cabinet", "cabinet"])), things=4)
    if rng.random() < 0.3:
        room.put_against_wall(room.pick("appliance", rng.choice(["adiator", "water_cooler"])))
    if rng.random() < 0.4:
        add_dining(room, 4)
    if rng.random() < 0.7:
        fittings.add_board(room)


def meeting(room: Room) -> None:
    rng = room.rng
    openings.add_openings(room, 1 + (rng.random() < 0.3), room.count(0, 3))
    table = room.pick("table", rng.choice(["black_table", "BlendSwap-CC-0_table", "table4", "round"]))
    for _ in range(room.count(1, 3)):
        found = room.put_anywhere(
            table, margin=0.25, tries=60, yaw=float(rng.choice([0, np.pi / 2])), things=4, central=True
        )
        if found:
            place, yaw = found
            pattern, out = rng.choice(["", "office", "chair"]), rng.uniform(0.0, 0.35)
            fittings.add_chairs_around(room, place, table.size, yaw, room.count(4, 10), pattern=pattern, out=out)
    chair = room.pick("chair")
    for _ in range(room.count(0, 8)):
        room.put_against_wall(chair)
    for _ in range(room.count(0, 2)):
        room.put_against_wall(room.pick(rng.choice(["cabinet", "bookshelf"])), things=3)
    if rng.random() < 0.8:
        fittings.add_board(room)


def classroom(room: Room) -> None:
    """Rows of equal tables with a chair each, all turned to a board."""
    rng = room.rng
    openings.add_openings(room, 1 + (rng.random() < 0.4), room.count(1, 4))
    fittings.add_board(room)
    if rng.random() < 0.5:
        fittings.add_column(room)
    table = room.pick(rng.choice(["desk", "table"]), rng.choice(["", "office", "kids"]))
    chair = room.pick("chair", rng.choice(["office", "chair", ""]))
    pitch = table.size[:2] + np.array([rng.uniform(0.05, 0.5), rng.uniform(0.6, 0.9)])
    for x in np.arange(0.5 + pitch[0] / 2, room.width - 0.5, pitch[0]):
        for y in np.arange(1.6, room.depth - 0.5, pitch[1]):
            place = np.array([x, y]) + rng.normal(0, 0.03, 2)
            if room.put_at(table, place, rng.normal(0, 0.02), things=3):
                for _ in range(3):
                    seat = place - (rng.normal(0, 0.1), table.size[1] / 2 + rng.uniform(0.1, 0.35))
                    if room.put_at(chair, seat, np.pi + rng.normal(0, 0.3)):
                        break
    for _ in range(room.count(0, 3)):
        room.put_against_wall(room.pick(rng.choice(["cabinet", "bookshelf"])), things=3)


def corridor(room: Room) -> None:
    rng = room.rng
    openings.add_openings(room, room.count(3, 8), room.count(0, 2))
    if rng.random() < 0.5:
        fittings.add_column(room)
    for _ in range(room.count(0, 5)):
        room.put_against_wall(room.pick(rng.choice(["cabinet", "chair", "bookshelf", "plant", "appliance"])), things=3)
    if rng.random() < 0.4:
        fittings.add_board(room)


def study(room: Room) -> None:
    rng = room.rng
    openings.add_openings(room, 1, room.count(1, 3))
    (workplaces.add_desk_run if rng.random() < 0.4 else workplaces.add_desk)(room)
    if rng.random() < 0.4:
        fittings.add_wardrobe_wall(room)
    for _ in range(room.count(1, 4)):
        room.put_against_wall(room.pick("bookshelf"), things=4)
    found = room.put_against_wall(room.pick("sofa"), tries=30)
    if rng.random() < 0.4:
        room.put_against_wall(room.pick("bed"), tries=30)
    if found and rng.random() < 0.5:
        room.put_anywhere(room.pick("table"), things=4)
    room.put_anywhere(room.pick("chair"))
    room.put_against_wall(room.pick(rng.choice(["cabinet", "appliance"])), things=3)


def shop(room: Room) -> None:
    """Shelves along the walls and in rows, and a counter."""
    rng = room.rng
    openings.add_openings(room, 1 + (rng.random() < 0.5), room.count(0, 3))
    for _ in range(room.count(1, 3)):
        fittings.add_wardrobe_wall(room)
    shelf = room.pick("bookshelf")
    for _ in range(room.count(2, 8)):
        room.put_anywhere(shelf, margin=0.3, yaw=float(rng.choice([0, np.pi / 2])), things=5)
    desk = room.pick("desk")
    found = room.put_anywhere(desk, things=5)
    if found:
        workplaces.add_workplace(room, *found, desk.size, desk.top)
    for _ in range(room.count(2, 8)):
        fittings.add_carton(room)


def add_dining(room: Room, most: int) -> None:
    """A table with up to `most` chairs."""
    rng = room.rng
    tables = [model for model in room.models["table"] if model.size[2] > 0.6 and model.size[0] < 1.9]
    table = tables[rng.integers(len(tables))]
    found = room.put_anywhere(table, margin=0.25, tries=60, yaw=float(rng.choice([0, np.pi / 2])), things=5)
    if found:
        place, yaw = found
        fittings.add_chairs_around(room, place, table.size, yaw, room.count(2, most + 1), out=rng.uniform(0.0, 0.35))


def add_shower(room: Room) -> None:
    """A shower in a corner: a tray, and panes that a sensor sees in part."""
    rng = room.rng
    wall, size = room.walls[rng.integers(len(room.walls))], rng.uniform(0.75, 1.0)
    if wall.length < size + 0.1:
        return
    middle = wall.point(size / 2 + 0.01, size / 2 + 0.01)
    if room.fits(middle, (size / 2 - 0.01, size / 2 - 0.01)) and wall.is_free(0.03, size, 0.0, 2.0):
        instance = room.surfaces.instance("shower")
        white = np.full(3, rng.uniform(200, 250))
        room.surfaces.add_box(room.world(middle, 0.05), (size, size, 0.1), instance, white, yaw=wall.yaw)
        along, inward, up = (*(wall.along * size), 0), (*(wall.inward * size), 0), (0, 0, 1.9)
        dropout = rng.uniform(0.3, 1.0)
        for corner, side in ((wall.point(0.0, size), along), (wall.point(size, 0.0), inward)):
            room.surfaces.add_quad(room.world(corner, 0.1), side, up, instance, (200, 220, 220), dropout=dropout)
        room.occupy(middle, (size / 2, size / 2))
        wall.used.append((0.0, size, 0.0, 2.0))


class Program(NamedTuple):
    """A kind of room: its furnishing rule, ranges of width and depth in meters, and furniture to fill it."""

    furnish: Callable[[Room], None]
    width: tuple[float, float]
    depth: tuple[float, float]
    filling: tuple[str, ...]


PROGRAMS = {
    "bedroom": Program(
        bedroom,
        (2.8, 4.3),
        (2.8, 4.3),
        ("cabinet", "cabinet", "desk", "chair", "bookshelf", "appliance", "bed", "floor", "plant"),
    ),
    "living": Program(
        living,
        (3.3, 5.5),
        (3.3, 5.5),
        ("sofa", "chair", "table", "cabinet", "bookshelf", "appliance", "desk", "dining", "plant"),
    ),
    "bathroom": Program(bathroom, (1.9, 3.0), (1.9, 3.0), ("sink", "toilet", "appliance", "cabinet", "bathtub")),
    "kitchen": Program(
        kitchen, (2.4, 4.2), (2.4, 4.2), ("dining", "chair", "appliance", "cabinet", "refrigerator", "stool", "table")
    ),
    "office": Program(
        office, (2.8, 6.0), (2.8, 6.0), ("desk", "desk", "chair", "cabinet", "bookshelf", "dining", "appliance")
    ),
    "meeting": Program(
        meeting, (3.3, 6.5), (3.3, 6.0), ("chair", "chair", "dining", "cabinet", "bookshelf", "sofa", "table")
    ),
    "study": Program(
        study, (2.8, 4.3), (2.8, 4.3), ("bookshelf", "desk", "sofa", "chair", "table", "cabinet", "bed", "appliance")
    ),
    "classroom": Program(classroom, (4.5, 8.0), (5.0, 9.0), ("chair", "cabinet", "bookshelf")),
    "corridor": Program(corridor, (1.5, 2.6), (5.0, 12.0), ("cabinet", "plant", "chair")),
    "shop": Program(shop, (3.5, 7.0), (3.5, 7.0), ("bookshelf", "bookshelf", "cabinet", "table", "appliance")),
}
SEQUENCE = (
    "bedroom", "living", "bathroom", "kitchen", "office", "meeting", "study", "classroom", "living", "office", "flat",
    "corridor", "bedroom", "shop",
)  # fmt: skip


def fill(room: Room) -> None:
    """Adds more typical furniture until a random share of the floor is taken."""
    rng = room.rng
    goal = rng.uniform(0.3, 0.6)
    for _ in range(16):
        if 1 - room.is_free.sum() / room.num_cells > goal:
            return
        kind = rng.choice(PROGRAMS[room.kind].filling)
        if kind == "desk":
            workplaces.add_desk(room)
        elif kind == "dining":
            add_dining(room, 6)
        elif kind in ("chair", "table") and rng.random() < 0.6:
            room.put_anywhere(room.pick(kind), things=3 * (kind == "table"))
        else:
            room.put_against_wall(room.pick(kind), gap=(0.0, 0.1), things=4)


def furnish_home(models: dict[str, list[Model]], seed: int, index: int) -> tuple[Surfaces, list[Room], str]:
    """Builds home `index` of a world: one room, or a flat of two to four side by side.

    Args:
        models: furniture of each kind.
        seed: chooses the world.
        index: which home; decides the kind of room.

    Returns:
        The surfaces, the rooms with their walls and lights, and the kind.
    """
    rng = np.random.default_rng([seed, index])
    surfaces = Surfaces(rng)
    kind = SEQUENCE[index % len(SEQUENCE)]
    kinds = [kind] if kind != "flat" else ["living", "kitchen", "bedroom", "bathroom"][: rng.integers(2, 5)]
    rooms, x = [], 0.0
    for name in kinds:
        program = PROGRAMS[name]
        width, depth = rng.uniform(*program.width), rng.uniform(*program.depth)
        recess = 0.35 if len(kinds) == 1 else PARTITION * 0.8
        room = Room(surfaces, models, name, (x, 0.0), width, depth, recess)
        x += width + PARTITION
        program.furnish(room)
        fill(room)
        room.draw_walls()
        if rng.random() < 0.75:
            fittings.add_ceiling_lamps(room)
        fittings.add_pictures(room, room.count(0, 6))
        fittings.add_signs(room, room.count(0, 7))
        if rng.random() < 0.35:
            fittings.add_rail(room)
        if rng.random() < 0.3:
            fittings.add_duct(room)
        fittings.add_clutter(room, room.count(1, 13), rng.uniform(0.4, 1.0))
        rooms.append(room)
    return surfaces, rooms, kind
