"""Furniture models as colored triangles, each in one .npz file."""

from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jaxtyping import Bool, Float32, Float64, Int64, UInt8

from pcseg.files import atomic_write, npz_bytes, read_npz


@dataclass(frozen=True)
class Model:
    """A model in meters: x to the right, front at -y, z up from 0, centered in x and y.

    Args:
        name: library and id in the catalog.
        kind: use of the model, see kinds.yaml.
        triangles: corners of each triangle.
        uv: texture coordinates of the corners.
        material: row of `colors` for each triangle.
        colors: color of each material, 0..255.
        textures: image (h, w, 3) of each material, or None.
        glass: whether a material is glass.
        size: width, depth and height.
        elevation: height above the floor at which the model hangs.
        top: height of the surface for things; 0 or less if it has none.
    """

    name: str
    kind: str
    triangles: Float32[np.ndarray, "T 3 3"]
    uv: Float32[np.ndarray, "T 3 2"]
    material: Int64[np.ndarray, "T"]
    colors: Float64[np.ndarray, "materials 3"]
    textures: tuple[UInt8[np.ndarray, "h w 3"] | None, ...]
    glass: Bool[np.ndarray, "materials"]
    size: Float64[np.ndarray, "3"]
    elevation: float = 0.0
    top: float = 0.0

    def save(self, path: Path) -> None:
        """Writes the model to one .npz file."""
        arrays = {key: np.asarray(value) for key, value in vars(self).items() if key != "textures"}
        arrays |= {f"texture_{k}": image for k, image in enumerate(self.textures) if image is not None}
        atomic_write(path, npz_bytes(arrays))

    @classmethod
    def load(cls, path: Path) -> "Model":
        """Reads what `save` wrote."""
        arrays: dict[str, Any] = read_npz(path)
        textures = tuple(arrays.pop(f"texture_{k}", None) for k in range(len(arrays["colors"])))
        plain = {key: arrays.pop(key).item() for key in ("name", "kind", "elevation", "top")}
        return cls(**plain, **arrays, textures=textures)


@dataclass(frozen=True)
class KindTable:
    """Content of kinds.yaml, which describes its keys."""

    rules: list[tuple[str | None, str]]
    classes: dict[str, str]
    glazed: list[str]
    max_triangles: dict[str, int]
    materials: dict[str, list[int]] = field(default_factory=dict)


@cache
def kind_table() -> KindTable:
    """Reads kinds.yaml once."""
    path = resources.files("pcseg.synthetic.homes").joinpath("kinds.yaml")
    content = yaml.safe_load(path.read_text("utf-8"))
    return KindTable(**{**content, "rules": [(kind, pattern) for kind, pattern in content["rules"]]})


def class_of(kind: str) -> str:
    """Name of the `indoor` class that models of a kind belong to.

    >>> class_of("kitchen cabinet"), class_of("chair")
    ('cabinet', 'chair')
    """
    return kind_table().classes.get(kind, kind)
