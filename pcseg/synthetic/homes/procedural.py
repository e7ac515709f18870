"""Furniture without assets: the designs of the synthetic rooms as models, and simple additional designs."""

from collections.abc import Callable

import numpy as np

from pcseg.kernels.ray_casting import QUAD, evaluate_points
from pcseg.synthetic import furniture
from pcseg.synthetic.homes.models import Model
from pcseg.synthetic.homes.paint import palette
from pcseg.synthetic.shapes import Item, Patches, Shape, Vector

CURVED_STEPS = 8  # cells along each side of a curved patch


def add_procedural(models: dict[str, list[Model]], rng: np.random.Generator, per_kind: int) -> dict[str, list[Model]]:
    """The models and new ones, different each time.

    Args:
        models: models of each kind, or nothing.
        rng: random numbers of the designs.
        per_kind: number of models to add to each kind.
    """
    kinds = dict(models)
    for kind, design in _DESIGNS.items():
        new = [_to_model(design(rng), kind, number) for number in range(per_kind)]
        kinds[kind] = [*kinds.get(kind, []), *new]
    return kinds


def _to_model(item: Item, kind: str, number: int) -> Model:
    triangles, patch = _triangles(item.patches)
    triangles[..., :2] *= -1  # items face +y, models -y
    low, high = triangles.reshape(-1, 3).min(axis=0), triangles.reshape(-1, 3).max(axis=0)
    triangles -= (*(low + high)[:2] / 2, low[2])
    size = high - low
    top = max((top.z for top in item.tops), default=size[2] if kind in ("cabinet", "appliance") else 0.0)
    return Model(
        name=f"procedural_{kind}_{number}",
        kind=kind,
        triangles=triangles.astype(np.float32),
        uv=np.zeros((len(triangles), 3, 2), np.float32),
        material=patch,
        colors=item.patches.rgb,
        textures=(None,) * len(item.patches),
        glass=np.zeros(len(item.patches), np.bool_),
        size=size,
        elevation={"window": 0.9, "wall": 1.0, "upper cabinet": 1.4}.get(kind, 0.0),
        top=float(top),
    )


def _triangles(patches: Patches) -> tuple[np.ndarray, np.ndarray]:
    """Corners of the triangles of every patch, and the patch of each."""
    flat = (patches.kind == QUAD) & (patches.extra == 0).all(axis=1)
    parts, owners = [], []
    for steps, rows in ((1, np.flatnonzero(flat)), (CURVED_STEPS, np.flatnonzero(~flat))):
        line = np.linspace(0, 1, steps + 1)
        u, v = (grid.ravel() for grid in np.meshgrid(line, line))
        num = len(u)
        xyz, _ = evaluate_points(
            patches.kind,
            patches.frame,
            patches.extra,
            np.repeat(rows, num),
            np.tile(u, len(rows)),
            np.tile(v, len(rows)),
        )
        corner = (np.arange(steps)[:, None] * (steps + 1) + np.arange(steps)).ravel()
        cells = np.concatenate([corner[:, None] + (0, 1, steps + 2), corner[:, None] + (0, steps + 2, steps + 1)])
        parts.append(xyz.reshape(len(rows), num, 3)[:, cells].reshape(-1, 3, 3))
        owners.append(np.repeat(rows, len(cells)))
    return np.concatenate(parts), np.concatenate(owners)


def _item(shape: Shape, size: Vector) -> Item:
    return Item(shape.patches(), size, "clutter", "")


def _color(rng: np.random.Generator) -> Vector:
    red, green, blue = palette(rng)
    return float(red), float(green), float(blue)


def _white(rng: np.random.Generator) -> Vector:
    tone = float(rng.uniform(205, 250))
    return tone, tone, tone * float(rng.uniform(0.94, 1.0))


