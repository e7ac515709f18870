"""The fixed parts of a room: outline, doors, windows, columns, beams, boards, and decoration."""

import numpy as np

from pcseg.synthetic import furniture as make
from pcseg.synthetic.layout import Plan, Rect, Wall
from pcseg.synthetic.room import Room


def plan_of(kind: str, rng: np.random.Generator) -> Plan:
    """Outline and height of a room of this kind; one in three of the bigger ones is an L."""
    low, high = {
        "office": ((2.9, 3.2), (4.4, 5.4)),
        "conferenceRoom": ((3.8, 4.8), (5.0, 7.2)),
        "lounge": ((3.8, 4.2), (5.4, 6.4)),
        "hallway": ((1.7, 5.5), (2.4, 9.0)),
        "openspace": ((5.0, 6.0), (6.0, 6.8)),
        "copyRoom": ((2.6, 3.0), (3.6, 4.4)),
        "lobby": ((4.2, 4.8), (6.0, 6.6)),
    }[kind]
    width, depth = (float(v) for v in rng.uniform(low, high))
    if rng.random() < 0.5:
        width, depth = depth, width
    notch = None
    if kind != "hallway" and width * depth > 15 and rng.random() < 0.35:
        notch = (float(width * rng.uniform(0.25, 0.45)), float(depth * rng.uniform(0.25, 0.45)))
    return Plan(width, depth, float(rng.uniform(2.5, 3.3)), notch)


def add_openings(room: Room) -> None:
    """One or two doors (more in hallways) and windows on one or two walls."""
    rng, plan = room.rng, room.plan
    num_doors = int(rng.integers(3, 6)) if room.kind == "hallway" else 1 + int(rng.random() < 0.35)
    for _ in range(num_doors):
        width, height = float(rng.uniform(0.85, 1.05)), float(rng.uniform(2.0, 2.15))
        for _ in range(20):
            wall = plan.walls[int(rng.integers(len(plan.walls)))]
            if wall.length < width + 0.3:
                continue
            along = float(rng.uniform(width / 2 + 0.12, wall.length - width / 2 - 0.12))
            if wall.is_free(along - width / 2 - 0.1, along + width / 2 + 0.1, 0.0, height):
                item = make.door(rng, width, height)
                room.hang_at(item, wall, along, 0.0)
                wall.holes.append((along - width / 2, along + width / 2, 0.0, height))
                # Nothing may block the door.
                swing = 0.95 if room.kind != "hallway" else 0.5
                x, y = wall.at(along, swing / 2)
                plan.taken.append(Rect(x, y, width / 2 + 0.05, swing / 2, wall.yaw, 0.0, height))
                break
    if room.kind in ("hallway", "copyRoom") and rng.random() < 0.6:
        return
    num_windows = int(rng.integers(1, 4))
    first = int(rng.integers(len(plan.walls)))
    low, high = (0.75, 1.0) if rng.random() < 0.75 else (0.1, 0.35)
    sill, top = float(rng.uniform(low, high)), min(plan.height - 0.3, float(rng.uniform(2.0, 2.5)))
    for k in range(num_windows):
        wall = plan.walls[(first + (k == 2)) % len(plan.walls)]
        for _ in range(12):
            width = float(rng.uniform(0.8, 2.0))
            if wall.length < width + 0.3:
                continue
            along = float(rng.uniform(width / 2 + 0.12, wall.length - width / 2 - 0.12))
            if wall.is_free(along - width / 2 - 0.1, along + width / 2 + 0.1, sill, top):
                room.hang_at(make.window(rng, width, top - sill), wall, along, sill)
                wall.holes.append((along - width / 2, along + width / 2, sill, top))
                room.lights.append((*wall.at(along, 0.15), (sill + top) / 2))
                room.light_power.append(float(rng.uniform(0.5, 1.6)) * width)
                break


