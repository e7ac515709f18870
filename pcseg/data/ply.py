"""Point clouds and meshes out of PLY files."""

from pathlib import Path

import numpy as np
from jaxtyping import Int64
from plyfile import PlyData, PlyElement, PlyParseError

_COLORS = (("red", "green", "blue"), ("r", "g", "b"), ("diffuse_red", "diffuse_green", "diffuse_blue"))
_NORMALS = (("nx", "ny", "nz"), ("normal_x", "normal_y", "normal_z"))
_COLUMNS = ("semantic", "semantic_nyu40", "label", "instance", "superpoint")


def read_ply(path: Path) -> dict[str, np.ndarray]:
    """What a PLY file holds: ASCII or binary, either byte order, float or double.

    Args:
        path: the file.

    Returns:
        xyz float64 (P, 3); where the file has them: rgb uint8 (P, 3), normal float64 (P, 3), the columns semantic,
        semantic_nyu40, label, instance and superpoint (P,), and faces int64 (F, 3), polygons cut into triangles.

    Raises:
        ValueError: no such file, damaged, no vertices with x, y, z, colors out of range, or faces without vertices.
    """
    data = _parse(path)
    if "vertex" not in data:
        raise ValueError(f"{path}: expected an element vertex, found {', '.join(e.name for e in data) or 'none'}")
    vertex = data["vertex"].data
    names = set(vertex.dtype.names or ())
    if not {"x", "y", "z"} <= names:
        raise ValueError(f"{path}: expected properties x, y, z of vertex, found {', '.join(sorted(names))}")
    fields = {"xyz": np.stack([vertex[axis].astype(np.float64) for axis in "xyz"], axis=1)}
    for color in _COLORS:
        if names.issuperset(color):
            fields["rgb"] = color_to_uint8(path, np.stack([vertex[channel] for channel in color], axis=1))
            break
    for normal in _NORMALS:
        if names.issuperset(normal):
            fields["normal"] = np.stack([vertex[axis].astype(np.float64) for axis in normal], axis=1)
            break
    for column in _COLUMNS:
        if column in names:
            fields[column] = np.ascontiguousarray(vertex[column], vertex[column].dtype.newbyteorder("="))
    if "face" in data and len(data["face"].data):
        fields["faces"] = _triangles(path, data["face"], len(vertex))
    return fields


def color_to_uint8(path: Path, color: np.ndarray) -> np.ndarray:
    """Colors as uint8: bytes as they are, 16 bits cut to 8, fractions 0..1 times 255, other numbers must be 0..255.

    Args:
        path: for the message.
        color: (P, 3), any number type. Unsigned 16 bits that never pass 255 are taken for bytes, as many programs
            write them.

    Raises:
        ValueError: out of range.
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


def _parse(path: Path) -> PlyData:
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    try:
        try:
            # Fast when every face is a triangle.
            known = {"face": {"vertex_indices": 3, "vertex_index": 3}}
            return PlyData.read(str(path), known_list_len=known)
        except PlyParseError:
            return PlyData.read(str(path))
    except (PlyParseError, ValueError, EOFError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a PLY file, or damaged ({error})") from error


def _triangles(path: Path, element: PlyElement, num_points: int) -> Int64[np.ndarray, "F 3"]:
    names = element.data.dtype.names or ()
    name = next((name for name in ("vertex_indices", "vertex_index") if name in names), None)
    if name is None:
        raise ValueError(f"{path}: expected a property vertex_indices of face, found {', '.join(names)}")
    column = element.data[name]
    if column.dtype != object:
        faces = column.astype(np.int64).reshape(-1, 3)
    else:
        # Polygons as fans of triangles around their first corner.
        fans = [np.asarray(p, np.int64) for p in column]
        parts = [np.stack([np.full(len(p) - 2, p[0]), p[1:-1], p[2:]], axis=1) for p in fans if len(p) >= 3]
        faces = np.concatenate(parts) if parts else np.zeros((0, 3), np.int64)
    if len(faces) and (faces.min() < 0 or faces.max() >= num_points):
        raise ValueError(f"{path}: faces name vertices {faces.min()}..{faces.max()}, there are {num_points}")
    return faces
