"""Augmentations: pure functions of a scene and a random generator, and the list of them that a recipe uses."""

from collections.abc import Callable, Sequence
from functools import partial
from inspect import signature

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import convolve1d, map_coordinates

from pcseg.structures import Scene

Augmentation = Callable[[Scene, np.random.Generator], Scene]


def flip(scene: Scene, rng: np.random.Generator) -> Scene:
    """Mirror along x and along y, each with probability one half."""
    signs = np.array([*rng.choice([-1.0, 1.0], 2), 1.0])
    return _linear(scene, np.diag(signs))


def rotate(scene: Scene, rng: np.random.Generator, *, degrees: float = 180.0) -> Scene:
    """Turn about z by up to `degrees` either way."""
    return _linear(scene, _rotation(2, rng.uniform(-degrees, degrees)))


def tilt(scene: Scene, rng: np.random.Generator, *, degrees: float = 3.0) -> Scene:
    """Turn about x and y by up to `degrees` either way."""
    return _linear(scene, _rotation(0, rng.uniform(-degrees, degrees)) @ _rotation(1, rng.uniform(-degrees, degrees)))


def scale(scene: Scene, rng: np.random.Generator, *, low: float = 0.9, high: float = 1.1) -> Scene:
    """Grow or shrink by a factor between `low` and `high`."""
    return scene.with_(xyz=(scene.xyz * np.float32(rng.uniform(low, high))).astype(np.float32))


def jitter(scene: Scene, rng: np.random.Generator, *, std: float = 0.005) -> Scene:
    """Gaussian noise of `std` metres on every coordinate."""
    return scene.with_(xyz=scene.xyz + rng.standard_normal(scene.xyz.shape, np.float32) * np.float32(std))


def elastic(
    scene: Scene,
    rng: np.random.Generator,
    *,
    granularity: float = 0.2,
    magnitude: float = 0.4,
    probability: float = 0.8,
) -> Scene:
    """Bend space by a smooth random field: noise every `granularity` metres, smoothed, times `magnitude` metres.

    Source: Simard et al. 2003; the settings (0.2, 0.4) and (0.8, 1.6) are the ones common for ScanNet.
    """
    if len(scene) == 0 or rng.random() >= probability:
        return scene
    low = scene.xyz.min(0)
    cells = ((scene.xyz.max(0) - low) / granularity).astype(int) + 3
    position = ((scene.xyz - low) / granularity + 1).T
    box = np.full(3, 1 / 3, np.float32)
    shift = np.empty_like(scene.xyz)
    for axis in range(3):
        field = rng.standard_normal(cells, np.float32)
        for _ in range(2):
            for along in range(3):
                field = convolve1d(field, box, axis=along, mode="constant")
        shift[:, axis] = map_coordinates(field, position, order=1, mode="nearest", prefilter=False)
    return scene.with_(xyz=scene.xyz + shift * np.float32(magnitude))


def color_shift(scene: Scene, rng: np.random.Generator, *, std: float = 12.0) -> Scene:
    """Add one random colour of `std` (of 255) per channel to the whole room; nothing without colour."""
    return scene if scene.rgb is None else _recolor(scene, scene.rgb + rng.normal(0, std, 3).astype(np.float32))


def color_contrast(scene: Scene, rng: np.random.Generator, *, low: float = 0.8, high: float = 1.2) -> Scene:
    """Stretch colours about their mean by a factor between `low` and `high`; nothing without colour."""
    if scene.rgb is None or len(scene) == 0:
        return scene
    mean = scene.rgb.mean(0, dtype=np.float64).astype(np.float32)
    return _recolor(scene, (scene.rgb - mean) * np.float32(rng.uniform(low, high)) + mean)


def color_jitter(scene: Scene, rng: np.random.Generator, *, std: float = 5.0) -> Scene:
    """Gaussian noise of `std` (of 255) on the colour of every point; nothing without colour."""
    if scene.rgb is None:
        return scene
    return _recolor(scene, scene.rgb + rng.standard_normal(scene.rgb.shape, np.float32) * np.float32(std))


