"""Built-in parts: doors, windows, boards, columns and beams.

Doors, windows and boards are in the frame of their wall: x along the wall, y = 0 its surface, y < 0 inside the wall.
"""

import numpy as np

from pcseg.synthetic.colors import DARK, DOORS, METALS, WOODS, darker, pick
from pcseg.synthetic.shapes import BRIGHT, PLAIN, PRINT, WOOD, Item, Patches, Shape, Vector

STEEL: Vector = (160.0, 160.0, 164.0)


def door(rng: np.random.Generator, width: float, height: float) -> Item:
    """A door with its frame in an opening; one in three is ajar, into the room.

    Args:
        rng: random numbers of the design.
        width: width of the opening in meters.
        height: height of the opening in meters, from z = 0.
    """
    leaf, frame = pick(rng, DOORS), pick(rng, (*DOORS, *METALS, (230, 228, 222)))
    texture = WOOD if leaf[0] > leaf[2] + 25 else PLAIN
    depth, jamb = rng.uniform(0.08, 0.16), 0.06
    shape = Shape()
    for side in (-1, 1):
        shape.box((side * (width / 2 - 0.015), -depth / 2, height / 2), (0.03, depth, height), frame)
        shape.box((side * (width / 2 + jamb / 2 - 0.02), 0.012, height / 2), (jamb, 0.024, height), frame)
    shape.box((0, -depth / 2, height - 0.015), (width, depth, 0.03), frame)
    shape.box((0, 0.012, height + jamb / 2 - 0.02), (width + 2 * jamb - 0.04, 0.024, jamb), frame)
    panel, tall = width - 0.06, height - 0.04
    ajar = float(rng.uniform(0.25, 1.5)) if rng.random() < 0.33 else 0.0
    side = float(rng.choice([-1.0, 1.0]))
    part = Shape()
    part.box((-side * panel / 2, 0, tall / 2 + 0.01), (panel, 0.04, tall), leaf, texture=texture)
    if rng.random() < 0.45:
        rows, columns = int(rng.integers(2, 4)), int(rng.integers(1, 3))
        for i in range(rows):
            for j in range(columns):
                x = -side * panel * (j + 0.5) / columns
                z = tall * (i + 0.5) / rows
                size = (panel / columns - 0.12, 0.055, tall / rows - 0.14)
                part.box((x, 0, z), size, darker(leaf, 0.9), texture=texture)
    elif rng.random() < 0.4:
        part.box((-side * panel * 0.7, 0, tall * 0.68), (0.16, 0.05, 0.6), (150.0, 175.0, 185.0))
    lever = -side * (panel - 0.07)
    for y in (-0.05, 0.05):
        part.box((lever + side * 0.05, y, 1.02), (0.14, 0.02, 0.025), STEEL)
        part.box((lever, y * 0.6, 1.0), (0.045, 0.03, 0.2), STEEL)
    hinge = (side * panel / 2, -0.03 if ajar else -depth * 0.4, 0.0)
    patches = part.patches().moved(hinge, -side * ajar)
    return Item(Patches.concatenate([shape.patches(), patches]), (width + 0.1, depth, height + 0.05), "door", "door")


def window(rng: np.random.Generator, width: float, height: float) -> Item:
    """A window in an opening: reveal, sill, frame, cross bars and panes.

    Args:
        rng: random numbers of the design.
        width: width of the opening in meters.
        height: height of the opening in meters, from z = 0.
    """
    frame = pick(rng, ((232, 232, 230), (120, 84, 56), (70, 72, 76), (200, 200, 200)))
    reveal, depth = (222.0, 220.0, 214.0), float(rng.uniform(0.1, 0.24))
    x, shape = width / 2, Shape()
    shape.sheet((-x, -depth, 0), (0, depth, 0), (0, 0, height), reveal, two_sided=False)
    shape.sheet((x, -depth, 0), (0, 0, height), (0, depth, 0), reveal, two_sided=False)
    shape.sheet((-x, -depth, height), (0, depth, 0), (width, 0, 0), reveal, two_sided=False)
    out = float(rng.uniform(0.02, 0.12))
    shape.box((0, (out - depth) / 2, -0.015), (width + 0.08, depth + out, 0.03), frame)
    bar, y = 0.06, -depth + 0.03
    for side in (-1, 1):
        shape.box((side * (x - bar / 2), y, height / 2), (bar, 0.06, height), frame)
        shape.box((0, y, height / 2 + side * (height - bar) / 2), (width, 0.06, bar), frame)
    columns, rows = max(1, round(width / rng.uniform(0.6, 1.1))), int(rng.integers(1, 3))
    for k in range(1, columns):
        shape.box((-x + width * k / columns, y, height / 2), (0.05, 0.05, height), frame)
    if rows == 2:
        shape.box((0, y, height * rng.uniform(0.6, 0.75)), (width, 0.045, 0.05), frame)
    sky, ground = np.array([205.0, 222.0, 240.0]), np.array([120.0, 135.0, 110.0])
    level = rng.uniform(0.1, 0.6) if rng.random() < 0.7 else 0.0
    for z0, z1, rgb in ((0.0, level * height, ground), (level * height, height, sky)):
        if z1 > z0:
            color = np.clip(rgb + rng.normal(0, 10, 3), 0, 255)
            tone: Vector = (float(color[0]), float(color[1]), float(color[2]))
            texture = BRIGHT if z0 > 0 or level == 0 else PRINT
            shape.sheet((x, -depth + 0.02, z0), (-width, 0, 0), (0, 0, z1 - z0), tone, texture=texture)
    if rng.random() < 0.3:
        low = height * rng.uniform(0.2, 0.8)
        for z in np.arange(low, height - 0.03, 0.05):
            shape.box((0, -0.05, z), (width - 0.06, 0.035, 0.006), (214.0, 212.0, 204.0), tilt=0.5)
    return Item(shape.patches(), (width, depth, height), "window", "window")


