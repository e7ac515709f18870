"""Clutter: things on tables, floors and walls that belong to no class of their own."""

import numpy as np

from pcseg.synthetic.colors import BOOKS, CARTON, DARK, FABRICS, LEAF, METALS, PLASTICS, WOODS, darker, pick
from pcseg.synthetic.shapes import BRIGHT, FABRIC, PRINT, Item, Shape, Vector


def _item(shape: Shape, size: Vector, category: str, *, thin: bool = False) -> Item:
    return Item(shape.patches(), size, "clutter", category, thin=thin)


def desk_item(rng: np.random.Generator, kind: str | None = None) -> Item:
    """A thing for a table; a random one if `kind` is None."""
    return _one_of(_ON_DESKS, rng, kind)


def floor_item(rng: np.random.Generator, kind: str | None = None) -> Item:
    """A thing for the floor; a random one if `kind` is None."""
    return _one_of(_ON_FLOORS, rng, kind)


def _one_of(makers: dict, rng: np.random.Generator, kind: str | None) -> Item:
    if kind is None:
        weights = np.array([weight for _, weight in makers.values()])
        kind = str(rng.choice(list(makers), p=weights / sum(weights.tolist())))
    return makers[kind][0](rng)


def _monitor(rng: np.random.Generator) -> Item:
    width = float(rng.uniform(0.44, 0.64))
    height, stand, tilt = width * rng.uniform(0.56, 0.66), rng.uniform(0.08, 0.18), rng.uniform(0.0, 0.12)
    rgb = pick(rng, ((34, 34, 36), (60, 60, 62), (190, 190, 188)))
    shape = Shape()
    shape.box((0, 0, 0.01), (width * 0.42, 0.2, 0.02), rgb)
    shape.box((0, -0.03, (stand + height / 2) / 2), (0.06, 0.03, stand + height / 2), rgb)
    z = stand + height / 2
    shape.box((0, 0, z), (width, 0.035, height), rgb, tilt=tilt)
    y = 0.021 * np.cos(tilt)
    screen = pick(rng, ((20, 22, 26), (70, 110, 170), (210, 215, 220)), 14.0)
    texture = PRINT if rng.random() < 0.4 else BRIGHT
    shape.box((0, y, z), (width - 0.04, 0.004, height - 0.05), screen, tilt=tilt, texture=texture)
    return _item(shape, (width, 0.24, stand + height), "monitor")


def _laptop(rng: np.random.Generator) -> Item:
    rgb, width, depth = pick(rng, METALS), rng.uniform(0.31, 0.38), rng.uniform(0.22, 0.26)
    shape = Shape()
    shape.box((0, 0, 0.01), (width, depth, 0.02), rgb)
    shape.box((0, 0.015, 0.021), (width * 0.86, depth * 0.5, 0.003), DARK)
    tilt = float(rng.uniform(0.15, 0.5))
    y, z = -depth / 2 - depth / 2 * np.sin(tilt), 0.02 + depth / 2 * np.cos(tilt)
    shape.box((0, y, z), (width, 0.012, depth), rgb, tilt=tilt)
    shape.box((0, y + 0.008, z), (width - 0.02, 0.004, depth - 0.02), (70.0, 100.0, 150.0), tilt=tilt, texture=BRIGHT)
    return _item(shape, (width, depth + 0.14, depth), "laptop", thin=False)


def _keyboard(rng: np.random.Generator) -> Item:
    rgb = pick(rng, ((36, 36, 38), (224, 224, 220), (90, 90, 92)))
    shape = Shape()
    shape.box((0, 0, 0.012), (0.44, 0.15, 0.024), rgb)
    shape.box((0, 0, 0.026), (0.42, 0.12, 0.008), darker(rgb, 0.8), texture=PRINT if rgb[0] > 150 else FABRIC)
    shape.ellipsoid((0.3, 0, 0.0), (0.032, 0.055, 0.035), rgb, low=0.0)
    return Item(shape.patches().moved((-0.06, 0.0, 0.0)), (0.58, 0.16, 0.035), "clutter", "keyboard", thin=True)


