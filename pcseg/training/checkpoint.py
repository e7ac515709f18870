"""Checkpoints: single files that hold everything that a run or a prediction needs, and the checkpoints of a run."""

import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import pcseg
from pcseg.choices import LAST as LAST
from pcseg.choices import no_checkpoint
from pcseg.classes import ClassSet
from pcseg.files import atomic_open
from pcseg.training.weights_file import BUILT_IN, read_weights

FORMAT = 2
BEST = "best.pt"


class CheckpointError(ValueError):
    """A file that is not a pcseg checkpoint, is damaged, or belongs to another model."""


def save_checkpoint(
    path: Path, *, config: str, classes: dict[str, Any], model: dict[str, Tensor], **state: Any
) -> None:
    """Write a checkpoint; an interrupted write leaves the previous file.

    Args:
        path: the file.
        config: the resolved config as text.
        classes: the class set, from `ClassSet.to_dict`.
        model: weights by name.
        state: further state of a run: tensors, numbers, strings, lists and dicts of these. `ema`, if present, holds
            averaged `weights`, which prediction uses, unless there are `mixed` weights.

    Raises:
        OSError: the file cannot be written, for example because the disk is full.
    """
    versions = {"pcseg": pcseg.__version__, "torch": str(torch.__version__), "numpy": str(np.__version__)}
    content = {"config": config, "classes": classes, "model": model, "versions": versions, **state}
    try:
        with atomic_open(path, sync=True) as file:
            torch.save({"pcseg_checkpoint": FORMAT, **content}, file)
    except (OSError, RuntimeError) as error:
        # If the disk refuses, torch raises an error about its archive; the error of the disk is its context.
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError):
            raise
        raise OSError(
            f"{path}: cannot be written: {cause.strerror}; earlier checkpoints are intact, free some space and "
            f"continue with --resume"
        ) from None