def board(rng: np.random.Generator, width: float, height: float) -> Item:
    """A board on a wall with its frame: white with writing, black, green, or cork with papers.

    Args:
        rng: random numbers of the design.
        width: width of the board in meters.
        height: height of the board in meters, from z = 0.
    """
    kind = str(rng.choice(["white", "green", "black", "cork"], p=[0.62, 0.13, 0.08, 0.17]))
    rgb = {
        "white": pick(rng, ((236, 238, 238), (226, 230, 234))),
        "green": pick(rng, ((40, 84, 62),)),
        "black": pick(rng, ((44, 46, 48),)),
        "cork": pick(rng, ((176, 132, 84),)),
    }[kind]
    frame = pick(rng, METALS if kind == "white" else WOODS)
    shape = Shape()
    shape.box((0, 0.012, height / 2), (width, 0.024, height), rgb)
    edge = float(rng.uniform(0.025, 0.05))
    for side in (-1, 1):
        shape.box((side * (width - edge) / 2, 0.018, height / 2), (edge, 0.036, height), frame)
        shape.box((0, 0.018, height / 2 + side * (height - edge) / 2), (width, 0.036, edge), frame)
    if kind == "cork":
        for _ in range(int(rng.integers(3, 9))):
            x, z = rng.uniform(-width / 2 + 0.18, width / 2 - 0.18), rng.uniform(0.2, height - 0.2)
            shape.box(
                (x, 0.026, z), (0.21, 0.004, 0.297), pick(rng, ((236, 234, 226), (240, 226, 150), (180, 210, 230)))
            )
    else:
        shape.box((0, 0.055, -0.01), (width * rng.uniform(0.3, 0.95), 0.09, 0.02), frame)
        ink = (240.0, 240.0, 235.0) if kind != "white" else pick(rng, ((30, 50, 150), (150, 30, 30), (30, 30, 30)))
        for _ in range(int(rng.integers(0, 7))):
            length = float(rng.uniform(0.15, min(0.7, width * 0.4)))
            x = rng.uniform(-width / 2 + length / 2 + 0.08, width / 2 - length / 2 - 0.08)
            shape.box((x, 0.0245, rng.uniform(0.15, height - 0.12)), (length, 0.003, rng.uniform(0.015, 0.04)), ink)
    category = "bulletin board" if kind == "cork" else "whiteboard" if kind == "white" else "blackboard"
    return Item(shape.patches(), (width, 0.1, height), "board", category, thin=True)


def column(rng: np.random.Generator, height: float, rgb: Vector, *, round_: bool = False) -> Item:
    """A column from floor to ceiling.

    Args:
        rng: random numbers of the design.
        height: height of the ceiling in meters.
        rgb: color, 0..255.
        round_: whether it is round; otherwise it has four sides.
    """
    width = float(rng.uniform(0.28, 0.55))
    shape = Shape()
    if round_:
        shape.tube((0, 0, 0), (0, 0, height), width / 2, rgb, caps=False)
        depth = width
    else:
        depth = float(rng.uniform(0.22, 0.5))
        shape.box((0, 0, height / 2), (width, depth, height), rgb)
        if rng.random() < 0.4:
            shape.box((0, 0, 0.05), (width + 0.03, depth + 0.03, 0.1), darker(rgb, 0.6))
    return Item(shape.patches(), (width, depth, height), "column", "column")


def beam(rng: np.random.Generator, length: float, rgb: Vector) -> Item:
    """A beam along x; z = 0 is its lower side.

    Args:
        rng: random numbers of the design.
        length: length in meters.
        rgb: color, 0..255; some beams are dark steel instead.
    """
    width, height = float(rng.uniform(0.18, 0.42)), float(rng.uniform(0.18, 0.42))
    shape = Shape()
    if rng.random() < 0.2:
        for z in (0.02, height - 0.02):
            shape.box((0, 0, z), (length, width, 0.04), DARK)
        shape.box((0, 0, height / 2), (length, width * 0.3, height - 0.06), DARK)
    else:
        shape.box((0, 0, height / 2), (length, width, height), rgb)
    return Item(shape.patches(), (length, width, height), "beam", "beam")
