"""Reads meshes of .obj, .glb, .gltf, .stl and .off files as points: their vertices, or samples of large triangles."""

import importlib.util
import io
import itertools
import json
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float64, Int64, UInt8

from pcseg.data.scan_fields import Report, check_faces, color_to_uint8, likely_range
from pcseg.files import decoding

MESH_SUFFIXES = (".obj", ".glb", ".gltf", ".stl", ".off")
# A mesh with more than this share of its surface in triangles longer than so many spacings is sampled.
_LARGE_SHARE, _LONG = 0.1, 3
_MOST_SAMPLES, _FEW_SAMPLES = 20_000_000, 100_000
_UNCOLORED = 102  # what trimesh gives to surfaces without color
# Options before the name of a texture, such as "-s 1 1 1 -clamp on".
_MAP_OPTIONS = re.compile(r"^(-[a-zA-Z]+\s+((on|off|[rgbmlz]|[-+]?[\d.]\S*)\s+)*)+")


def read_mesh(path: Path, spacing_of: Callable[[np.ndarray], float], report: Report) -> dict[str, np.ndarray]:
    """Reads the fields of a mesh, whose parts are joined.

    Where the triangles are small, the points are its vertices, and it keeps its faces. Those of .obj and .off are in
    the order of the file. Otherwise points are sampled on its surface, the same ones each time. Colors are those of
    textures, vertices, faces or materials.

    Args:
        path: the file; materials and textures of .obj and .gltf are files next to it.
        spacing_of: gives the distance of samples, in units of the file, for points (n, 3) of its surface.
        report: called with the number of samples, and with missing materials and textures.

    Returns:
        xyz float64 (P, 3). If the file has them, rgb uint8 (P, 3) and faces int64 (F, 3).

    Raises:
        ValueError: trimesh is missing, or the file is damaged, compressed or has no points.

    Source: The glTF 2.0 specification, for the direction up.
    """
    try:
        import trimesh
    except ImportError as error:
        raise ValueError(f"{path}: reading it needs trimesh, run: pip install trimesh") from error
    with decoding(path, "a mesh"):
        required = _compressions(path)
    if required:
        draco = required == ["KHR_draco_mesh_compression"]
        remedy = f"{'run: pip install DracoPy, or ' if draco else ''}export it without compression"
        raise ValueError(f"{path}: its points are compressed ({', '.join(required)}); {remedy}")
    with decoding(path, "a mesh"), _quiet():
        if path.suffix.lower() == ".obj":
            parts, rows, xyz, rgb = _read_obj(path, report)
        else:
            parts = [_read_off(path)] if path.suffix.lower() == ".off" else _load(path)
            xyz = np.concatenate([np.zeros((0, 3)), *(part.vertices for part in parts)])
            rgb = np.full(xyz.shape, _UNCOLORED, np.uint8)
            rows = np.split(np.arange(len(xyz)), np.cumsum([len(part.vertices) for part in parts])[:-1])
        if not len(xyz):
            raise ValueError("no points in it")
        meshes = [part for part in parts if isinstance(part, trimesh.Trimesh) and len(part.faces)]
        for mesh in meshes:
            check_faces(path, mesh.faces, len(mesh.vertices))
        total = sum(large_area(mesh.triangles, 0) for mesh in meshes)
    if total > 0:
        spacing = spacing_of(_sample(meshes, (total / _FEW_SAMPLES) ** 0.5)[0])
        large = sum(large_area(mesh.triangles, _LONG * spacing) for mesh in meshes)
        if large > _LARGE_SHARE * total:
            spacing = max(spacing, (total / _MOST_SAMPLES) ** 0.5)
            samples, colors = _sample(meshes, spacing)
            sizes = f"{sum(len(mesh.faces) for mesh in meshes):,} triangles, surface {total:.4g}"
            found = f"{len(samples):,} points are sampled, about {spacing:.3g} apart"
            report(f"Its triangles are large ({sizes}): {found}.")
            return _fields(samples, colors)
    for part, its_rows in zip(parts, rows):
        rgb[its_rows] = _vertex_colors(part)
    faces = [its_rows[part.faces] for part, its_rows in zip(parts, rows) if isinstance(part, trimesh.Trimesh)]
    fields = _fields(xyz, rgb)
    return {**fields, "faces": np.concatenate(faces)} if meshes else fields


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences trimesh, which logs tracebacks of what it goes on without."""
    log = logging.getLogger("trimesh")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)


def _compressions(path: Path) -> list[str]:
    """Compressions of the points of a .glb or .gltf file that cannot be decoded."""
    if path.suffix.lower() not in (".glb", ".gltf"):
        return []
    with path.open("rb") as file:
        head = file.read(20)
        content = file.read(int.from_bytes(head[12:16], "little") if head.startswith(b"glTF") else -1)
    required = json.loads(content if head.startswith(b"glTF") else head + content).get("extensionsRequired", [])
    draco = importlib.util.find_spec("DracoPy") is not None
    return [name for name in required if "_compression" in name and not (draco and "draco" in name)]


def _load(path: Path) -> list[Any]:
    """Parts of a mesh that have vertices, as trimesh reads them."""
    import trimesh

    # The corners of an .stl file are separate points, which processing merges.
    scene: Any = trimesh.load(path, force="scene", process=path.suffix.lower() == ".stl")
    return [p for p in scene.dump() if isinstance(p, (trimesh.Trimesh, trimesh.PointCloud)) and len(p.vertices)]


def _read_obj(
    path: Path, report: Report
) -> tuple[list[Any], list[Int64[np.ndarray, "_"]], Float64[np.ndarray, "P 3"], UInt8[np.ndarray, "P 3"]]:
    """Parts of a mesh, the points of the file that their vertices are, and all points of the file with their colors.

    trimesh sorts vertices by material and texture, and leaves out some: it reads their numbers in place of coordinates.
    """
    import trimesh
    from trimesh.resolvers import FilePathResolver
    from trimesh.visual import ColorVisuals

    missing: dict[str, None] = {}

    class Files(FilePathResolver):
        def get(self, name: str) -> bytes:
            plain = _MAP_OPTIONS.sub("", name.strip()).replace("\\", "/")
            try:
                return super().get(plain)
            except (OSError, ValueError):
                missing[plain] = None
                raise

    text = trimesh.util.decode_text(path.read_bytes()).removeprefix("\ufeff")
    lines = text.replace("\r\n", "\n").replace("\\\n", " ").split("\n")
    _count_forward(lines)
    places = [place for place, line in enumerate(lines) if line.lstrip()[:2] in ("v ", "v\t")]
    if not places:
        raise ValueError("no points in it")
    points = [lines[place] for place in places]
    has_color = [len(point.split("#")[0].split()) >= 7 for point in points]
    colored = all(has_color)
    if any(has_color) and not colored:
        report(f"{sum(has_color):,} of its {len(points):,} points have colors, which are not used.")
    table = np.loadtxt(points, usecols=range(1, 7 if colored else 4), ndmin=2)
    xyz = table[:, :3]
    rgb = _color_bytes(path, table[:, 3:]) if colored else np.full(xyz.shape, _UNCOLORED, np.uint8)
    for number, place in enumerate(places):
        lines[place] = f"v {number} 0 0"
    content = io.BytesIO("\n".join(lines).encode())
    scene: Any = trimesh.load(content, "obj", resolver=Files(str(path)), force="scene", process=False)
    parts = [part for part in scene.dump() if isinstance(part, trimesh.Trimesh)]
    rows = [np.asarray(part.vertices)[:, 0].astype(np.int64) for part in parts]
    for part, its_rows in zip(parts, rows):
        part.vertices = xyz[its_rows]
        visual: Any = part.visual
        material = getattr(visual, "material", None)
        # Only images that come from a file count: trimesh gives a gray one to texture coordinates without material.
        image = material is not None and material.image is not None and "file_path" in material.image.info
        if not image or visual.uv is None:
            if colored:
                part.visual = ColorVisuals(part, vertex_colors=rgb[its_rows])
            elif material is None or "kd" not in material.kwargs:
                part.visual = ColorVisuals()
    if missing:
        report(f"Its materials or textures {', '.join(missing)} are missing.")
    return parts, rows, xyz, rgb


def _count_forward(lines: list[str]) -> None:
    """Replaces negative numbers of corners, which count back from their own line; trimesh counts from the last line."""
    if not any("-" in line for line in lines if line.lstrip()[:2] in ("f ", "f\t")):
        return
    counts = {"v": 0, "vt": 0, "vn": 0}  # in the order of a corner
    for place, line in enumerate(lines):
        word, *corners = line.split() or [""]
        if word in counts:
            counts[word] += 1
        elif word == "f":
            pairs = (zip(corner.split("/"), counts.values()) for corner in corners)
            forward = ("/".join(f"{count + 1 + int(n)}" if n[:1] == "-" else n for n, count in pair) for pair in pairs)
            lines[place] = f"f {' '.join(forward)}"


def _read_off(path: Path) -> Any:
    """The points of an .off file, its polygons as triangles, and colors of all points or all polygons.

    Source: Geomview's description of the format: a line "[C][N]OFF", then the numbers of points and polygons. Each
    point has a line "x y z [nx ny nz] [r g b a]", and each polygon a line "corners index... [r g b a]".
    """
    import trimesh
    from trimesh.visual import ColorVisuals

    lines = [words for line in path.read_text("latin-1").splitlines() if (words := line.split("#")[0].split())]
    kind, *counts = lines[0]
    if not re.fullmatch("C?N?OFF", kind):
        raise ValueError(f"its first line is {kind!r}, expected OFF, COFF, NOFF or CNOFF")
    lines = lines[1:] if not counts else [counts, *lines[1:]]
    num_points, num_faces = (int(count) for count in lines[0][:2])
    points, polygons = lines[1 : 1 + num_points], lines[1 + num_points : 1 + num_points + num_faces]
    if len(points) != num_points or len(polygons) != num_faces:
        raise ValueError(f"expected {num_points} points and {num_faces} faces, it is cut short")
    fans, colors = [], []
    for polygon in polygons:
        corners, color = np.array(polygon[1 : 1 + int(polygon[0])], np.int64), polygon[1 + int(polygon[0]) :][:3]
        fans += [(corners[0], second, third) for second, third in itertools.pairwise(corners[1:])]
        colors += [color] * max(len(corners) - 2, 0)
    xyz = np.array([point[:3] for point in points], np.float64).reshape(-1, 3)
    mesh = trimesh.Trimesh(xyz, np.array(fans, np.int64).reshape(-1, 3), process=False)
    first = 6 if "N" in kind else 3
    if kind.startswith("C"):
        of_points = np.array([point[first : first + 3] for point in points], np.float64)
        mesh.visual = ColorVisuals(mesh, vertex_colors=_color_bytes(path, of_points))
    elif colors and all(len(color) == 3 for color in colors):
        mesh.visual = ColorVisuals(mesh, face_colors=_color_bytes(path, np.array(colors, np.float64)))
    return mesh


def _color_bytes(path: Path, color: Float64[np.ndarray, "n 3"]) -> UInt8[np.ndarray, "n 3"]:
    return color_to_uint8(path, color, color_range=likely_range(color) or 255, report=lambda text: None)


def _fields(xyz: Float64[np.ndarray, "P 3"], rgb: UInt8[np.ndarray, "P 3"]) -> dict[str, np.ndarray]:
    xyz = np.asarray(xyz, np.float64)
    return {"xyz": xyz} if (rgb == _UNCOLORED).all() else {"xyz": xyz, "rgb": rgb}


def large_area(corners: Float[np.ndarray, "F 3 3"], edge: float | int) -> float:
    """The area of the triangles with these corners whose longest edge is longer than this."""
    longest = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(axis=1, initial=0)
    return float(_areas(corners)[longest > edge].sum())


def _areas(corners: Float[np.ndarray, "F 3 3"]) -> Float64[np.ndarray, "F"]:
    corners = np.asarray(corners, np.float64)
    doubled = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    return np.where(np.isfinite(doubled), doubled / 2, 0.0)


def _sample(meshes: list[Any], spacing: float) -> tuple[Float64[np.ndarray, "P 3"], UInt8[np.ndarray, "P 3"]]:
    """Random points on all triangles, one for each square of the spacing, with their colors."""
    rng = np.random.default_rng(0)
    xyz, rgb = [], []
    for mesh in meshes:
        counts = np.floor(_areas(mesh.triangles) / spacing**2 + rng.random(len(mesh.faces))).astype(np.int64)
        face = np.repeat(np.arange(len(counts)), counts)
        first, second = np.sqrt(rng.random(len(face))), rng.random(len(face))
        weights = np.stack([1 - first, first * (1 - second), first * second], axis=1)
        xyz.append(np.einsum("nk,nkc->nc", weights, mesh.triangles[face]))
        rgb.append(_colors(mesh, face, np.asarray(mesh.faces)[face], weights))
    return np.concatenate(xyz), np.concatenate(rgb)


def _vertex_colors(part: Any) -> UInt8[np.ndarray, "V 3"]:
    num_vertices = len(part.vertices)
    if not hasattr(part, "faces"):
        colors = np.asarray(part.visual.vertex_colors)
        return colors[:, :3] if len(colors) == num_vertices else np.full((num_vertices, 3), _UNCOLORED, np.uint8)
    face = np.zeros(num_vertices, np.int64)
    face[np.asarray(part.faces)] = np.arange(len(part.faces))[:, None]
    corners = np.repeat(np.arange(num_vertices)[:, None], 3, axis=1)
    return _colors(part, face, corners, np.tile([1.0, 0.0, 0.0], (num_vertices, 1)))


def _colors(
    mesh: Any, face: Int64[np.ndarray, "n"], corners: Int64[np.ndarray, "n 3"], weights: Float64[np.ndarray, "n 3"]
) -> UInt8[np.ndarray, "n 3"]:
    """Colors at places of triangles, which are weighted means of their corners."""
    visual = mesh.visual
    if visual.kind == "texture":
        uv = None if visual.uv is None else np.einsum("nk,nkc->nc", weights, visual.uv[corners])
        colors = visual.material.to_color(uv)
        colors = visual.material.main_color if colors is None else colors
    elif visual.kind == "face":
        colors = visual.face_colors[face]
    elif visual.kind == "vertex":
        colors = np.einsum("nk,nkc->nc", weights, visual.vertex_colors[corners].astype(np.float64))
    else:
        colors = np.full(3, _UNCOLORED)
    return np.broadcast_to(np.rint(np.asarray(colors)[..., :3]), (len(face), 3)).astype(np.uint8)
