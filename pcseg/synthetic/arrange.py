"""Furnishes rooms of each kind with groups of furniture, such as a desk with its chair and the things on it."""

from collections.abc import Callable

import numpy as np

from pcseg.synthetic import furniture as make
from pcseg.synthetic.fittings import add_beams, add_boards, add_columns, add_openings, decorate, plan_of
from pcseg.synthetic.layout import Rect
from pcseg.synthetic.room import Room
from pcseg.synthetic.shapes import Item, Top

# Room i is of kind i mod 11; 11 has no factor in common with the six areas, so that every area gets every kind.
KINDS = (
    "office", "conferenceRoom", "office", "lounge", "hallway", "office",
    "openspace", "copyRoom", "office", "conferenceRoom", "lobby",
)  # fmt: skip


def _scatter(room: Room, top: Top, x: float, y: float, yaw: float, base: float, num: int, kinds: list | None) -> None:
    """Puts up to `num` things on a top without overlap; monitors stand at the back and face the user."""
    rng = room.rng
    taken: list[Rect] = []
    cos, sin = np.cos(yaw), np.sin(yaw)
    for k in range(num):
        kind = kinds[k] if kinds and k < len(kinds) else None
        item = make.desk_item(rng, kind)
        if item.size[2] > top.clearance:
            continue
        for _ in range(8):
            turn = float(rng.normal(0, 0.15)) if rng.random() < 0.8 else float(rng.uniform(-np.pi, np.pi))
            reach = max(item.size[0] * abs(np.cos(turn)) + item.size[1] * abs(np.sin(turn)), 0.02) / 2
            deep = max(item.size[1] * abs(np.cos(turn)) + item.size[0] * abs(np.sin(turn)), 0.02) / 2
            if 2 * reach > top.x1 - top.x0 or 2 * deep > top.y1 - top.y0:
                break
            px = float(rng.uniform(top.x0 + reach, top.x1 - reach))
            py = float(rng.uniform(top.y0 + deep, top.y1 - deep))
            if kind in ("monitor", "printer"):
                py = top.y0 + deep
            elif kind == "keyboard":
                py = top.y1 - deep - 0.04
            rect = Rect(px, py, item.size[0] / 2, item.size[1] / 2, turn, 0.0, 1.0)
            if any(rect.meets(other) for other in taken):
                continue
            taken.append(rect)
            room.put(item, x + cos * px - sin * py, y + sin * px + cos * py, yaw + turn, base + top.z, take=False)
            break


def _work_place(room: Room, item: Item, x: float, y: float, yaw: float, chair_kind: str | None = None) -> None:
    """Puts things on a desk, and a chair in front of it, pulled out or pushed under."""
    rng = room.rng
    kinds = ["monitor"] * int(rng.integers(1, 3)) if rng.random() < 0.75 else ["laptop"]
    if kinds[0] == "monitor":
        kinds.append("keyboard")
    _scatter(room, item.tops[0], x, y, yaw, 0.0, len(kinds) + int(rng.integers(1, 5)), kinds)
    for top in item.tops[1:]:
        _scatter(room, top, x, y, yaw, 0.0, int(rng.integers(1, 4)), None)
    seat = make.chair(rng, chair_kind or ("swivel" if rng.random() < 0.7 else None))
    top = item.tops[0]
    middle = (top.x0 + top.x1) / 2 + float(rng.uniform(-0.15, 0.15))
    out = top.y1 + seat.size[1] / 2 + float(rng.uniform(-0.22, 0.3))
    _seat_at(room, seat, x, y, yaw, middle, out)


def _seat_at(room: Room, seat: Item, x: float, y: float, yaw: float, px: float, py: float) -> bool:
    """Puts a chair at (px, py) in the frame of a table, facing the table, which may cover it in part."""
    cos, sin = np.cos(yaw), np.sin(yaw)
    wx, wy = x + cos * px - sin * py, y + sin * px + cos * py
    turn = yaw + np.pi + float(np.clip(room.rng.normal(0, 0.3), -0.8, 0.8))
    # Only what is behind the table edge must be free: a seat slides under the top.
    rect = Rect(wx, wy, seat.size[0] / 2 * 0.9, seat.size[1] / 2 * 0.9, turn, 0.78, 0.8 + seat.size[2])
    foot = Rect(wx, wy, 0.2, 0.2, turn, 0.0, 0.5)
    if not room.plan.fits(rect) or not room.plan.fits(foot):
        return False
    room.put(seat, wx, wy, turn)
    return True


