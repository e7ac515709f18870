"""From a config to objects; only this module, runs and tools read one."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, overload

import torch

from pcseg.choices import check_threshold
from pcseg.classes import CLASS_SETS, ClassSet, class_set
from pcseg.config import REMOVED_OPTIONS, Config
from pcseg.config_reader import from_text
from pcseg.data.augment import compose
from pcseg.data.dataset import RoomDataset, num_channels
from pcseg.data.reader_options import READER_OPTIONS
from pcseg.data.store import check_classes, list_rooms
from pcseg.inference.segmenter import Scan, Segmenter
from pcseg.losses import EmbeddingCriterion, InfluencerCriterion, SetCriterion
from pcseg.losses.criterion import Criterion
from pcseg.models import EmbeddingHeads, InfluencerFormer, QueryDecoder, SparseUNet
from pcseg.ops.device import pick_device
from pcseg.ops.superpoints import SuperpointOptions
from pcseg.prediction import Prediction
from pcseg.training.checkpoint import CheckpointError, load_checkpoint, load_weights, prediction_weights

logger = logging.getLogger(__name__)


def build_model(config: Config, classes: ClassSet) -> InfluencerFormer:
    """The network for these classes, with fresh weights from torch's global generator."""
    unet = SparseUNet(num_channels(config.data.features), config.model.unet)
    options = config.model.decoder
    decoder = EmbeddingHeads if options.kind == "embedding" else QueryDecoder
    return InfluencerFormer(unet, decoder(unet.out_channels, len(classes), options))  # type: ignore[arg-type]


def build_criterion(config: Config, **settings: Any) -> Criterion:
    """The criterion that ``criterion.kind`` names; settings are those of `Criterion`."""
    options, decoder = config.criterion, config.model.decoder
    if options.kind == "embedding" or decoder.kind == "embedding":
        return EmbeddingCriterion(options, decoder.radius, **settings)  # type: ignore[arg-type]
    num_classes = len(class_set(config.data.classes))
    return query_criterion(num_classes, options, mask_activation=decoder.mask_activation, **settings)


def query_criterion(num_classes: int, options: Any, **settings: Any) -> Criterion:
    """The criterion of a model with queries, for rooms or images, from options of any kind but embedding."""
    criterion = SetCriterion if options.kind == "hungarian" else InfluencerCriterion
    return criterion(num_classes, options, **settings)


def build_dataset(config: Config, patterns: Sequence[str], *, augmented: bool) -> RoomDataset:
    """Rooms of the store that match the patterns of `pcseg.data.store.list_rooms`.

    Raises:
        ValueError: no room matches, or one was processed with other classes.
    """
    classes = class_set(config.data.classes)
    rooms = list_rooms(config.data.root, patterns)
    check_classes(rooms, classes)
    return RoomDataset(
        rooms,
        voxel_size=config.data.voxel_size,
        features=config.data.features,
        instance_classes=classes.instance_classes,
        augment=compose([(step.name, step.options) for step in config.augment]) if augmented else None,
    )


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
    scan: list[Any] | tuple[Any, ...],
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
        scan: a file, an array (P, 3) of x y z or (P, 6) of x y z r g b, a `Scene`, or a list of these.
        model: checkpoint, as for `load_model`; it is loaded once and reused, even if the file changes.
        device: device of the model; by default CUDA if available, otherwise the CPU.
        threshold: leave out objects that score less, as `Prediction.above` does; None keeps all.
        fast: one view only: faster, and less exact.
        **options: options of `read_scan` for files and arrays, such as ``up="y"``, and `SegmenterOptions` to replace,
            such as ``min_points=50``.

    Returns:
        The objects, best first, and the class of each point; a list of predictions for a list.

    Raises:
        CheckpointError: the model cannot be loaded.
        ValueError: no such device, a value out of range, or a scan that cannot be read or predicted; no scan of a list
            is predicted then.
        TypeError: no such option.

    >>> prediction = predict("data/example_room.ply", threshold=0.3, fast=True)
    >>> {"sofa", "table", "floor"} <= {found.label for found in prediction}
    True
    """
    check_threshold(threshold, "threshold")
    if not isinstance(model, str | Path):
        raise TypeError("the second argument is the model; points and their colors are one array (P, 6)")
    if fast and "views" in options:
        raise ValueError("fast is views='one'; give one of them")
    reading = {key: options.pop(key) for key in READER_OPTIONS if key in options}
    options |= {"views": "one"} if fast else {}
    found = _loaded(str(model), pick_device(device)).with_options(**options).predict(scan, **reading)
    if threshold is None:
        return found
    return [one.above(threshold) for one in found] if isinstance(found, list) else found.above(threshold)


@lru_cache(maxsize=4)
def _loaded(model: str, device: torch.device) -> Segmenter:
    return load_model(model, device)