def _papers(rng: np.random.Generator) -> Item:
    shape, top = Shape(), 0.0
    for _ in range(int(rng.integers(1, 5))):
        thick = float(rng.uniform(0.003, 0.03))
        x, y = rng.normal(0, 0.025, 2)
        rgb = pick(rng, ((238, 236, 230), (226, 224, 216), (240, 230, 170)))
        shape.box((x, y, top + thick / 2), (0.21, 0.297, thick), rgb, yaw=float(rng.normal(0, 0.2)), texture=PRINT)
        top += thick
    return _item(shape, (0.28, 0.34, max(top, 0.01)), "paper", thin=True)


def _pile_of_books(rng: np.random.Generator) -> Item:
    shape, top = Shape(), 0.0
    for _ in range(int(rng.integers(2, 8))):
        size = (float(rng.uniform(0.18, 0.26)), float(rng.uniform(0.14, 0.2)), float(rng.uniform(0.015, 0.05)))
        shape.box((0, 0, top + size[2] / 2), size, pick(rng, BOOKS), yaw=float(rng.normal(0, 0.15)))
        top += size[2]
    return _item(shape, (0.27, 0.22, top), "books", thin=True)


def _box(rng: np.random.Generator, scale: float = 1.0) -> Item:
    size = tuple(float(v) * scale for v in rng.uniform((0.2, 0.16, 0.1), (0.45, 0.36, 0.32)))
    rgb = pick(rng, (CARTON, CARTON, *PLASTICS))
    shape = Shape()
    shape.box((0, 0, size[2] / 2), size, rgb)  # type: ignore[arg-type]
    if rng.random() < 0.4:
        shape.box((0, 0, size[2] - 0.03), (size[0] + 0.015, size[1] + 0.015, 0.06), darker(rgb, 0.88))
    elif rng.random() < 0.5:
        shape.box((0, 0, size[2] / 2), (0.05, size[1] + 0.006, size[2] + 0.006), darker(rgb, 1.15))
    return _item(shape, size, "box")  # type: ignore[arg-type]


def _desk_lamp(rng: np.random.Generator) -> Item:
    rgb = pick(rng, PLASTICS)
    shape = Shape()
    if rng.random() < 0.5:
        shape.tube((0, 0, 0), (0, 0, 0.025), 0.09, rgb)
        shape.tube((0, 0, 0.02), (0, -0.1, 0.28), 0.014, rgb, caps=False)
        shape.tube((0, -0.1, 0.28), (0, 0.1, 0.44), 0.014, rgb, caps=False)
        shape.tube((0, 0.08, 0.46), (0, 0.18, 0.36), 0.03, rgb, top_radius=0.09, hollow=True)
    else:
        shape.tube((0, 0, 0), (0, 0, 0.22), 0.07, rgb, top_radius=0.03)
        shape.tube((0, 0, 0.24), (0, 0, 0.44), 0.15, (240.0, 230.0, 204.0), top_radius=0.1, hollow=True, texture=BRIGHT)
    return _item(shape, (0.3, 0.32, 0.46), "lamp")


def _plant(rng: np.random.Generator, scale: float = 1.0) -> Item:
    pot, height = 0.09 * scale, 0.16 * scale
    shape = Shape()
    shape.tube((0, 0, 0), (0, 0, height), pot * 0.75, pick(rng, PLASTICS), top_radius=pot)
    reach, rise = float(rng.uniform(0.13, 0.2)) * scale, float(rng.uniform(0.25, 0.42)) * scale
    for _ in range(3):
        x, y = rng.normal(0, 0.25, 2) * reach
        shape.tube((0, 0, height - 0.02), (x, y, height + rise * 0.8), 0.008 * scale, (92.0, 78.0, 50.0), caps=False)
    green = pick(rng, (LEAF, (84, 130, 62), (48, 92, 50), (110, 140, 80)))
    for _ in range(int(rng.integers(22, 40))):
        angle, level = rng.uniform(0, 2 * np.pi), rng.uniform(0.15, 1.0)
        out = np.array([np.cos(angle), np.sin(angle), rng.uniform(-0.4, 0.9)])
        length, width = rng.uniform(0.08, 0.15) * scale, rng.uniform(0.04, 0.07) * scale
        spot = out * reach * rng.uniform(0.0, 0.35) + (0.0, 0.0, height + rise * level)
        side = np.array([-np.sin(angle), np.cos(angle), 0.0]) * width
        tone = darker(green, float(rng.uniform(0.75, 1.2)))
        corner, along = tuple(spot - side / 2), tuple(out * length)
        shape.sheet(corner, tuple(side), along, tone, bend=-0.2 * width)
    spread = 2 * (reach * 0.35 + 0.12 * scale)
    return _item(shape, (spread, spread, height + rise + 0.1 * scale), "plant")


