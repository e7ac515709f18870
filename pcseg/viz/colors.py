"""Colors of objects: distinct for neighbors, also for eyes that do not see red and green apart.

Distances between colors are taken in OKLab (Ottosson 2020, "A perceptual color space for image processing"), once as
seen by most people and once as seen with deuteranopia, colors of classes also with protanopia (Viénot, Brettel and
Mollon 1999, "Digital video colormaps for checking the legibility of displays by dichromats").
"""

import numpy as np
from jaxtyping import Bool, Float, Float64, UInt8
from numpy.typing import ArrayLike

NO_OBJECT = (214, 217, 222)  # points that belong to no object
GOLDEN_ANGLE = 137.50776405
_NUM_COLORS = 72  # more than this many can no longer be told apart

_LMS = np.array(
    [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566],
     [0.0883024619, 0.2817188376, 0.6299787005]]
)  # fmt: skip
_OKLAB = np.array(
    [[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099],
     [0.0259040371, 0.7827717662, -0.8086757660]]
)  # fmt: skip
# Linear RGB as people see it who have no red, or no green cones.
_PROTAN = np.array([[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]])
_DEUTERAN = np.array([[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]])


def _to_linear(rgb: np.ndarray) -> np.ndarray:
    srgb = rgb / 255.0
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def _from_linear(linear: np.ndarray) -> np.ndarray:
    linear = np.clip(linear, 0.0, 1.0)
    srgb = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.round(srgb * 255.0).astype(np.uint8)


def _linear_to_oklab(linear: np.ndarray) -> np.ndarray:
    return np.cbrt(linear @ _LMS.T) @ _OKLAB.T


def oklab(rgb: UInt8[np.ndarray, "K 3"], deuteranopia: bool = False) -> Float64[np.ndarray, "K 3"]:
    """OKLab coordinates of sRGB colors.

    Args:
        rgb: colors 0..255.
        deuteranopia: as seen by people without green cones.

    Returns:
        Lightness 0..1 and the two color axes.
    """
    linear = _to_linear(rgb.astype(np.float64))
    if deuteranopia:
        linear = np.clip(linear @ _DEUTERAN.T, 0.0, 1.0)
    return _linear_to_oklab(linear)


def from_oklch(
    lightness: Float[np.ndarray, "K"], chroma: Float[np.ndarray, "K"], hue: Float[np.ndarray, "K"]
) -> UInt8[np.ndarray, "K 3"]:
    """sRGB colors of OKLCH coordinates; chroma is lowered as far as the screen needs it.

    Args:
        lightness: 0..1.
        chroma: 0 is gray, 0.3 is more than any screen shows.
        hue: degrees.

    Returns:
        Colors 0..255.
    """
    angle = np.deg2rad(hue)
    chroma = np.array(chroma, np.float64)
    for _ in range(40):
        lab = np.stack([lightness, chroma * np.cos(angle), chroma * np.sin(angle)], axis=1)
        linear = np.linalg.solve(_LMS, np.linalg.solve(_OKLAB, lab.T) ** 3).T
        outside = (linear.min(axis=1) < -1e-4) | (linear.max(axis=1) > 1 + 1e-4)
        if not outside.any():
            break
        chroma[outside] *= 0.93
    return _from_linear(linear)


def distinct_colors(count: int) -> UInt8[np.ndarray, "K 3"]:
    """Strong colors with hues a golden angle apart, in three steps of lightness.

    Args:
        count: how many.

    Returns:
        Colors 0..255; the first ones differ most.
    """
    index = np.arange(count)
    lightness = np.array([0.70, 0.56, 0.82])[index % 3]
    chroma = np.array([0.16, 0.17, 0.14])[index % 3]
    return from_oklch(lightness, chroma, 25.0 + index * GOLDEN_ANGLE)


def muted_colors(count: int) -> UInt8[np.ndarray, "K 3"]:
    """Pale colors for walls, floors and ceilings, so that objects stand out.

    Args:
        count: how many.

    Returns:
        Colors 0..255.
    """
    index = np.arange(count)
    lightness = np.array([0.88, 0.83, 0.91])[index % 3]
    return from_oklch(lightness, np.full(count, 0.028), 70.0 + index * GOLDEN_ANGLE)


def _closeness(pool: np.ndarray) -> np.ndarray:
    """How easily each pair of colors is confused: the inverse squared distance, for both kinds of eyes."""
    total = np.zeros((len(pool), len(pool)))
    for deuteranopia in (False, True):
        lab = oklab(pool, deuteranopia)
        squared = ((lab[:, None] - lab[None]) ** 2).sum(axis=2)
        total += 0.5 / (squared + 1e-4)
    return total