def _bed(rng: np.random.Generator) -> Item:
    width, length, seat = rng.choice([0.9, 1.4, 1.6, 1.8]), rng.uniform(1.95, 2.1), rng.uniform(0.38, 0.58)
    frame, cloth, cover = _color(rng), _white(rng), _color(rng)
    shape = Shape()
    shape.box((0, 0, seat * 0.3), (width, length, seat * 0.6), frame)
    shape.box((0, 0, seat * 0.8), (width * 0.97, length * 0.97, seat * 0.4), cloth, bulge=0.03)
    shape.box((0, length * 0.12, seat + 0.03), (width * 1.02, length * 0.72, 0.08), cover, bulge=0.05)
    for x in np.linspace(-width / 4, width / 4, 2 if width > 1.2 else 1):
        shape.box((x, -length * 0.38, seat + 0.07), (min(width * 0.42, 0.6), 0.38, 0.14), _white(rng), bulge=0.05)
    if rng.random() < 0.8:
        high = rng.uniform(0.7, 1.2)
        shape.box((0, -length / 2 - 0.03, high / 2), (width * 1.04, 0.06, high), frame)
    return _item(shape, (width, length, seat))


def _box_front(rng: np.random.Generator, size: Vector, rgb: Vector, rows: int) -> Item:
    """A body with a front of drawers or doors above each other."""
    width, depth, height = size
    shape = Shape()
    shape.box((0, 0, height / 2), size, rgb)
    for k in range(rows):
        z, tall = height * (k + 0.5) / rows, height / rows - 0.02
        shape.box((0, depth / 2 + 0.01, z), (width - 0.02, 0.02, tall), rgb)
        shape.box((width * 0.3, depth / 2 + 0.035, z + tall * 0.3), (0.12, 0.02, 0.02), (120.0, 120.0, 122.0))
    return _item(shape, size)


def _toilet(rng: np.random.Generator) -> Item:
    rgb, seat = _white(rng), rng.uniform(0.38, 0.44)
    shape = Shape()
    shape.tube((0, 0.05, 0), (0, 0.08, seat), 0.13, rgb, top_radius=0.19)
    shape.ellipsoid((0, 0.1, seat), (0.19, 0.25, 0.05), rgb)
    shape.box((0, -0.22, seat + 0.15), (0.38, 0.18, 0.36), rgb, bulge=0.01)
    return _item(shape, (0.4, 0.68, seat + 0.35))


def _sink(rng: np.random.Generator) -> Item:
    rgb, width, height = _white(rng), rng.uniform(0.5, 0.8), rng.uniform(0.8, 0.9)
    shape = Shape()
    if rng.random() < 0.5:
        shape.tube((0, -0.05, 0), (0, -0.05, height - 0.1), 0.08, rgb)
    else:
        shape.box((0, 0, (height - 0.14) / 2), (width * 0.95, 0.42, height - 0.14), _color(rng))
    for x in (-1, 1):
        shape.box((x * (width / 2 - 0.03), 0, height - 0.07), (0.06, 0.46, 0.14), rgb)
    for y in (-1, 1):
        shape.box((0, y * 0.2, height - 0.07), (width, 0.06, 0.14), rgb)
    shape.box((0, 0, height - 0.12), (width, 0.44, 0.03), rgb)
    shape.tube((0, -0.19, height), (0, -0.16, height + 0.14), 0.015, (170.0, 170.0, 172.0))
    return _item(shape, (width, 0.46, height))


def _bathtub(rng: np.random.Generator) -> Item:
    rgb, length, width, height = _white(rng), rng.uniform(1.5, 1.8), rng.uniform(0.7, 0.8), rng.uniform(0.5, 0.6)
    shape = Shape()
    for x in (-1, 1):
        shape.box((x * (length / 2 - 0.05), 0, height / 2), (0.1, width, height), rgb, bulge=0.01)
    for y in (-1, 1):
        shape.box((0, y * (width / 2 - 0.04), height / 2), (length, 0.08, height), rgb)
    shape.box((0, 0, 0.1), (length, width, 0.06), rgb)
    return _item(shape, (length, width, height))


