"""Chairs and sofas."""

import numpy as np

from pcseg.synthetic.colors import FABRICS, METALS, PLASTICS, WOODS, pick
from pcseg.synthetic.shapes import CORNERS, FABRIC, PLAIN, WOOD, Item, Shape, Vector


def chair(rng: np.random.Generator, kind: str | None = None) -> Item:
    """A chair: swivel, four_leg, shell, sled, stool or armchair; a random one if `kind` is None."""
    makers = {
        "swivel": _swivel,
        "four_leg": _four_leg,
        "shell": _shell,
        "sled": _sled,
        "stool": _stool,
        "armchair": _armchair,
    }
    if kind is None:
        kind = str(rng.choice(list(makers), p=[0.34, 0.28, 0.14, 0.1, 0.06, 0.08]))
    return makers[kind](rng)


def _back(shape: Shape, rng: np.random.Generator, width: float, y: float, z: float, height: float, rgb: Vector) -> None:
    """A back rest that leans to -y: a cushion, a bent sheet, slats or a frame with bars."""
    tilt = rng.uniform(0.08, 0.25)
    lean, rise = height * np.sin(tilt), height * np.cos(tilt)
    kind = rng.integers(3)
    if kind == 0:
        center = (0.0, y - lean / 2, z + rise / 2)
        shape.box(center, (width, 0.05, height), rgb, tilt=tilt, bulge=0.012, texture=FABRIC)
    elif kind == 1:
        shape.sheet(
            (width / 2, y, z), (-width, 0, 0), (0, -lean, rise), rgb, bend=-rng.uniform(0.02, 0.06), texture=FABRIC
        )
    else:
        for level in np.linspace(0.15, 0.95, int(rng.integers(2, 5))):
            shape.box(
                (0, y - lean * level, z + rise * level), (width, 0.02, height * 0.14), rgb, tilt=tilt, texture=WOOD
            )
        for x in (-width / 2, width / 2):
            shape.box((x, y - lean / 2, z + rise / 2), (0.03, 0.03, height), rgb, tilt=tilt, texture=WOOD)


def _arms(shape: Shape, x: float, y: float, seat: float, length: float, rgb: Vector, depth: float = 0.05) -> None:
    for side in (-x, x):
        shape.box((side, y, seat + 0.21), (depth, length, 0.03), rgb)
        shape.box((side, y, seat + 0.1), (0.03, 0.04, 0.21), rgb)


def _swivel(rng: np.random.Generator) -> Item:
    seat, width = rng.uniform(0.42, 0.54), rng.uniform(0.44, 0.52)
    fabric, frame = pick(rng, FABRICS), pick(rng, METALS)
    shape = Shape()
    reach, turn = rng.uniform(0.27, 0.33), rng.uniform(0, 1.2)
    for k in range(5):
        angle = turn + 2 * np.pi * k / 5
        x, y = np.cos(angle), np.sin(angle)
        shape.tube((0.03 * x, 0.03 * y, 0.12), (reach * x, reach * y, 0.07), 0.022, frame, top_radius=0.014, caps=False)
        shape.ellipsoid((reach * x, reach * y, 0.03), (0.028, 0.028, 0.03), (28.0, 28.0, 30.0))
    shape.tube((0, 0, 0.08), (0, 0, seat - 0.04), 0.028, frame, caps=False)
    shape.box((0, 0, seat - 0.05), (0.22, 0.22, 0.03), frame)
    shape.box((0, 0.01, seat), (width, width * 0.96, 0.08), fabric, bulge=0.015, texture=FABRIC)
    height = rng.uniform(0.38, 0.68)
    tilt = rng.uniform(0.06, 0.2)
    back = -width / 2 - 0.01
    z = seat + 0.12
    top = z + height * np.cos(tilt)
    center = (0, back - height / 2 * np.sin(tilt), z + height / 2 * np.cos(tilt))
    if rng.random() < 0.5:
        shape.box(center, (width * 0.92, 0.06, height), fabric, tilt=tilt, bulge=0.02, texture=FABRIC)
    else:
        lean = (0.0, -height * np.sin(tilt), height * np.cos(tilt))
        skew = (0.08, 0.0, 0.0)
        corner = (width * 0.46, back + 0.03, z)
        shape.sheet(corner, (-width * 0.92, 0, 0), lean, fabric, skew=skew, bend=-0.05, texture=FABRIC)
    shape.tube((0, -width * 0.3, seat - 0.03), (0, back - 0.02, z + 0.1), 0.025, frame, caps=False)
    if rng.random() < 0.6:
        _arms(shape, width / 2 + 0.03, -0.02, seat + 0.03, 0.26, frame, 0.06)
    if rng.random() < 0.25:
        shape.box((0, center[1] * 2 - back, top + 0.1), (0.26, 0.05, 0.14), fabric, bulge=0.015, texture=FABRIC)
        top += 0.17
    return Item(shape.patches(), (0.62, 0.66, top), "chair", "office chair")