def instance_colors(
    low: Float[np.ndarray, "K 3"],
    high: Float[np.ndarray, "K 3"],
    muted: Bool[np.ndarray, "K"],
    fixed: UInt8[np.ndarray, "T 3"] | None = None,
    fixed_low: Float[np.ndarray, "T 3"] | None = None,
    fixed_high: Float[np.ndarray, "T 3"] | None = None,
) -> UInt8[np.ndarray, "K 3"]:
    """One color per object such that objects that stand near each other look different.

    Objects take their colors one after another; each takes the one that is least like those of the objects around it,
    nearer ones counting more. Beyond 72 objects, colors come back, far from where they were used first.

    Args:
        low: lower corner of the box around each object, meters.
        high: upper corner.
        muted: True for surfaces, which get pale colors.
        fixed: colors that other objects of the room have already.
        fixed_low: lower corners of those.
        fixed_high: upper corners of those.

    Returns:
        Colors 0..255.
    """
    count = len(low)
    colors = np.zeros((count, 3), np.uint8)
    colors[muted] = muted_colors(int(muted.sum()))
    strong = np.flatnonzero(~muted)
    if len(strong) == 0:
        return colors
    pool = distinct_colors(_NUM_COLORS)
    placed_low, placed_high = low[strong], high[strong]
    chosen = np.zeros(len(strong), np.int64)
    if fixed is not None and fixed_low is not None and fixed_high is not None and len(fixed):
        nearest = np.linalg.norm(oklab(fixed)[:, None] - oklab(pool)[None], axis=2).argmin(axis=1)
        placed_low, placed_high = np.vstack([fixed_low, placed_low]), np.vstack([fixed_high, placed_high])
        chosen = np.concatenate([nearest, chosen])
    closeness = _closeness(pool)
    first = len(chosen) - len(strong)
    for row in range(first, len(chosen)):
        gap = np.maximum(placed_low[row] - placed_high[:row], placed_low[:row] - placed_high[row])
        distance = np.linalg.norm(np.maximum(gap, 0.0), axis=1)
        cost = closeness[:, chosen[:row]] @ (1.0 / (distance + 0.3) ** 2)
        # Early colors of the pool differ most and look best: take a later one only where that gains something.
        chosen[row] = int((cost * (1.0 + 0.01 * np.arange(len(pool)))).argmin())
    colors[strong] = pool[chosen[first:]]
    return colors


def class_colors(muted: Bool[np.ndarray, "C"]) -> UInt8[np.ndarray, "C 3"]:
    """Colors of classes that are told apart by all eyes; up to about twenty, more come as far apart as they can.

    One after another takes the color of a pool that lies farthest from those taken, for the eyes that see it worst.

    Args:
        muted: True for surfaces, which get pale colors.

    Returns:
        Colors 0..255.
    """
    pale, strong = _pool([0.72, 0.78, 0.84, 0.9], [0.02, 0.045]), _pool(np.linspace(0.44, 0.9, 9), [0.11, 0.16])
    pool = np.vstack([pale, strong])
    is_pale = np.arange(len(pool)) < len(pale)
    colors = np.zeros((len(muted), 3), np.uint8)
    last, nearest = np.array(NO_OBJECT, np.uint8), np.full(len(pool), np.inf)
    for row in np.argsort(~muted, kind="stable"):
        for sight in (None, _DEUTERAN, _PROTAN):
            nearest = np.minimum(nearest, _distances(pool, last[None], sight)[:, 0])
        last = pool[np.where(is_pale == muted[row], nearest, -1.0).argmax()]
        colors[row] = last
    return colors


def _pool(lightness: ArrayLike, chroma: ArrayLike) -> np.ndarray:
    """Colors of all hues."""
    grid = np.meshgrid(np.asarray(lightness, float), np.asarray(chroma, float), np.arange(0.0, 360.0, 12.0))
    return from_oklch(*(part.ravel() for part in grid))


def _distances(first: np.ndarray, second: np.ndarray, sight: np.ndarray | None) -> np.ndarray:
    labs = []
    for rgb in (first, second):
        linear = _to_linear(rgb.astype(np.float64))
        labs.append(_linear_to_oklab(linear if sight is None else np.clip(linear @ sight.T, 0.0, 1.0)))
    return np.linalg.norm(labs[0][:, None] - labs[1][None], axis=2)


def superpoint_colors(count: int) -> UInt8[np.ndarray, "K 3"]:
    """Soft colors for thousands of superpoints; ids that follow each other differ.

    Args:
        count: how many.

    Returns:
        Colors 0..255.
    """
    index = np.arange(count)
    lightness = 0.62 + 0.26 * ((index * 0.7548776662) % 1.0)
    chroma = 0.06 + 0.08 * ((index * 0.5698402910) % 1.0)
    return from_oklch(lightness, chroma, index * GOLDEN_ANGLE)


def height_colors(xyz: Float[np.ndarray, "P 3"]) -> UInt8[np.ndarray, "P 3"]:
    """Colors by height, for scans without color: slate blue below, sand above.

    Args:
        xyz: coordinates, z up.

    Returns:
        Colors 0..255.
    """
    if len(xyz) == 0:
        return np.zeros((0, 3), np.uint8)
    bottom, top = np.percentile(xyz[:, 2], [0.5, 99.5])
    steps = np.linspace(0.0, 1.0, 256)
    lightness = 0.52 + 0.40 * steps
    blue, sand = 255.0, 80.0
    weight = 2.0 * np.abs(steps - 0.5)  # the ramp passes through gray
    table = from_oklch(lightness, 0.075 * weight, np.where(steps < 0.5, blue, sand))
    share = (xyz[:, 2] - bottom) / max(float(top - bottom), 1e-6)
    return table[np.clip(share * 255.0, 0, 255).astype(np.int64)]