def _bag(rng: np.random.Generator) -> Item:
    rgb = pick(rng, FABRICS)
    width, depth, height = rng.uniform(0.28, 0.42), rng.uniform(0.14, 0.24), rng.uniform(0.3, 0.48)
    shape = Shape()
    shape.box((0, 0, height / 2), (width, depth, height), rgb, tilt=rng.uniform(-0.1, 0.25), bulge=0.03, texture=FABRIC)
    shape.box((0, depth / 2 + 0.02, height * 0.35), (width * 0.7, 0.06, height * 0.45), darker(rgb, 0.85), bulge=0.015)
    return _item(shape, (width, depth + 0.14, height), "backpack")


def _bin(rng: np.random.Generator) -> Item:
    rgb, radius, height = pick(rng, (*PLASTICS, *METALS)), rng.uniform(0.13, 0.21), rng.uniform(0.26, 0.6)
    shape = Shape()
    if rng.random() < 0.6:
        shape.tube((0, 0, 0), (0, 0, height), radius * 0.8, rgb, top_radius=radius, hollow=True)
        shape.tube((0, 0, height * 0.3), (0, 0, height * 0.31), radius * 0.84, (200.0, 198.0, 190.0))
    else:
        shape.box((0, 0, height / 2), (2 * radius, 1.6 * radius, height), rgb)
        shape.box((0, 0, height), (2 * radius + 0.03, 1.6 * radius + 0.03, 0.04), darker(rgb, 0.7))
    return _item(shape, (2 * radius, 2 * radius, height), "trash can")


def _floor_lamp(rng: np.random.Generator) -> Item:
    rgb, height, shape = pick(rng, METALS), float(rng.uniform(1.4, 1.75)), Shape()
    shape.tube((0, 0, 0), (0, 0, 0.03), 0.15, rgb)
    shape.tube((0, 0, 0.03), (0, 0, height - 0.2), 0.016, rgb, caps=False)
    shape.tube(
        (0, 0, height - 0.3), (0, 0, height), 0.22, (238.0, 226.0, 198.0), top_radius=0.15, caps=False, texture=BRIGHT
    )
    return _item(shape, (0.44, 0.44, height), "lamp")


def _computer(rng: np.random.Generator) -> Item:
    rgb, size = pick(rng, METALS), (0.19, float(rng.uniform(0.4, 0.48)), float(rng.uniform(0.36, 0.46)))
    shape = Shape()
    shape.box((0, 0, size[2] / 2), size, rgb)
    shape.box((0, size[1] / 2, size[2] * 0.8), (0.15, 0.012, 0.04), darker(rgb, 0.6))
    return _item(shape, size, "computer tower")


def _printer(rng: np.random.Generator) -> Item:
    rgb, shape = pick(rng, ((220, 220, 214), (60, 60, 64))), Shape()
    shape.box((0, 0, 0.13), (0.44, 0.38, 0.26), rgb)
    shape.box((0, 0.22, 0.06), (0.3, 0.16, 0.02), darker(rgb, 0.8))
    shape.box((0, -0.08, 0.3), (0.36, 0.2, 0.08), darker(rgb, 0.7))
    return _item(shape, (0.44, 0.54, 0.34), "printer")


def _mug(rng: np.random.Generator) -> Item:
    shape, rgb = Shape(), pick(rng, PLASTICS)
    for x in (-0.08, 0.0, 0.09)[: int(rng.integers(2, 4))]:
        height = float(rng.uniform(0.09, 0.24))
        shape.tube((x, float(rng.normal(0, 0.02)), 0), (x, 0, height), float(rng.uniform(0.035, 0.045)), rgb)
    return _item(shape, (0.3, 0.14, 0.2), "cup")


