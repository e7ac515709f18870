"""Groups of furniture: a desk with its chair and things, a sofa with its table, a table with chairs around it."""

import numpy as np

from pcseg.synthetic import furniture as make
from pcseg.synthetic.furniture import Item, Top
from pcseg.synthetic.layout import Rect
from pcseg.synthetic.room import Room


def scatter(room: Room, top: Top, x: float, y: float, yaw: float, base: float, num: int, kinds: list | None) -> None:
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


def work_place(room: Room, item: Item, x: float, y: float, yaw: float, chair_kind: str | None = None) -> None:
    """Puts things on a desk, and a chair in front of it, pulled out or pushed under."""
    rng = room.rng
    kinds = ["monitor"] * int(rng.integers(1, 3)) if rng.random() < 0.75 else ["laptop"]
    if kinds[0] == "monitor":
        kinds.append("keyboard")
    scatter(room, item.tops[0], x, y, yaw, 0.0, len(kinds) + int(rng.integers(1, 5)), kinds)
    for top in item.tops[1:]:
        scatter(room, top, x, y, yaw, 0.0, int(rng.integers(1, 4)), None)
    seat = make.chair(rng, chair_kind or ("swivel" if rng.random() < 0.7 else None))
    top = item.tops[0]
    middle = (top.x0 + top.x1) / 2 + float(rng.uniform(-0.15, 0.15))
    out = top.y1 + seat.size[1] / 2 + float(rng.uniform(-0.22, 0.3))
    seat_at(room, seat, x, y, yaw, middle, out)


def seat_at(room: Room, seat: Item, x: float, y: float, yaw: float, px: float, py: float) -> bool:
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


def seats_around(room: Room, item: Item, x: float, y: float, yaw: float, kind: str) -> None:
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
                seat_at(room, seat, x, y, yaw + side, px, py)
    for side in (np.pi / 2, -np.pi / 2):
        if rng.random() < 0.5:
            seat = equal or make.chair(rng, kind)
            seat_at(room, seat, x, y, yaw + side, 0.0, width / 2 + seat.size[1] / 2 + float(rng.uniform(-0.15, 0.2)))
    kinds = [str(k) for k in rng.choice(["laptop", "papers", "mug", "bag", "plant", "books"], int(rng.integers(3, 8)))]
    scatter(room, item.tops[0], x, y, yaw, 0.0, len(kinds), kinds)


def free_seat(room: Room, kind: str | None = None) -> None:
    """A chair by itself, at a wall or anywhere."""
    seat = make.chair(room.rng, kind)
    if room.rng.random() < 0.5:
        room.put_along_wall(seat, gap=0.08)
    else:
        room.put_anywhere(seat)


def bookcases(room: Room, low: int, high: int) -> None:
    """At least `low` and fewer than `high` bookcases along walls, if there is space."""
    rng = room.rng
    for _ in range(int(rng.integers(low, high))):
        item = make.bookcase(rng)
        place = room.put_along_wall(item, gap=0.01, front=0.35)
        if place is not None and item.tops and rng.random() < 0.7:
            scatter(room, item.tops[0], *place[1:], 0.0, int(rng.integers(1, 4)), None)


def desk_along_wall(room: Room, width: float | None = None) -> None:
    """A work place with its desk at a wall; a smaller one if there is little space."""
    rng = room.rng
    item = make.desk(rng, width=width)
    place = room.put_along_wall(item, gap=0.04, front=0.5)
    if place is None:
        item = make.desk(rng, "plain", float(rng.uniform(1.0, 1.2)))
        place = room.put_along_wall(item, gap=0.03, front=0.4)
    if place is not None:
        work_place(room, item, *place[1:])


def hang_shelf(room: Room, shelf: Item) -> None:
    """Shelves that hang, with their back to the wall."""
    forward = Item(shelf.patches.moved((0.0, shelf.size[1] / 2, 0.0)), shelf.size, shelf.label, shelf.category)
    room.hang(forward, float(room.rng.uniform(1.35, 1.55)))


def cabinet(room: Room) -> None:
    """A cabinet at a wall, with things on top of low ones."""
    item = make.cabinet(room.rng)
    place = room.put_along_wall(item, gap=0.02, front=0.3)
    if place is not None and item.size[2] < 1.2:
        scatter(room, item.tops[0], *place[1:], 0.0, int(room.rng.integers(0, 3)), None)


def sofa_group(room: Room) -> None:
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
            scatter(room, low.tops[0], float(cx), float(cy), yaw, 0.0, int(rng.integers(1, 4)), ["papers"])


def table_along_wall(room: Room) -> None:
    """A table at a wall with things on it."""
    rng = room.rng
    item = make.table(rng, float(rng.uniform(0.9, 1.5)))
    place = room.put_along_wall(item, gap=0.03, front=0.2)
    if place is not None:
        scatter(room, item.tops[0], *place[1:], 0.0, int(rng.integers(2, 6)), None)