def _four_leg(rng: np.random.Generator) -> Item:
    seat, width = rng.uniform(0.43, 0.48), rng.uniform(0.4, 0.5)
    wooden = rng.random() < 0.5
    frame = pick(rng, WOODS if wooden else METALS)
    cover = pick(rng, FABRICS) if rng.random() < 0.6 else frame
    texture = WOOD if wooden else PLAIN
    shape = Shape()
    half, splay, radius = width / 2 - 0.025, rng.uniform(0, 0.04), rng.uniform(0.013, 0.022)
    for sx, sy in CORNERS:
        foot, head = half + splay, half
        ends = (sx * foot, sy * foot, 0.0), (sx * head, sy * head, seat)
        if wooden:
            x, y = sx * half, sy * half
            shape.box((x, y, seat / 2), (2 * radius, 2 * radius, seat), frame, texture=WOOD)
        else:
            shape.tube(*ends, radius, frame, caps=False)
    thick = rng.uniform(0.03, 0.06)
    soft = cover != frame
    shape.box(
        (0, 0, seat), (width, width, thick), cover, bulge=0.012 if soft else 0.0, texture=FABRIC if soft else texture
    )
    height = rng.uniform(0.36, 0.5)
    if not wooden:
        for sx in (-1, 1):
            shape.tube((sx * half, -half, seat), (sx * half, -half - 0.05, seat + 0.2), radius, frame, caps=False)
    _back(shape, rng, width - 0.04, -half, seat + (0.04 if wooden else 0.12), height, cover)
    if rng.random() < 0.35:
        _arms(shape, width / 2, 0.0, seat, width * 0.9, frame)
        for side in (-width / 2, width / 2):
            shape.box((side, width * 0.4, seat + 0.1), (0.03, 0.03, 0.21), frame)
    return Item(shape.patches(), (width + 0.06, width + 0.16, seat + height + 0.1), "chair", "chair")


def _shell(rng: np.random.Generator) -> Item:
    seat, width = rng.uniform(0.42, 0.47), rng.uniform(0.44, 0.5)
    rgb, frame = pick(rng, PLASTICS), pick(rng, (*WOODS, *METALS))
    shape = Shape()
    shape.sheet((-width / 2, -0.2, seat - 0.01), (width, 0, 0), (0, 0.42, 0.02), rgb, bend=-0.035)
    height = rng.uniform(0.34, 0.44)
    skew = (0.1, 0.0, 0.0)
    shape.sheet((width / 2, -0.19, seat), (-width, 0, 0), (-0.05, -0.12, height), rgb, skew=skew, bend=-0.07)
    if rng.random() < 0.4:
        for side in (-1, 1):
            shape.sheet((side * width / 2, -0.18, seat), (0, 0.34, 0.0), (side * 0.05, 0, 0.2), rgb, skew=(0, 0, -0.12))
    for sx, sy in CORNERS:
        shape.tube((sx * 0.24, sy * 0.23, 0), (sx * 0.13, sy * 0.12, seat), 0.014, frame, caps=False)
    return Item(shape.patches(), (0.6, 0.68, seat + height), "chair", "chair")


def _sled(rng: np.random.Generator) -> Item:
    seat, width = rng.uniform(0.43, 0.48), rng.uniform(0.44, 0.5)
    frame, fabric = pick(rng, METALS), pick(rng, FABRICS)
    shape = Shape()
    radius, half = 0.014, width / 2
    height = rng.uniform(0.36, 0.44)
    for x in (-half, half):
        shape.tube((x, -0.24, radius), (x, 0.24, radius), radius, frame, caps=False)
        shape.tube((x, 0.24, 0), (x, 0.24, seat), radius, frame, caps=False)
        shape.tube((x, 0.24, seat), (x, -0.2, seat), radius, frame, caps=False)
        shape.tube((x, -0.2, seat), (x, -0.28, seat + height), radius, frame, caps=False)
    shape.tube((-half, -0.24, radius), (half, -0.24, radius), radius, frame, caps=False)
    shape.box((0, 0.01, seat + 0.02), (width - 0.02, 0.44, 0.045), fabric, bulge=0.01, texture=FABRIC)
    shape.sheet(
        (half, -0.22, seat + 0.13), (-width, 0, 0), (0, -0.06, height - 0.13), fabric, bend=-0.03, texture=FABRIC
    )
    if rng.random() < 0.5:
        _arms(shape, half, 0.0, seat, 0.36, frame)
    return Item(shape.patches(), (width + 0.05, 0.56, seat + height), "chair", "chair")


