"""Weights to publish: a .safetensors file in half precision, with all that prediction and fine-tuning need."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

import pcseg
from pcseg.files import atomic_write, decoding

BUILT_IN = Path(pcseg.__file__).parent / "weights" / "general.safetensors"
FORMAT = "pcseg weights 2"


def write_weights(path: Path, content: dict[str, Any], weights: dict[str, Tensor], notes: dict[str, str]) -> None:
    """Write weights in half precision, with the SHA-256 of all that the file holds.

    Args:
        path: .safetensors file to write.
        content: `config`, `classes` and `superpoints` of a checkpoint; other keys are ignored.
        weights: parameters and buffers by name.
        notes: what readers should know, such as data, license and attribution.

    Raises:
        ValueError: a weight is too large for half precision.
    """
    half = {name: (v.half() if v.is_floating_point() else v).contiguous() for name, v in weights.items()}
    for name, value in half.items():
        if not value.isfinite().all():
            raise ValueError(f"{name} has values that half precision cannot hold")
    recorded = {key: json.dumps(content[key]) for key in ("config", "classes", "superpoints")}
    metadata = {**notes, **recorded, "format": FORMAT, "pcseg": pcseg.__version__}
    atomic_write(path, save(half, {**metadata, "sha256": _sha256(half, metadata)}))


def read_weights(path: Path, device: str = "cpu") -> dict[str, Any]:
    """Read what `write_weights` wrote.

    Returns:
        `config`, `classes` and `superpoints` as in a checkpoint, `model`: float32 weights by name, and `notes`.

    Raises:
        ValueError: the file is damaged, or of another kind.
    """
    with decoding(path, "a .safetensors file"), safe_open(path, "pt") as file:
        metadata, half = file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    kind = metadata.get("format", "weights of another program")
    if kind != FORMAT:
        raise ValueError(f"{path}: expected {FORMAT}, found {kind}")
    if metadata.pop("sha256", None) != _sha256(half, metadata):
        raise ValueError(f"{path}: damaged: its content does not have the SHA-256 that it names")
    with decoding(path, FORMAT):
        content = {key: json.loads(metadata.pop(key)) for key in ("config", "classes", "superpoints")}
    model = {name: value.float() if value.is_floating_point() else value for name, value in half.items()}
    return {**content, "model": {name: value.to(device) for name, value in model.items()}, "notes": metadata}


def _sha256(weights: dict[str, Tensor], metadata: dict[str, str]) -> str:
    digest = hashlib.sha256("".join(f"{key} {json.dumps(metadata[key])}\n" for key in sorted(metadata)).encode())
    for name in sorted(weights):
        value = weights[name]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
