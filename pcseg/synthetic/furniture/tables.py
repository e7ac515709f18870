"""Tables and desks."""

import numpy as np

from pcseg.synthetic.colors import DESK_TOPS, METALS, WOODS, darker, pick
from pcseg.synthetic.shapes import CORNERS, PLAIN, WOOD, Item, Shape, Top, Vector


def _texture(rgb: Vector) -> int:
    return WOOD if rgb[0] > rgb[2] + 25 else PLAIN


def _drawers(shape: Shape, x: float, depth: float, height: float, rgb: Vector) -> None:
    """A pedestal of three drawers, 40 cm wide, with handles to the front (+y)."""
    shape.box((x, 0, height / 2 + 0.02), (0.4, depth - 0.1, height - 0.04), rgb, texture=_texture(rgb))
    for k in range(3):
        z = height * (k + 0.5) / 3
        shape.box((x, depth / 2 - 0.045, z), (0.37, 0.015, height / 3 - 0.02), darker(rgb, 0.92), texture=_texture(rgb))
        shape.box((x, depth / 2 - 0.03, z), (0.14, 0.02, 0.015), (150.0, 150.0, 152.0))


def _legs(shape: Shape, rng: np.random.Generator, width: float, depth: float, height: float, rgb: Vector) -> None:
    """Four legs, or two frames, or two panels under a top of width × depth."""
    kind = rng.integers(3)
    x, y = width / 2 - 0.06, depth / 2 - 0.06
    if kind == 0:
        radius = rng.uniform(0.02, 0.035)
        for sx, sy in CORNERS:
            ends = (sx * x, sy * y, 0.0), (sx * x, sy * y, height)
            if rng.random() < 0.5:
                shape.tube(*ends, radius, rgb, caps=False)
            else:
                shape.box((sx * x, sy * y, height / 2), (2 * radius, 2 * radius, height), rgb, texture=_texture(rgb))
        for sy in (-1, 1):
            shape.box((0, sy * y, height - 0.04), (width - 0.14, 0.02, 0.07), rgb, texture=_texture(rgb))
    elif kind == 1:
        for sx in (-1, 1):
            shape.box((sx * x, 0, 0.02), (0.06, depth - 0.08, 0.04), rgb)
            shape.box((sx * x, 0, height / 2), (0.05, 0.12, height), rgb)
            shape.box((sx * x, 0, height - 0.03), (0.05, depth - 0.12, 0.04), rgb)
        shape.box((0, 0, height - 0.06), (width - 0.14, 0.04, 0.06), rgb)
    else:
        for sx in (-1, 1):
            shape.box((sx * x, 0, height / 2), (0.03, depth - 0.06, height), rgb, texture=_texture(rgb))
        shape.box((0, -depth / 2 + 0.08, height * 0.7), (width - 0.14, 0.02, height * 0.5), rgb, texture=_texture(rgb))


def table(rng: np.random.Generator, width: float | None = None) -> Item:
    """A table on four legs, or a round one on a pedestal (if `width` is None)."""
    rgb, frame = pick(rng, DESK_TOPS), pick(rng, (*METALS, *WOODS))
    height = rng.uniform(0.7, 0.77)
    shape = Shape()
    if width is None and rng.random() < 0.4:
        radius, thick = rng.uniform(0.4, 0.62), rng.uniform(0.025, 0.04)
        shape.tube((0, 0, height - thick), (0, 0, height), radius, rgb, texture=_texture(rgb))
        shape.tube((0, 0, 0), (0, 0, height - thick), 0.04, frame, caps=False)
        if rng.random() < 0.5:
            shape.tube((0, 0, 0), (0, 0, 0.04), radius * 0.6, frame, top_radius=radius * 0.5)
        else:
            for k in range(4):
                x, y = radius * 0.7 * np.cos(k * np.pi / 2), radius * 0.7 * np.sin(k * np.pi / 2)
                shape.tube((0, 0, 0.08), (x, y, 0.02), 0.025, frame, caps=False)
        inner = radius * 0.66
        top = Top(-inner, -inner, inner, inner, height)
        return Item(shape.patches(), (2 * radius, 2 * radius, height), "table", "table", (top,))
    width = float(rng.uniform(1.0, 1.7)) if width is None else width
    depth, thick = rng.uniform(0.6, 0.85), rng.uniform(0.02, 0.04)
    shape.box((0, 0, height - thick / 2), (width, depth, thick), rgb, texture=_texture(rgb))
    _legs(shape, rng, width, depth, height - thick, frame)
    top = Top(-width / 2 + 0.03, -depth / 2 + 0.03, width / 2 - 0.03, depth / 2 - 0.03, height)
    return Item(shape.patches(), (width, depth, height), "table", "table", (top,))