def _seats_around(room: Room, item: Item, x: float, y: float, yaw: float, kind: str) -> None:
    """Chairs on all sides of a big table, and papers, cups and laptops on it."""
    rng = room.rng
    width, depth, _ = item.size
    num = max(1, int(width / rng.uniform(0.72, 0.95)))
    # Most tables have a set of equal chairs.
    equal = make.chair(rng, kind) if rng.random() < 0.75 else None
    for side in (0.0, np.pi):
        for k in range(num):
            if rng.random() < 0.88:
                px = (k + 0.5) / num * width - width / 2 + float(rng.normal(0, 0.05))
                seat = equal or make.chair(rng, kind)
                py = depth / 2 + seat.size[1] / 2 + float(rng.uniform(-0.25, 0.2))
                _seat_at(room, seat, x, y, yaw + side, px, py)
    for side in (np.pi / 2, -np.pi / 2):
        if rng.random() < 0.5:
            seat = equal or make.chair(rng, kind)
            _seat_at(room, seat, x, y, yaw + side, 0.0, width / 2 + seat.size[1] / 2 + float(rng.uniform(-0.15, 0.2)))
    kinds = [str(k) for k in rng.choice(["laptop", "papers", "mug", "bag", "plant", "books"], int(rng.integers(3, 8)))]
    _scatter(room, item.tops[0], x, y, yaw, 0.0, len(kinds), kinds)


def _free_seat(room: Room, kind: str | None = None) -> None:
    """A chair by itself, at a wall or anywhere."""
    seat = make.chair(room.rng, kind)
    if room.rng.random() < 0.5:
        room.put_along_wall(seat, gap=0.08)
    else:
        room.put_anywhere(seat)


def _bookcases(room: Room, low: int, high: int) -> None:
    """At least `low` and fewer than `high` bookcases along walls, if there is space."""
    rng = room.rng
    for _ in range(int(rng.integers(low, high))):
        item = make.bookcase(rng)
        place = room.put_along_wall(item, gap=0.01, front=0.35)
        if place is not None and item.tops and rng.random() < 0.7:
            _scatter(room, item.tops[0], *place[1:], 0.0, int(rng.integers(1, 4)), None)


def _desk_along_wall(room: Room, width: float | None = None) -> None:
    """A work place with its desk at a wall; a smaller one if there is little space."""
    rng = room.rng
    item = make.desk(rng, width=width)
    place = room.put_along_wall(item, gap=0.04, front=0.5)
    if place is None:
        item = make.desk(rng, "plain", float(rng.uniform(1.0, 1.2)))
        place = room.put_along_wall(item, gap=0.03, front=0.4)
    if place is not None:
        _work_place(room, item, *place[1:])


def _hang_shelf(room: Room, shelf: Item) -> None:
    """Shelves that hang, with their back to the wall."""
    forward = Item(shelf.patches.moved((0.0, shelf.size[1] / 2, 0.0)), shelf.size, shelf.label, shelf.category)
    room.hang(forward, float(room.rng.uniform(1.35, 1.55)))


def _cabinet(room: Room) -> None:
    """A cabinet at a wall, with things on top of low ones."""
    item = make.cabinet(room.rng)
    place = room.put_along_wall(item, gap=0.02, front=0.3)
    if place is not None and item.size[2] < 1.2:
        _scatter(room, item.tops[0], *place[1:], 0.0, int(room.rng.integers(0, 3)), None)


def _sofa_group(room: Room) -> None:
    """A sofa at a wall, mostly with a low table before it."""
    rng = room.rng
    place, item = None, make.sofa(rng)
    for kind in (None, "three", "two"):
        item = make.sofa(rng, kind)
        place = room.put_along_wall(item, gap=0.05, front=0.3)
        if place is not None:
            break
    if place is None:
        return
    _, x, y, yaw = place
    if item.size[1] < 1 and rng.random() < 0.75:
        low = make.low_table(rng)
        away = item.size[1] / 2 + low.size[1] / 2 + float(rng.uniform(0.25, 0.4))
        cx, cy = x - np.sin(yaw) * away, y + np.cos(yaw) * away
        if room.put_if_free(low, float(cx), float(cy), yaw, margin=0.05):
            _scatter(room, low.tops[0], float(cx), float(cy), yaw, 0.0, int(rng.integers(1, 4)), ["papers"])


