"""Trained models: from a checkpoint to a segmenter, and from a scan to its objects."""

import logging
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, overload

import torch

from pcseg.build import build_model
from pcseg.choices import check_threshold
from pcseg.classes import CLASS_SETS, ClassSet, class_set
from pcseg.config import REMOVED_OPTIONS, Config
from pcseg.config_reader import from_text
from pcseg.data.reader_options import READER_OPTIONS
from pcseg.inference.segmenter import Scan, Scans, Segmenter
from pcseg.ops.device import pick_device
from pcseg.ops.superpoints import SuperpointOptions
from pcseg.prediction import Prediction
from pcseg.structures import Scene
from pcseg.training.checkpoint import CheckpointError, load_checkpoint, load_weights, prediction_weights

logger = logging.getLogger(__name__)


def load_model(
    checkpoint: Path | str = "builtin", device: str | torch.device | None = None, config: Config | None = None
) -> Segmenter:
    """Load a trained model from its checkpoint, in evaluation mode, with the superpoint settings of its training rooms.

    Args:
        checkpoint: file that training wrote; "builtin" is the general model for indoor scans that comes with pcseg.
        device: device of the model; by default CUDA if available, otherwise the CPU.
        config: config to use instead of the one in the checkpoint, if both have the same classes.

    Raises:
        CheckpointError: the file is missing, damaged, or of another model.
        ValueError: no such device.

    >>> load_model().classes.name
    'indoor'
    """
    path, device = Path(checkpoint), pick_device(device)
    content = load_checkpoint(path)
    try:
        # Its config may name a file of classes that is not on this machine; the checkpoint contains the classes.
        classes = ClassSet.from_dict(content["classes"], str(path))
        if classes.name in CLASS_SETS and classes == class_set(classes.name):
            classes = class_set(classes.name)  # which has its present colors
        if config is None or class_set(config.data.classes).names != classes.names:
            config = from_text(Config, content["config"], ignore=REMOVED_OPTIONS)
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{path}: its config or classes are damaged, or of another version: {error}") from error
    model = build_model(config, classes)
    load_weights(model, prediction_weights(content), path)
    segmenter = Segmenter(model.to(device), classes, config.data.voxel_size, config.data.features, config.inference)
    if content.get("superpoints") is not None:
        return replace(segmenter, superpoints=SuperpointOptions.from_dict(content["superpoints"], str(path)))
    logger.warning("%s does not record the superpoint settings of its training rooms; scans use the defaults", path)
    return segmenter


@overload
def predict(
    scan: Scan,
    model: Path | str = "builtin",
    device: str | torch.device | None = None,
    *,
    threshold: float | None = None,
    fast: bool = False,
    **options: Any,
) -> Prediction: ...


@overload
def predict(
    scan: Scans,
    model: Path | str = "builtin",
    device: str | torch.device | None = None,
    *,
    threshold: float | None = None,
    fast: bool = False,
    **options: Any,
) -> list[Prediction]: ...


def predict(
    scan: Any,
    model: Path | str = "builtin",
    device: str | torch.device | None = None,
    *,
    threshold: float | None = None,
    fast: bool = False,
    **options: Any,
) -> Prediction | list[Prediction]:
    """Find the objects of a scan, or of each scan of a list; see `Segmenter.predict`.

    Args:
        scan: a file, an array (P, 3) of x y z or (P, 6) of x y z r g b, a `Scene`, whose labels are ignored, or a list
            of these.
        model: checkpoint, as for `load_model`; it is loaded once and reused while the file does not change.
        device: device of the model; by default CUDA if available, otherwise the CPU.
        threshold: leave out objects that score less, as `Prediction.above` does; None keeps all.
        fast: one view only: faster, and less exact.
        **options: options of `read_scan` for files and arrays, such as ``up="y"``, and `SegmenterOptions` to replace,
            such as ``min_points=50``.

    Returns:
        The objects, best first, and the class of each point; a list of predictions for a list.

    Raises:
        CheckpointError: the model cannot be loaded.
        FileNotFoundError: the file of a single scan does not exist.
        ValueError: no such device, a value out of range, or a scan that cannot be read or predicted; no scan of a list
            is predicted then.
        TypeError: no such option.

    >>> prediction = predict("data/example_room.ply", threshold=0.3, fast=True)
    >>> {"sofa", "table", "floor"} <= {found.label for found in prediction}
    True
    """
    check_threshold(threshold, "threshold")
    if not isinstance(model, str | Path):
        expected = "the second argument is the path of a model; a Segmenter has a method predict"
        raise TypeError(f"{expected}; points and their colors are one array (P, 6)")
    if fast and "views" in options:
        raise ValueError("fast is views='one'; give one of them")
    reading = {key: options.pop(key) for key in READER_OPTIONS if key in options}
    options |= {"views": "one"} if fast else {}
    changed = Path(model).stat().st_mtime_ns if Path(model).is_file() else 0
    segmenter = _loaded(str(model), pick_device(device), changed).with_options(**options)
    found = segmenter.predict(_without_labels(scan), **reading)
    if threshold is None:
        return found
    return [one.above(threshold) for one in found] if isinstance(found, list) else found.above(threshold)


@lru_cache(maxsize=4)
def _loaded(model: str, device: torch.device, changed: int) -> Segmenter:
    return load_model(model, device)


def _without_labels(scan: Any) -> Any:
    """Scenes without labels, which may be of other classes than the model's."""
    if isinstance(scan, list | tuple):
        return [_without_labels(one) for one in scan]
    return scan.with_(semantic=None, instance=None) if isinstance(scan, Scene) else scan
