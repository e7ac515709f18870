"""The camera, and the points that it hides to look into a room."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64


@dataclass(frozen=True)
class View:
    """Position and direction of the camera.

    Args:
        eye: position in meters.
        rotation: rows are the right, up and backward axes of the camera.
        fov: vertical opening angle in degrees.
        cut: height above which points are hidden; None hides nothing.
        open_front: hides the walls between the camera and the room.
    """

    eye: Float64[np.ndarray, "3"]
    rotation: Float64[np.ndarray, "3 3"]
    fov: float = 32.0
    cut: float | None = None
    open_front: bool = False

    @property
    def azimuth(self) -> float:
        """Direction of the camera in degrees from the x axis towards y."""
        return float(np.rad2deg(np.arctan2(self.rotation[2, 1], self.rotation[2, 0])))

    def focal(self, height: int) -> float:
        """Pixels per unit of tan(angle) in an image with this number of rows."""
        return height / 2 / float(np.tan(np.deg2rad(self.fov) / 2))

    def hidden(self, xyz: Float32[np.ndarray, "P 3"]) -> Bool[np.ndarray, "P"]:
        """Points that the image leaves out: those above the cut, and the near walls of an open front."""
        above = np.zeros(len(xyz), np.bool_) if self.cut is None else xyz[:, 2] > self.cut
        shown = np.flatnonzero(~above)
        if self.open_front and len(shown):
            above[shown] = near_walls(xyz[shown], self.rotation[2, :2])
        return above


def look(azimuth: float, elevation: float) -> Float64[np.ndarray, "3 3"]:
    """Rotation of a camera that looks at its target from a direction.

    Args:
        azimuth: direction of the camera in degrees from the x axis towards y.
        elevation: degrees above the horizon.

    Returns:
        The right, up and backward axes as rows.
    """
    a, e = np.deg2rad(azimuth), np.deg2rad(elevation)
    back = np.array([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)])
    right = np.array([-np.sin(a), np.cos(a), 0.0])
    return np.stack([right, np.cross(back, right), back])


def bounding_box(xyz: Float[np.ndarray, "P 3"]) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"]]:
    """Smallest and largest coordinates.

    >>> bounding_box(np.array([[1.0, 2.0, 3.0], [0.0, 5.0, 1.0]]))
    (array([0., 2., 1.]), array([1., 5., 3.]))
    """
    # One column at a time is many times faster than all rows at once.
    low, high = (np.array([of(xyz[:, axis]) for axis in range(3)]) for of in (np.min, np.max))
    return low, high


def near_walls(xyz: Float32[np.ndarray, "P 3"], towards: Float[np.ndarray, "2"]) -> Bool[np.ndarray, "P"]:
    """Points of the walls between a room and a camera outside of it, and of everything in front of these walls.

    The floor plan is cut into strips towards the camera; the first tall cell of a strip is its near wall.

    Args:
        xyz: coordinates in meters, z up.
        towards: horizontal direction from the room to the camera.

    Returns:
        True for the points of near walls.
    """
    thickness = 0.28
    norm = float(np.linalg.norm(towards))
    if len(xyz) == 0 or norm < 1e-6:
        return np.zeros(len(xyz), np.bool_)
    low, high = bounding_box(xyz)
    cell = max(0.1, float((high - low)[:2].max()) / 600)
    a, b = towards / norm
    along, across = xyz[:, 0] * a + xyz[:, 1] * b, xyz[:, 1] * a - xyz[:, 0] * b
    bottom, top = np.quantile(xyz[:: max(1, len(xyz) // 20_000), 2], [0.005, 0.995])
    row = ((along.max() - along) / cell).astype(np.int64)  # 0 is closest to the camera
    strip = ((across - across.min()) / (2 * cell)).astype(np.int64)
    num_rows, num_strips = int(row.max()) + 1, int(strip.max()) + 1
    flat = strip * num_rows + row
    occupied, tall = np.zeros((2, num_strips, num_rows), np.bool_)
    occupied.ravel()[flat] = True
    tall.ravel()[flat[xyz[:, 2] > bottom + 0.8 * (top - bottom)]] = True
    first = np.where(tall.any(axis=1), tall.argmax(axis=1), -1)
    # If the near wall was not scanned, the first tall cell is the far wall, which must stay.
    seen = np.cumsum(occupied, axis=1)[np.arange(num_strips), first]
    first[seen > 0.4 * occupied.sum(axis=1)] = -1
    limit = np.where(first >= 0, along.max() - first * cell - thickness, np.inf)
    return along > limit[strip]
