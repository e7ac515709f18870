"""A scanner in the room: visible points, their density, light and noise."""

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, UInt8

from pcseg.classes import S3DIS
from pcseg.kernels.ray_casting import depth_map, evaluate_points, inside_foreign_box, nearest_depth
from pcseg.synthetic.colors import paint
from pcseg.synthetic.layout import Plan, Rect
from pcseg.synthetic.room import Surfaces
from pcseg.synthetic.shapes import BRIGHT, Patches

RESOLUTION = 224  # pixels along the edge of a depth map's cube faces: 0.4 degrees each
SHADOW_RESOLUTION = 112
_SHELL = [S3DIS.index(name) for name in ("ceiling", "floor", "wall")]


def stand_points(plan: Plan, rng: np.random.Generator) -> Float64[np.ndarray, "eyes 3"]:
    """One to four positions of the scanner in free space, far from one another, 1.2 to 1.8 m high."""
    num = 1 + int(plan.area > 9) + int(plan.area > 18) + int(rng.random() < 0.4)
    height = float(rng.uniform(1.35, 1.75))
    found = []
    for margin, low in ((0.3, 0.1), (0.25, 0.9), (0.1, 1.3)):
        for _ in range(40):
            x, y = float(rng.uniform(0.3, plan.width - 0.3)), float(rng.uniform(0.3, plan.depth - 0.3))
            if plan.fits(Rect(x, y, margin, margin, 0.0, low, 1.85)):
                found.append((x, y))
        if len(found) >= num:
            break
    if not found:
        found = [(min(plan.width, 1.0) / 2, min(plan.depth, 1.0) / 2)]
    spots = np.array(found)
    chosen = [0]
    while len(chosen) < min(num, len(spots)):
        distance = np.linalg.norm(spots[:, None] - spots[chosen], axis=2).min(axis=1)
        chosen.append(int(distance.argmax()))
    heights = np.clip(height + rng.normal(0, 0.05, len(chosen)), 1.2, 1.8)
    return np.column_stack([spots[chosen], heights])


def occluders(surfaces: Surfaces, *, walls: bool) -> Patches:
    """Patches that can hide others: never floor and ceiling, and `walls` only of rooms that are not convex."""
    label = np.array(surfaces.labels)[surfaces.instance - 1]
    shell = _SHELL[:2] if walls else _SHELL
    return surfaces.patches[~np.isin(label, shell)]


def map_of(patches: Patches, eye: Float64[np.ndarray, "3"], resolution: int) -> Float32[np.ndarray, "pixels"]:
    """Depth map around `eye`, see `pcseg.kernels.ray_casting.depth_map`.

    Args:
        patches: surfaces that hide what is behind them.
        eye: center of the map in meters.
        resolution: pixels along an edge of the cube.
    """
    arrays = (patches.kind, patches.frame, patches.extra, patches.sizes(), patches.two_sided)
    return depth_map(*arrays, eye, resolution)


def visibility(
    xyz: Float64[np.ndarray, "n 3"],
    normal: Float64[np.ndarray, "n 3"],
    two_sided: Bool[np.ndarray, "n"],
    eyes: Float64[np.ndarray, "eyes 3"],
    blocking: Patches,
) -> Float64[np.ndarray, "eyes n"]:
    """Sampling density of each scanner at points on surfaces; 0 where it cannot see them.

    Args:
        xyz: points on surfaces in meters.
        normal: unit normal of each point.
        two_sided: whether the back of each point's surface is visible too.
        eyes: positions of the scanners in meters.
        blocking: surfaces that can hide the points.
    """
    weights = np.zeros((len(eyes), len(xyz)))
    for row, eye in enumerate(eyes):
        depth = map_of(blocking, eye, RESOLUTION)
        ray = xyz - eye
        distance = np.sqrt(np.einsum("nk,nk->n", ray, ray)) + 1e-9
        cos = -np.einsum("nk,nk->n", ray, normal) / distance
        cos = np.where(two_sided, np.abs(cos), cos)
        # Within one pixel the depth of a slanted surface varies by this much.
        slope = np.sqrt(np.clip(1 - cos**2, 0, 1)) / np.maximum(cos, 0.12)
        tolerance = 0.02 + distance * slope * (1.5 / RESOLUTION)
        seen = (cos > 0.04) & (distance <= nearest_depth(xyz, eye, depth, RESOLUTION) + tolerance)
        weights[row] = seen * np.sqrt(np.maximum(cos, 0)) / np.maximum(distance, 0.8) ** 1.2
    return weights


