"""A training run on images: data and evaluation; the rest is as on rooms."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from pycocotools import mask as rle
from torch.utils.data import Dataset

from pcseg.build import query_criterion
from pcseg.classes import ClassSet
from pcseg.data.coco import CocoDataset, CocoImage
from pcseg.files import append_record, drop_records_after
from pcseg.images.config import ImagesConfig, ImagesOptions
from pcseg.images.model import ImageObjects, Mask2Former, objects_of
from pcseg.metrics.coco import CocoScores, coco_scores
from pcseg.prediction import Prediction
from pcseg.run import Run
from pcseg.structures import ImageBatch, Scene
from pcseg.training.checkpoint import BEST, load_checkpoint, load_weights, prediction_weights
from pcseg.training.distributed import DistributedContext
from pcseg.training.run_logger import EVALUATIONS
from pcseg.viz.flat import pixel_grid

_BATCH = 8  # images that are evaluated together
_MEMORY = 2**30  # bytes of resized images that stay in memory, in each loader process
RESULTS, NUM_RESULTS = "results", 12  # folder in a run's folder, and number of held-out images in it after training


class ResizedImages(Dataset):
    """Images of one size and their targets; an item is a batch of one image. Files are read once if memory allows.

    Args:
        images: images of any size.
        options: size, stride of masks, and augmentation.
    """

    def __init__(self, images: CocoDataset, options: ImagesOptions) -> None:
        self.images, self.options = images, options
        self._stored, self._memory = dict[int, ImageBatch](), _MEMORY

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: tuple[tuple[int, ...], int]) -> ImageBatch:
        """The batch of one image; the key is the seed of its augmentation and its index."""
        seed, index = key
        batch = self._stored.get(index) or resized(self.images[index], self.options)
        if index not in self._stored and self._memory > 0:
            self._stored[index] = batch
            self._memory -= batch.pixels.nbytes + sum(values.nbytes for values in batch.targets[0].values())
        if not self.options.flip or np.random.default_rng(seed).random() >= 0.5:
            return batch
        target = {name: values if name == "labels" else values.flip(-1) for name, values in batch.targets[0].items()}
        return ImageBatch(batch.pixels.flip(-1), batch.names, [target])


def resized(found: CocoImage, options: ImagesOptions) -> ImageBatch:
    """A batch of one image, stretched to the size of the model; masks have the pixel nearest to each cell's center."""
    (height, width), stride = options.size, options.mask_stride
    pixels = np.array(Image.fromarray(found.image).resize((width, height), Image.Resampling.BILINEAR))
    rows, columns = (
        ((np.arange(side // stride) + 0.5) * whole / (side // stride)).astype(np.int64)
        for side, whole in zip(options.size, found.image.shape)
    )
    masks = found.masks[:, rows][:, :, columns]
    kept = masks.any(axis=(1, 2))
    arrays = {"labels": found.labels[kept], "masks": masks[kept], "ignored": found.ignored[rows][:, columns]}
    target = {name: torch.from_numpy(array) for name, array in arrays.items()}
    return ImageBatch(torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous(), [found.name], [target])


def collate_images(images: Sequence[ImageBatch]) -> ImageBatch:
    """One batch of several."""
    pixels = torch.cat([image.pixels for image in images])
    return ImageBatch(pixels, [image.names[0] for image in images], [image.targets[0] for image in images])


class ImageRun(Run):
    """A `Run` on images: Mask2Former, the criteria of pcseg, COCO's AP.

    After training the folder also has results/*.npz, some held-out images with their objects, for ``pcseg show``.
    """

    collate = staticmethod(collate_images)
    unit = "images"

    def _build(self) -> None:
        config: ImagesConfig = self.config  # type: ignore[assignment]
        data = config.data
        train = CocoDataset(data.root / data.train, data.root / data.train_images, data.overlaps)
        self.classes = train.classes
        self.superpoints = None
        self.rooms = ResizedImages(train, data)  # type: ignore[assignment]
        self.held_out = held_out(data, self.classes) if data.val else None  # type: ignore[assignment]
        self.model = Mask2Former(len(self.classes), config.model).to(self.device)
        settings: dict[str, Any] = {"check_values": False, "sum_counts": self.processes.sum}
        self.criterion = query_criterion(len(self.classes), config.criterion, **settings)

    def _evaluate(self) -> CocoScores:
        """Score the held-out images, log the scores, and save weights that are the best so far."""
        step, options = self.state.step, self.config.train
        num_saved = NUM_RESULTS if step == options.steps else 0
        test = ImageTest(self._evaluated_model(), self.held_out, self.config.data)  # type: ignore[arg-type]
        scores, _ = test.evaluate(self.processes, self.folder / RESULTS, num_saved)
        if self.logger:
            drop_records_after(self.folder / EVALUATIONS, step - 1)
            append_record(self.folder / EVALUATIONS, {"step": step, **scores.to_json()})
        if options.evaluate_every and scores.ap > self.state.best_ap:
            self.state.best_ap = scores.ap
            self.save(BEST)
        return scores

    @cached_property
    def _data_record(self) -> dict[str, Any]:
        sets = {"train": self.rooms.images, "val": self.held_out}  # type: ignore[attr-defined]
        return {key: images.record() if images else {"rooms": {}} for key, images in sets.items()}


def held_out(data: ImagesOptions, classes: ClassSet) -> CocoDataset:
    """The images that a model with these classes is scored on.

    Raises:
        ValueError: no images are named, they are damaged, or their categories are not the classes.
    """
    if not data.val:
        raise ValueError("data.val names no images to test on; name some")
    images = CocoDataset(data.root / data.val, data.root / data.val_images)
    if images.classes.names != classes.names:
        raise ValueError(f"{images.path}: its categories are not the classes of the model")
    return images


@dataclass
class ImageTest:
    """A `Mask2Former` and the images that it is tested on."""

    model: torch.nn.Module
    images: CocoDataset  # of any size
    options: ImagesOptions  # size of the model's images

    @classmethod
    def load(cls, path: Path, config: ImagesConfig, device: torch.device) -> "ImageTest":
        """A trained model and the held-out images of its config.

        Args:
            path: checkpoint of a `Mask2Former`.
            config: options of the model, and which images are held out.
            device: device for the model.

        Raises:
            CheckpointError: the checkpoint is missing, damaged, or of another model.
            ValueError: as `held_out`.
        """
        content = load_checkpoint(path)
        classes = ClassSet.from_dict(content["classes"], str(path))
        model = Mask2Former(len(classes), config.model)
        load_weights(model, prediction_weights(content), path)
        return cls(model.to(device), held_out(config.data, classes), config.data)

    def predict(self, index: Sequence[int]) -> Iterator[tuple[CocoImage, ImageObjects]]:
        """Some images and their objects, in the pixels of the image files; the model changes to evaluation mode."""
        self.model.eval()
        device = next(self.model.parameters()).device
        for start in range(0, len(index), _BATCH):
            found = [self.images[each] for each in index[start : start + _BATCH]]
            batch = collate_images([resized(image, self.options) for image in found])
            with torch.no_grad():
                outputs = self.model(batch.to(device))
            logits, masks = outputs["pred_logits"].cpu(), outputs["pred_masks"].cpu()
            for image, *predicted in zip(found, logits, masks, strict=True):
                yield image, objects_of(*predicted, *image.image.shape[:2])

    def evaluate(
        self, processes: DistributedContext, folder: Path, num_saved: int
    ) -> tuple[CocoScores, list[dict[str, Any]]]:
        """Scores in all processes together, and the objects in COCO's format of results.

        Args:
            processes: processes that share the images.
            folder: folder for files of predictions.
            num_saved: number of images, the first ones, whose predictions are saved there.
        """
        images, results = self.images, []
        mine = processes.shard(len(images))
        for each, (found, objects) in zip(mine, self.predict(mine), strict=True):
            results += coco_results(objects, images.images[each]["id"], images.category_ids)
            if each < num_saved:
                self.prediction(found, objects).save(folder / f"{Path(found.name).stem}.npz")
        results = [result for part in processes.gather(results) for result in part]
        return coco_scores(images.truth(), results), results

    def prediction(self, found: CocoImage, objects: ImageObjects) -> Prediction:
        """A flat scene whose points are the pixels of an image, so that all of `pcseg.viz` shows it and files hold it.

        Args:
            found: image and true instances.
            objects: what was predicted for it.
        """
        xyz, rgb = pixel_grid(*found.ignored.shape), found.image.reshape(-1, 3)
        owner = np.tensordot(np.arange(1, len(found.masks) + 1, dtype=np.int32), found.masks, 1).ravel()
        semantic = np.append(np.int32(-1), found.labels.astype(np.int32))[owner]
        scene = Scene(Path(found.name).stem, xyz, rgb, semantic=semantic, instance=owner)
        masks: Any = objects.masks.flatten(1).numpy()
        return Prediction(scene, masks, objects.labels.numpy(), objects.scores.numpy(), classes=self.images.classes)


def coco_results(objects: ImageObjects, image_id: Any, category_ids: Sequence[Any]) -> list[dict[str, Any]]:
    """The objects of one image in COCO's format of results.

    Args:
        objects: the objects.
        image_id: id of the image.
        category_ids: id of each class.
    """
    masks: Any = rle.encode(np.asfortranarray(objects.masks.numpy().transpose(1, 2, 0).astype(np.uint8)))
    rows = zip(objects.labels.tolist(), objects.scores.tolist(), masks, strict=True)
    return [
        {"image_id": image_id, "category_id": category_ids[label], "score": score}
        | {"segmentation": {**mask, "counts": mask["counts"].decode()}}
        for label, score, mask in rows
    ]
