"""Colors and textures that furniture, walls and floors have."""

from itertools import pairwise

import numpy as np
from jaxtyping import Float64, UInt8

TEXTURE_PIXELS = 96


def palette(rng: np.random.Generator) -> Float64[np.ndarray, "3"]:
    """A color of furniture or paint, 0..255: mostly whites, grays and woods, some strong ones."""
    kind = rng.random()
    if kind < 0.3:
        color = np.full(3, rng.uniform(170, 250)) * (1, rng.uniform(0.93, 1), rng.uniform(0.8, 1))
    elif kind < 0.5:
        color = np.full(3, rng.uniform(25, 160)) * rng.uniform(0.92, 1.08, 3)
    elif kind < 0.83:
        color = np.array((205, rng.uniform(140, 170), rng.uniform(85, 125))) * rng.uniform(0.35, 1.0)
    else:
        color = rng.uniform(30, 220, 3)
        color = color.mean() + (color - color.mean()) * rng.uniform(0.4, 1.0)
    return np.clip(color, 5, 255)


def speckle(rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """Paint or carpet: nearly plain, with stains."""
    stains = rng.normal(0, 1, (6, 6, 1)) * rng.uniform(2, 10) + rng.normal(0, 1, (6, 6, 3))
    noise = rng.normal(0, rng.uniform(1, 10), (48, 48, 1))
    return _image(240 + np.kron(stains, np.ones((8, 8, 1))) + noise)


def streaks(rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """Cloth with folds: upright streaks of light and shade."""
    n, num = TEXTURE_PIXELS, int(rng.integers(6, 24))
    tone = np.interp(np.linspace(0, num, n), np.arange(num + 1), rng.normal(0, rng.uniform(10, 50), num + 1))
    tint = np.interp(np.linspace(0, 3, n), np.arange(4), rng.normal(0, 12, 4))
    return _image(np.broadcast_to(np.stack([225 + tone, 225 + tone + tint, 225 + tone - tint], axis=1), (n, n, 3)))


def painting(rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """A picture on a wall: patches of several colors."""
    n = int(rng.integers(2, 7))
    return _image(np.kron(np.stack([palette(rng) for _ in range(n * n)]).reshape(n, n, 3), np.ones((8, 8, 1))))


def planks(rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """Wooden boards, each with its own tone, grain and end joints."""
    n, rows = TEXTURE_PIXELS, int(rng.integers(5, 12))
    image = np.zeros((n, n, 3))
    wood = np.array((rng.uniform(150, 220), rng.uniform(100, 165), rng.uniform(60, 120)))
    edges = np.linspace(0, n, rows + 1).astype(int)
    for low, high in pairwise(edges):
        cuts = [0, *np.sort(rng.integers(8, n - 8, int(rng.integers(1, 3)))), n]
        for left, right in pairwise(cuts):
            grain = np.repeat(rng.normal(0, 6, (high - low, 1)), right - left, axis=1)
            image[low:high, left:right] = wood * rng.uniform(0.82, 1.12) + grain[..., None]
            image[low:high, right - 1] *= 0.7
        image[high - 1] *= 0.75
    return _image(image)


def tiles(rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """Tiles or bricks with joints, in one or two colors."""
    n, rows = TEXTURE_PIXELS, int(rng.integers(2, 7))
    columns = rows if rng.random() < 0.6 else max(rows // 2, 1)
    colors = [palette(rng) * 0.5 + 110, palette(rng)]
    two_colors, joint = rng.random() < 0.25, palette(rng) * 0.5 + 60
    shifted = columns != rows and rng.random() < 0.8
    image = np.zeros((n, n, 3))
    for i in range(rows):
        for j in range(columns):
            color = colors[(i + j) % 2 if two_colors else 0] * rng.uniform(0.92, 1.06)
            top, left = i * n // rows, (j * n + (i % 2) * shifted * n // 2) // columns
            cells = np.arange(left, left + n // columns) % n
            image[top : top + n // rows, cells] = color
            image[top : top + n // rows, cells[0]] = joint
        image[i * n // rows] = joint
    return _image(image + rng.normal(0, 3, image.shape))


def stripes(rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """Wallpaper or cloth: stripes, checks or dots in two or three colors."""
    n = TEXTURE_PIXELS
    u, v = np.meshgrid(np.arange(n), np.arange(n))
    period = n / int(rng.integers(2, 9))
    waves = np.sin(2 * np.pi * u / period), np.sin(2 * np.pi * v / period)
    form = rng.integers(3)
    share = (waves[0] if form == 0 else np.maximum(*waves) if form == 1 else waves[0] * waves[1]) > rng.uniform(
        -0.4, 0.6
    )
    first, second = palette(rng), palette(rng)
    return _image(np.where(share[..., None], first, first * 0.5 + second * 0.5) + rng.normal(0, 4, (n, n, 1)))


def _image(values: np.ndarray) -> UInt8[np.ndarray, "h w 3"]:
    return np.clip(values, 0, 255).astype(np.uint8)
