"""Augmentations: records of options, called with a room and a random generator, and their composition by a config.

Each draws a random strength up to its options, and some happen only with a `probability`. Those of color leave scenes
without color as they are.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields

import numpy as np
from jaxtyping import Float, Float32

from pcseg.data.scan_fields import MID_GRAY, keep_points
from pcseg.kernels.elastic import displaced
from pcseg.ops.voxelize import bounding_box
from pcseg.structures import Scene

_MAX_NODES = 1e8  # of the field of `Elastic`, 12 bytes each
Partner = Callable[[np.random.Generator], Scene]  # another room of the dataset


@dataclass(frozen=True)
class Flip:
    """Mirror the room along x and along y, each with probability one half."""

    def __call__(self, scene: Scene, rng: np.random.Generator) -> Scene:
        signs = np.array([*rng.choice([-1.0, 1.0], 2), 1.0])
        return scene.transformed(np.diag(signs))


@dataclass(frozen=True)
class Rotate:
    """Turn the room about z by a random angle."""

    degrees: float = 180.0  # largest angle, either way

    def __call__(self, scene: Scene, rng: np.random.Generator) -> Scene:
        return scene.transformed(_rotation(2, rng.uniform(-self.degrees, self.degrees)))


@dataclass(frozen=True)
class Tilt:
    """Turn the room about x and about y by random angles."""

    degrees: float = 3.0  # largest angle about each axis, either way

    def __call__(self, scene: Scene, rng: np.random.Generator) -> Scene:
        about_x, about_y = (_rotation(axis, rng.uniform(-self.degrees, self.degrees)) for axis in (0, 1))
        return scene.transformed(about_x @ about_y)


@dataclass(frozen=True)
class Scale:
    """Scale the room by a random factor."""

    low: float = 0.9  # smallest factor
    high: float = 1.1  # largest factor

    def __call__(self, scene: Scene, rng: np.random.Generator) -> Scene:
        return scene.with_(xyz=(scene.xyz * np.float32(rng.uniform(self.low, self.high))).astype(np.float32))


@dataclass(frozen=True)
class Jitter:
    """Add Gaussian noise to every coordinate."""

    std: float = 0.005  # standard deviation in meters

    def __call__(self, scene: Scene, rng: np.random.Generator) -> Scene:
        return scene.with_(xyz=scene.xyz + rng.standard_normal(scene.xyz.shape, np.float32) * np.float32(self.std))


@dataclass(frozen=True)
class Elastic:
    """Bend space by a smooth random field.

    Raises:
        ValueError: a scene so large that the field would not fit in memory.

    Source: Simard et al. 2003; the settings (0.2, 0.4) and (0.8, 1.6) are common for ScanNet.
    """

    granularity: float = 0.2  # distance of the nodes of the field, in meters
    magnitude: float = 0.4  # factor from the field, smoothed unit noise, to meters
    probability: float = 0.8  # probability of bending

    def __call__(self, scene: Scene, rng: np.random.Generator) -> Scene:
        if len(scene) == 0 or rng.random() >= self.probability:
            return scene
        from scipy.ndimage import uniform_filter  # takes long to import

        low, high = bounding_box(scene.xyz)
        # A node before the first point and two beyond the last one.
        cells = ((high - low) / self.granularity).astype(int) + 4
        if (num_nodes := math.prod(cells.tolist())) > _MAX_NODES:
            size = " x ".join(f"{edge:.0f}" for edge in high - low)
            found = f"scene {scene.name} measures {size} m: elastic would need {num_nodes * 12 / 2**30:.0f} GiB"
            raise ValueError(f"{found}; crop it before, raise granularity, or check its unit")
        field = rng.standard_normal((*cells, 3), np.float32)
        for _ in range(2):
            field = uniform_filter(field, (3, 3, 3, 1), mode="constant")  # type: ignore[arg-type]
        xyz = np.require(scene.xyz, requirements=["C", "W"])
        return scene.with_(xyz=displaced(xyz, low, np.float32(self.granularity), field, np.float32(self.magnitude)))


@dataclass(frozen=True)
class ColorShift:
    """Add one random color to the whole room; scenes without color stay the same."""

    std: float = 12.0  # standard deviation per channel, of 255

    def __call__(self, scene: Scene, rng: np.random.Generator) -> Scene:
        if scene.rgb is None:
            return scene
        return _recolor(scene, scene.rgb + rng.normal(0, self.std, 3).astype(np.float32))


@dataclass(frozen=True)
class ColorContrast:
    """Stretch colors about their mean; scenes without color stay the same."""

    low: float = 0.8  # smallest factor
    high: float = 1.2  # largest factor

    def __call__(self, scene: Scene, rng: np.random.Generator) -> Scene:
        if scene.rgb is None or len(scene) == 0:
            return scene
        mean = scene.rgb.mean(0, dtype=np.float64).astype(np.float32)
        return _recolor(scene, (scene.rgb - mean) * np.float32(rng.uniform(self.low, self.high)) + mean)


@dataclass(frozen=True)
class ColorJitter:
    """Add Gaussian noise to the color of every point; scenes without color stay the same."""

    std: float = 5.0  # standard deviation per channel, of 255

    def __call__(self, scene: Scene, rng: np.random.Generator) -> Scene:
        if scene.rgb is None:
            return scene
        return _recolor(scene, scene.rgb + rng.standard_normal(scene.rgb.shape, np.float32) * np.float32(self.std))


@dataclass(frozen=True)
class ColorDrop:
    """Sometimes set all colors to mid-gray, so that a model also learns shape."""

    probability: float = 0.1  # probability of gray

    def __call__(self, scene: Scene, rng: np.random.Generator) -> Scene:
        if scene.rgb is None or rng.random() >= self.probability:
            return scene
        return scene.with_(rgb=np.full_like(scene.rgb, MID_GRAY))


@dataclass(frozen=True)
class DropPoints:
    """Remove a random part of the points; at least one point stays."""

    share: float = 0.2  # largest part to remove, 0..1

    def __call__(self, scene: Scene, rng: np.random.Generator) -> Scene:
        keep = rng.random(len(scene)) >= rng.uniform(0, self.share)
        if len(scene) and not keep.any():
            keep[0] = True
        return keep_points(scene, keep)


@dataclass(frozen=True)
class ThinObjects:
    """Sometimes thin each instance differently, as density depends on the distance from the scanner.

    Rooms without instances stay the same.
    """

    share: float = 0.8  # largest part of the points of an instance to remove, 0..1
    probability: float = 0.3  # probability of thinning

    def __call__(self, scene: Scene, rng: np.random.Generator) -> Scene:
        if scene.instance is None or rng.random() >= self.probability:
            return scene
        removed = rng.uniform(0, self.share, int(scene.instance.max(initial=0)) + 1)
        keep = rng.random(len(scene)) >= removed[scene.instance]
        return keep_points(scene, keep) if keep.any() else scene


@dataclass(frozen=True)
class LimitObjects:
    """Sometimes keep about N random points of each instance that has more, as datasets with such a limit do.

    Walls and floors become sparse then, and small things stay dense.
    """

    low: float | int = 2000  # lowest limit
    high: float | int = 10000  # highest limit
    probability: float = 0.3  # probability of a limit

    def __call__(self, scene: Scene, rng: np.random.Generator) -> Scene:
        if scene.instance is None or rng.random() >= self.probability:
            return scene
        share = rng.uniform(self.low, self.high) / np.maximum(np.bincount(scene.instance), 1)
        share[:1] = 1  # points of no instance
        keep = rng.random(len(scene)) < share[scene.instance]
        return keep_points(scene, keep) if keep.any() else scene


@dataclass(frozen=True)
class Holes:
    """Remove points within balls around random ones, as where the scanner did not see; at least one point stays."""

    count: float | int = 6  # most holes; their number is random
    radius: float = 0.4  # largest radius of a hole in meters

    def __call__(self, scene: Scene, rng: np.random.Generator) -> Scene:
        keep = np.ones(len(scene), bool)
        for _ in range(rng.integers(int(self.count) + 1) if len(scene) > 1 else 0):
            center, size = scene.xyz[rng.integers(len(scene))], rng.uniform(0, self.radius)
            x, y, z = scene.xyz.T - center[:, None]
            keep &= x * x + y * y + z * z > size**2
        return keep_points(scene, keep) if keep.any() else scene


@dataclass(frozen=True)
class CropCuboid:
    """Keep a vertical box around a random point."""

    size: float = 5.0  # edge of the box in plan, in meters
    probability: float = 1.0  # probability of cropping

    def __call__(self, scene: Scene, rng: np.random.Generator) -> Scene:
        if len(scene) == 0 or rng.random() >= self.probability:
            return scene
        x, y = np.abs(scene.xyz[:, :2].T - scene.xyz[rng.integers(len(scene)), :2, None]) <= self.size / 2
        return keep_points(scene, x & y)


@dataclass(frozen=True)
class CropPoints:
    """Keep the points nearest in plan to a random one."""

    max_points: float | int = 250_000  # number of points to keep; smaller rooms stay complete

    def __call__(self, scene: Scene, rng: np.random.Generator) -> Scene:
        num = int(self.max_points)  # configs give every number as a float
        if len(scene) <= num:
            return scene
        x, y = scene.xyz[:, :2].T - scene.xyz[rng.integers(len(scene)), :2, None]
        keep = np.zeros(len(scene), bool)
        keep[np.argpartition(x * x + y * y, num)[:num]] = True
        return keep_points(scene, keep)


@dataclass(frozen=True)
class Mix:
    """Sometimes add a second room, on the same floor and about the same middle; instances stay apart.

    Source: Nekrasov et al., Mix3D: Out-of-Context Data Augmentation for 3D Scenes, 3DV 2021.
    """

    probability: float = 0.5  # probability of mixing

    def __call__(self, scene: Scene, rng: np.random.Generator, partner: Partner) -> Scene:
        """Mix the room with the one that `partner` gives, which has points and all the fields of this one.

        Raises:
            ValueError: one of the rooms has a field that the other lacks.
        """
        if len(scene) == 0 or rng.random() >= self.probability:
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


# By their names in a config.
AUGMENTATIONS: dict[str, type] = {
    "flip": Flip, "rotate": Rotate, "tilt": Tilt, "scale": Scale, "jitter": Jitter, "elastic": Elastic,
    "color_shift": ColorShift, "color_contrast": ColorContrast, "color_jitter": ColorJitter, "color_drop": ColorDrop,
    "drop_points": DropPoints, "thin_objects": ThinObjects, "limit_objects": LimitObjects, "holes": Holes,
    "crop_cuboid": CropCuboid, "crop_points": CropPoints, "mix": Mix,
}  # fmt: skip


@dataclass(frozen=True)
class AugmentStep:
    """One of `AUGMENTATIONS` and its options; an item of ``augment`` of a config.

    Raises:
        ValueError: there is no augmentation of that name, or it has no such option.
    """

    name: str
    options: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.name not in AUGMENTATIONS:
            raise ValueError(f"name {self.name!r} is no augmentation; known: {', '.join(AUGMENTATIONS)}")
        known = [option.name for option in fields(AUGMENTATIONS[self.name])]
        if unknown := [option for option in self.options if option not in known]:
            raise ValueError(f"options of {self.name}: unknown {unknown[0]!r}; known: {', '.join(known) or 'none'}")

    def build(self) -> Callable[..., Scene]:
        """The augmentation with these options."""
        return AUGMENTATIONS[self.name](**self.options)


@dataclass(frozen=True)
class Composition:
    """Augmentations applied in order, as in ``Composition((Rotate(degrees=90.0), Flip()))``."""

    steps: tuple[Callable[..., Scene], ...]

    def __call__(self, scene: Scene, rng: np.random.Generator, partner: Partner | None = None) -> Scene:
        """Applies the steps; the room that `partner` gives for a mix first goes through the steps before the mix.

        Raises:
            ValueError: there is a mix and no partner.
        """
        for index, step in enumerate(self.steps):
            if not isinstance(step, Mix):
                scene = step(scene, rng)
            elif partner is None:
                raise ValueError("augmentation mix needs a second room, and there is no dataset to take it from")
            else:
                before = Composition(tuple(step for step in self.steps[:index] if not isinstance(step, Mix)))
                scene = step(scene, rng, lambda rng, before=before: before(partner(rng), rng))
        return scene


def compose(steps: Sequence[tuple[str, dict[str, float | int]]]) -> Composition:
    """Composes augmentations from pairs of a name and options.

    Raises:
        ValueError: there is no augmentation of that name, or it has no such option.

    >>> room = Scene("room", np.ones((1, 3), np.float32))
    >>> compose([("scale", {"low": 2.0, "high": 2.0})])(room, np.random.default_rng(0)).xyz
    array([[2., 2., 2.]], dtype=float32)
    """
    # Floats, as in configs.
    floats = ((name, {key: float(value) for key, value in options.items()}) for name, options in steps)
    return Composition(tuple(AugmentStep(name, options).build() for name, options in floats))


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
