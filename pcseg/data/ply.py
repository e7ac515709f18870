"""Reads point clouds and meshes from PLY files."""

import json
import re
import shutil
import tempfile
from pathlib import Path

import numpy as np
from jaxtyping import Int64
from plyfile import PlyData, PlyElement, PlyParseError

from pcseg.data.scan_fields import check_faces, fields_of_columns
from pcseg.files import decoding

_CORNERS = ("vertex_indices", "vertex_index", "vertices")


def read_ply(path: Path) -> dict[str, np.ndarray]:
    """Reads the fields of a PLY file (ASCII or binary, either byte order), see `fields_of_columns`.

    If the file has them, also faces int64 (F, 3), with polygons cut into triangles.

    Raises:
        ValueError: damaged, no vertices with x, y, z, colors out of range, or faces without vertices.
    """
    data = _parse(path)
    if "vertex" not in data:
        raise ValueError(f"{path}: it has no vertices, only {', '.join(e.name for e in data) or 'a header'}")
    vertex = data["vertex"].data
    fields = fields_of_columns(path, {name: vertex[name] for name in vertex.dtype.names or ()})
    if "face" in data and len(data["face"].data):
        fields["faces"] = _triangles(path, data["face"])
        check_faces(path, fields["faces"], len(vertex))
    return fields


def painted_classes(path: Path) -> list[str]:
    """Names of the set and of its classes in a file that `pcseg.inference.exports.write_ply` painted; else none."""
    with path.open("rb") as file:
        head = file.read(1 << 16).partition(b"end_header")[0]
    names = re.findall(rb"^comment pcseg class (.*?)\r?$", head, re.MULTILINE)
    return [json.loads(name) for name in names] if b"scalar_score" in head else []


def _parse(path: Path) -> PlyData:
    with decoding(path, "a PLY file"), tempfile.TemporaryDirectory() as folder:
        with path.open("rb") as file:
            head, body = _clean_header(file.read(1 << 16))
            readable = path if head is None else Path(folder) / "clean.ply"
            if head is not None:
                with readable.open("wb") as clean:
                    clean.write(head)
                    file.seek(body)
                    shutil.copyfileobj(file, clean)
        try:
            # Fast when every face is a triangle.
            return PlyData.read(str(readable), known_list_len={"face": dict.fromkeys(_CORNERS, 3)})
        except PlyParseError:
            return PlyData.read(str(readable))


def _clean_header(head: bytes) -> tuple[bytes | None, int]:
    """A header as plyfile takes it and where the content starts, if plyfile refuses it as it is; otherwise None.

    Plain words, no blank lines, no blanks at line ends, and no property twice: the second gets another name.
    """
    start = re.match(rb"(\xef\xbb\xbf)?ply[ \t]*(\r\n|\n|\r)", head)
    end = re.search(rb"[\r\n]end_header[ \t]*(\r\n|\n|\r)", head)
    if start is None or end is None:
        return None, 0
    lines, seen = [], set()
    plain = re.sub(rb"[^\x00-\x7f]", b"?", head[: end.start()].removeprefix(start[1] or b""))
    for line in filter(None, map(bytes.rstrip, plain.splitlines())):
        words = line.split()
        if words[0] == b"element":
            seen = set()
        elif words[0] == b"property":
            if words[-1] in seen:
                line += b"_%d" % len(seen)
            seen.add(words[-1])
        lines.append(line)
    clean = start[2].join([*lines, b"end_header", b""])
    return (None if clean == head[: end.end()] else clean), end.end()


def _triangles(path: Path, element: PlyElement) -> Int64[np.ndarray, "F 3"]:
    names = element.data.dtype.names or ()
    name = next((name for name in _CORNERS if name in names), None)
    if name is None:
        raise ValueError(f"{path}: expected a property vertex_indices of face, found {', '.join(names)}")
    column = element.data[name]
    if column.dtype != object:
        return column.astype(np.int64).reshape(-1, 3)
    # Polygons as fans of triangles around their first corner.
    fans = [np.asarray(p, np.int64) for p in column]
    parts = [np.stack([np.full(len(p) - 2, p[0]), p[1:-1], p[2:]], axis=1) for p in fans if len(p) >= 3]
    return np.concatenate([np.zeros((0, 3), np.int64), *parts])