def color_drop(scene: Scene, rng: np.random.Generator, *, probability: float = 0.1) -> Scene:
    """Now and then all colours become mid-grey, so that a model also learns shape; nothing without colour."""
    if scene.rgb is None or rng.random() >= probability:
        return scene
    return scene.with_(rgb=np.full_like(scene.rgb, 127))


def drop_points(scene: Scene, rng: np.random.Generator, *, share: float = 0.2) -> Scene:
    """Leave out up to `share` of the points, at least one stays."""
    keep = rng.random(len(scene)) >= rng.uniform(0, share)
    if len(scene) and not keep.any():
        keep[0] = True
    return select(scene, keep)


def crop_cuboid(scene: Scene, rng: np.random.Generator, *, size: float = 5.0) -> Scene:
    """Keep a vertical box of `size` x `size` metres around a random point; smaller rooms stay whole."""
    if len(scene) == 0:
        return scene
    center = scene.xyz[rng.integers(len(scene)), :2]
    return select(scene, (np.abs(scene.xyz[:, :2] - center) <= size / 2).all(1))


def crop_points(scene: Scene, rng: np.random.Generator, *, max_points: int = 250_000) -> Scene:
    """Keep the `max_points` points nearest (in plan) to a random one; smaller rooms stay whole."""
    if len(scene) <= max_points:
        return scene
    center = scene.xyz[rng.integers(len(scene)), :2]
    distance = np.square(scene.xyz[:, :2] - center).sum(1)
    keep = np.zeros(len(scene), bool)
    keep[np.argpartition(distance, max_points)[:max_points]] = True
    return select(scene, keep)


AUGMENTATIONS: dict[str, Callable[..., Scene]] = {
    f.__name__: f
    for f in (
        flip, rotate, tilt, scale, jitter, elastic, color_shift, color_contrast, color_jitter, color_drop,
        drop_points, crop_cuboid, crop_points,
    )
}  # fmt: skip


def compose(steps: Sequence[tuple[str, dict[str, float]]]) -> Augmentation:
    """One augmentation from a list of (name, keyword arguments), applied in order.

    Raises:
        ValueError: there is no augmentation of that name, or it takes no such argument.
    """
    chain = []
    for name, options in steps:
        if name not in AUGMENTATIONS:
            raise ValueError(f"no augmentation {name!r}; known: {', '.join(AUGMENTATIONS)}")
        function = AUGMENTATIONS[name]
        known = set(signature(function).parameters) - {"scene", "rng"}
        if unknown := set(options) - known:
            raise ValueError(f"augmentation {name} takes {sorted(known)}, got {sorted(unknown)}")
        chain.append(partial(function, **options))

    def apply(scene: Scene, rng: np.random.Generator) -> Scene:
        for step in chain:
            scene = step(scene, rng)
        return scene

    return apply


def select(scene: Scene, keep: Bool[np.ndarray, "P"]) -> Scene:
    """The points of a scene where `keep` is True; superpoints and instances are not renumbered, faces are dropped."""
    per_point = ("xyz", "rgb", "normal", "semantic", "instance", "superpoint")
    chosen = {key: None if (value := getattr(scene, key)) is None else value[keep] for key in per_point}
    return scene.with_(faces=None, **chosen)


def _linear(scene: Scene, matrix: Float[np.ndarray, "3 3"]) -> Scene:
    matrix = matrix.astype(np.float32)
    normal = None if scene.normal is None else scene.normal @ matrix.T
    return scene.with_(xyz=scene.xyz @ matrix.T, normal=normal)


def _rotation(axis: int, degrees: float) -> Float[np.ndarray, "3 3"]:
    a, b = (i for i in range(3) if i != axis)
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix = np.eye(3)
    matrix[a, a] = matrix[b, b] = cos
    matrix[a, b], matrix[b, a] = -sin, sin
    return matrix


def _recolor(scene: Scene, rgb: Float[np.ndarray, "P 3"]) -> Scene:
    return scene.with_(rgb=np.clip(rgb + 0.5, 0, 255).astype(np.uint8))