def add_columns(room: Room, certain: bool) -> None:
    """Columns at walls and, in big rooms, free ones; one to three if `certain`, otherwise rarely one."""
    rng, plan = room.rng, room.plan
    num = int(rng.integers(1, 4)) if certain else int(rng.random() < 0.2)
    color = room.wall_rgb if rng.random() < 0.6 else (186.0, 184.0, 178.0)
    for k in range(num):
        free = k == 0 and plan.area > 22 and room.kind != "conferenceRoom" and rng.random() < 0.6
        item = make.column(rng, plan.height, color, round_=free and rng.random() < 0.5)
        if free:
            for _ in range(10):
                x, y = rng.uniform(0.25, 0.75) * plan.width, rng.uniform(0.25, 0.75) * plan.depth
                if room.put_if_free(item, float(x), float(y), 0.0, margin=0.3):
                    break
            continue
        place = room.put_along_wall(item, gap=0.0)
        if place is not None:
            wall, x, y, _ = place
            along = (x - wall.start[0]) * wall.direction[0] + (y - wall.start[1]) * wall.direction[1]
            wall.used.append((along - item.size[0] / 2, along + item.size[0] / 2, 0.0, plan.height))


def add_beams(room: Room) -> None:
    """One to three beams across the shorter side of the room."""
    rng, plan = room.rng, room.plan
    along_x = plan.width < plan.depth
    # In an L, beams cross the part that spans the whole room.
    span = plan.width if along_x else plan.depth
    free = (plan.depth if along_x else plan.width) - (plan.notch[1 if along_x else 0] if plan.notch else 0.0)
    num = int(rng.integers(1, 4)) if free > 3 else 1
    color = room.ceiling_rgb if rng.random() < 0.5 else (150.0, 140.0, 128.0)
    for k in range(num):
        item = make.beam(rng, span, color)
        across = free * (k + 0.5) / num + float(rng.uniform(-0.3, 0.3))
        base = plan.height - item.size[2]
        x, y, yaw = (span / 2, across, 0.0) if along_x else (across, span / 2, np.pi / 2)
        room.put(item, x, y, yaw, base)


def add_boards(room: Room) -> None:
    """One or two boards, with a probability by kind of room."""
    rng = room.rng
    likely = {"conferenceRoom": 1.0, "office": 0.75, "openspace": 1.0, "hallway": 0.6, "copyRoom": 0.4}
    if rng.random() > likely.get(room.kind, 0.4):
        return
    for _ in range(1 + int(rng.random() < 0.4)):
        width, height = float(rng.uniform(1.0, 2.6)), float(rng.uniform(0.85, 1.2))
        for scale in (1.0, 0.75, 0.5):
            if room.hang(make.board(rng, width * scale, height), float(rng.uniform(0.85, 1.0))) is not None:
                break


def decorate(room: Room) -> None:
    """Clutter on floors and walls: bins, bags, boxes, plants, pictures, radiators."""
    rng, plan = room.rng, room.plan
    for wall in plan.walls:
        for s0, s1, sill, _ in list(wall.holes):
            if 0.7 < sill < 1.1 and s1 - s0 > 0.8 and rng.random() < 0.5:
                _radiator(room, wall, (s0 + s1) / 2)
    for _ in range(int(rng.integers(2, 4 + int(plan.area / 8)))):
        item = make.floor_item(rng)
        if rng.random() < 0.75:
            room.put_along_wall(item, gap=float(rng.uniform(0.02, 0.15)))
        else:
            room.put_anywhere(item, margin=0.05)
    for _ in range(int(rng.integers(1, 4))):
        kind = str(rng.choice(["picture", "clock", "vent", "screen"], p=[0.68, 0.1, 0.14, 0.08]))
        base = {"clock": 1.9, "vent": plan.height - 0.5, "screen": 1.1}.get(kind, float(rng.uniform(1.1, 1.5)))
        room.hang(make.wall_item(rng, kind), base)


def _radiator(room: Room, wall: Wall, along: float) -> None:
    """Puts a radiator under a window if the place is free."""
    item = make.wall_item(room.rng, "radiator")
    half = item.size[0] / 2
    rect = Rect(*wall.at(along, 0.07), half, 0.06, wall.yaw, 0.1, 0.7)
    inside = half < along < wall.length - half
    if inside and wall.is_free(along - half, along + half, 0.1, 0.7) and room.plan.fits(rect):
        room.hang_at(item, wall, along, 0.1)