def _table_along_wall(room: Room) -> None:
    """A table at a wall with things on it."""
    rng = room.rng
    item = make.table(rng, float(rng.uniform(0.9, 1.5)))
    place = room.put_along_wall(item, gap=0.03, front=0.2)
    if place is not None:
        _scatter(room, item.tops[0], *place[1:], 0.0, int(rng.integers(2, 6)), None)


def furnished_room(kind: str, index: int, rng: np.random.Generator) -> Room:
    """A furnished room.

    Args:
        kind: one of `KINDS`.
        index: number of the room; decides whether columns or beams are certain.
        rng: random numbers for everything in the room.
    """
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
        _desk_along_wall(room)
    if rng.random() < 0.5:
        _sofa_group(room)
    _bookcases(room, 1, 4)
    if rng.random() < 0.5:
        shelf = make.bookcase(rng, "wall", float(rng.uniform(0.8, 1.4)))
        _hang_shelf(room, shelf)
    for _ in range(int(rng.integers(1, 3))):
        _free_seat(room)
    if rng.random() < 0.5:
        _cabinet(room)


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
            _seats_around(room, item, x, y, yaw, kind)
            break
    for _ in range(int(rng.integers(1, 4))):
        _free_seat(room)
    _bookcases(room, 0, 3)
    if rng.random() < 0.5:
        _table_along_wall(room)
    if rng.random() < 0.35:
        _sofa_group(room)
    if rng.random() < 0.6:
        room.hang(make.wall_item(rng, "screen"), 1.1)


def _lounge(room: Room) -> None:
    rng = room.rng
    for _ in range(2 + int(rng.random() < 0.4)):
        _sofa_group(room)
    _bookcases(room, 1, 3)
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
                    _seat_at(room, seat, x, y, yaw + side, 0.0, reach)
            _scatter(room, item.tops[0], x, y, yaw, 0.0, int(rng.integers(1, 4)), None)
    for _ in range(int(rng.integers(1, 3))):
        _free_seat(room, "armchair" if rng.random() < 0.6 else None)
    if rng.random() < 0.5:
        _table_along_wall(room)


def _hallway(room: Room) -> None:
    rng = room.rng
    for _ in range(int(rng.integers(0, 3))):
        _free_seat(room)
    if rng.random() < 0.4:
        _cabinet(room)
    if rng.random() < 0.5:
        room.put_along_wall(make.bookcase(rng, "half"), gap=0.01)
    if rng.random() < 0.3:
        _table_along_wall(room)


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
                    _work_place(room, item, x, float(y), yaw, kind)
    _bookcases(room, 1, 4)
    for _ in range(int(rng.integers(0, 3))):
        _cabinet(room)
    _free_seat(room)


def _copy_room(room: Room) -> None:
    rng = room.rng
    room.put_along_wall(make.floor_item(rng, "copier"), gap=0.05, front=0.3)
    _bookcases(room, 2, 5)
    _table_along_wall(room)
    for _ in range(int(rng.integers(1, 3))):
        _cabinet(room)
    for _ in range(int(rng.integers(2, 5))):
        room.put_along_wall(make.floor_item(rng, "box"), gap=0.03)
    _free_seat(room)


def _lobby(room: Room) -> None:
    rng = room.rng
    for _ in range(int(rng.integers(2, 4))):
        _sofa_group(room)
    item = make.desk(rng, "corner")
    place = room.put_anywhere(item, margin=0.45, num_tries=25)
    if place is not None:
        _work_place(room, item, *place, "swivel")
    else:
        _desk_along_wall(room)
    for _ in range(int(rng.integers(2, 5))):
        _free_seat(room)
    _bookcases(room, 1, 3)


_FURNISH: dict[str, Callable[[Room], None]] = {
    "office": _office,
    "conferenceRoom": _conference,
    "lounge": _lounge,
    "hallway": _hallway,
    "openspace": _openspace,
    "copyRoom": _copy_room,
    "lobby": _lobby,
}