def _copier(rng: np.random.Generator) -> Item:
    rgb, shape = pick(rng, ((214, 214, 210), (180, 184, 190))), Shape()
    shape.box((0, 0, 0.45), (0.62, 0.62, 0.9), rgb)
    for k in range(3):
        shape.box((0, 0.315, 0.16 + 0.2 * k), (0.54, 0.02, 0.17), darker(rgb, 0.86))
    shape.box((0, -0.05, 1.0), (0.6, 0.5, 0.16), darker(rgb, 0.7), tilt=0.03)
    shape.box((0.16, 0.28, 0.96), (0.24, 0.14, 0.03), (60.0, 80.0, 100.0), tilt=0.5)
    shape.box((-0.44, 0, 0.7), (0.28, 0.36, 0.02), darker(rgb, 0.8))
    return _item(shape, (1.16, 0.68, 1.1), "copier")


def wall_item(rng: np.random.Generator, kind: str) -> Item:
    """Something on a wall, in the frame of the wall from z = 0: picture, clock, radiator, screen or vent."""
    shape = Shape()
    if kind == "picture":
        width, height = float(rng.uniform(0.3, 0.9)), float(rng.uniform(0.3, 0.9))
        frame = pick(rng, (*WOODS, *METALS))
        shape.box((0, 0.012, height / 2), (width, 0.024, height), frame)
        shape.box((0, 0.02, height / 2), (width - 0.06, 0.012, height - 0.06), pick(rng, BOOKS), texture=PRINT)
        return _item(shape, (width, 0.04, height), "picture", thin=True)
    if kind == "clock":
        shape.tube((0, 0, 0.15), (0, 0.04, 0.15), 0.15, pick(rng, PLASTICS))
        return _item(shape, (0.3, 0.05, 0.3), "clock", thin=True)
    if kind == "radiator":
        width, height = float(rng.uniform(0.7, 1.4)), float(rng.uniform(0.45, 0.6))
        shape.box((0, 0.07, height / 2), (width, 0.04, height), (226.0, 226.0, 220.0))
        for x in np.arange(-width / 2 + 0.04, width / 2, 0.08):
            shape.box((x, 0.095, height / 2), (0.035, 0.03, height), (226.0, 226.0, 220.0))
        return _item(shape, (width, 0.12, height), "radiator")
    if kind == "screen":
        width = float(rng.uniform(0.9, 1.5))
        shape.box((0, 0.05, width * 0.29), (width, 0.07, width * 0.58), DARK)
        shape.box(
            (0, 0.087, width * 0.29), (width - 0.05, 0.004, width * 0.58 - 0.05), (30.0, 34.0, 44.0), texture=BRIGHT
        )
        return _item(shape, (width, 0.1, width * 0.58), "tv", thin=True)
    width = float(rng.uniform(0.3, 0.6))
    for k in range(5):
        shape.box((0, 0.02, 0.03 + 0.055 * k), (width, 0.03, 0.035), (190.0, 190.0, 186.0), tilt=0.4)
    return _item(shape, (width, 0.05, 0.3), "vent", thin=True)


_ON_DESKS = {
    "monitor": (_monitor, 3.0),
    "laptop": (_laptop, 2.0),
    "keyboard": (_keyboard, 2.0),
    "papers": (_papers, 3.0),
    "books": (_pile_of_books, 2.0),
    "box": (_box, 1.5),
    "lamp": (_desk_lamp, 1.2),
    "plant": (_plant, 1.2),
    "bag": (_bag, 0.7),
    "printer": (_printer, 0.6),
    "mug": (_mug, 1.2),
}

_ON_FLOORS = {
    "box": (lambda rng: _box(rng, 1.3), 2.5),
    "bin": (_bin, 2.5),
    "bag": (_bag, 1.5),
    "plant": (lambda rng: _plant(rng, float(rng.uniform(1.7, 2.6))), 1.2),
    "lamp": (_floor_lamp, 0.8),
    "computer": (_computer, 1.5),
    "copier": (_copier, 0.15),
}
