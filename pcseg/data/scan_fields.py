"""What readers of scans have in common: columns become fields, and labels, colors and faces are checked."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Int32, Shaped

from pcseg.structures import Scene

LABEL_COLUMNS = ("semantic", "semantic_nyu40", "label", "instance", "superpoint")
_COLUMNS = {
    "xyz": (("x", "y", "z"),),
    "rgb": (("red", "green", "blue"), ("r", "g", "b"), ("diffuse_red", "diffuse_green", "diffuse_blue")),
    "normal": (("nx", "ny", "nz"), ("normal_x", "normal_y", "normal_z")),
}


def fields_of_columns(path: Path, columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Gathers the columns of a file into fields.

    Args:
        path: file, for messages.
        columns: values (P,) of each column by its name; other names are ignored.

    Returns:
        xyz float64 (P, 3). If the file has them: rgb uint8 (P, 3), normal float64 (P, 3), and the columns of
        LABEL_COLUMNS (P,).

    Raises:
        ValueError: x, y or z is missing, or a color is out of range.
    """
    fields = {}
    for key, alternatives in _COLUMNS.items():
        names = next((names for names in alternatives if columns.keys() >= set(names)), None)
        if names is not None:
            values = np.stack([columns[name] for name in names], axis=1)
            fields[key] = color_to_uint8(path, values) if key == "rgb" else values.astype(np.float64)
    if "xyz" not in fields:
        raise ValueError(f"{path}: expected columns x y z, found {' '.join(columns) or 'none'}")
    labels = {name: columns[name] for name in LABEL_COLUMNS if name in columns}
    return fields | {name: np.ascontiguousarray(v, v.dtype.newbyteorder("=")) for name, v in labels.items()}


def color_to_uint8(path: Path, color: np.ndarray) -> np.ndarray:
    """Converts colors to uint8: 16 bits are cut to 8, fractions 0..1 are scaled, other numbers must be 0..255.

    Args:
        path: file, for the message.
        color: (P, 3), any number type. Unsigned 16-bit colors that never exceed 255 count as bytes, because many
            programs write them so.

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


def check_faces(where: object, faces: Shaped[np.ndarray, "F 3"] | None, num_points: int) -> None:
    """Checks that faces index existing points.

    Args:
        where: file or scene, for the message.
        faces: triangles as point indices; None passes.
        num_points: number of points.

    Raises:
        ValueError: an index is out of range.
    """
    if faces is not None and len(faces) and (faces.min() < 0 or faces.max() >= num_points):
        raise ValueError(f"{where}: faces name points {faces.min()}..{faces.max()}, there are {num_points}")


def without_gaps(ids: Shaped[np.ndarray, "P"]) -> Int32[np.ndarray, "P"]:
    """The ids renumbered 0, 1, ... in their order."""
    return np.unique(ids, return_inverse=True)[1].reshape(-1).astype(np.int32)


def keep_points(scene: Scene, rows: Shaped[np.ndarray, "n"]) -> Scene:
    """The scene with some of its points; instances and superpoints are not renumbered, faces are dropped.

    Args:
        scene: the scene.
        rows: indices of the points (n,), or bool (P,).
    """
    per_point = ("xyz", "rgb", "normal", "semantic", "instance", "superpoint")
    kept = {key: None if (value := getattr(scene, key)) is None else value[rows] for key in per_point}
    return scene.with_(faces=None, **kept)
