"""Points on patches, normals by differences, and depth maps by dense sampling."""

import numpy as np

from pcseg.kernels.ray_casting import ELLIPSOID, QUAD


def point(kind: int, frame: np.ndarray, extra: np.ndarray, u: float, v: float) -> np.ndarray:
    origin, a, b, c = frame
    if kind == QUAD:
        normal = np.cross(a, b) / (np.linalg.norm(np.cross(a, b)) + 1e-300)
        p, q = 2 * u - 1, 2 * v - 1
        bulge = extra[0] * (1 - p**4) * (1 - q**4) + extra[1] * (1 - p**2)
        return origin + u * a + v * b + u * v * c + bulge * normal
    if kind == ELLIPSOID:
        height = extra[0] + (extra[1] - extra[0]) * v
        radius = np.sqrt(max(1 - height**2, 0))
        return origin + radius * (np.cos(2 * np.pi * u) * a + np.sin(2 * np.pi * u) * b) + height * c
    angle = 2 * np.pi * (extra[1] + extra[2] * u)
    return origin + (1 + (extra[0] - 1) * v) * (np.cos(angle) * a + np.sin(angle) * b) + v * c


def normal(kind: int, frame: np.ndarray, extra: np.ndarray, u: float, v: float, step: float = 1e-6) -> np.ndarray:
    du = point(kind, frame, extra, u + step, v) - point(kind, frame, extra, u - step, v)
    dv = point(kind, frame, extra, u, v + step) - point(kind, frame, extra, u, v - step)
    return np.cross(du, dv) / np.linalg.norm(np.cross(du, dv))


def evaluate_points(kind, frame, extra, patch, u, v) -> tuple[np.ndarray, np.ndarray]:
    places = [(kind[k], frame[k], extra[k], *place) for k, *place in zip(patch, u, v)]
    return np.stack([point(*place) for place in places]), np.stack([normal(*place) for place in places])


def pixel(direction: np.ndarray, resolution: int) -> int:
    """Pixel of a cube map: faces +x, -x, +y, -y, +z, -z, rows and columns along the two other axes."""
    axis = int(np.abs(direction).argmax())
    face = 2 * axis + (direction[axis] < 0)
    rest = np.delete(direction, axis) / abs(direction[axis])
    i, j = np.minimum(((rest + 1) / 2 * resolution).astype(int), resolution - 1)
    return (face * resolution + i) * resolution + j


def depth_map(kind: np.ndarray, frame: np.ndarray, extra: np.ndarray, eye: np.ndarray, resolution: int) -> np.ndarray:
    """Distance to the nearest of 50 x 50 points of each patch in each pixel."""
    depth = np.full(6 * resolution**2, np.inf)
    steps = (np.arange(50) + 0.5) / 50
    for patch in zip(kind, frame, extra):
        for u in steps:
            for v in steps:
                ray = point(*patch, u, v) - eye
                where = pixel(ray, resolution)
                depth[where] = min(depth[where], np.linalg.norm(ray))
    return depth


def nearest_depth(xyz: np.ndarray, eye: np.ndarray, depth: np.ndarray, resolution: int) -> list[float]:
    return [depth[pixel(ray, resolution)] for ray in xyz - eye]


def inside_foreign_box(xyz, owner, center, axes, box_owner) -> np.ndarray:
    inside = np.abs(np.einsum("bij,nbj->nbi", axes, xyz[:, None] - center)).max(axis=2) < 1
    return (inside & (owner[:, None] != box_owner)).any(axis=1)
