"""Reads meshes of .obj, .glb, .gltf, .stl and .off files as points: their vertices, or samples of large triangles."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from pcseg.data.scan_fields import Report, check_faces
from pcseg.files import decoding

if TYPE_CHECKING:
    from trimesh import Trimesh

MESH_SUFFIXES = (".obj", ".glb", ".gltf", ".stl", ".off")
# A mesh with more than this share of its surface in triangles longer than two spacings is sampled.
_LARGE_SHARE = 0.1
_MOST_SAMPLES, _FEW_SAMPLES = 20_000_000, 100_000
_UNCOLORED = 102  # what trimesh gives to surfaces without color


def read_mesh(path: Path, spacing_of: Callable[[np.ndarray], float], report: Report) -> dict[str, np.ndarray]:
    """Reads the fields of a mesh, whose parts are joined.

    Where the triangles are small, the points are its vertices, and it keeps its faces. Otherwise points are sampled on
    its surface, the same ones each time. Colors are those of vertices, faces, materials or textures.

    Args:
        path: the file; materials and textures of .obj and .gltf are files next to it.
        spacing_of: gives the distance of samples, in units of the file, for points (n, 3) of its surface.
        report: called with the number of samples.

    Returns:
        xyz float64 (P, 3). If the file has them, rgb uint8 (P, 3) and faces int64 (F, 3).

    Raises:
        ValueError: trimesh is missing, or the file is damaged or has no points.

    Source: The glTF 2.0 specification, for the direction up.
    """
    try:
        import trimesh
    except ImportError as error:
        raise ValueError(f"{path}: reading it needs trimesh, run: pip install trimesh") from error
    with decoding(path, "a mesh"):
        # The corners of an .stl file are separate points, which processing merges.
        scene: Any = trimesh.load(path, force="scene", process=path.suffix.lower() == ".stl")
        parts = [part for part in scene.dump() if isinstance(part, (trimesh.Trimesh, trimesh.PointCloud))]
        parts = [part for part in parts if len(part.vertices)]
        if not parts:
            raise ValueError("no points in it")
        meshes = [part for part in parts if isinstance(part, trimesh.Trimesh) and len(part.faces)]
        for mesh in meshes:
            check_faces(path, mesh.faces, len(mesh.vertices))
        total = sum(float(_areas(mesh).sum()) for mesh in meshes)
    if total > 0:
        spacing = spacing_of(_sample(meshes, (total / _FEW_SAMPLES) ** 0.5)[0])
        large = sum(float(_areas(mesh)[_edges(mesh) > 2 * spacing].sum()) for mesh in meshes)
        if large > _LARGE_SHARE * total:
            spacing = max(spacing, (total / _MOST_SAMPLES) ** 0.5)
            xyz, rgb = _sample(meshes, spacing)
            sizes = f"{sum(len(mesh.faces) for mesh in meshes):,} triangles, surface {total:.4g}"
            report(f"Its triangles are large ({sizes}): {len(xyz):,} points are sampled, about {spacing:.3g} apart.")
            return _fields(xyz, rgb)
    starts = np.cumsum([0, *(len(part.vertices) for part in parts)])
    faces = [np.asarray(part.faces) + start for part, start in zip(parts, starts) if isinstance(part, trimesh.Trimesh)]
    fields = _fields(np.concatenate([part.vertices for part in parts]), np.concatenate([*map(_vertex_colors, parts)]))
    return {**fields, "faces": np.concatenate(faces)} if meshes else fields


def _fields(xyz: Float64[np.ndarray, "P 3"], rgb: UInt8[np.ndarray, "P 3"]) -> dict[str, np.ndarray]:
    xyz = np.asarray(xyz, np.float64)
    return {"xyz": xyz} if (rgb == _UNCOLORED).all() else {"xyz": xyz, "rgb": rgb}


def _edges(mesh: "Trimesh") -> Float64[np.ndarray, "F"]:
    """Length of the longest edge of each triangle."""
    corners = np.asarray(mesh.triangles)
    return np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(axis=1)


def _areas(mesh: "Trimesh") -> Float64[np.ndarray, "F"]:
    corners = np.asarray(mesh.triangles, np.float64)
    doubled = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    return np.where(np.isfinite(doubled), doubled / 2, 0.0)


def _sample(meshes: list["Trimesh"], spacing: float) -> tuple[Float64[np.ndarray, "P 3"], UInt8[np.ndarray, "P 3"]]:
    """Random points on all triangles, one for each square of the spacing, with their colors."""
    rng = np.random.default_rng(0)
    xyz, rgb = [], []
    for mesh in meshes:
        counts = np.floor(_areas(mesh) / spacing**2 + rng.random(len(mesh.faces))).astype(np.int64)
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
    mesh: "Trimesh",
    face: Int64[np.ndarray, "n"],
    corners: Int64[np.ndarray, "n 3"],
    weights: Float64[np.ndarray, "n 3"],
) -> UInt8[np.ndarray, "n 3"]:
    """Colors at places of triangles, which are weighted means of their corners."""
    visual: Any = mesh.visual
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