def _television(rng: np.random.Generator) -> Item:
    width = rng.uniform(0.5, 1.2)
    dark = float(rng.uniform(15, 50))
    shape = Shape()
    shape.box((0, 0, 0.01), (width * 0.4, 0.2, 0.02), (dark, dark, dark))
    shape.box((0, -0.02, 0.06), (0.08, 0.03, 0.12), (dark, dark, dark))
    shape.box((0, 0, 0.1 + width * 0.29), (width, 0.04, width * 0.58), (dark, dark, dark))
    return _item(shape, (width, 0.2, width * 0.68))


def _door(rng: np.random.Generator) -> Item:
    return furniture.door(rng, float(rng.uniform(0.8, 1.0)), float(rng.uniform(1.98, 2.1)))


def _window(rng: np.random.Generator) -> Item:
    return furniture.window(rng, float(rng.uniform(0.8, 1.8)), float(rng.uniform(1.0, 1.5)))


def _radiator(rng: np.random.Generator) -> Item:
    width, height, rgb = rng.uniform(0.5, 1.4), rng.uniform(0.45, 0.65), _white(rng)
    shape = Shape()
    for x in np.arange(-width / 2, width / 2, 0.06):
        shape.box((x, 0, 0.1 + height / 2), (0.045, 0.1, height), rgb)
    shape.box((0, 0, 0.14), (width, 0.05, 0.04), rgb)
    return _item(shape, (width, 0.1, height))


def _appliance(rng: np.random.Generator) -> Item:
    if rng.random() < 0.4:
        return _radiator(rng)
    shape = Shape()
    rgb, height = _white(rng), rng.uniform(0.82, 0.9)
    shape.box((0, 0, height / 2), (0.6, 0.58, height), rgb)
    if rng.random() < 0.6:  # a washing machine's door, else a plain front
        shape.tube((0, 0.28, 0.45), (0, 0.31, 0.45), 0.19, (70.0, 70.0, 75.0))
    shape.box((0, 0.3, height - 0.07), (0.56, 0.02, 0.1), (60.0, 60.0, 64.0))
    return _item(shape, (0.6, 0.6, height))


def _shower_head(rng: np.random.Generator) -> Item:
    shape = Shape()
    shape.box((0, -0.02, 0.3), (0.04, 0.04, 0.6), (180.0, 180.0, 182.0))
    shape.ellipsoid((0, 0.06, 0.6), (0.07, 0.07, 0.03), (180.0, 180.0, 182.0))
    return _item(shape, (0.14, 0.16, 0.65))


def _of(category: Callable[..., Item], kind: str) -> Callable[[np.random.Generator], Item]:
    return lambda rng: category(rng, kind)


_DESIGNS: dict[str, Callable[[np.random.Generator], Item]] = {
    "chair": furniture.chair,
    "stool": _of(furniture.chair, "stool"),
    "sofa": furniture.sofa,
    "table": furniture.table,
    "desk": furniture.desk,
    "bookshelf": furniture.bookcase,
    "cabinet": furniture.cabinet,
    "small": furniture.desk_item,
    "floor": furniture.floor_item,
    "plant": _of(furniture.floor_item, "plant"),
    "lamp": _of(furniture.floor_item, "lamp"),
    "trash can": _of(furniture.floor_item, "bin"),
    "door": _door,
    "window": _window,
    "bed": _bed,
    "toilet": _toilet,
    "sink": _sink,
    "bathtub": _bathtub,
    "television": _television,
    "appliance": _appliance,
    "wall": _shower_head,
    "refrigerator": lambda rng: _box_front(
        rng, (float(rng.uniform(0.55, 0.9)), 0.65, float(rng.uniform(1.5, 1.95))), _white(rng), 2
    ),
    "kitchen cabinet": lambda rng: _box_front(
        rng, (float(rng.choice([0.4, 0.6, 0.8])), 0.6, 0.86), _color(rng), int(rng.integers(1, 4))
    ),
    "upper cabinet": lambda rng: _box_front(rng, (float(rng.choice([0.4, 0.6, 0.8])), 0.34, 0.7), _color(rng), 1),
    "kitchen sink": lambda rng: _box_front(rng, (float(rng.uniform(0.6, 0.9)), 0.6, 1.0), _color(rng), 1),
}
