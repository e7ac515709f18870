"""A room as textured triangles of instances, and ray casting."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64, UInt8

from pcseg.synthetic.homes.models import Model
from pcseg.synthetic.homes.paint import palette

Vector = Any  # anything that numpy takes as three numbers
_QUAD = np.array([[0, 1, 2], [0, 2, 3]])


class Hits(NamedTuple):
    """Hits of rays.

    depth: distance in units of the ray's direction; infinite for none.
    triangle: row of the triangle, -1 for none.
    normal: its unit normal.
    rgb: its color under the ray before light, 0..255.
    """

    depth: Float32[np.ndarray, "*rays"]
    triangle: Int64[np.ndarray, "*rays"]
    normal: Float32[np.ndarray, "*rays 3"]
    rgb: Float[np.ndarray, "*rays 3"]


@dataclass(frozen=True)
class _Material:
    color: np.ndarray
    texture: np.ndarray | None = None
    dropout: float = 0.0


class Surfaces:
    """Collects the surfaces of a building.

    Args:
        rng: random numbers for the colors of models.

    Attributes:
        labels: class name of each instance; instance k + 1 has `labels[k]`.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.labels: list[str] = []
        self.materials: list[_Material] = []
        self.parts: list[tuple[np.ndarray, np.ndarray, np.ndarray, int]] = []  # triangles, uv, materials, instance

    def instance(self, label: str) -> int:
        """A new instance of a class."""
        self.labels.append(label)
        return len(self.labels)

    def add_model(self, model: Model, place: Vector, yaw: float, instance: int, scale: Vector) -> None:
        """Adds a model; its colors vary from one use to the next.

        Args:
            model: the furniture.
            place: position of its foot in meters.
            yaw: turn about z in radians; at 0 the front is at -y.
            instance: instance of the model.
            scale: factors along its three axes.
        """
        rng = self.rng
        cos, sin = np.cos(yaw), np.sin(yaw)
        turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
        first = len(self.materials)
        repainted = rng.random() < 0.6
        common = rng.uniform(0.7, 1.25) * rng.uniform(0.85, 1.15, 3)
        outside = np.array((rng.uniform(0.6, 1), rng.uniform(0.8, 1), 1)) * rng.choice([60, 160, 250, 255])
        for color, texture, glass in zip(model.colors, model.textures, model.glass):
            if glass:  # a sensor sees it or does not
                self.materials.append(_Material(outside, None, 1.0 if rng.random() < 0.7 else 0.1))
                continue
            base = palette(rng) if texture is None and repainted and rng.random() < 0.35 else color
            black = 0.25 * (texture is None and base.mean() < 45)  # dark surfaces return little light
            paint = np.clip(base * common * rng.uniform(0.85, 1.15), 0, 330)
            self.materials.append(_Material(paint, texture, black))
        triangles = (model.triangles * np.asarray(scale)) @ turn.T + np.asarray(place)
        self.parts.append((triangles, model.uv, model.material + first, instance))

    def add_quad(
        self,
        corner: Vector,
        u: Vector,
        v: Vector,
        instance: int,
        color: Vector,
        texture: UInt8[np.ndarray, "h w 3"] | None = None,
        *,
        period: float = 1.0,
        dropout: float = 0.0,
    ) -> None:
        """Adds a parallelogram.

        Args:
            corner: one corner in meters.
            u: first edge from there.
            v: second edge.
            instance: which instance it belongs to.
            color: 0..255; multiplies the texture.
            texture: image, or None.
            period: length over which the texture repeats, in meters; 0 shows it once over all of the surface.
            dropout: share of the rays that return nothing, as of mirrors.
        """
        corner, u, v = (np.asarray(value, float) for value in (corner, u, v))
        repeats = (1.0, 1.0) if period == 0 else (np.linalg.norm(u) / period, np.linalg.norm(v) / period)
        uv = np.array([(0, 0), (1, 0), (1, 1), (0, 1)]) * repeats
        points = np.array([corner, corner + u, corner + u + v, corner + v])
        self._add(points[_QUAD], uv[_QUAD], instance, _Material(np.asarray(color, float), texture, dropout))

    def add_box(
        self,
        center: Vector,
        size: Vector,
        instance: int,
        color: Vector,
        texture: UInt8[np.ndarray, "h w 3"] | None = None,
        *,
        yaw: float = 0.0,
        period: float = 0.0,
    ) -> None:
        """Adds a box.

        Args:
            center: its middle in meters.
            size: lengths of its edges.
            instance: which instance it belongs to.
            color: 0..255; multiplies the texture.
            texture: image for each side, or None.
            yaw: turn about z in radians.
            period: as in `add_quad`.
        """
        middle, half = np.asarray(center, float), np.asarray(size, float) / 2
        cos, sin = np.cos(yaw), np.sin(yaw)
        x, y, z = np.array([cos, sin, 0]) * half[0], np.array([-sin, cos, 0]) * half[1], np.array([0, 0, half[2]])
        for normal, u, v in ((z, x, y), (-z, x, -y), (-y, x, z), (y, -x, z), (x, y, z), (-x, -y, z)):
            self.add_quad(middle + normal - u - v, 2 * u, 2 * v, instance, color, texture, period=period)

    def add_grid(
        self,
        points: Float[np.ndarray, "m n 3"],
        instance: int,
        color: Vector,
        texture: UInt8[np.ndarray, "h w 3"] | None = None,
        *,
        period: float = 0.0,
        dropout: float = 0.0,
    ) -> None:
        """Adds a surface through rows of points, for example a curtain between a lower and an upper row.

        Args:
            points: rows of points in meters.
            instance: which instance it belongs to.
            color: 0..255; multiplies the texture.
            texture: image, or None.
            period: length along a row over which the texture repeats, in meters; 0 shows it once over all.
            dropout: as in `add_quad`.
        """
        rows, columns = points.shape[:2]
        repeats = 1.0 if period == 0 else np.linalg.norm(points[0, -1] - points[0, 0]) / period
        uv = np.stack(np.meshgrid(np.linspace(0, repeats, columns), np.linspace(0, 1, rows)), axis=-1)
        values = np.concatenate([points, uv], axis=-1)
        a, b, c, d = values[:-1, :-1], values[:-1, 1:], values[1:, 1:], values[1:, :-1]
        corners = np.concatenate([np.stack(each, axis=2).reshape(-1, 3, 5) for each in ((a, b, c), (a, c, d))])
        material = _Material(np.asarray(color, float), texture, dropout)
        self._add(corners[..., :3], corners[..., 3:], instance, material)

    def _add(self, triangles: np.ndarray, uv: np.ndarray, instance: int, material: _Material) -> None:
        self.parts.append((triangles, uv, np.full(len(triangles), len(self.materials)), instance))
        self.materials.append(material)