def candidates(
    surfaces: Surfaces, eyes: Float64[np.ndarray, "eyes 3"], num: int, rng: np.random.Generator
) -> tuple[Int64[np.ndarray, "n"], Float64[np.ndarray, "n 3"], Float64[np.ndarray, "n 3"], Float64[np.ndarray, "n"]]:
    """Random points on surfaces that face a scanner.

    Args:
        surfaces: surfaces of a room.
        eyes: positions of the scanners in meters.
        num: approximate number of points.
        rng: random generator.

    Returns:
        Patch, coordinates in meters, unit normal, and density of the patch, of each point.
    """
    patches = surfaces.patches
    label = np.array(surfaces.labels)[surfaces.instance - 1]
    # Big empty surfaces are thinned a little, so that objects have the points.
    density = np.where(np.isin(label, _SHELL), 0.55, 1.0)
    density[label == S3DIS.index("clutter")] = 1.3
    n = len(patches)
    weight = facing_weight(patches, eyes)
    expected = patches.areas() * density * weight
    expected *= num / expected.sum()
    count = np.floor(expected + rng.random(n)).astype(np.int64)
    patch = np.repeat(np.arange(n), count)
    # The R2 sequence (M. Roberts, 2018) from a random start: more even than random numbers, as scans are.
    start, turn = rng.random((n, 2)), np.arange(len(patch)) - np.repeat(np.cumsum(count) - count, count)
    u = (start[patch, 0] + turn * 0.7548776662466927) % 1.0
    v = _area_uniform(patches, patch, (start[patch, 1] + turn * 0.5698402909980532) % 1.0)
    return patch, *evaluate_points(patches.kind, patches.frame, patches.extra, patch, u, v), weight[patch]


def facing_weight(patches: Patches, eyes: Float64[np.ndarray, "eyes 3"]) -> Float64[np.ndarray, "n"]:
    """Sampling density at the best of five places of each patch; 0 where it faces no scanner."""
    n = len(patches)
    rows = np.tile(np.arange(n), 5)
    u = np.repeat([0.5, 0.02, 0.98, 0.02, 0.98], n)
    v = np.repeat([0.5, 0.02, 0.02, 0.98, 0.98], n)
    at, normal = evaluate_points(patches.kind, patches.frame, patches.extra, rows, u, v)
    ray = at[None] - eyes[:, None]
    distance = np.linalg.norm(ray, axis=2) + 1e-9
    cos = -np.einsum("enk,nk->en", ray, normal) / distance
    flat = (patches.kind == 0) & ~patches.two_sided
    cos = np.where(np.tile(flat, 5), cos, np.maximum(np.abs(cos), 0.3))
    weight = np.where(cos > 0.03, np.sqrt(np.maximum(cos, 0)) / np.maximum(distance, 0.8) ** 1.2, 0.0)
    return weight.reshape(len(eyes), 5, n).sum(axis=0).max(axis=0)


def _area_uniform(
    patches: Patches, patch: Int64[np.ndarray, "n"], v: Float64[np.ndarray, "n"]
) -> Float64[np.ndarray, "n"]:
    """Changes v so that discs and cones are sampled evenly over their area."""
    cone = np.flatnonzero((patches.kind[patch] == 1) & (np.abs(patches.extra[patch, 0] - 1) > 1e-3))
    taper = patches.extra[patch[cone], 0]
    scale = np.sqrt(1 + (taper**2 - 1) * v[cone])
    v = v.copy()
    v[cone] = (scale - 1) / (taper - 1)
    return v


