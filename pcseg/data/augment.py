"""Augmentations: pure functions of a room, a random generator and settings, and their composition by a config.

Each draws a random strength up to its settings, and some happen only with a `probability`. Those of color leave scenes
without color as they are.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from inspect import signature

import numpy as np
from jaxtyping import Float, Float32

from pcseg.data.scan_fields import MID_GRAY, keep_points
from pcseg.kernels.elastic import displaced
from pcseg.ops.voxelize import bounding_box
from pcseg.structures import Scene

Partner = Callable[[np.random.Generator], Scene]  # another room of the dataset


def flip(scene: Scene, rng: np.random.Generator) -> Scene:
    """Mirror the room along x and along y, each with probability one half."""
    signs = np.array([*rng.choice([-1.0, 1.0], 2), 1.0])
    return scene.transformed(np.diag(signs))


def rotate(scene: Scene, rng: np.random.Generator, *, degrees: float = 180.0) -> Scene:
    """Turn the room about z by a random angle.

    Args:
        scene: the room.
        rng: random generator.
        degrees: largest angle, either way.
    """
    return scene.transformed(_rotation(2, rng.uniform(-degrees, degrees)))


def tilt(scene: Scene, rng: np.random.Generator, *, degrees: float = 3.0) -> Scene:
    """Turn the room about x and about y by random angles.

    Args:
        scene: the room.
        rng: random generator.
        degrees: largest angle about each axis, either way.
    """
    return scene.transformed(
        _rotation(0, rng.uniform(-degrees, degrees)) @ _rotation(1, rng.uniform(-degrees, degrees))
    )


def scale(scene: Scene, rng: np.random.Generator, *, low: float = 0.9, high: float = 1.1) -> Scene:
    """Scale the room by a random factor.

    Args:
        scene: the room.
        rng: random generator.
        low: smallest factor.
        high: largest factor.
    """
    return scene.with_(xyz=(scene.xyz * np.float32(rng.uniform(low, high))).astype(np.float32))


def jitter(scene: Scene, rng: np.random.Generator, *, std: float = 0.005) -> Scene:
    """Add Gaussian noise to every coordinate.

    Args:
        scene: the room.
        rng: random generator.
        std: standard deviation in meters.
    """
    return scene.with_(xyz=scene.xyz + rng.standard_normal(scene.xyz.shape, np.float32) * np.float32(std))


def elastic(
    scene: Scene,
    rng: np.random.Generator,
    *,
    granularity: float = 0.2,
    magnitude: float = 0.4,
    probability: float = 0.8,
) -> Scene:
    """Bends space by a smooth random field.

    Args:
        scene: the room.
        rng: random generator.
        granularity: distance of the nodes of the field, in meters.
        magnitude: factor from the field, smoothed unit noise, to meters.
        probability: probability of bending.

    Source: Simard et al. 2003; the settings (0.2, 0.4) and (0.8, 1.6) are common for ScanNet.
    """
    if len(scene) == 0 or rng.random() >= probability:
        return scene
    from scipy.ndimage import uniform_filter  # takes long to import

    low, high = bounding_box(scene.xyz)
    # A node before the first point and two beyond the last one.
    cells = ((high - low) / granularity).astype(int) + 4
    field = rng.standard_normal((*cells, 3), np.float32)
    for _ in range(2):
        field = uniform_filter(field, (3, 3, 3, 1), mode="constant")  # type: ignore[arg-type]
    xyz = np.require(scene.xyz, requirements=["C", "W"])
    return scene.with_(xyz=displaced(xyz, low, np.float32(granularity), field, np.float32(magnitude)))


def color_shift(scene: Scene, rng: np.random.Generator, *, std: float = 12.0) -> Scene:
    """Add one random color to the whole room; scenes without color stay the same.

    Args:
        scene: the room.
        rng: random generator.
        std: standard deviation per channel, of 255.
    """
    return scene if scene.rgb is None else _recolor(scene, scene.rgb + rng.normal(0, std, 3).astype(np.float32))


def color_contrast(scene: Scene, rng: np.random.Generator, *, low: float = 0.8, high: float = 1.2) -> Scene:
    """Stretch colors about their mean; scenes without color stay the same.

    Args:
        scene: the room.
        rng: random generator.
        low: smallest factor.
        high: largest factor.
    """
    if scene.rgb is None or len(scene) == 0:
        return scene
    mean = scene.rgb.mean(0, dtype=np.float64).astype(np.float32)
    return _recolor(scene, (scene.rgb - mean) * np.float32(rng.uniform(low, high)) + mean)


def color_jitter(scene: Scene, rng: np.random.Generator, *, std: float = 5.0) -> Scene:
    """Add Gaussian noise to the color of every point; scenes without color stay the same.

    Args:
        scene: the room.
        rng: random generator.
        std: standard deviation per channel, of 255.
    """
    if scene.rgb is None:
        return scene
    return _recolor(scene, scene.rgb + rng.standard_normal(scene.rgb.shape, np.float32) * np.float32(std))


def color_drop(scene: Scene, rng: np.random.Generator, *, probability: float = 0.1) -> Scene:
    """Sometimes set all colors to mid-gray, so that a model also learns shape.

    Args:
        scene: the room.
        rng: random generator.
        probability: probability of gray.
    """
    if scene.rgb is None or rng.random() >= probability:
        return scene
    return scene.with_(rgb=np.full_like(scene.rgb, MID_GRAY))


def drop_points(scene: Scene, rng: np.random.Generator, *, share: float = 0.2) -> Scene:
    """Remove a random part of the points; at least one point stays.

    Args:
        scene: the room.
        rng: random generator.
        share: largest part to remove, 0..1.
    """
    keep = rng.random(len(scene)) >= rng.uniform(0, share)
    if len(scene) and not keep.any():
        keep[0] = True
    return keep_points(scene, keep)


def thin_objects(scene: Scene, rng: np.random.Generator, *, share: float = 0.8, probability: float = 0.3) -> Scene:
    """Sometimes thin each instance differently, as density depends on the distance from the scanner.

    Args:
        scene: the room; without instances it stays the same.
        rng: random generator.
        share: largest part of the points of an instance to remove, 0..1.
        probability: probability of thinning.
    """
    if scene.instance is None or rng.random() >= probability:
        return scene
    removed = rng.uniform(0, share, int(scene.instance.max(initial=0)) + 1)
    keep = rng.random(len(scene)) >= removed[scene.instance]
    return keep_points(scene, keep) if keep.any() else scene


def holes(scene: Scene, rng: np.random.Generator, *, count: float | int = 6, radius: float = 0.4) -> Scene:
    """Remove all points within balls around random points, as where the scanner did not see; at least one point stays.

    Args:
        scene: the room.
        rng: random generator.
        count: most holes; their number is random.
        radius: largest radius of a hole in meters.
    """
    keep = np.ones(len(scene), bool)
    for _ in range(rng.integers(int(count) + 1) if len(scene) > 1 else 0):
        center, size = scene.xyz[rng.integers(len(scene))], rng.uniform(0, radius)
        keep &= np.square(scene.xyz - center).sum(1) > size**2
    return keep_points(scene, keep) if keep.any() else scene


def crop_cuboid(scene: Scene, rng: np.random.Generator, *, size: float = 5.0, probability: float = 1.0) -> Scene:
    """Keep a vertical box around a random point.

    Args:
        scene: the room.
        rng: random generator.
        size: edge of the box in plan, in meters.
        probability: probability of cropping.
    """
    if len(scene) == 0 or rng.random() >= probability:
        return scene
    center = scene.xyz[rng.integers(len(scene)), :2]
    return keep_points(scene, np.asarray((np.abs(scene.xyz[:, :2] - center) <= size / 2).all(1)))


def crop_points(scene: Scene, rng: np.random.Generator, *, max_points: float | int = 250_000) -> Scene:
    """Keep the points nearest in plan to a random one.

    Args:
        scene: the room.
        rng: random generator.
        max_points: number of points to keep; smaller rooms stay complete.
    """
    max_points = int(max_points)  # configs give every number as a float
    if len(scene) <= max_points:
        return scene
    center = scene.xyz[rng.integers(len(scene)), :2]
    distance = np.square(scene.xyz[:, :2] - center).sum(1)
    keep = np.zeros(len(scene), bool)
    keep[np.argpartition(distance, max_points)[:max_points]] = True
    return keep_points(scene, keep)


def mix(scene: Scene, rng: np.random.Generator, *, partner: Partner, probability: float = 0.5) -> Scene:
    """Sometimes adds a second room, on the same floor and about the same middle; instances stay apart.

    Args:
        scene: the room.
        rng: random generator.
        partner: gives the second room, which has points and all the fields of this one.
        probability: probability of mixing.

    Raises:
        ValueError: one of the rooms has a field that the other lacks.

    Source: Nekrasov et al., Mix3D: Out-of-Context Data Augmentation for 3D Scenes, 3DV 2021.
    """
    if len(scene) == 0 or rng.random() >= probability:
        return scene
    other = partner(rng)
    both = {}
    for key in ("rgb", "normal", "semantic", "instance", "superpoint"):
        first, second = getattr(scene, key), getattr(other, key)
        if (first is None) != (second is None):
            lacking = scene if first is None else other
            raise ValueError(f"rooms {scene.name} and {other.name} cannot be mixed: {lacking.name} has no {key}")
        if first is None:
            continue
        if key == "instance":
            second = np.where(second > 0, second + first.max(initial=0), second).astype(np.int32)
        elif key == "superpoint":
            second = second + np.int32(scene.num_superpoints)
        both[key] = np.concatenate([first, second])
    shift = middle_of_floor(scene.xyz) - middle_of_floor(other.xyz)
    xyz = np.concatenate([scene.xyz, other.xyz + shift])
    return scene.with_(name=f"{scene.name}+{other.name}", xyz=xyz, faces=None, file=None, **both)


AUGMENTATIONS: dict[str, Callable[..., Scene]] = {
    f.__name__: f
    for f in (
        flip, rotate, tilt, scale, jitter, elastic, color_shift, color_contrast, color_jitter, color_drop,
        drop_points, thin_objects, holes, crop_cuboid, crop_points, mix,
    )
}  # fmt: skip


@dataclass(frozen=True)
class AugmentStep:
    """One of `AUGMENTATIONS` and its keyword arguments; an item of ``augment`` of a config."""

    name: str
    options: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Composition:
    """Augmentations applied in order."""

    steps: tuple[tuple[str, Callable[..., Scene]], ...]  # name and function of each

    def __call__(self, scene: Scene, rng: np.random.Generator, partner: Partner | None = None) -> Scene:
        """Applies the steps; the room that `partner` gives for a mix first goes through the steps before the mix.

        Raises:
            ValueError: there is a mix and no partner.
        """
        for index, (name, step) in enumerate(self.steps):
            if name != "mix":
                scene = step(scene, rng)
            elif partner is None:
                raise ValueError("augmentation mix needs a second room, and there is no dataset to take it from")
            else:
                before = Composition(tuple(pair for pair in self.steps[:index] if pair[0] != "mix"))
                scene = step(scene, rng, partner=lambda rng, before=before: before(partner(rng), rng))
        return scene


def compose(steps: Sequence[tuple[str, dict[str, float | int]]]) -> Composition:
    """Composes augmentations from pairs of a name and keyword arguments.

    Raises:
        ValueError: there is no augmentation of that name, or it takes no such argument.

    >>> room = Scene("room", np.ones((1, 3), np.float32))
    >>> compose([("scale", {"low": 2.0, "high": 2.0})])(room, np.random.default_rng(0)).xyz
    array([[2., 2., 2.]], dtype=float32)
    """
    for name, options in steps:
        if name not in AUGMENTATIONS:
            raise ValueError(f"no augmentation {name!r}; known: {', '.join(AUGMENTATIONS)}")
        known = set(signature(AUGMENTATIONS[name]).parameters) - {"scene", "rng", "partner"}
        if unknown := set(options) - known:
            raise ValueError(f"augmentation {name} takes {sorted(known)}, got {sorted(unknown)}")
    return Composition(tuple((name, partial(AUGMENTATIONS[name], **options)) for name, options in steps))


def middle_of_floor(xyz: Float32[np.ndarray, "P 3"]) -> Float32[np.ndarray, "3"]:
    """Middle of the bounding box of some points in plan, at the height of the lowest one."""
    low, high = bounding_box(xyz)
    return np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]], np.float32)


def _rotation(axis: int, degrees: float) -> Float[np.ndarray, "3 3"]:
    a, b = (i for i in range(3) if i != axis)
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix = np.eye(3)
    matrix[a, a] = matrix[b, b] = cos
    matrix[a, b], matrix[b, a] = -sin, sin
    return matrix


def _recolor(scene: Scene, rgb: Float[np.ndarray, "P 3"]) -> Scene:
    return scene.with_(rgb=np.clip(rgb + 0.5, 0, 255).astype(np.uint8))
