"""A room under construction: its plan, its instances and their surfaces."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64, Int64

from pcseg.classes import S3DIS
from pcseg.synthetic.colors import CEILINGS, FLOORS, WALLS, darker, pick
from pcseg.synthetic.layout import Plan, Rect, Wall
from pcseg.synthetic.shapes import BRIGHT, CARPET, PLAIN, TILES, WOOD, Item, Patches, Shape, Vector


@dataclass(frozen=True)
class Surfaces:
    """All surfaces that a scanner can see.

    Args:
        patches: n surface patches.
        instance: instance of each patch, from 1.
        labels: class index (S3DIS) of instance k + 1.
        categories: raw ScanNet category of instance k + 1.
        hidden_center: centers of m boxes; inside a box only points of its owner are visible.
        hidden_axes: unit axes of these boxes, divided by half their length.
        hidden_owner: instance that owns each box.
        lights: positions of lamps and windows.
        light_power: brightness of each light.
    """

    patches: Patches
    instance: Int64[np.ndarray, "n"]
    labels: list[int]
    categories: list[str]
    hidden_center: Float64[np.ndarray, "m 3"]
    hidden_axes: Float64[np.ndarray, "m 3 3"]
    hidden_owner: Int64[np.ndarray, "m"]
    lights: Float64[np.ndarray, "lights 3"]
    light_power: Float64[np.ndarray, "lights"]


class Room:
    """Collects instances, and marks the space that they occupy.

    Args:
        kind: kind of room, such as office or hallway.
        plan: outline and walls.
        rng: random numbers for all items.
    """

    def __init__(self, kind: str, plan: Plan, rng: np.random.Generator) -> None:
        self.kind, self.plan, self.rng = kind, plan, rng
        self.wall_rgb, self.floor_rgb, self.ceiling_rgb = pick(rng, WALLS), pick(rng, FLOORS), pick(rng, CEILINGS)
        self._parts: list[Patches] = []
        self._owners: list[int] = []
        self._labels: list[int] = []
        self._categories: list[str] = []
        self._hidden: list[tuple[Vector, float, Vector, int]] = []
        self.lights: list[Vector] = []
        self.light_power: list[float] = []

    def add(self, patches: Patches, label: str, category: str) -> int:
        """A new instance; returns its id.

        Args:
            patches: surfaces of the instance, in the frame of the room.
            label: class of S3DIS.
            category: raw category of ScanNet.
        """
        self._labels.append(S3DIS.index(label))
        self._categories.append(category)
        self._parts.append(patches)
        self._owners.append(len(self._labels))
        return len(self._labels)

    def put(self, item: Item, x: float, y: float, yaw: float, base: float = 0.0, *, take: bool = True) -> int:
        """Puts an item at a place that is known to be free; returns its instance.

        Args:
            item: the item.
            x: place of its middle in meters.
            y: place of its middle in meters.
            yaw: turn about z in radians.
            base: height of its lower side in meters.
            take: whether to mark its space as occupied.
        """
        instance = self.add(item.patches.moved((x, y, base), yaw), item.label, item.category)
        if item.thin:
            half = (item.size[0] / 2, item.size[1] / 2, item.size[2] / 2 + 0.01)
            self._hidden.append(((x, y, base + item.size[2] / 2), yaw, half, instance))
        if take:
            self.plan.taken += self._rects_of(item, x, y, yaw, base)
        return instance

    def _rects_of(self, item: Item, x: float, y: float, yaw: float, base: float) -> list[Rect]:
        """Space of an item: below a table top only the inner part, so that chairs can be pushed under it."""
        whole = self.plan.rect_of(item, x, y, yaw, base)
        if item.label != "table" or item.size[2] < 0.6:
            return [whole]
        inner = replace(whole, half_x=max(whole.half_x - 0.2, 0.1), half_y=max(whole.half_y - 0.3, 0.1), high=0.55)
        return [replace(whole, low=0.55), inner]

    def put_if_free(self, item: Item, x: float, y: float, yaw: float, base: float = 0.0, margin: float = 0.0) -> bool:
        """Puts an item at a place if nothing is in its way; returns whether it did.

        Args:
            item: the item.
            x: place of its middle in meters.
            y: place of its middle in meters.
            yaw: turn about z in radians.
            base: height of its lower side in meters.
            margin: free floor that it needs around it, in meters.
        """
        free = self.plan.fits(self.plan.rect_of(item, x, y, yaw, base, margin))
        if free:
            self.put(item, x, y, yaw, base)
        return free

    def put_along_wall(
        self, item: Item, walls: list[Wall] | None = None, gap: float = 0.03, front: float = 0.0
    ) -> tuple[Wall, float, float, float] | None:
        """Puts an item with its back to a wall; returns the wall, x, y and yaw, or None without free space.

        Args:
            item: the item.
            walls: walls to choose from; None or none for all.
            gap: distance from the wall in meters.
            front: free floor that it needs before it, in meters.
        """
        walls = walls or self.plan.walls
        width, depth, height = item.size
        for _ in range(14):
            wall = walls[int(self.rng.integers(len(walls)))]
            if wall.length < width + 0.04:
                continue
            spare = wall.length - width
            # Furniture prefers corners.
            along = spare * float(np.clip(self.rng.normal(0.5, 0.6), 0.0, 1.0)) + width / 2
            if not wall.is_free(along - width / 2, along + width / 2, 0.08, height):
                continue
            x, y = wall.at(along, gap + (depth + front) / 2)
            if self.plan.fits(Rect(x, y, width / 2, (depth + front) / 2, wall.yaw, 0.0, height)):
                x, y = wall.at(along, gap + depth / 2)
                self.put(item, x, y, wall.yaw)
                return wall, x, y, wall.yaw
        return None

    def put_anywhere(self, item: Item, margin: float = 0.1, num_tries: int = 14) -> tuple[float, float, float] | None:
        """Puts an item on a free piece of floor with any yaw; returns x, y, yaw or None.

        Args:
            item: the item.
            margin: free floor that it needs around it, in meters.
            num_tries: number of places to try.
        """
        for _ in range(num_tries):
            x, y = float(self.rng.uniform(0, self.plan.width)), float(self.rng.uniform(0, self.plan.depth))
            yaw = float(self.rng.uniform(-np.pi, np.pi))
            if self.put_if_free(item, x, y, yaw, margin=margin):
                return x, y, yaw
        return None

    def hang(self, item: Item, base: float, walls: list[Wall] | None = None, margin: float = 0.08) -> Wall | None:
        """Hangs an item on a free piece of wall; returns the wall, or None without free space.

        Args:
            item: the item.
            base: height of its lower edge in meters.
            walls: walls to choose from; None or none for all.
            margin: free wall that it needs around it, in meters.
        """
        walls = walls or self.plan.walls
        width, depth, height = item.size
        for _ in range(12):
            wall = walls[int(self.rng.integers(len(walls)))]
            if wall.length < width + 2 * margin:
                continue
            along = float(self.rng.uniform(width / 2 + margin, wall.length - width / 2 - margin))
            s0, s1 = along - width / 2 - margin, along + width / 2 + margin
            x, y = wall.at(along, depth / 2)
            rect = Rect(x, y, width / 2, depth / 2 - 1e-3, wall.yaw, base, base + height)
            if wall.is_free(s0, s1, base - margin, base + height + margin) and self.plan.fits(rect):
                self.hang_at(item, wall, along, base)
                return wall
        return None

    def hang_at(self, item: Item, wall: Wall, along: float, base: float) -> int:
        """Hangs an item at a place that is known to be free; returns its instance.

        Args:
            item: the item; y = 0 in its frame is the wall.
            wall: the wall.
            along: middle of the item along the wall in meters.
            base: height of its lower edge in meters.
        """
        width, depth, height = item.size
        instance = self.put(item, *wall.at(along), wall.yaw, base, take=False)
        wall.used.append((along - width / 2, along + width / 2, base, base + height))
        x, y = wall.at(along, depth / 2)
        self.plan.taken.append(Rect(x, y, width / 2, depth / 2, wall.yaw, base, base + height))
        return instance

    def build_shell(self) -> None:
        """Floor, ceiling with its lamps, and the walls with their holes and skirting."""
        rng, plan = self.rng, self.plan
        wooden = self.floor_rgb[0] > self.floor_rgb[2] + 40
        floor, ceiling = Shape(), Shape()
        tiles = TILES if rng.random() < 0.6 else PLAIN
        for x0, y0, x1, y1 in plan.floor_rects():
            width, depth = (x1 - x0, 0.0, 0.0), (0.0, y1 - y0, 0.0)
            floor.sheet((x0, y0, 0), width, depth, self.floor_rgb, texture=WOOD if wooden else CARPET, two_sided=False)
            ceiling.sheet((x0, y0, plan.height), depth, width, self.ceiling_rgb, texture=tiles, two_sided=False)
            self._lamps(ceiling, x0, y0, x1, y1)
        self.add(floor.patches(), "floor", "floor")
        self.add(ceiling.patches(), "ceiling", "ceiling")
        skirting = darker(self.wall_rgb, 0.55) if rng.random() < 0.6 else None
        accent = int(rng.integers(len(plan.walls))) if rng.random() < 0.3 else -1
        for k, wall in enumerate(plan.walls):
            rgb = pick(rng, WALLS, 40.0) if k == accent else self.wall_rgb
            self._wall(wall, rgb, skirting)

    def _wall(self, wall: Wall, rgb: Vector, skirting: Vector | None) -> None:
        shape = Shape()
        dx, dy = wall.direction
        for s0, s1, z0, z1 in wall.pieces(self.plan.height):
            x, y = wall.at(s1)
            back = (-dx * (s1 - s0), -dy * (s1 - s0), 0.0)
            shape.sheet((x, y, z0), back, (0, 0, z1 - z0), rgb, two_sided=False)
            if skirting is not None and z0 == 0:
                x, y = wall.at(s1, 0.012)
                shape.sheet((x, y, 0), back, (0, 0, min(0.09, z1)), skirting, two_sided=False)
        self.add(shape.patches(), "wall", "wall")

    def _lamps(self, ceiling: Shape, x0: float, y0: float, x1: float, y1: float) -> None:
        """Flat lamps in a regular pattern; they belong to the ceiling."""
        num_x, num_y = max(1, round((x1 - x0) / 2.6)), max(1, round((y1 - y0) / 2.6))
        long, wide = (1.2, 0.3) if self.rng.random() < 0.6 else (0.6, 0.6)
        z = self.plan.height - 0.015
        for i in range(num_x):
            for j in range(num_y):
                x, y = x0 + (x1 - x0) * (i + 0.5) / num_x, y0 + (y1 - y0) * (j + 0.5) / num_y
                if min(x1 - x0, y1 - y0) > long + 0.2:
                    ceiling.box((x, y, z), (long, wide, 0.03), (250.0, 248.0, 240.0), texture=BRIGHT)
                self.lights.append((x, y, z - 0.1))
                self.light_power.append(float(self.rng.uniform(0.7, 1.1)))

    def surfaces(self) -> Surfaces:
        """All surfaces so far, as arrays."""
        counts = [len(part) for part in self._parts]
        center = np.array([c for c, _, _, _ in self._hidden]).reshape(-1, 3)
        half = np.array([h for _, _, h, _ in self._hidden]).reshape(-1, 3)
        yaw = np.array([y for _, y, _, _ in self._hidden])
        axes = np.zeros((len(yaw), 3, 3))
        axes[:, 0, 0], axes[:, 0, 1] = np.cos(yaw), np.sin(yaw)
        axes[:, 1, 0], axes[:, 1, 1] = -np.sin(yaw), np.cos(yaw)
        axes[:, 2, 2] = 1
        return Surfaces(
            Patches.concatenate(self._parts),
            np.repeat(np.array(self._owners, np.int64), counts),
            list(self._labels),
            list(self._categories),
            center,
            axes / half[:, :, None],
            np.array([owner for _, _, _, owner in self._hidden], np.int64),
            np.array(self.lights).reshape(-1, 3),
            np.array(self.light_power),
        )