class RayCaster:
    """Casts rays at finished surfaces, with Open3D (Embree).

    Args:
        surfaces: the building.
    """

    def __init__(self, surfaces: Surfaces) -> None:
        import open3d

        o3d: Any = open3d  # without types
        self._tensor, self._threads = o3d.core.Tensor, {"nthreads": 1}
        self.triangles = np.concatenate([part[0] for part in surfaces.parts]).astype(np.float32)
        self._uv = np.concatenate([part[1] for part in surfaces.parts])
        self.material = np.concatenate([part[2] for part in surfaces.parts])
        self.instance = np.concatenate([np.full(len(part[0]), part[3]) for part in surfaces.parts])
        self.dropout = np.array([material.dropout for material in surfaces.materials])
        self._colors = np.array([material.color for material in surfaces.materials])
        white = np.full((1, 1, 3), 255, np.uint8)
        textures = [white if material.texture is None else material.texture for material in surfaces.materials]
        self._height, self._width = np.array([texture.shape[:2] for texture in textures]).T
        self._start = np.cumsum(self._height * self._width) - self._height * self._width
        self._pixels = np.concatenate([texture.reshape(-1, 3) for texture in textures])
        self._scene = o3d.t.geometry.RaycastingScene(nthreads=1)
        corners = np.arange(3 * len(self.triangles), dtype=np.uint32).reshape(-1, 3)
        self._scene.add_triangles(self._tensor(self.triangles.reshape(-1, 3)), self._tensor(corners))

    def cast(self, origin: Vector, direction: Float[np.ndarray, "*rays 3"]) -> Hits:
        """First surface along each ray.

        Args:
            origin: where the rays start, in meters.
            direction: their directions; `depth` counts in these lengths.
        """
        rays = np.concatenate([np.broadcast_to(origin, direction.shape), direction], axis=-1).astype(np.float32)
        found = self._scene.cast_rays(self._tensor(rays), **self._threads)
        triangle = found["primitive_ids"].numpy().astype(np.int64)
        triangle[triangle == 0xFFFFFFFF] = -1
        rgb = self._color(triangle, found["primitive_uvs"].numpy())
        return Hits(found["t_hit"].numpy(), triangle, found["primitive_normals"].numpy(), rgb)

    def is_blocked(
        self, start: Float[np.ndarray, "n 3"], ray: Float[np.ndarray, "n 3"], end: float
    ) -> Bool[np.ndarray, "n"]:
        """Whether anything blocks each ray.

        Args:
            start: where the rays start, in meters.
            ray: their directions and lengths in meters.
            end: part of the length that must be free, 1 for all.
        """
        rays = np.concatenate([start, ray], axis=1).astype(np.float32)
        return self._scene.test_occlusions(self._tensor(rays), tnear=0.0, tfar=end, **self._threads).numpy()

    def nearest_instance(self, points: Float[np.ndarray, "P 3"]) -> Int64[np.ndarray, "P"]:
        """Instance of the surface nearest to each point."""
        found = self._scene.compute_closest_points(self._tensor(points.astype(np.float32)), **self._threads)
        return self.instance[found["primitive_ids"].numpy().astype(np.int64)]

    def _color(self, triangle: np.ndarray, barycentric: np.ndarray) -> np.ndarray:
        weights = np.concatenate([1 - barycentric.sum(axis=-1, keepdims=True), barycentric], axis=-1)
        uv = np.nan_to_num(np.einsum("...k,...kc->...c", weights, self._uv[triangle]))
        material = self.material[triangle]
        height, width = self._height[material], self._width[material]
        column = (uv[..., 0] % 1.0 * width).astype(np.int64) % width
        row = ((1 - uv[..., 1]) % 1.0 * height).astype(np.int64) % height
        return self._pixels[self._start[material] + row * width + column] * self._colors[material] / 255.0
