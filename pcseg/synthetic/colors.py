"""Colors of furniture, and patterns on its surfaces."""

import numpy as np
from jaxtyping import Float64, Int64

from pcseg.synthetic.shapes import BRIGHT, CARPET, FABRIC, PRINT, TILES, WOOD, Vector

WOODS = ((186, 140, 92), (156, 104, 62), (112, 72, 44), (214, 180, 134), (92, 58, 40), (196, 160, 120))
DESK_TOPS = (*WOODS, (226, 224, 218), (206, 208, 206), (120, 120, 122))
METALS = ((60, 60, 64), (148, 150, 154), (188, 190, 192), (36, 36, 38))
FABRICS = (
    (40, 42, 48), (62, 78, 120), (128, 44, 44), (70, 96, 72), (150, 130, 102), (92, 92, 96), (180, 92, 42),
    (34, 58, 84), (120, 66, 100), (26, 26, 28), (188, 178, 160), (64, 128, 132),
)  # fmt: skip
PLASTICS = (
    (230, 230, 226), (40, 40, 42), (188, 60, 48), (60, 110, 160), (220, 170, 60), (90, 150, 90), (120, 122, 126),
)  # fmt: skip
BOOKS = (
    (150, 40, 38), (40, 70, 130), (40, 110, 70), (220, 210, 190), (200, 150, 50), (90, 50, 100), (30, 30, 34),
    (190, 190, 194), (200, 100, 50), (90, 130, 160), (110, 80, 60), (232, 230, 222),
)  # fmt: skip
WALLS = (
    (226, 220, 206), (232, 230, 226), (214, 214, 206), (206, 212, 218), (228, 212, 180), (200, 208, 192),
    (222, 200, 190),
)  # fmt: skip
FLOORS = ((120, 112, 102), (92, 96, 104), (150, 136, 116), (168, 124, 80), (128, 88, 56), (176, 170, 160), (84, 74, 70))
CEILINGS = ((232, 230, 224), (220, 220, 218), (240, 238, 232), (210, 206, 196))
DOORS = ((172, 126, 80), (140, 92, 56), (214, 206, 190), (106, 74, 52), (180, 176, 168), (96, 108, 122))
CARTON = (180, 142, 98)
DARK = (30, 30, 33)
LEAF = (64, 112, 52)


def pick(rng: np.random.Generator, palette: tuple[Vector, ...], spread: float = 9.0) -> Vector:
    """A color of a palette with small random changes of brightness and tint.

    Args:
        rng: random generator.
        palette: colors to choose from, 0..255.
        spread: three standard deviations of the change of each channel, apart from brightness.
    """
    base = np.array(palette[int(rng.integers(len(palette)))], float)
    color = base * rng.normal(1.0, 0.04) + rng.normal(0.0, spread / 3, 3)
    r, g, b = np.clip(color, 8, 250)
    return float(r), float(g), float(b)


def darker(rgb: Vector, factor: float) -> Vector:
    """The color times `factor`."""
    return rgb[0] * factor, rgb[1] * factor, rgb[2] * factor


def _smooth_noise(
    xyz: Float64[np.ndarray, "n 3"], wavelength: float, rng: np.random.Generator, num_waves: int = 4
) -> Float64[np.ndarray, "n"]:
    """A smooth random field of standard deviation near 1: a sum of waves about `wavelength` meters long."""
    directions = rng.normal(size=(3, num_waves))
    directions *= 2 * np.pi / (wavelength * np.linalg.norm(directions, axis=0))
    directions *= rng.uniform(0.6, 1.6, num_waves)
    phases = xyz @ directions + rng.uniform(0, 2 * np.pi, num_waves)
    return np.sin(phases).sum(axis=1) * np.sqrt(2.0 / num_waves)


def paint(
    rgb: Float64[np.ndarray, "n 3"],
    texture: Int64[np.ndarray, "n"],
    xyz: Float64[np.ndarray, "n 3"],
    patch: Int64[np.ndarray, "n"],
    rng: np.random.Generator,
) -> Float64[np.ndarray, "n 3"]:
    """Adds patterns (wood grain, weave, tiles, print, stains) to base colors.

    Args:
        rgb: base color of each point, 0..255.
        texture: texture of each point, see `pcseg.synthetic.shapes`.
        xyz: coordinates in meters.
        patch: patch of each point; each has its own print.
        rng: random numbers.

    Returns:
        Colors without light.
    """
    factor = 1 + 0.025 * _smooth_noise(xyz, 1.3, rng)
    wood = np.flatnonzero(texture == WOOD)
    warp = 0.02 * _smooth_noise(xyz[wood], 0.5, rng, 2)
    grain = np.sin((xyz[wood, 1] + 0.6 * xyz[wood, 2] + warp) * 130.0) + np.sin((xyz[wood, 1] + 2 * warp) * 47.0)
    factor[wood] += 0.045 * grain
    fabric = np.flatnonzero(texture == FABRIC)
    factor[fabric] += rng.normal(0, 0.06, len(fabric))
    carpet = np.flatnonzero(texture == CARPET)
    factor[carpet] += rng.normal(0, 0.05, len(carpet)) + 0.04 * _smooth_noise(xyz[carpet], 0.25, rng)
    tiles = np.flatnonzero(texture == TILES)
    joint = (np.abs((xyz[tiles, :2] / 0.6) % 1.0 - 0.5) > 0.475).any(axis=1)
    factor[tiles] -= 0.16 * joint
    printed = np.flatnonzero(texture == PRINT)
    color = rgb * factor[:, None]
    cells = np.floor(xyz[printed] / 0.045).astype(np.int64)
    mixed = (cells * np.array([73856093, 19349663, 83492791])).sum(1) + patch[printed] * 2654435761
    noise = np.stack([(mixed * prime >> 7) % 1009 / 1009 for prime in (7919, 15485863, 32452843)], axis=1)
    color[printed] = color[printed] * 0.55 + 0.45 * 255 * noise
    color[texture == BRIGHT] = rgb[texture == BRIGHT]
    return color
