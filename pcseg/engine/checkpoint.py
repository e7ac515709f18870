"""Checkpoints: one file that holds everything a run or a prediction needs, written whole or not at all."""

import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pcseg.files import whole_file

FORMAT = 1


class CheckpointError(ValueError):
    """A file that is not a checkpoint of ours, is damaged, or belongs to another model."""


def save_checkpoint(
    path: Path, *, config: str, classes: dict[str, Any], model: dict[str, Tensor], **state: Any
) -> None:
    """Write a checkpoint.

    Args:
        path: the file.
        config: the resolved recipe as text.
        classes: the class set, as its `to_dict` gives it.
        model: weights.
        state: what else a run needs to go on; tensors, numbers, texts, lists and dicts of these.
    """
    content = {
        "pcseg_checkpoint": FORMAT,
        "config": config,
        "classes": classes,
        "model": model,
        "digest": digest(model),
        "versions": {"torch": str(torch.__version__), "numpy": str(np.__version__)},
        **state,
    }
    with whole_file(path, sync=True) as file:
        torch.save(content, file)


def load_checkpoint(path: Path, device: str = "cpu") -> dict[str, Any]:
    """Read a checkpoint; no code of the file is run (``weights_only``).

    Raises:
        CheckpointError: the file is missing, damaged, or not a checkpoint of this format.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint")
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        # torch.load has no error of its own; these are what torn, empty and foreign files give.
        raise CheckpointError(f"{path}: not a checkpoint, or damaged ({type(error).__name__})") from None
    if not isinstance(content, dict) or content.get("pcseg_checkpoint") != FORMAT:
        found = content.get("pcseg_checkpoint") if isinstance(content, dict) else type(content).__name__
        raise CheckpointError(f"{path}: expected a pcseg checkpoint of format {FORMAT}, found {found}")
    if digest(content["model"]) != content["digest"]:
        raise CheckpointError(f"{path}: the weights are not the ones that were written (digest differs)")
    return content


def load_weights(model: torch.nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    """Put weights into a model that must have exactly these parameters.

    Raises:
        CheckpointError: names or shapes differ; the first difference is named.
    """
    own = model.state_dict()
    for name, value in own.items():
        if name not in weights:
            raise CheckpointError(f"{path}: of another model: it lacks {name}")
        if weights[name].shape != value.shape:
            found, expected = tuple(weights[name].shape), tuple(value.shape)
            raise CheckpointError(f"{path}: of another model: {name} has shape {found}, expected {expected}")
    if unknown := sorted(set(weights) - set(own)):
        raise CheckpointError(f"{path}: of another model: it has {unknown[0]} besides")
    model.load_state_dict(weights)


def digest(weights: dict[str, Tensor]) -> str:
    """SHA-256 over names, shapes, types and bytes of the weights."""
    total = hashlib.sha256()
    for name in sorted(weights):
        value = weights[name].detach().cpu().contiguous()
        total.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        total.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
