"""Reads point clouds and meshes from PLY files."""

from pathlib import Path

import numpy as np
from jaxtyping import Int64
from plyfile import PlyData, PlyElement, PlyParseError

from pcseg.data.scan_fields import LABEL_COLUMNS, color_to_uint8

_COLORS = (("red", "green", "blue"), ("r", "g", "b"), ("diffuse_red", "diffuse_green", "diffuse_blue"))
_NORMALS = (("nx", "ny", "nz"), ("normal_x", "normal_y", "normal_z"))


def read_ply(path: Path) -> dict[str, np.ndarray]:
    """Reads a PLY file: ASCII or binary, either byte order, float or double.

    Args:
        path: the file.

    Returns:
        xyz float64 (P, 3). If the file has them: rgb uint8 (P, 3), normal float64 (P, 3), the columns of LABEL_COLUMNS
        (P,), and faces int64 (F, 3), with polygons cut into triangles.

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
    color = next((channels for channels in _COLORS if names.issuperset(channels)), None)
    if color:
        fields["rgb"] = color_to_uint8(path, np.stack([vertex[channel] for channel in color], axis=1))
    normal = next((axes for axes in _NORMALS if names.issuperset(axes)), None)
    if normal:
        fields["normal"] = np.stack([vertex[axis].astype(np.float64) for axis in normal], axis=1)
    for column in LABEL_COLUMNS:
        if column in names:
            fields[column] = np.ascontiguousarray(vertex[column], vertex[column].dtype.newbyteorder("="))
    if "face" in data and len(data["face"].data):
        fields["faces"] = _triangles(path, data["face"], len(vertex))
    return fields


def _parse(path: Path) -> PlyData:
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    try:
        try:
            # Fast when every face is a triangle.
            return PlyData.read(str(path), known_list_len={"face": {"vertex_indices": 3, "vertex_index": 3}})
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