def desk(rng: np.random.Generator, kind: str | None = None, width: float | None = None) -> Item:
    """A desk whose user sits at +y.

    Args:
        rng: random numbers of the design.
        kind: plain, drawers or corner (an L); None is a random one.
        width: width in meters; None is a random one.
    """
    if kind is None:
        kind = str(rng.choice(["plain", "drawers", "corner"], p=[0.35, 0.4, 0.25]))
    rgb, frame = pick(rng, DESK_TOPS), pick(rng, (*METALS, *WOODS))
    width = float(rng.uniform(1.3, 1.75)) if width is None else width
    depth, height, thick = rng.uniform(0.66, 0.8), rng.uniform(0.71, 0.76), rng.uniform(0.022, 0.035)
    under = height - thick
    shape = Shape()
    shape.box((0, 0, height - thick / 2), (width, depth, thick), rgb, texture=_texture(rgb))
    top = Top(-width / 2 + 0.03, -depth / 2 + 0.04, width / 2 - 0.03, depth / 2 - 0.03, height)
    if kind == "plain":
        _legs(shape, rng, width, depth, under, frame)
        return Item(shape.patches(), (width, depth, height), "table", "desk", (top,))
    side = float(rng.choice([-1.0, 1.0]))
    _drawers(shape, side * (width / 2 - 0.22), depth, under, darker(rgb, 0.95))
    shape.box((-side * (width / 2 - 0.03), 0, under / 2), (0.03, depth - 0.06, under), rgb, texture=_texture(rgb))
    shape.box((0, -depth / 2 + 0.06, under * 0.65), (width - 0.1, 0.02, under * 0.6), rgb, texture=_texture(rgb))
    if kind == "drawers":
        return Item(shape.patches(), (width, depth, height), "table", "desk", (top,))
    wing, wing_depth = rng.uniform(0.6, 0.95), rng.uniform(0.5, 0.6)
    x, y = -side * (width / 2 - wing_depth / 2), depth / 2 + wing / 2
    shape.box((x, y, height - thick / 2), (wing_depth, wing, thick), rgb, texture=_texture(rgb))
    shape.box((x, depth / 2 + wing - 0.03, under / 2), (wing_depth - 0.06, 0.03, under), rgb, texture=_texture(rgb))
    edge = x - side * (wing_depth / 2 - 0.02)
    shape.box((edge, y, under * 0.65), (0.02, wing - 0.06, under * 0.6), rgb, texture=_texture(rgb))
    shift = -wing / 2
    tops = (
        Top(top.x0, top.y0 + shift, top.x1, top.y1 + shift, height),
        Top(
            x - wing_depth / 2 + 0.03, depth / 2 + shift, x + wing_depth / 2 - 0.03, depth / 2 + wing / 2 - 0.03, height
        ),
    )
    return Item(shape.patches().moved((0.0, shift, 0.0)), (width, depth + wing, height), "table", "desk", tops)


def conference_table(rng: np.random.Generator, width: float, depth: float) -> Item:
    """A big table: a rectangle, or one with round ends.

    Args:
        rng: random numbers of the design.
        width: length along x in meters.
        depth: length along y in meters, less than the width.
    """
    rgb = pick(rng, (*WOODS, (226, 224, 218)))
    frame = pick(rng, (*METALS, *WOODS))
    height, thick = rng.uniform(0.72, 0.76), rng.uniform(0.03, 0.05)
    shape = Shape()
    if rng.random() < 0.5:
        shape.box((0, 0, height - thick / 2), (width, depth, thick), rgb, texture=_texture(rgb))
    else:
        straight = width - depth
        shape.box((0, 0, height - thick / 2), (straight, depth, thick), rgb, texture=_texture(rgb))
        for side in (-1, 1):
            shape.tube(
                (side * straight / 2, 0, height - thick), (side * straight / 2, 0, height - 0.001), depth / 2, rgb
            )
    x = width / 2 - depth * 0.45
    for side in (-1, 1):
        if rng.random() < 0.5:
            shape.box((side * x, 0, (height - thick) / 2), (0.08, depth * 0.6, height - thick), frame)
            shape.box((side * x, 0, 0.03), (0.14, depth * 0.75, 0.06), frame)
        else:
            shape.tube((side * x, 0, 0), (side * x, 0, height - thick), 0.07, frame, caps=False)
            shape.tube((side * x, 0, 0), (side * x, 0, 0.05), depth * 0.32, frame, top_radius=depth * 0.28)
    top = Top(-width / 2 + 0.35, -depth / 2 + 0.08, width / 2 - 0.35, depth / 2 - 0.08, height)
    return Item(shape.patches(), (width, depth, height), "table", "table", (top,))


def low_table(rng: np.random.Generator) -> Item:
    """A coffee table, rectangular with a shelf, or round."""
    rgb = pick(rng, DESK_TOPS)
    height = rng.uniform(0.38, 0.5)
    shape = Shape()
    if rng.random() < 0.35:
        radius = rng.uniform(0.3, 0.45)
        shape.tube((0, 0, height - 0.03), (0, 0, height), radius, rgb, texture=_texture(rgb))
        for k in range(3):
            x, y = np.cos(k * 2.09), np.sin(k * 2.09)
            ends = (radius * 0.85 * x, radius * 0.85 * y, 0.0), (radius * 0.6 * x, radius * 0.6 * y, height - 0.03)
            shape.tube(*ends, 0.02, darker(rgb, 0.8), caps=False)
        half_x = half_y = radius * 0.66
        size = (2 * radius, 2 * radius, height)
    else:
        width, depth = rng.uniform(0.8, 1.2), rng.uniform(0.5, 0.65)
        shape.box((0, 0, height - 0.02), (width, depth, 0.04), rgb, texture=_texture(rgb))
        for sx, sy in CORNERS:
            center = (sx * (width / 2 - 0.04), sy * (depth / 2 - 0.04), height / 2 - 0.02)
            shape.box(center, (0.06, 0.06, height - 0.04), rgb, texture=_texture(rgb))
        if rng.random() < 0.5:
            shape.box((0, 0, 0.14), (width - 0.1, depth - 0.1, 0.02), rgb, texture=_texture(rgb))
        half_x, half_y = width / 2 - 0.03, depth / 2 - 0.03
        size = (width, depth, height)
    top = Top(-half_x, -half_y, half_x, half_y, height)
    return Item(shape.patches(), size, "table", "coffee table", (top,))
