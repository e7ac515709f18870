"""From a config to model, criterion and data; only this module, runs and tools read one."""

from collections.abc import Sequence
from typing import Any

from pcseg.classes import ClassSet, class_set
from pcseg.config import Config
from pcseg.data.augment import Composition
from pcseg.data.dataset import RoomDataset, num_channels
from pcseg.losses import EmbeddingCriterion, InfluencerCriterion, SetCriterion
from pcseg.losses.criterion import Criterion
from pcseg.models import EmbeddingHeads, InfluencerFormer, QueryDecoder, SparseUNet


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
    """Rooms of the store, prepared as the config says.

    Args:
        config: names the store, the classes, voxel size, features and augmentations.
        patterns: which rooms, as for `pcseg.data.store.list_rooms`.
        augmented: whether the augmentations of the config change the rooms.

    Raises:
        ValueError: no room matches, or one was processed with other classes.
    """
    augment = Composition(tuple(step.build() for step in config.augment)) if augmented else None
    return RoomDataset(config.data, patterns, augment)
