"""One room: its shell, and where things can go on its floor, walls and tops."""

from typing import Any, NamedTuple

import numpy as np

from pcseg.synthetic.homes import paint
from pcseg.synthetic.homes.models import Model, class_of
from pcseg.synthetic.homes.surfaces import Surfaces
from pcseg.synthetic.homes.wall import Wall

Place = Any  # anything that numpy takes as two numbers: meters in the plan of a room
CELL = 0.05  # edge of a cell of the floor plan in meters
WET_ROOMS = ("bathroom", "kitchen")


class Top(NamedTuple):
    """A surface for things: its rectangle, its height, and the number of things it takes."""

    low: np.ndarray
    high: np.ndarray
    z: float
    most: int


class Placed(NamedTuple):
    """A model against a wall: the wall, its middle along it, its half width, its depth, and its place in the plan."""

    wall: Wall
    s: float
    half: float
    depth: float
    place: np.ndarray


class Room:
    """A room under construction.

    Args:
        surfaces: the building that the room is part of.
        models: furniture of each kind.
        kind: kind of room, for example "kitchen".
        origin: its corner in the building in meters.
        width: extent along x in meters.
        depth: extent along y in meters.
        recess: how far windows and doors may be set back into its walls, in meters.
    """

    def __init__(
        self,
        surfaces: Surfaces,
        models: dict[str, list[Model]],
        kind: str,
        origin: tuple[float, float],
        width: float,
        depth: float,
        recess: float = 0.35,
    ) -> None:
        self.recess = recess
        self.surfaces, self.models, self.kind, self.rng = surfaces, models, kind, surfaces.rng
        rng = self.rng
        self.origin = np.array([*origin, 0.0])
        self.width, self.depth, self.height = width, depth, float(rng.uniform(2.35, 2.9))
        # An L-shaped room lacks its far right corner.
        self.notch = np.zeros(2)
        if rng.random() < 0.3 and min(width, depth) > 3.2:
            self.notch = np.array([width * rng.uniform(0.25, 0.5), depth * rng.uniform(0.25, 0.45)])
        shape = (int(width / CELL), int(depth / CELL))
        self.is_free = np.ones(shape, bool)  # cells of the floor without anything
        if self.notch.any():
            nx, ny = (self.notch / CELL).astype(int)
            self.is_free[shape[0] - nx :, shape[1] - ny :] = False
        self.has_floor = self.is_free.copy()
        self.num_cells = int(self.is_free.sum())
        self.takes_chair = self.is_free.copy()  # as above, but a chair goes under a table
        self.is_walkable = self.is_free.copy()  # without high furniture
        self.tops: list[Top] = []
        self._covers: list[tuple[np.ndarray, np.ndarray, float]] = []  # color, texture and period of each wall
        self.walls = self._build_shell()
        shares = rng.uniform(0.2, 0.8, (2, 2))
        self.lights = [self.world((width * u, depth * v), self.height - 0.3) for u, v in shares]

    def world(self, place: Place, z: float = 0.0) -> np.ndarray:
        """Point of the building from a place in the room's plan and a height."""
        return self.origin + np.array([place[0], place[1], z])

    def _build_shell(self) -> list[Wall]:
        rng, add, (nx, ny) = self.rng, self.surfaces.add_quad, self.notch
        w, d = self.width, self.depth
        wet = self.kind in WET_ROOMS
        corners = [(0.0, 0.0), (w, 0.0), (w, d - ny), (w - nx, d - ny), (w - nx, d), (0.0, d)]
        points = np.array(corners if nx else [(0.0, 0.0), (w, 0.0), (w, d), (0.0, d)])
        self.floor, ceiling = self.surfaces.instance("floor"), self.surfaces.instance("ceiling")
        plain = rng.random() < (0.2 if wet else 0.45)
        tint = paint.palette(rng) if plain else np.full(3, 255) * rng.uniform(0.5, 1.1)
        image = paint.speckle(rng) if plain else paint.tiles(rng) if wet or rng.random() < 0.3 else paint.planks(rng)
        period = rng.uniform(0.5, 1.5)
        for x, y, a, b in [(0, 0, w, d - ny), (0, d - ny, w - nx, ny)] if nx else [(0, 0, w, d)]:
            add(self.world((x, y)), (a, 0, 0), (0, b, 0), self.floor, tint, image, period=period)
            add(self.world((x, y), self.height), (a, 0, 0), (0, b, 0), ceiling, np.full(3, rng.uniform(205, 245)))
        color = np.clip(paint.palette(rng) * 0.4 + np.array((200, 195, 185)) * rng.uniform(0.5, 0.75), 0, 255)
        covering = None
        if rng.random() < (0.6 if wet else 0.15):
            covering = paint.tiles(rng) if wet or rng.random() < 0.5 else paint.stripes(rng)
        walls = []
        for start, end in zip(points, np.roll(points, -1, axis=0)):
            length = float(np.linalg.norm(end - start))
            along = (end - start) / length
            walls.append(Wall(start, along, np.array([-along[1], along[0]]), length, self.surfaces.instance("wall")))
            if covering is None:
                own = paint.palette(rng) if rng.random() < 0.06 else color * rng.uniform(0.94, 1.06)
                self._covers.append((own, paint.speckle(rng), 2.0))
            else:
                self._covers.append((np.full(3, 255) * rng.uniform(0.6, 1.0), covering, 0.8))
        return walls

    def draw_walls(self) -> None:
        """Adds the surfaces of the walls, once all doors and windows are known."""
        rng, add = self.rng, self.surfaces.add_quad
        for wall, (color, texture, period) in zip(self.walls, self._covers):
            has_skirting, skirting, tint = rng.random() < 0.7, rng.uniform(0.06, 0.12), paint.palette(rng)
            for left, right, bottom, top in wall.solid_parts(self.height):
                side, up = (*(wall.along * (right - left)), 0), (0, 0, top - bottom)
                add(self.world(wall.point(left), bottom), side, up, wall.instance, color, texture, period=period)
                if has_skirting and bottom == 0:
                    add(self.world(wall.point(left, 0.012)), side, (0, 0, skirting), wall.instance, tint)

    # Where things can go.

    def count(self, low: int, high: int) -> int:
        """A random number of things, `high` excluded."""
        return int(self.rng.integers(low, high))

    def pick(self, kind: str, pattern: str = "") -> Model:
        """A random model of a kind, mostly one whose name has the pattern."""
        found = [model for model in self.models[kind] if pattern in model.name]
        if not found or self.rng.random() < 0.25:
            found = self.models[kind]
        return found[self.rng.integers(len(found))]

    def cells(self, place: Place, half: Place) -> tuple[slice, slice]:
        """Cells of the plan that a rectangle touches, from its middle and its half extents."""
        low = np.maximum(((np.asarray(place) - half) / CELL).astype(int), 0)
        high = np.ceil((np.asarray(place) + half) / CELL).astype(int)
        return slice(low[0], max(high[0], 0)), slice(low[1], max(high[1], 0))

    def fits(self, place: Place, half: Place, *, chair: bool = False) -> bool:
        """Whether a rectangle is inside the room and free.

        Args:
            place: its middle in the plan.
            half: its half extents.
            chair: whether it may be under a table.
        """
        low, high = np.asarray(place) - half, np.asarray(place) + half
        if (low < 0.01).any() or high[0] > self.width - 0.01 or high[1] > self.depth - 0.01:
            return False
        return bool((self.takes_chair if chair else self.is_free)[self.cells(place, half)].all())

    def occupy(self, place: Place, half: Place, *, high: bool = True, legroom: float = 0.0) -> None:
        """Marks a rectangle of the floor as taken.

        Args:
            place: its middle in the plan.
            half: its half extents.
            high: whether one cannot look over it.
            legroom: how far a chair goes under it, in meters.
        """
        self.is_free[self.cells(place, half)] = False
        self.takes_chair[self.cells(place, np.maximum(np.asarray(half) - legroom, 0.05))] = False
        if high:
            self.is_walkable[self.cells(place, half)] = False

    def random_scale(self) -> np.ndarray:
        """Factors that make each use of a model a little different."""
        return self.rng.uniform(0.92, 1.08) * self.rng.uniform(0.95, 1.05, 3)

    def put(
        self,
        model: Model,
        place: Place,
        yaw: float,
        z: float = 0.0,
        *,
        scale: np.ndarray | None = None,
        instance: int | None = None,
        things: int = 0,
    ) -> None:
        """Adds a model at a place that is known to be free.

        Args:
            model: the furniture.
            place: its middle in the plan.
            yaw: its turn in radians.
            z: height of its foot in meters.
            scale: factors along its axes; random by default.
            instance: an instance that it becomes part of; its own by default.
            things: how many small things its top may take.
        """
        scale = self.random_scale() if scale is None else scale
        instance = self.surfaces.instance(class_of(model.kind)) if instance is None else instance
        self.surfaces.add_model(model, self.world(place, z), yaw, instance, scale)
        if things and model.top > 0:
            half = np.array(half_extents(model.size * scale, yaw)) * 0.85
            self.add_top(place - half, place + half, z + model.top * scale[2], things)

    def add_top(self, low: np.ndarray, high: np.ndarray, z: float, most: int) -> None:
        """Notes a surface on which `add_clutter` may put things.

        Args:
            low: least x and y of the surface in the plan.
            high: greatest x and y of the surface in the plan.
            z: height of the surface in meters.
            most: most things that it takes.
        """
        self.tops.append(Top(low, high, z, most))

    def put_against_wall(
        self,
        model: Model,
        *,
        gap: tuple[float, float] = (0.0, 0.06),
        front: float = 0.0,
        things: int = 0,
        tries: int = 25,
    ) -> Placed | None:
        """Adds a model with its back to a random wall, or gives None where it fits nowhere.

        Args:
            model: the furniture.
            gap: range of its distance from the wall in meters.
            front: free floor that it needs before it, in meters.
            things: how many small things its top may take.
            tries: number of places to try.
        """
        rng, scale = self.rng, self.random_scale()
        w, d, h = model.size * scale
        for _ in range(tries):
            wall = self.walls[rng.integers(len(self.walls))]
            if wall.length < w + 0.06:
                continue
            s = rng.uniform(w / 2 + 0.03, wall.length - w / 2 - 0.03)
            if rng.random() < 0.35:  # in a corner
                s = w / 2 + 0.04 if rng.random() < 0.5 else wall.length - w / 2 - 0.04
            off = d / 2 + rng.uniform(*gap) + 0.02
            part = (s - w / 2, s + w / 2, model.elevation, model.elevation + h)
            room_needed = half_extents((w, d + front), wall.yaw)
            if not self.fits(wall.point(s, off + front / 2), room_needed) or not wall.is_free(*part):
                continue
            place = wall.point(s, off)
            self.put(model, place, wall.yaw + rng.normal(0, 0.01), model.elevation, scale=scale, things=things)
            self.occupy(
                place, half_extents((w, d), wall.yaw), high=bool(h + model.elevation > 1.2), legroom=legroom(model)
            )
            wall.used.append(part)
            return Placed(wall, s, w / 2, d, place)
        return None

    def put_anywhere(
        self,
        model: Model,
        *,
        margin: float = 0.05,
        tries: int = 20,
        yaw: float | None = None,
        things: int = 0,
        central: bool = False,
    ) -> tuple[np.ndarray, float] | None:
        """Adds a model somewhere on the floor; gives its place and yaw, or None where it fits nowhere.

        Args:
            model: the furniture.
            margin: free floor around it in meters.
            tries: number of places to try.
            yaw: its turn in radians; by default about a multiple of 90 degrees.
            things: how many small things its top may take.
            central: whether to try the middle of the room first.
        """
        rng, scale, extent = self.rng, self.random_scale(), np.array([self.width, self.depth])
        for k in range(tries):
            turn = rng.integers(4) * np.pi / 2 + rng.normal(0, 0.15) if yaw is None else yaw
            inner = central and k < tries / 2
            place = extent * rng.uniform(0.35, 0.65, 2) if inner else rng.uniform(0.2, extent - 0.2)
            half = np.array(half_extents(model.size * scale, turn))
            if self.fits(place, half + margin):
                self.put(model, place, turn, scale=scale, things=things)
                self.occupy(place, half, high=bool(model.size[2] > 1.2), legroom=legroom(model))
                return place, float(turn)
        return None

    def put_at(self, model: Model, place: Place, yaw: float, *, things: int = 0) -> bool:
        """Adds a model at one place if that is free; says whether it was.

        Args:
            model: the furniture.
            place: its middle in the plan.
            yaw: its turn in radians.
            things: how many small things its top may take.
        """
        scale = self.random_scale()
        half = np.array(half_extents(model.size * scale, yaw)) * 0.9
        if not self.fits(place, half, chair=model.kind == "chair"):
            return False
        self.put(model, np.asarray(place), yaw, scale=scale, things=things)
        self.occupy(place, half, high=bool(model.size[2] > 1.3))
        return True

    def find_on_wall(
        self, width: float, height: float, z: float, *, tries: int = 15, margin: float = 0.05
    ) -> tuple[Wall, float] | None:
        """Reserves a free part of a wall; gives the wall and the middle of the part along it, or None.

        Args:
            width: extent of the part in meters.
            height: extent upwards in meters.
            z: height of its lower edge in meters.
            tries: number of places to try.
            margin: free wall around it in meters.
        """
        for _ in range(tries):
            wall = self.walls[self.rng.integers(len(self.walls))]
            if wall.length < width + 0.2:
                continue
            s = self.rng.uniform(width / 2 + 0.1, wall.length - width / 2 - 0.1)
            part = (s - width / 2 - margin, s + width / 2 + margin, z - margin, z + height + margin)
            if wall.is_free(*part):
                wall.used.append(part)
                return wall, s
        return None

    def add_panel(
        self, wall: Wall, s: float, z: float, size: tuple[float, float, float], label: str, color: np.ndarray
    ) -> int:
        """Adds a flat box on a wall, for example a board; gives its instance.

        Args:
            wall: the wall.
            s: middle of the box along the wall in meters.
            z: height of its lower edge in meters.
            size: width, thickness and height in meters.
            label: name of its class.
            color: 0..255.
        """
        instance = self.surfaces.instance(label)
        self.add_wall_box(wall, s, 0.005 + size[1] / 2, z + size[2] / 2, size, instance, color)
        return instance

    def add_wall_box(
        self,
        wall: Wall,
        s: float,
        off: float,
        z: float,
        size: tuple[float, float, float],
        instance: int,
        color: np.ndarray,
        texture: np.ndarray | None = None,
        *,
        period: float = 0.0,
    ) -> None:
        """Adds a box that is parallel to a wall.

        Args:
            wall: the wall.
            s: middle of the box along the wall in meters.
            off: distance of its middle from the wall in meters.
            z: height of its middle in meters.
            size: extent along the wall, into the room, and upwards in meters.
            instance: which instance it belongs to.
            color: 0..255; multiplies the texture.
            texture: image for each side, or None.
            period: as in `Surfaces.add_quad`.
        """
        middle = self.world(wall.point(s, off), z)
        self.surfaces.add_box(middle, size, instance, color, texture, yaw=wall.yaw, period=period)


def legroom(model: Model) -> float:
    """How far a chair goes under a model, in meters."""
    return 0.22 if model.kind in ("table", "desk") and model.size[2] > 0.6 else 0.0


def half_extents(size: Place, yaw: float) -> tuple[float, float]:
    """Half extents of the upright rectangle around one that is turned.

    >>> [round(value, 2) for value in half_extents((2.0, 1.0), np.pi / 2)]
    [0.5, 1.0]
    """
    cos, sin = abs(np.cos(yaw)), abs(np.sin(yaw))
    return float(size[0] * cos + size[1] * sin) / 2, float(size[0] * sin + size[1] * cos) / 2
