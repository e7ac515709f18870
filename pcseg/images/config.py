"""The config of a run on images, and which of the two kinds of config a file has."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pcseg import config as cfg
from pcseg import config_reader
from pcseg.config_files import find_config
from pcseg.images.model import Mask2FormerOptions
from pcseg.losses.competitive import CompetitiveOptions
from pcseg.training.loop import TrainOptions
from pcseg.training.optimizer import OptimizerOptions


@dataclass(frozen=True)
class ImagesOptions:
    """Images in COCO's format; also the `data` section of a config for images."""

    root: Path  # folder of everything below
    train: str = "annotations/instances_train.json"
    train_images: str = "train"  # folder
    val: str = "annotations/instances_val.json"  # empty for no evaluation
    val_images: str = "val"  # folder
    overlaps: Literal["smaller", "stay"] = "smaller"  # see `CocoDataset`
    size: tuple[int, ...] = (160, 160)  # height and width to which images are resized for the model, multiples of 32
    mask_stride: int = 2  # pixels of these per pixel of the masks in the loss
    flip: bool = True  # mirrors half of the training images


@dataclass(frozen=True)
class ImagesConfig:
    """All options of a run on images; the sections that a run on rooms has too have the same options.

    Raises:
        ConfigError: a size that the model cannot take.
    """

    data: ImagesOptions
    kind: Literal["images"] = "images"  # what `pcseg train` knows such a config by
    model: Mask2FormerOptions = field(default_factory=Mask2FormerOptions)
    criterion: cfg.CriterionOptions = field(default_factory=CompetitiveOptions)
    optimizer: OptimizerOptions = field(default_factory=OptimizerOptions)
    train: TrainOptions = field(default_factory=TrainOptions)

    def __post_init__(self) -> None:
        size = self.data.size
        if len(size) != 2 or any(side < 32 or side % 32 for side in size):
            raise cfg.ConfigError(f"data.size must be a height and a width, multiples of 32, got {size}")
        if self.train.keep_absent:
            raise cfg.ConfigError("train.keep_absent is for rooms")
        if self.criterion.kind == "embedding":
            raise cfg.ConfigError("criterion.kind embedding is for rooms; images have queries")


def load(path: Path | str, overrides: Sequence[str] = ()) -> cfg.Config | ImagesConfig:
    """Read a config of either kind, as `pcseg.config.load`.

    Args:
        path: YAML file, or the name of a shipped config.
        overrides: changes such as ``optimizer.lr=0.001``.

    Raises:
        ConfigError: the file cannot be read, or a key or a value is not of the schema.
    """
    path = find_config(path)
    if config_reader.read_tree(path, overrides).get("kind") == "images":
        return config_reader.read(ImagesConfig, path, overrides)
    return cfg.load(path, overrides)