def _stool(rng: np.random.Generator) -> Item:
    seat, radius = rng.uniform(0.45, 0.68), rng.uniform(0.17, 0.21)
    frame, cover = pick(rng, METALS), pick(rng, (*FABRICS, *WOODS))
    shape = Shape()
    shape.tube((0, 0, seat - 0.06), (0, 0, seat), radius, cover, texture=FABRIC)
    if rng.random() < 0.5:
        shape.tube((0, 0, 0), (0, 0, 0.03), 0.2, frame, top_radius=0.17)
        shape.tube((0, 0, 0.03), (0, 0, seat - 0.06), 0.03, frame, caps=False)
    else:
        for k in range(4):
            x, y = np.cos(k * np.pi / 2 + 0.78), np.sin(k * np.pi / 2 + 0.78)
            shape.tube((0.2 * x, 0.2 * y, 0), (0.13 * x, 0.13 * y, seat - 0.05), 0.015, frame, caps=False)
    height = seat
    if rng.random() < 0.6:
        z = seat + 0.1
        shape.tube((0, 0, z), (0, 0, z + 0.2), radius, cover, start=0.57, part=0.36, texture=FABRIC)
        for x in (-0.1, 0.1):
            shape.tube((x, -radius * 0.8, seat - 0.03), (x, -radius * 0.86, z + 0.1), 0.012, frame, caps=False)
        height = z + 0.2
    return Item(shape.patches(), (0.42, 0.42, height), "chair", "stool")


def _armchair(rng: np.random.Generator) -> Item:
    fabric, frame = pick(rng, FABRICS), pick(rng, WOODS)
    width, seat = rng.uniform(0.62, 0.72), rng.uniform(0.38, 0.43)
    shape = Shape()
    for sx, sy in CORNERS:
        shape.tube((sx * (width / 2 - 0.05), sy * 0.26, 0), (sx * (width / 2 - 0.06), sy * 0.24, 0.2), 0.02, frame)
    shape.box((0, 0.02, seat - 0.1), (width - 0.16, 0.58, 0.2), fabric, bulge=0.02, texture=FABRIC)
    shape.box((0, -0.26, seat + 0.16), (width - 0.1, 0.12, 0.56), fabric, tilt=0.2, bulge=0.02, texture=FABRIC)
    for x in (-width / 2 + 0.05, width / 2 - 0.05):
        shape.box((x, 0.0, seat - 0.03), (0.1, 0.6, 0.42), fabric, bulge=0.01, texture=FABRIC)
    return Item(shape.patches(), (width, 0.72, seat + 0.45), "chair", "armchair")


def sofa(rng: np.random.Generator, kind: str | None = None) -> Item:
    """A sofa: two, three (seats) or corner; a random one if `kind` is None."""
    if kind is None:
        kind = str(rng.choice(["two", "three", "corner"], p=[0.45, 0.35, 0.2]))
    num_seats = 2 if kind == "two" else 3
    fabric = pick(rng, FABRICS)
    arm, seat_width = rng.uniform(0.1, 0.22), rng.uniform(0.56, 0.68)
    depth, seat, top = rng.uniform(0.78, 0.92), rng.uniform(0.38, 0.45), rng.uniform(0.72, 0.88)
    width = num_seats * seat_width + 2 * arm
    legs = rng.uniform(0.03, 0.14)
    back = 0.2
    shape = Shape()
    for sx, sy in CORNERS:
        x, y = sx * (width / 2 - 0.07), sy * (depth / 2 - 0.07)
        shape.tube((x, y, 0), (x, y, legs), 0.025, (50.0, 40.0, 34.0), caps=False)
    base = seat - 0.14
    shape.box((0, 0, (legs + base) / 2), (width, depth, base - legs), fabric, texture=FABRIC)
    shape.box((0, -depth / 2 + 0.09, (base + top) / 2), (width, 0.18, top - base), fabric, bulge=0.01, texture=FABRIC)
    arm_top = rng.uniform(0.54, 0.66)
    for x in (-(width - arm) / 2, (width - arm) / 2):
        center = (x, 0.0, (base + arm_top) / 2)
        shape.box(center, (arm, depth, arm_top - base), fabric, bulge=0.012, texture=FABRIC)
    for k in range(num_seats):
        x = (k - (num_seats - 1) / 2) * seat_width
        shape.box(
            (x, back / 2, seat - 0.07), (seat_width - 0.01, depth - back, 0.14), fabric, bulge=0.025, texture=FABRIC
        )
        center = (x, -depth / 2 + back + 0.05, seat + 0.19)
        shape.box(center, (seat_width - 0.02, 0.14, 0.38), fabric, tilt=0.18, bulge=0.03, texture=FABRIC)
    length = depth
    if kind == "corner":
        chaise = rng.uniform(0.5, 0.75)
        x = (width / 2 - arm - seat_width / 2) * float(rng.choice([-1.0, 1.0]))
        y = depth / 2 + chaise / 2
        shape.box((x, y, (legs + base) / 2), (seat_width, chaise, base - legs), fabric, texture=FABRIC)
        shape.box((x, y, seat - 0.07), (seat_width - 0.01, chaise, 0.14), fabric, bulge=0.025, texture=FABRIC)
        length = depth + chaise
    if rng.random() < 0.4:
        pillow = pick(rng, FABRICS)
        x = float(rng.uniform(-0.3, 0.3)) * width
        shape.box((x, 0.0, seat + 0.2), (0.42, 0.13, 0.4), pillow, tilt=0.4, bulge=0.05, texture=FABRIC)
    patches = shape.patches().moved((0.0, -(length - depth) / 2, 0.0))
    return Item(patches, (width, length, top), "sofa", "couch")