def _light_on(
    xyz: Float64[np.ndarray, "n 3"],
    normal: Float64[np.ndarray, "n 3"],
    surfaces: Surfaces,
    blocking: Patches,
    rng: np.random.Generator,
) -> Float64[np.ndarray, "n"]:
    """Brightness of surfaces: ambient light, and light of each lamp that no object blocks."""
    brightness = 0.5 + 0.08 * normal[:, 2]
    for position, power in zip(surfaces.lights, surfaces.light_power):
        ray = xyz - position
        distance = np.sqrt(np.einsum("nk,nk->n", ray, ray)) + 1e-9
        lambert = np.maximum(-np.einsum("nk,nk->n", ray, normal) / distance, 0)
        # Lamps have an extent: every point looks at another spot of it, and shadows get soft edges.
        shifted = xyz + rng.normal(0, 0.025, xyz.shape)
        depth = nearest_depth(shifted, position, map_of(blocking, position, SHADOW_RESOLUTION), SHADOW_RESOLUTION)
        lit = distance <= depth + 0.05 + distance * (2.5 / SHADOW_RESOLUTION)
        brightness += 0.62 * power * lambert * (0.12 + 0.88 * lit) / (1 + (distance / 1.6) ** 2)
    return brightness


def colors_of(
    surfaces: Surfaces,
    patch: Int64[np.ndarray, "n"],
    xyz: Float64[np.ndarray, "n 3"],
    normal: Float64[np.ndarray, "n 3"],
    scan: Int64[np.ndarray, "n"],
    blocking: Patches,
    rng: np.random.Generator,
) -> UInt8[np.ndarray, "n 3"]:
    """Colors by the camera of the scanner: paint, light, tint of the room, exposure of each scan and noise.

    Args:
        surfaces: surfaces and lights of the room.
        patch: patch of each point.
        xyz: points in meters.
        normal: unit normal of each point.
        scan: number of the scanner that sees each point, from 0.
        blocking: surfaces that throw shadows.
        rng: random generator.
    """
    patches = surfaces.patches
    texture = patches.texture[patch]
    color = paint(patches.rgb[patch], texture, xyz, patch, rng)
    light = _light_on(xyz, normal, surfaces, blocking, rng)
    light[texture == BRIGHT] = 1.0
    tint = 1 + rng.normal(0, 0.03, 3) + np.array([0.03, 0.0, -0.03]) * rng.normal()
    level = rng.uniform(0.82, 1.0) / np.quantile(light, 0.8)
    exposure = level * rng.normal(1, 0.05, int(scan.max(initial=0)) + 1)
    color = 255 * (np.maximum(color, 0) / 255 * (light * exposure[scan])[:, None] * tint) ** 0.92
    color += rng.normal(0, 3.0, color.shape) + rng.normal(0, 2.0, (len(color), 1))
    return np.clip(np.rint(color), 0, 255).astype(np.uint8)


def add_range_noise(
    xyz: Float64[np.ndarray, "n 3"],
    eye: Float64[np.ndarray, "n 3"],
    rng: np.random.Generator,
    *,
    outliers: float = 0.002,
) -> Float64[np.ndarray, "n 3"]:
    """Moves points along their rays: 2 to 5 mm of noise, slow waves of 2 mm, and outliers.

    Args:
        xyz: points in meters.
        eye: position of the scanner of each point in meters.
        rng: random generator.
        outliers: share of the points that move by centimeters, 0..1.
    """
    ray = xyz - eye
    distance = np.linalg.norm(ray, axis=1) + 1e-9
    unit = ray / distance[:, None]
    shift = rng.normal(0, 1, len(xyz)) * (0.0018 + 0.0005 * distance)
    waves = rng.normal(0, 14, (3, 3))
    shift += 0.0012 * np.sin(unit @ waves + rng.uniform(0, 6, 3)).sum(axis=1)
    mixed = rng.random(len(xyz)) < outliers
    shift[mixed] += rng.uniform(-0.12, 0.06, int(mixed.sum()))
    return xyz + unit * shift[:, None]


def hidden(surfaces: Surfaces, xyz: Float64[np.ndarray, "n 3"], owner: Int64[np.ndarray, "n"]) -> Bool[np.ndarray, "n"]:
    """True for points under something thin, such as papers on a table or a board on a wall.

    Args:
        surfaces: surfaces of the room, with the boxes of thin things.
        xyz: points in meters.
        owner: instance of each point.
    """
    return inside_foreign_box(xyz, owner, surfaces.hidden_center, surfaces.hidden_axes, surfaces.hidden_owner)
