"""What readers of scans have in common: names of label columns, colors, and a choice of points."""

from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from pcseg.structures import Scene

LABEL_COLUMNS = ("semantic", "semantic_nyu40", "label", "instance", "superpoint")


def color_to_uint8(path: Path, color: np.ndarray) -> np.ndarray:
    """Converts colors to bytes: 16 bits are cut to 8, fractions 0..1 are scaled, other numbers must be 0..255.

    Args:
        path: file, for the message.
        color: (P, 3), any number type. Unsigned 16-bit colors that never exceed 255 count as bytes, because many
            programs write them so.

    Returns:
        uint8 (P, 3).

    Raises:
        ValueError: a color is out of range.

    >>> color_to_uint8(Path("a.ply"), np.array([[0.0, 0.2, 1.0]])).tolist()
    [[0, 51, 255]]
    """
    if color.dtype == np.uint8 or len(color) == 0:
        return np.ascontiguousarray(color, np.uint8)
    low, high = color.min(), color.max()
    if color.dtype.kind == "u" and color.dtype.itemsize == 2 and high > 255:
        return (color >> 8).astype(np.uint8)
    if not (low >= 0 and high <= 255):
        raise ValueError(f"{path}: expected colors 0..255 or 0..1, found {low}..{high}")
    if color.dtype.kind == "f" and high <= 1:
        color = color * 255
    return np.rint(color).astype(np.uint8)


def keep_points(scene: Scene, rows: Shaped[np.ndarray, "n"]) -> Scene:
    """The scene with some of its points; instances and superpoints are not renumbered, faces are dropped.

    Args:
        scene: the scene.
        rows: indices of the points (n,), or bool (P,).
    """
    per_point = ("xyz", "rgb", "normal", "semantic", "instance", "superpoint")
    kept = {key: None if (value := getattr(scene, key)) is None else value[rows] for key in per_point}
    return scene.with_(faces=None, **kept)