def load_checkpoint(path: Path | str, device: str = "cpu") -> dict[str, Any]:
    """Read a checkpoint, without running code from the file (``weights_only``).

    Args:
        path: the file, one of `write_weights`, or "builtin" for the weights that come with pcseg.
        device: where tensors go.

    Returns:
        The arguments of `save_checkpoint` by name, and `versions`; for published weights see `read_weights`.

    Raises:
        CheckpointError: the file is missing, damaged, or not a checkpoint of this format.
    """
    path = BUILT_IN if str(path) == "builtin" else Path(path)
    if not path.is_file():
        raise CheckpointError(no_checkpoint(path))
    if path.suffix == BUILT_IN.suffix:
        try:
            return read_weights(path, device)
        except ValueError as error:
            raise CheckpointError(str(error)) from None
    with path.open("rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:  # torch.load does not compare checksums
                if (part := archive.testzip()) is not None:
                    raise zipfile.BadZipFile(f"checksum mismatch in {part}")
            file.seek(0)
            content = torch.load(file, map_location=device, weights_only=True)
        except Exception as error:  # truncated and foreign files raise errors of all kinds
            raise CheckpointError(f"{path}: not a checkpoint, or damaged ({type(error).__name__})") from None
    version = content.get("pcseg_checkpoint") if isinstance(content, dict) else type(content).__name__
    if version != FORMAT:
        raise CheckpointError(f"{path}: expected a pcseg checkpoint of format {FORMAT}, found {version}")
    return content


def read_last_checkpoint(path: Path, device: str) -> dict[str, Any]:
    """`load_checkpoint` of a file in the folder of a run, from which the run continues.

    Raises:
        CheckpointError: missing, and the message names those of the folder; or damaged, and it names the newest good
            one.
    """
    try:
        return load_checkpoint(path, device)
    except CheckpointError as error:
        if not path.exists():
            names = ", ".join(sorted(other.name for other in path.parent.glob("*.pt")))
            nothing = "nothing to continue from: start without --resume"
            advice = f"continue with --resume --from and one of {names}" if names else nothing
        elif (other := _newest_good(path)) is not None:
            advice = f"{other.name} is intact: continue from it with --resume --from {other.name}"
        else:
            advice = "no other checkpoint is intact: start again with another --run"
        raise CheckpointError(f"{error}; {advice}") from None


def _newest_good(damaged: Path) -> Path | None:
    for path in sorted(set(damaged.parent.glob("step_*.pt")) - {damaged}, reverse=True):
        with suppress(CheckpointError):  # an earlier one may be intact
            load_checkpoint(path)
            return path
    return None


def step_name(step: int) -> str:
    """The file name of the checkpoint of a step, for example step_0000500.pt."""
    return f"step_{step:07d}.pt"


def remove_old_checkpoints(folder: Path, step: int, num_kept: int) -> None:
    """Remove all but the newest of step_N.pt.

    Args:
        folder: folder of the run.
        step: last finished step; files of later ones, from before a resume, are removed too.
        num_kept: number of files to keep.
    """
    files = {int(path.stem.removeprefix("step_")): path for path in folder.glob("step_*.pt")}
    newest = sorted((number for number in files if number <= step), reverse=True)[:num_kept]
    for number in files.keys() - set(newest):
        files[number].unlink()


def remove_unfinished_files(folder: Path) -> None:
    """Remove what a process left that was killed while writing."""
    for path in folder.glob(".*.tmp"):
        path.unlink()


def prediction_weights(content: dict[str, Any]) -> dict[str, Tensor]:
    """The weights of a checkpoint to predict with: mixed or averaged ones if the run has them."""
    averaged = content["ema"]["weights"] if "ema" in content else content["model"]
    return content.get("mixed", averaged)


def load_weights(model: torch.nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    """Load weights into a model that must have exactly these parameters.

    Args:
        model: model that gets the weights.
        weights: parameters and buffers by name.
        path: file of the weights, for messages.

    Raises:
        CheckpointError: a name or shape differs; the message names the first difference.
    """
    # Query decoders had an IoU head before; nothing reads it.
    weights = {name: value for name, value in weights.items() if not name.startswith("decoder.score_head.")}
    own = model.state_dict()
    for name, value in own.items():
        if name not in weights:
            raise CheckpointError(f"{path}: incompatible model: the checkpoint has no {name}")
        if weights[name].shape != value.shape:
            found, expected = tuple(weights[name].shape), tuple(value.shape)
            raise CheckpointError(f"{path}: incompatible model: {name} has shape {found}, expected {expected}")
    if unknown := sorted(set(weights) - set(own)):
        raise CheckpointError(f"{path}: incompatible model: unexpected {unknown[0]} in the checkpoint")
    model.load_state_dict(weights)


def load_matching_weights(
    model: torch.nn.Module, weights: dict[str, Tensor], path: Path, classes: tuple[ClassSet, ClassSet]
) -> list[str]:
    """Start a model from the weights of another, which may have other classes or inputs.

    Of the classes of the weights and of the model, heads take the rows that both know.

    Args:
        model: model to change.
        weights: parameters of the other model by name.
        path: checkpoint of the weights, for messages.
        classes: class set of the weights, and class set of the model.

    Returns:
        Names of the parameters that keep their own values because their shapes differ.

    Raises:
        CheckpointError: the models do not have the same parameters.
    """
    own = model.state_dict()
    before, after = classes
    row_of = _rows_of_same_classes(before, after)
    taken, fresh = dict(weights), []
    for name, value in own.items():
        if name not in weights or weights[name].shape == value.shape:
            continue
        rest = len(value) - len(after)  # 1 for a head with "no object" as the last class
        if rest in (0, 1) and weights[name].shape == (len(before) + rest, *value.shape[1:]):
            rows = {**row_of, **({len(after): len(before)} if rest else {})}
            taken[name] = value.index_copy(0, torch.tensor([*rows]), weights[name][[*rows.values()]].to(value))
        else:
            taken[name] = value
            fresh.append(name)
    load_weights(model, taken, path)
    return fresh


def _rows_of_same_classes(before: ClassSet, after: ClassSet) -> dict[int, int]:
    """Index in one class set by the index in another, for classes with one name or a known mapping."""
    rows: dict[int, int] = {}
    with suppress(ValueError):  # no mapping is known
        rows = {int(new): old for old, new in enumerate(before.mapping_to(after)) if new >= 0}
    return rows | {after.index(name): before.index(name) for name in after.names if name in before.names}
