"""Checkpoints: one file that holds everything a run or a prediction needs, written whole or not at all."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import pcseg
from pcseg.files import atomic_open

FORMAT = 2  # 1, of pcseg 0.1, had a hash of the weights only


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
        state: what else a run needs to go on; tensors, numbers, texts, lists and dicts of these. `ema`, where there is
            one, holds averaged `weights`, which prediction takes.
    """
    content = {
        "pcseg_checkpoint": FORMAT,
        "config": config,
        "classes": classes,
        "model": model,
        "versions": {"pcseg": pcseg.__version__, "torch": str(torch.__version__), "numpy": str(np.__version__)},
        **state,
    }
    content["digest"] = digest(content)
    try:
        with atomic_open(path, sync=True) as file:
            torch.save(content, file)
    except (OSError, RuntimeError) as error:
        # Where the disk refuses, torch complains of its own archive; what the disk said stands behind that.
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError):
            raise
        raise OSError(
            f"{path}: cannot be written: {cause.strerror}; checkpoints written before are whole, make room and "
            f"continue with --resume"
        ) from None


def load_checkpoint(path: Path, device: str = "cpu") -> dict[str, Any]:
    """Read a checkpoint; no code of the file is run (``weights_only``).

    Raises:
        CheckpointError: the file is missing, damaged, or not a checkpoint of this format.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint")
    with path.open("rb") as file:
        try:
            content = torch.load(file, map_location=device, weights_only=True)
        except Exception as error:  # torch.load has no error of its own: torn and foreign files give all kinds
            raise CheckpointError(f"{path}: not a checkpoint, or damaged ({type(error).__name__})") from None
    version = content.get("pcseg_checkpoint") if isinstance(content, dict) else type(content).__name__
    if version not in (1, FORMAT):
        raise CheckpointError(f"{path}: expected a pcseg checkpoint of format {FORMAT}, found {version}")
    hashed = content["model"] if version == 1 else {k: v for k, v in content.items() if k != "digest"}
    if digest(hashed) != content.get("digest"):
        raise CheckpointError(f"{path}: damaged, what it holds is not what was written (digest differs)")
    return content


def prediction_weights(content: dict[str, Any]) -> dict[str, Tensor]:
    """The weights of a checkpoint to predict with: the averaged ones where the run kept an average."""
    return content["ema"]["weights"] if "ema" in content else content["model"]


def load_matching_weights(model: torch.nn.Module, weights: dict[str, Tensor], path: Path) -> list[str]:
    """Start a model from the weights of another, which may have other classes or inputs.

    Returns:
        Names of the weights that keep their own values because their shapes differ.

    Raises:
        CheckpointError: the models do not consist of the same parts.
    """
    own = model.state_dict()
    fresh = [name for name, value in own.items() if name in weights and weights[name].shape != value.shape]
    load_weights(model, {**weights, **{name: own[name] for name in fresh}}, path)
    return fresh


def load_weights(model: torch.nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    """Put weights into a model that must have exactly these parameters.

    Raises:
        CheckpointError: names or shapes differ; the first difference is named.
    """
    # Query decoders had an IoU head before; nothing reads it.
    weights = {name: value for name, value in weights.items() if not name.startswith("decoder.score_head.")}
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


def digest(content: Any) -> str:
    """SHA-256 over all that nested dicts and lists hold: names, values, and shapes, types and bytes of tensors."""
    total = hashlib.sha256()
    for name, value in _leaves(content, ""):
        if isinstance(value, Tensor):
            total.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
            total.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        else:
            total.update(f"{name} {type(value).__name__} {value!r}\n".encode())
    return total.hexdigest()


def _leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, (dict, list, tuple)) and value:
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        for key, part in sorted(parts, key=lambda item: str(item[0])):
            yield from _leaves(part, f"{name}/{key}" if name else str(key))
    else:
        yield name, value
