"""Surface patches, the primitives (boxes, tubes, ellipsoids, sheets) that furniture consists of, and its items."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float64, Int64

from pcseg.kernels.ray_casting import ELLIPSOID, QUAD, TUBE

Vector = tuple[float | int, float | int, float | int]

# Textures, see pcseg.synthetic.colors.
PLAIN, WOOD, FABRIC, CARPET, TILES, PRINT, BRIGHT = range(7)

# Corner, first and second edge of the six faces of a box, in units of its axes; first × second points outwards.
_CORNER = np.array([[1, -1, -1], [-1, -1, -1], [-1, 1, -1], [-1, -1, -1], [-1, -1, 1], [-1, -1, -1]]) / 2
_FIRST = np.array([1, 2, 2, 0, 0, 1])
_SECOND = np.array([2, 1, 0, 2, 1, 0])
CORNERS = ((-1, -1), (-1, 1), (1, -1), (1, 1))  # signs of x and y


@dataclass(frozen=True)
class Patches:
    """Parametric surface patches (n of them), each the image of the unit square.

    Args:
        kind: QUAD, TUBE or ELLIPSOID.
        frame: origin and three vectors of each patch in meters.
        extra: numbers that do not rotate. A quad has bulge and bend; a tube has taper, start and part of the circle.
            An ellipsoid has lowest and highest height (-1..1).
        rgb: base color, 0..255.
        texture: one of the textures above.
        two_sided: True for sheets that both sides show.
    """

    kind: Int64[np.ndarray, "n"]
    frame: Float64[np.ndarray, "n 4 3"]
    extra: Float64[np.ndarray, "n 3"]
    rgb: Float64[np.ndarray, "n 3"]
    texture: Int64[np.ndarray, "n"]
    two_sided: Bool[np.ndarray, "n"]

    def __len__(self) -> int:
        return len(self.kind)

    def __getitem__(self, rows: Bool[np.ndarray, "n"] | Int64[np.ndarray, "k"]) -> "Patches":
        return Patches(**{name: array[rows] for name, array in vars(self).items()})

    @staticmethod
    def concatenate(parts: "list[Patches]") -> "Patches":
        """All patches of `parts`, in order."""
        return Patches(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])})

    def moved(self, position: Vector, yaw: float = 0.0) -> "Patches":
        """A copy rotated about z and then shifted.

        Args:
            position: shift in meters.
            yaw: angle in radians.
        """
        cos, sin = np.cos(yaw), np.sin(yaw)
        frame = self.frame @ np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]])
        frame[:, 0] += position
        return replace(self, frame=frame)

    def sizes(self) -> Float64[np.ndarray, "n 2"]:
        """Length of each patch along u and v in meters (the longest, where it varies)."""
        length = np.linalg.norm(self.frame, axis=2)
        size = np.stack([length[:, 1], length[:, 2]], axis=1)
        opposite = np.linalg.norm(self.frame[:, 1:3] + self.frame[:, 3:], axis=2)
        quad, tube, ball = (self.kind == kind for kind in (QUAD, TUBE, ELLIPSOID))
        size[quad] = np.maximum(size[quad], opposite[quad]) + 2 * np.abs(self.extra[quad]).sum(1, keepdims=True)
        radius = np.maximum(length[:, 1], length[:, 2])
        taper, part = self.extra[:, 0], self.extra[:, 2]
        size[tube, 0] = (2 * np.pi * radius * part * np.maximum(taper, 1))[tube]
        size[tube, 1] = np.hypot(length[:, 3], (taper - 1) * radius)[tube]
        size[ball, 0] = 2 * np.pi * radius[ball]
        height = (self.extra[:, 1] - self.extra[:, 0]) / 2
        size[ball, 1] = (np.pi * np.maximum(radius, length[:, 3]) * height)[ball]
        return size

    def areas(self) -> Float64[np.ndarray, "n"]:
        """Area of each patch in square meters (of ellipsoids and of bent quads nearly)."""
        area = self.sizes().prod(axis=1)
        quad = self.kind == QUAD
        middle = self.frame[:, 1:3] + self.frame[:, 3:] / 2
        area[quad] = np.linalg.norm(np.cross(middle[:, 0], middle[:, 1]), axis=1)[quad]
        tube = self.kind == TUBE
        taper = self.extra[:, 0]
        area[tube] *= ((1 + taper) / 2 / np.maximum(taper, 1))[tube]
        area[self.kind == ELLIPSOID] *= 2 / np.pi
        return area


class Shape:
    """A list of primitives in the frame of one object: footprint around the origin, z up from 0, front toward +y."""

    def __init__(self) -> None:
        self._boxes: list[tuple] = []
        self._others: list[tuple] = []

    def box(
        self,
        center: Vector,
        size: Vector,
        rgb: Vector,
        *,
        tilt: float = 0.0,
        yaw: float = 0.0,
        bulge: float = 0.0,
        texture: int = PLAIN,
    ) -> "Shape":
        """A box.

        Args:
            center: in meters.
            size: edge lengths in meters.
            rgb: color, 0..255.
            tilt: angle in radians that leans its upper end backwards (-y).
            yaw: angle about z in radians, applied after the tilt.
            bulge: height of a cushion in meters.
            texture: one of the textures above.
        """
        self._boxes.append((*center, *size, tilt, yaw, *rgb, bulge, texture))
        return self

    def sheet(
        self,
        corner: Vector,
        first: Vector,
        second: Vector,
        rgb: Vector,
        *,
        skew: Vector = (0.0, 0.0, 0.0),
        bulge: float = 0.0,
        bend: float = 0.0,
        texture: int = PLAIN,
        two_sided: bool = True,
    ) -> "Shape":
        """A patch corner + u first + v second + uv skew.

        Args:
            corner: in meters.
            first: first edge in meters.
            second: second edge in meters.
            rgb: color, 0..255.
            skew: shift of the opposite corner in meters.
            bulge: height of its middle in meters.
            bend: height of a bend along the first edge in meters.
            texture: one of the textures above.
            two_sided: whether both sides show.
        """
        self._others.append((QUAD, corner, first, second, skew, (bulge, bend, 0.0), rgb, texture, two_sided))
        return self

    def tube(
        self,
        base: Vector,
        top: Vector,
        radius: float,
        rgb: Vector,
        *,
        top_radius: float | None = None,
        start: float = 0.0,
        part: float = 1.0,
        caps: bool = True,
        hollow: bool = False,
        texture: int = PLAIN,
    ) -> "Shape":
        """A cylinder or cone; hollow ones and parts of a circle also show their inside.

        Args:
            base: center of its lower end in meters.
            top: center of its upper end in meters.
            radius: of the base in meters.
            rgb: color, 0..255.
            top_radius: radius of the upper end in meters; None takes `radius`.
            start: first angle in turns.
            part: part of the circle in turns.
            caps: whether both ends are closed.
            hollow: whether both ends are open.
            texture: one of the textures above.
        """
        top_radius = radius if top_radius is None else top_radius
        axis = np.subtract(top, base).astype(float)
        unit = axis / np.linalg.norm(axis)
        helper = (1.0, 0.0, 0.0) if abs(unit[0]) < 0.9 else (0.0, 1.0, 0.0)
        second = np.cross(unit, helper)
        second /= np.linalg.norm(second)
        first = np.cross(second, unit)
        a, b = first * radius, second * radius
        taper = top_radius / radius
        sheet = hollow or part < 1
        self._others.append((TUBE, base, a, b, axis, (taper, start, part), rgb, texture, sheet))
        if caps and not sheet:
            zero = (0.0, 0.0, 0.0)
            self._others.append((TUBE, base, a, -b, zero, (0.0, 0.0, 1.0), rgb, texture, False))
            if top_radius > 0:
                ends = (first * top_radius, second * top_radius)
                self._others.append((TUBE, top, *ends, zero, (0.0, 0.0, 1.0), rgb, texture, False))
        return self

    def ellipsoid(
        self, center: Vector, radii: Vector, rgb: Vector, *, low: float = -1.0, high: float = 1.0, texture: int = PLAIN
    ) -> "Shape":
        """An ellipsoid, or a zone of it.

        Args:
            center: in meters.
            radii: in meters.
            rgb: color, 0..255.
            low: lower end of the zone, -1..1.
            high: upper end of the zone, -1..1.
            texture: one of the textures above.
        """
        a, b, c = np.diag(radii)
        self._others.append((ELLIPSOID, center, a, b, c, (low, high, 0.0), rgb, texture, low > -1 or high < 1))
        return self

    def patches(self) -> Patches:
        """All primitives as surface patches."""
        parts = []
        if self._boxes:
            parts.append(_faces_of_boxes(np.array(self._boxes, float)))
        if self._others:
            kind, *vectors, extra, rgb, texture, two_sided = zip(*self._others)
            frame, extra, rgb = np.stack([np.array(v, float) for v in vectors], axis=1), np.array(extra), np.array(rgb)
            kind, texture, two_sided = np.array(kind, np.int64), np.array(texture, np.int64), np.array(two_sided)
            parts.append(Patches(kind, frame, extra.astype(float), rgb.astype(float), texture, two_sided))
        return Patches.concatenate(parts)


def _faces_of_boxes(rows: Float64[np.ndarray, "n 13"]) -> Patches:
    center, size, tilt, yaw, rgb = rows[:, :3], rows[:, 3:6], rows[:, 6], rows[:, 7], rows[:, 8:11]
    n = len(rows)
    axes = np.zeros((n, 3, 3))
    axes[:, 0, 0] = 1
    axes[:, 1, 1], axes[:, 1, 2] = np.cos(tilt), np.sin(tilt)
    axes[:, 2, 1], axes[:, 2, 2] = -np.sin(tilt), np.cos(tilt)
    cos, sin = np.cos(yaw)[:, None], np.sin(yaw)[:, None]
    x, y = axes[:, :, 0].copy(), axes[:, :, 1].copy()
    axes[:, :, 0], axes[:, :, 1] = cos * x - sin * y, sin * x + cos * y
    axes *= size[:, :, None]
    frame = np.zeros((n, 6, 4, 3))
    frame[:, :, 0] = center[:, None] + np.einsum("fk,nkx->nfx", _CORNER, axes)
    frame[:, :, 1] = axes[:, _FIRST]
    frame[:, :, 2] = axes[:, _SECOND]
    extra = np.zeros((n, 6, 3))
    extra[:, :, 0] = rows[:, 11:12]
    return Patches(
        np.full(6 * n, QUAD, np.int64),
        frame.reshape(-1, 4, 3),
        extra.reshape(-1, 3),
        np.repeat(rgb, 6, axis=0),
        np.repeat(rows[:, 12].astype(np.int64), 6),
        np.zeros(6 * n, bool),
    )


@dataclass(frozen=True)
class Top:
    """A level surface for things: a rectangle in the frame of its item, its height and the free height above."""

    x0: float
    y0: float
    x1: float
    y1: float
    z: float
    clearance: float = 1.0


@dataclass(frozen=True)
class Item:
    """One object, around the origin, standing on z = 0, its front toward +y.

    Args:
        patches: its surfaces.
        size: width (x), depth (y) and height of the box around it in meters.
        label: class of S3DIS.
        category: raw category of ScanNet.
        tops: surfaces for things on it.
        thin: whether it is so flat that the surface under it has to be cut out.
    """

    patches: Patches
    size: tuple[float, float, float]
    label: str
    category: str
    tops: tuple[Top, ...] = ()
    thin: bool = False
