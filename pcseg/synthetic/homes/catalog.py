"""The furniture catalogs of Sweet Home 3D: what each model is called, how large it is, and its triangles."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pcseg.synthetic.homes.models import Model, kind_table

CATALOG_NAMES = ("PluginFurnitureCatalog.properties", "DefaultFurnitureCatalog.properties")
TEXTURE_SIZE = 192  # pixels at most, along either side
SMALL = 0.75  # meters


@dataclass(frozen=True)
class Entry:
    """A model of a catalog.

    Args:
        library: name of the catalog.
        id: id of the model within its library.
        name: what the catalog calls it.
        category: group of the catalog, for example "Bathroom".
        creator: author, for the attribution.
        path: its .obj file.
        size: width, depth and height in meters.
        elevation: height above the floor at which it hangs, in meters.
        top: height of the surface for things in meters; 0 or less if it has none.
        rotation: 3 x 3 matrix, row by row, to apply before scaling; None for none.
    """

    library: str
    id: str
    name: str
    category: str
    creator: str
    path: Path
    size: tuple[float, float, float]
    elevation: float
    top: float
    rotation: tuple[float, ...] | None

    @property
    def kind(self) -> str | None:
        """What the model is used as; None for not at all."""
        text = f"{self.library}/{self.id} {self.name} {self.category}"
        for kind, pattern in kind_table().rules:
            if re.search(pattern, text):
                return kind
        return "small" if max(self.size) < SMALL else "floor"


def read_catalogs(folder: Path) -> Iterator[Entry]:
    """The models of every unpacked library of a folder.

    Args:
        folder: holds one folder per library.

    Yields:
        Entries by library, in the order of each catalog.
    """
    for library in sorted(path for path in folder.iterdir() if path.is_dir()):
        for path in sorted(path for name in CATALOG_NAMES for path in library.rglob(name)):
            yield from _read_catalog(path, library)


def _read_catalog(path: Path, library: Path) -> Iterator[Entry]:
    rows: dict[int, dict[str, str]] = {}
    for key, number, value in re.findall(r"^(\w+)#(\d+)[ \t]*=[ \t]*(.*)$", path.read_text("latin-1"), re.MULTILINE):
        text = re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), value)
        rows.setdefault(int(number), {})[key] = text.strip()
    for row in rows.values():
        width, depth, height = (float(row[key]) / 100 for key in ("width", "depth", "height"))
        yield Entry(
            library=library.name,
            id=row["id"].split("#")[-1],
            name=row["name"],
            category=row.get("category", ""),
            creator=row.get("creator", ""),
            path=library / row["model"].lstrip("/"),
            size=(width, depth, height),
            elevation=float(row.get("elevation", 0)) / 100,
            top=float(row.get("dropOnTopElevation", 100 * height)) / 100,
            rotation=tuple(map(float, row["modelRotation"].split())) if "modelRotation" in row else None,
        )


def read_model(entry: Entry, kind: str) -> Model:
    """A model in the size that its catalog gives.

    Args:
        entry: row of the catalog.
        kind: what the model is used as; decides whether its glass stays.

    Raises:
        ValueError: the file has no triangles, or more than kinds.yaml admits.
        OSError: the file is missing.
    """
    import trimesh  # takes a second to import, and only this function needs it

    scene: Any = trimesh.load(entry.path, process=False, force="scene", split_object=False, group_material=True)
    triangles, uv, owner, colors, textures, glass = [], [], [], [], [], []
    for mesh in scene.geometry.values():
        corners = np.asarray(mesh.vertices, np.float64)[mesh.faces]
        coords = getattr(mesh.visual, "uv", None)
        triangles.append(corners)
        uv.append(np.zeros((*corners.shape[:2], 2)) if coords is None else np.asarray(coords)[mesh.faces])
        owner.append(np.full(len(corners), len(colors)))
        color, image, opacity = _material(getattr(mesh.visual, "material", None))
        colors.append(color)
        textures.append(image)
        glass.append(opacity <= 0.4)
    if not triangles:
        raise ValueError(f"{entry.path}: no triangles")
    corners, owners, is_glass = np.concatenate(triangles), np.concatenate(owner), np.array(glass)
    if entry.rotation is not None:
        corners = corners @ np.array(entry.rotation).reshape(3, 3).T
    low, high = corners.reshape(-1, 3).min(0), corners.reshape(-1, 3).max(0)
    width, depth, height = entry.size
    # In the file y is up and the front at +z.
    corners = (corners - (low + high) / 2) / np.maximum(high - low, 1e-9) * (width, height, depth)
    corners = np.stack([corners[..., 0], -corners[..., 2], corners[..., 1] + height / 2], axis=-1)
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
    table = kind_table()
    keep = (area > 1e-9) & (~is_glass[owners] | (kind in table.glazed))
    most = table.max_triangles.get(kind, table.max_triangles["default"])
    if not 4 <= keep.sum() <= most:
        raise ValueError(f"{entry.path}: {keep.sum()} triangles, expected 4 to {most}")
    return Model(
        name=f"{entry.library}_{entry.id}",
        kind=kind,
        triangles=corners[keep].astype(np.float32),
        uv=np.concatenate(uv)[keep].astype(np.float32),
        material=owners[keep],
        colors=np.array(colors),
        textures=tuple(textures),
        glass=is_glass,
        size=np.array(entry.size),
        elevation=entry.elevation,
        top=entry.top,
    )


def _material(material: Any) -> tuple[np.ndarray, np.ndarray | None, float]:
    """Color, texture and opacity."""
    if material is None:
        return np.full(3, 170.0), None, 1.0
    options = getattr(material, "kwargs", {})
    if "kd" not in options:  # one of the program's own materials, known by its name
        known = sorted(kind_table().materials.items(), key=lambda item: -len(item[0]))
        color = next((color for name, color in known if name in (material.name or "")), (180, 170, 160))
        return np.array(color, float), None, 1.0
    opacity = float(options["d"][0]) if options.get("d") else 1.0
    image: Image.Image | None = material.image
    if image is None:
        return np.clip(np.array(material.diffuse[:3], float), 0, 255), None, opacity
    image = image.convert("RGBA").convert("RGB")
    image.thumbnail((TEXTURE_SIZE, TEXTURE_SIZE))
    return np.full(3, 255.0), np.asarray(image), opacity
