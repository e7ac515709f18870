"""A training run on images: config, data and evaluation; the rest is as on rooms."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from pycocotools import mask as rle
from torch.utils.data import Dataset

from pcseg import config_reader
from pcseg.build import query_criterion
from pcseg.classes import ClassSet
from pcseg.config import CriterionOptions
from pcseg.data.coco import CocoDataset, CocoImage
from pcseg.files import append_record, drop_records_after
from pcseg.images.model import Mask2Former, Mask2FormerOptions, Objects, objects_of
from pcseg.losses.competitive import CompetitiveOptions
from pcseg.metrics.coco import CocoScores, coco_scores
from pcseg.prediction import Prediction
from pcseg.run import Run
from pcseg.structures import ImageBatch, Scene
from pcseg.training.checkpoint import BEST
from pcseg.training.loop import TrainOptions
from pcseg.training.optimizer import OptimizerOptions
from pcseg.training.run_logger import EVALUATIONS
from pcseg.viz.flat import pixel_grid

_BATCH = 8  # images that are evaluated together
RESULTS, NUM_RESULTS = "results", 12  # folder in a run's folder, and number of held-out images in it after training


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
    criterion: CriterionOptions = field(default_factory=CompetitiveOptions)
    optimizer: OptimizerOptions = field(default_factory=OptimizerOptions)
    train: TrainOptions = field(default_factory=TrainOptions)

    def __post_init__(self) -> None:
        size = self.data.size
        if len(size) != 2 or any(side < 32 or side % 32 for side in size):
            raise config_reader.ConfigError(f"data.size must be a height and a width, multiples of 32, got {size}")
        if self.criterion.kind == "embedding":
            raise config_reader.ConfigError("criterion.kind embedding is for rooms; images have queries")


class ResizedImages(Dataset):
    """Images of one size and their targets; an item is a batch of one image.

    Args:
        images: images of any size.
        options: size, stride of masks, and augmentation.
        augmented: whether images are augmented.
    """

    def __init__(self, images: CocoDataset, options: ImagesOptions, augmented: bool) -> None:
        self.images, self.options, self.augmented = images, options, augmented

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: tuple[tuple[int, ...], int]) -> ImageBatch:
        """The batch of one image; the key is the seed of its augmentation and its index."""
        seed, index = key
        flip = self.augmented and self.options.flip and np.random.default_rng(seed).random() < 0.5
        return resized(self.images[index], self.options, flip)


def resized(found: CocoImage, options: ImagesOptions, flip: bool = False) -> ImageBatch:
    """A batch of one image, stretched to the size of the model; masks have the pixel nearest to each cell's center."""
    (height, width), stride = options.size, options.mask_stride
    pixels = np.asarray(Image.fromarray(found.image).resize((width, height), Image.Resampling.BILINEAR))
    rows, columns = (
        ((np.arange(side // stride) + 0.5) * whole / (side // stride)).astype(np.int64)
        for side, whole in zip(options.size, found.image.shape)
    )
    masks, ignored = found.masks[:, rows][:, :, columns], found.ignored[rows][:, columns]
    if flip:
        pixels, masks, ignored = pixels[:, ::-1], masks[:, :, ::-1], ignored[:, ::-1]
    kept = masks.any(axis=(1, 2))
    arrays = {"labels": found.labels[kept], "masks": masks[kept], "ignored": ignored}
    target = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
    return ImageBatch(torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None], [found.name], [target])


def collate_images(images: Sequence[ImageBatch]) -> ImageBatch:
    """One batch of several."""
    pixels = torch.cat([image.pixels for image in images])
    return ImageBatch(pixels, [image.names[0] for image in images], [image.targets[0] for image in images])


class ImageRun(Run):
    """A `Run` on images: Mask2Former, the criteria of pcseg, COCO's AP.

    After training the folder also has results/*.npz, some held-out images with their objects, for ``pcseg show``.
    """

    collate = staticmethod(collate_images)

    def _build(self) -> None:
        config: ImagesConfig = self.config  # type: ignore[assignment]
        data, criterion = config.data, config.criterion
        train = CocoDataset(data.root / data.train, data.root / data.train_images, data.overlaps)
        self.classes = train.classes
        self.superpoints = None
        self.rooms = ResizedImages(train, data, augmented=True)  # type: ignore[assignment]
        self.held_out = CocoDataset(data.root / data.val, data.root / data.val_images) if data.val else None
        if self.held_out is not None and self.held_out.classes.names != self.classes.names:
            raise ValueError(f"{self.held_out.path}: its categories are not those of {train.path}")
        self.model = Mask2Former(len(self.classes), config.model).to(self.device)
        settings: dict[str, Any] = {"check_values": False, "sum_counts": self.processes.sum}
        self.criterion = query_criterion(len(self.classes), criterion, **settings)

    @property
    def images(self) -> CocoDataset:
        """The held-out images."""
        assert isinstance(self.held_out, CocoDataset)
        return self.held_out

    @torch.no_grad()
    def _predict(self, model: torch.nn.Module, index: Sequence[int]) -> list[tuple[CocoImage, Objects]]:
        """Some held-out images and their objects, in the pixels of the image files."""
        found = [self.images[each] for each in index]
        batch = collate_images([resized(image, self.config.data) for image in found])  # type: ignore[arg-type]
        outputs = model(batch.to(self.device))
        sizes = [image.image.shape[:2] for image in found]
        parts = zip(outputs["pred_logits"].cpu(), outputs["pred_masks"].cpu(), sizes, strict=True)
        return [(image, objects_of(logits, masks, *size)) for image, (logits, masks, size) in zip(found, parts)]

    def _evaluate(self) -> CocoScores:
        """Score the held-out images, log the scores, and save weights that are the best so far."""
        images, step = self.images, self.state.step
        mine, results, model = self.processes.shard(len(images)), [], self._averaged_model().eval()
        for start in range(0, len(mine), _BATCH):
            index = mine[start : start + _BATCH]
            for each, (_, objects) in zip(index, self._predict(model, index), strict=True):
                results += _coco_results(objects, images.images[each]["id"], images.category_ids)
        results = [result for part in self.processes.gather(results) for result in part]
        scores = coco_scores(images.truth(), results)
        if self.logger:
            drop_records_after(self.folder / EVALUATIONS, step - 1)
            append_record(self.folder / EVALUATIONS, {"step": step, **scores.to_json()})
        if step == self.config.train.steps and self.processes.is_first:
            for found, objects in self._predict(model, range(min(NUM_RESULTS, len(images)))):
                target = self.folder / RESULTS / f"{Path(found.name).stem}.npz"
                image_prediction(found, objects, self.classes).save(target)
        if self.config.train.evaluate_every and scores.ap > self.state.best_ap:
            self.state.best_ap = scores.ap
            self.save(BEST)
        return scores

    def _data_record(self) -> dict[str, Any]:
        sets = {"train": self.rooms.images, "val": self.held_out}  # type: ignore[attr-defined]
        return {key: images.record() if images else {"rooms": {}} for key, images in sets.items()}


def _coco_results(objects: Objects, image_id: Any, category_ids: Sequence[Any]) -> list[dict[str, Any]]:
    masks = rle.encode(np.asfortranarray(objects.masks.numpy().transpose(1, 2, 0).astype(np.uint8)))
    rows = zip(objects.labels.tolist(), objects.scores.tolist(), masks, strict=True)
    return [
        {"image_id": image_id, "category_id": category_ids[label], "score": score, "segmentation": mask}
        for label, score, mask in rows
    ]


def image_prediction(found: CocoImage, objects: Objects, classes: ClassSet) -> Prediction:
    """An image as a flat scene whose points are its pixels, so that all of `pcseg.viz` shows it and files hold it.

    Args:
        found: image and true instances.
        objects: what was predicted for it.
        classes: classes of both.
    """
    height, width = found.image.shape[:2]
    owner = np.zeros((height, width), np.int32)
    for number, mask in enumerate(found.masks, start=1):
        owner[mask] = number
    semantic = np.append(np.int32(-1), found.labels.astype(np.int32))[owner].ravel()
    xyz = pixel_grid(height, width)
    scene = Scene(Path(found.name).stem, xyz, found.image.reshape(-1, 3), semantic=semantic, instance=owner.ravel())
    masks: Any = objects.masks.flatten(1).numpy()
    return Prediction(scene, masks, objects.labels.numpy(), objects.scores.numpy(), classes=classes)
