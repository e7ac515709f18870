"""Bookcases with books, and cabinets."""

import numpy as np

from pcseg.synthetic.colors import BOOKS, CARTON, METALS, PLASTICS, WOODS, darker, pick
from pcseg.synthetic.shapes import PLAIN, WOOD, Item, Shape, Top, Vector


def _books(shape: Shape, rng: np.random.Generator, x0: float, x1: float, z: float, clear: float, depth: float) -> None:
    """Fills a shelf from x0 to x1 with runs of books, gaps, piles and boxes; the shelf's front edge is depth / 2."""
    x = x0 + float(rng.uniform(0, 0.1))
    while x < x1 - 0.08:
        kind = rng.random()
        if kind < 0.68:
            run = x + float(rng.uniform(0.12, 0.45))
            height = clear * rng.uniform(0.6, 0.85)
            uniform = pick(rng, BOOKS) if rng.random() < 0.25 else None
            while x < min(run, x1 - 0.05):
                width = float(rng.uniform(0.018, 0.055))
                tall = min(height * rng.uniform(0.85, 1.12), clear - 0.01)
                deep = min(rng.uniform(0.15, 0.24), depth - 0.04)
                rgb = pick(rng, BOOKS) if uniform is None else uniform
                center = (x + width / 2, depth / 2 - 0.02 - deep / 2 - rng.uniform(0, 0.03), z + tall / 2)
                shape.box(center, (width, deep, tall), rgb)
                x += width + 0.001
        elif kind < 0.8:
            width = float(min(rng.uniform(0.2, 0.28), x1 - x))
            top = z
            for _ in range(int(rng.integers(1, 5))):
                thick = min(rng.uniform(0.02, 0.05), z + clear - top)
                if thick < 0.015:
                    break
                center = (x + width / 2, float(rng.uniform(-0.02, 0.02)), top + thick / 2)
                shape.box(center, (width, min(0.18, depth - 0.04), thick), pick(rng, BOOKS), yaw=rng.normal(0, 0.06))
                top += thick
            x += width
        elif kind < 0.88:
            width = float(min(rng.uniform(0.2, 0.35), x1 - x))
            tall = clear * rng.uniform(0.5, 0.85)
            shape.box((x + width / 2, 0, z + tall / 2), (width, depth * 0.75, tall), pick(rng, (CARTON, *PLASTICS)))
            x += width
        x += float(rng.uniform(0.0, 0.14))


def bookcase(rng: np.random.Generator, kind: str | None = None, width: float | None = None) -> Item:
    """A bookcase with books.

    Args:
        rng: random numbers of the design.
        kind: tall, half, doors (closed below) or wall (hanging shelves); None is a random one of the first three.
        width: width in meters; None is a random one.
    """
    if kind is None:
        kind = str(rng.choice(["tall", "half", "doors"], p=[0.5, 0.25, 0.25]))
    metal = rng.random() < 0.2
    rgb = pick(rng, METALS if metal else (*WOODS, (228, 226, 220)))
    texture = PLAIN if metal or rgb[2] > 200 else WOOD
    width = float(rng.uniform(0.75, 1.3)) if width is None else width
    depth = float(rng.uniform(0.27, 0.38))
    height = {
        "tall": rng.uniform(1.7, 2.2),
        "half": rng.uniform(0.75, 1.25),
        "doors": rng.uniform(1.7, 2.1),
        "wall": rng.uniform(0.35, 0.75),
    }[kind]
    board, shape = 0.022, Shape()
    bottom = 0.7 if kind == "doors" else 0.0 if kind == "wall" else 0.07
    for x in (-width / 2 + board / 2, width / 2 - board / 2):
        shape.box((x, 0, height / 2), (board, depth, height), rgb, texture=texture)
    if kind != "wall" or rng.random() < 0.5:
        shape.box((0, -depth / 2 + 0.006, height / 2), (width, 0.012, height), darker(rgb, 0.85), texture=texture)
    if kind == "doors":
        _doors(shape, width, depth, bottom, rgb, texture)
    num_shelves = max(1, round((height - bottom) / rng.uniform(0.3, 0.38)))
    gap = (height - bottom - board) / num_shelves
    fullness = rng.uniform(0.6, 1.0)
    middle = width > 1.05 and rng.random() < 0.6
    for k in range(num_shelves + 1):
        z = bottom + k * gap
        shape.box((0, 0, z + board / 2), (width - 2 * board, depth, board), rgb, texture=texture)
        if k < num_shelves:
            if middle:
                shape.box((0, 0, z + board + gap / 2), (board, depth - 0.01, gap - board), rgb, texture=texture)
            for x0, x1 in ((-width / 2 + board, 0.0 if middle else width / 2 - board), (board, width / 2 - board)):
                if (middle or x0 < 0) and rng.random() < fullness:
                    _books(shape, rng, x0, x1, z + board, gap - board - 0.02, depth)
    tops = (Top(-width / 2 + 0.04, -depth / 2 + 0.02, width / 2 - 0.04, depth / 2 - 0.02, height),)
    return Item(shape.patches(), (width, depth, height), "bookcase", "bookshelf", tops if height < 1.4 else ())


def _doors(shape: Shape, width: float, depth: float, height: float, rgb: Vector, texture: int) -> None:
    shape.box((0, 0, height / 2), (width - 0.04, depth - 0.03, height), darker(rgb, 0.9), texture=texture)
    for side in (-1, 1):
        center = (side * width / 4, depth / 2 - 0.01, height / 2 + 0.02)
        shape.box(center, (width / 2 - 0.03, 0.02, height - 0.06), rgb, texture=texture)
        shape.box((side * 0.05, depth / 2 + 0.01, height * 0.65), (0.015, 0.02, 0.12), (70.0, 70.0, 72.0))


def cabinet(rng: np.random.Generator) -> Item:
    """A closed cabinet with drawers or doors; S3DIS counts it as clutter."""
    rgb = pick(rng, (*METALS, (210, 208, 200), (150, 140, 120)))
    width, depth, height = rng.uniform(0.4, 0.9), rng.uniform(0.42, 0.6), rng.uniform(0.6, 1.4)
    shape = Shape()
    shape.box((0, 0, height / 2), (width, depth, height), rgb)
    rows = round(height / 0.32)
    for k in range(rows):
        z = height * (k + 0.5) / rows
        shape.box((0, depth / 2 + 0.008, z), (width - 0.04, 0.016, height / rows - 0.03), darker(rgb, 0.93))
        shape.box((0, depth / 2 + 0.025, z + 0.06), (0.16, 0.02, 0.02), (90.0, 90.0, 92.0))
    top = Top(-width / 2 + 0.03, -depth / 2 + 0.03, width / 2 - 0.03, depth / 2 - 0.03, height)
    return Item(shape.patches(), (width, depth + 0.05, height), "clutter", "file cabinet", (top,))
