"""Furnishes rooms of each kind."""

from collections.abc import Callable

import numpy as np

from pcseg.synthetic import furniture as make
from pcseg.synthetic.fittings import add_beams, add_boards, add_columns, add_openings, decorate, plan_of
from pcseg.synthetic.groups import (
    bookcases,
    cabinet,
    desk_along_wall,
    free_seat,
    hang_shelf,
    scatter,
    seat_at,
    seats_around,
    sofa_group,
    table_along_wall,
    work_place,
)
from pcseg.synthetic.room import Room

# Room i is of kind i mod 11; 11 has no factor in common with the six areas, so that every area gets every kind.
KINDS = (
    "office", "conferenceRoom", "office", "lounge", "hallway", "office",
    "openspace", "copyRoom", "office", "conferenceRoom", "lobby",
)  # fmt: skip


def furnished_room(kind: str, index: int, rng: np.random.Generator) -> Room:
    """A furnished room of the given kind; `index` decides whether beams or columns are certain."""
    plan = plan_of(kind, rng)
    room = Room(kind, plan, rng)
    add_openings(room)
    turn = (index + index // 6) % 2
    add_columns(room, certain=turn == 0)
    room.build_shell()
    if turn == 1 or rng.random() < 0.15:
        add_beams(room)
    add_boards(room)
    _FURNISH[kind](room)
    decorate(room)
    return room


def _office(room: Room) -> None:
    rng = room.rng
    for _ in range(1 + int(room.plan.area > 11) + int(room.plan.area > 17)):
        desk_along_wall(room)
    if rng.random() < 0.5:
        sofa_group(room)
    bookcases(room, 1, 4)
    if rng.random() < 0.5:
        shelf = make.bookcase(rng, "wall", float(rng.uniform(0.8, 1.4)))
        hang_shelf(room, shelf)
    for _ in range(int(rng.integers(1, 3))):
        free_seat(room)
    if rng.random() < 0.5:
        cabinet(room)


def _conference(room: Room) -> None:
    rng, plan = room.rng, room.plan
    x0, y0, x1, y1 = max(plan.floor_rects(), key=lambda r: (r[2] - r[0]) * (r[3] - r[1]))
    long_x = x1 - x0 > y1 - y0
    length, across = (x1 - x0, y1 - y0) if long_x else (y1 - y0, x1 - x0)
    for shrink in (1.0, 0.85, 0.7):
        width = min(max(length - 2.3, 1.3) * float(rng.uniform(0.85, 1.0)), 4.2) * shrink
        depth = min(max(across - 2.4, 0.8), float(rng.uniform(1.0, 1.4)))
        item = make.conference_table(rng, width, min(depth, width * 0.8))
        x, y, yaw = (x0 + x1) / 2, (y0 + y1) / 2, 0.0 if long_x else np.pi / 2
        if room.put_if_free(item, x, y, yaw, margin=0.05):
            kind = str(rng.choice(["swivel", "four_leg", "sled", "shell"]))
            seats_around(room, item, x, y, yaw, kind)
            break
    for _ in range(int(rng.integers(1, 4))):
        free_seat(room)
    bookcases(room, 0, 3)
    if rng.random() < 0.5:
        table_along_wall(room)
    if rng.random() < 0.35:
        sofa_group(room)
    if rng.random() < 0.6:
        room.hang(make.wall_item(rng, "screen"), 1.1)


def _lounge(room: Room) -> None:
    rng = room.rng
    for _ in range(2 + int(rng.random() < 0.4)):
        sofa_group(room)
    bookcases(room, 1, 3)
    for _ in range(int(rng.integers(1, 4))):
        item = make.table(rng)
        place = room.put_anywhere(item, margin=0.35, num_tries=25)
        if place is not None:
            x, y, yaw = place
            kind = str(rng.choice(["four_leg", "shell", "stool", "sled"]))
            for k in range(4):
                if rng.random() < 0.75:
                    seat = make.chair(rng, kind)
                    side = k * np.pi / 2
                    reach = item.size[1 if k % 2 == 0 else 0] / 2 + seat.size[1] / 2 + float(rng.uniform(-0.18, 0.1))
                    seat_at(room, seat, x, y, yaw + side, 0.0, reach)
            scatter(room, item.tops[0], x, y, yaw, 0.0, int(rng.integers(1, 4)), None)
    for _ in range(int(rng.integers(1, 3))):
        free_seat(room, "armchair" if rng.random() < 0.6 else None)
    if rng.random() < 0.5:
        table_along_wall(room)


def _hallway(room: Room) -> None:
    rng = room.rng
    for _ in range(int(rng.integers(0, 3))):
        free_seat(room)
    if rng.random() < 0.4:
        cabinet(room)
    if rng.random() < 0.5:
        room.put_along_wall(make.bookcase(rng, "half"), gap=0.01)
    if rng.random() < 0.3:
        table_along_wall(room)


def _openspace(room: Room) -> None:
    """Rows of desks, face to face, then furniture along the walls."""
    rng, plan = room.rng, room.plan
    width = float(rng.uniform(1.2, 1.5))
    item = make.desk(rng, "plain", width)
    kind = "swivel" if rng.random() < 0.7 else None
    depth = item.size[1]
    rows = max(1, int((plan.depth - 0.8) / (2 * depth + 1.7)))
    columns = max(1, int((plan.width - 1.3) / (width + 0.02)))
    for i in range(rows):
        middle = plan.depth * (i + 0.5) / rows
        for j in range(columns):
            x = plan.width / 2 + (j - (columns - 1) / 2) * (width + 0.02)
            for side, yaw in ((1, 0.0), (-1, np.pi)):
                y = middle + side * (depth / 2 + 0.015)
                if room.put_if_free(item, x, float(y), yaw):
                    work_place(room, item, x, float(y), yaw, kind)
    bookcases(room, 1, 4)
    for _ in range(int(rng.integers(0, 3))):
        cabinet(room)
    free_seat(room)


def _copy_room(room: Room) -> None:
    rng = room.rng
    room.put_along_wall(make.floor_item(rng, "copier"), gap=0.05, front=0.3)
    bookcases(room, 2, 5)
    table_along_wall(room)
    for _ in range(int(rng.integers(1, 3))):
        cabinet(room)
    for _ in range(int(rng.integers(2, 5))):
        room.put_along_wall(make.floor_item(rng, "box"), gap=0.03)
    free_seat(room)


def _lobby(room: Room) -> None:
    rng = room.rng
    for _ in range(int(rng.integers(2, 4))):
        sofa_group(room)
    item = make.desk(rng, "corner")
    place = room.put_anywhere(item, margin=0.45, num_tries=25)
    if place is not None:
        work_place(room, item, *place, "swivel")
    else:
        desk_along_wall(room)
    for _ in range(int(rng.integers(2, 5))):
        free_seat(room)
    bookcases(room, 1, 3)


_FURNISH: dict[str, Callable[[Room], None]] = {
    "office": _office,
    "conferenceRoom": _conference,
    "lounge": _lounge,
    "hallway": _hallway,
    "openspace": _openspace,
    "copyRoom": _copy_room,
    "lobby": _lobby,
}
