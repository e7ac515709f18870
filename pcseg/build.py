"""From a recipe to objects; besides the tools the only place that reads a config."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pcseg import config as cfg
from pcseg.classes import ClassSet, class_set
from pcseg.data.augment import compose
from pcseg.data.dataset import FEATURES, RoomDataset
from pcseg.data.preprocess import SuperpointOptions
from pcseg.data.store import check_classes, list_rooms
from pcseg.inference.segmenter import Segmenter
from pcseg.losses.criterion import Criterion
from pcseg.losses.embedding_criterion import EmbeddingCriterion
from pcseg.losses.embedding_influencer import EmbeddingCriterionOptions
from pcseg.losses.influencer_criterion import InfluencerCriterion
from pcseg.losses.set_criterion import HungarianOptions, SetCriterion
from pcseg.models.embedding_heads import EmbeddingHeads, EmbeddingHeadsOptions
from pcseg.models.influencerformer import InfluencerFormer
from pcseg.models.query_decoder import QueryDecoder
from pcseg.models.sparse_unet import SparseUNet
from pcseg.training.checkpoint import load_checkpoint, load_weights, prediction_weights
from pcseg.training.distributed import SINGLE_PROCESS, DistributedContext


def build_model(config: cfg.Config, classes: ClassSet) -> InfluencerFormer:
    """The network for these classes, with fresh weights from torch's global generator.

    Args:
        config: features and sizes.
        classes: classes to predict.

    Raises:
        ConfigError: an unknown input feature, or a number of queries at inference for a model whose queries do not
            start at superpoints.
    """
    for name in config.data.features:
        if name not in FEATURES:
            raise cfg.ConfigError(f"data.features has {name!r}; known: {', '.join(FEATURES)}")
    decoder = config.model.decoder
    if config.inference.num_queries and getattr(decoder, "queries", None) != "superpoint":
        raise cfg.ConfigError("inference.num_queries goes with model.decoder.queries superpoint; leave it at 0")
    unet = SparseUNet(sum(FEATURES[name] for name in config.data.features), config.model.unet)
    if isinstance(decoder, EmbeddingHeadsOptions):
        return InfluencerFormer(unet, EmbeddingHeads(unet.out_channels, len(classes), decoder))
    return InfluencerFormer(unet, QueryDecoder(unet.out_channels, len(classes), decoder))


def build_criterion(config: cfg.Config, **settings: Any) -> Criterion:
    """The criterion that ``criterion.kind`` names.

    Args:
        config: options of criterion and decoder.
        **settings: ``check_values`` and ``sum_counts`` of `Criterion`.

    Raises:
        ConfigError: a criterion of embeddings for a decoder of queries, or the other way round.
    """
    criterion, decoder = config.criterion, config.model.decoder
    if isinstance(criterion, EmbeddingCriterionOptions) and isinstance(decoder, EmbeddingHeadsOptions):
        return EmbeddingCriterion(criterion, decoder.radius, **settings)
    if isinstance(criterion, EmbeddingCriterionOptions) or isinstance(decoder, EmbeddingHeadsOptions):
        raise cfg.ConfigError(
            f"criterion.kind {criterion.kind} does not train model.decoder.kind {decoder.kind}; "
            "set both to embedding or neither"
        )
    num_classes = len(class_set(config.data.classes))
    if isinstance(criterion, HungarianOptions):
        return SetCriterion(num_classes, criterion, decoder.mask_activation, **settings)
    return InfluencerCriterion(num_classes, criterion, decoder.mask_activation, **settings)


def build_dataset(config: cfg.Config, patterns: Sequence[str], *, augmented: bool) -> RoomDataset:
    """Rooms of the store that match the patterns.

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


def build_segmenter(config: cfg.Config, model: InfluencerFormer, classes: ClassSet) -> Segmenter:
    """The model with what it needs to read scenes."""
    decoder = config.model.decoder
    of_embeddings = isinstance(decoder, EmbeddingHeadsOptions)
    return Segmenter(
        model,
        classes,
        voxel_size=config.data.voxel_size,
        features=config.data.features,
        mask_activation="sigmoid" if of_embeddings else decoder.mask_activation,
        cluster_radius=decoder.radius if of_embeddings else None,
        **vars(config.inference),
    )


def load_model(
    checkpoint: Path | str, device: str | torch.device = "cpu", config: cfg.Config | None = None
) -> Segmenter:
    """A trained model from its checkpoint alone; it makes superpoints as those of its training rooms were made.

    Args:
        checkpoint: file that training wrote.
        device: where the model runs.
        config: a recipe to use in the place of the one that the checkpoint was trained with.

    Raises:
        CheckpointError: the file is missing, damaged, or of another model.
    """
    path = Path(checkpoint)
    content = load_checkpoint(path)
    config = config or cfg.loads(content["config"])
    # The recipe may name a file of classes that is not on this machine; the checkpoint has them itself.
    classes = ClassSet.from_dict(content["classes"], str(path))
    model = build_model(config, classes)
    load_weights(model, prediction_weights(content), path)
    segmenter = build_segmenter(config, model.to(device), classes)
    if content.get("superpoints") is None:
        print(
            f"note: {path} does not say how the superpoints of its training rooms were made; those of scans are made "
            f"with the default settings",
            file=sys.stderr,
        )
        return segmenter
    return replace(segmenter, superpoints=SuperpointOptions.from_dict(content["superpoints"], str(path)))


def pick_device(name: str | None = None, processes: DistributedContext = SINGLE_PROCESS) -> torch.device:
    """The device asked for; without a name CUDA where there is one, otherwise the CPU; each process has its own GPU.

    Raises:
        ValueError: no such device, or no CUDA here.
    """
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError:
        raise ValueError(f"device {name!r} is not known; expected cpu, cuda or cuda:0, cuda:1, ...") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {name}: there is no GPU that torch can use here; take cpu")
    if device.type == "cuda" and device.index is None and processes.world > 1:
        return torch.device("cuda", processes.local_rank)
    return device
