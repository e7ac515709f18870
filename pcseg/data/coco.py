"""Images in COCO's format: an instances JSON with polygons or RLE, and a folder of images."""

import hashlib
import json
import os
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Int64, UInt8
from PIL import Image

from pcseg.classes import ClassSet
from pcseg.files import decoding

try:
    from pycocotools import mask as coco_mask
except ModuleNotFoundError:
    raise ValueError("COCO files need pycocotools and transformers; run: pip install 'pcseg[images]'") from None

_KEYS: dict[str, dict[str, type | None]] = {  # None: `mask_of_segmentation` checks it
    "images": {"id": int, "file_name": str, "height": int, "width": int},
    "annotations": {"image_id": int, "category_id": int, "segmentation": None},
    "categories": {"id": int, "name": str},
}
_OUTSIDE = 2.0  # pixels that a polygon may reach over the edge: annotators draw along it


@dataclass(frozen=True)
class CocoImage:
    """One image and its instances; letters as in `pcseg.structures`, H and W pixels."""

    name: str  # file name
    image: UInt8[np.ndarray, "H W 3"]
    labels: Int64[np.ndarray, "K"]  # class index of each instance
    masks: Bool[np.ndarray, "K H W"]  # at least one pixel each
    ignored: Bool[np.ndarray, "H W"]  # pixels of crowds that belong to no instance


class CocoDataset:
    """The images of an instances JSON; ``dataset[index]`` reads one.

    Args:
        path: the JSON file. Crowds become ignored pixels; instances without pixels are left out.
        folder: folder of the images.
        overlaps: "smaller" gives pixels of several instances to the smallest; "stay" leaves them to all, which only
            `SetCriterion` can train on.

    Raises:
        ValueError: the JSON is damaged, lacks a key, repeats an id, has another `iscrowd` than 0 and 1, or refers to
            what it does not have.
    """

    def __init__(self, path: Path, folder: Path, overlaps: Literal["smaller", "stay"] = "smaller") -> None:
        self.path, self.folder, self.overlaps = Path(path), Path(folder), overlaps
        self.content = _read(self.path)
        self.images: list[dict[str, Any]] = self.content["images"]
        categories = sorted(self.content["categories"], key=lambda category: category["id"])
        self.category_ids = [category["id"] for category in categories]  # of each class
        names = [category["name"] for category in categories]
        self.classes = ClassSet.from_dict({"name": self.path.stem, "names": names}, str(self.path))
        self._annotations: dict[Any, list[dict[str, Any]]] = defaultdict(list)
        known = {image["id"] for image in self.images}
        for annotation in self.content["annotations"]:
            for key, ids in (("image_id", known), ("category_id", self.category_ids)):
                if annotation[key] not in ids:
                    raise ValueError(f"{self._name(annotation)} has the unknown {key} {annotation[key]}")
            if (crowd := annotation.get("iscrowd", 0)) not in (0, 1):
                raise ValueError(f"{self._name(annotation)}: expected iscrowd as 0 or 1, got {crowd!r}")
            self._annotations[annotation["image_id"]].append(annotation)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> CocoImage:
        """Read an image and its masks.

        Raises:
            FileNotFoundError: the image does not exist.
            ValueError: the image is damaged, or of another size than in the JSON; a mask is damaged or outside of the
                image.
        """
        entry = self.images[index]
        path, size = self.folder / entry["file_name"], (entry["height"], entry["width"])
        if not os.path.isfile(path):  # False for names that are too long, too
            raise FileNotFoundError(f"{path}: no such file; {self.path} refers to it")
        with decoding(path, "an image"), Image.open(path) as file:
            image = np.array(file.convert("RGB"))
        if image.shape[:2] != size:
            found = f"{image.shape[1]} x {image.shape[0]}"
            raise ValueError(f"{path}: the image has {found} pixels, {self.path} says {size[1]} x {size[0]}")
        masks, labels, ignored = [], [], np.zeros(size, np.bool_)
        for annotation in self._annotations[entry["id"]]:
            mask = mask_of_segmentation(annotation["segmentation"], size, self._name(annotation))
            if annotation.get("iscrowd", 0):
                ignored |= mask
            elif mask.any():
                masks.append(mask)
                labels.append(self.category_ids.index(annotation["category_id"]))
        stacked, classes = np.array(masks, np.bool_).reshape(-1, *size), np.array(labels, np.int64)
        ignored &= ~stacked.any(axis=0)
        if self.overlaps == "smaller":
            stacked = to_smaller(stacked)
            present = stacked.any(axis=(1, 2))
            stacked, classes = stacked[present], classes[present]
        return CocoImage(entry["file_name"], image, classes, stacked, ignored)

    def truth(self) -> dict[str, Any]:
        """The content of the JSON with all masks as RLE, as `pcseg.metrics.coco` takes it."""
        sizes = {image["id"]: (image["height"], image["width"]) for image in self.images}
        annotations = []
        for each in self.content["annotations"]:
            mask = mask_of_segmentation(each["segmentation"], sizes[each["image_id"]], self._name(each))
            annotations.append({**each, "segmentation": coco_mask.encode(np.asfortranarray(mask, np.uint8))})
        return {**self.content, "annotations": annotations}

    def record(self) -> dict[str, Any]:
        """Number of images and the hash of the JSON, for the record of a run."""
        return {"num_rooms": len(self), "rooms": {self.path.name: hashlib.sha256(self.path.read_bytes()).hexdigest()}}

    def _name(self, annotation: dict[str, Any]) -> str:
        return f"{self.path}: annotation {annotation['id']}"


def mask_of_segmentation(segmentation: Any, size: tuple[int, int], name: str = "mask") -> Bool[np.ndarray, "H W"]:
    """The pixels of a segmentation.

    Args:
        segmentation: polygons [x, y, x, y, ...] in pixels, or RLE with ``counts`` as numbers or a string.
        size: height and width of the image in pixels.
        name: name of the mask, for messages.

    Raises:
        ValueError: the mask is damaged, outside of the image, or of another size.

    >>> mask_of_segmentation({"size": [2, 3], "counts": [1, 2, 3]}, (2, 3)).astype(int).tolist()
    [[0, 1, 0], [1, 0, 0]]
    """
    height, width = size
    if isinstance(segmentation, dict):
        if (found := segmentation.get("size")) != [height, width]:
            raise ValueError(f"{name}: its RLE has the size {found}, the image [{height}, {width}]")
        counts = segmentation.get("counts")
        # pycocotools reads beyond the end of damaged RLE, and returns what it finds there.
        runs: Any = _runs(counts) if isinstance(counts, (str, bytes)) else counts
        valid = isinstance(runs, list) and all(type(run) is int and run >= 0 for run in runs)
        if not valid or sum(runs) != height * width:
            raise ValueError(f"{name}: its RLE is damaged: the runs do not add up to the {height * width} pixels")
        return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T
    if not isinstance(segmentation, list):
        raise ValueError(f"{name}: its segmentation must be polygons or RLE, got {type(segmentation).__name__}")
    polygons = []
    for polygon in segmentation:
        try:
            corners = np.array(polygon, np.float64).reshape(-1, 2)
        except (ValueError, TypeError, OverflowError):
            raise ValueError(f"{name}: a polygon must be a list of numbers x, y, x, y, ...") from None
        over = np.maximum(-corners, corners - [width, height]).max(axis=1, initial=-1)
        if not over.max(initial=-1) <= _OUTSIDE:  # NaN is outside too
            x, y = corners[over.argmax()]
            raise ValueError(f"{name}: its polygon reaches ({x:g}, {y:g}), outside of the {width} x {height} image")
        if len(corners) > 2:
            polygons.append(corners.ravel().tolist())
    if not polygons:
        return np.zeros(size, np.bool_)
    union: Any = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
    return mask_of_segmentation(union, size, name)


def to_smaller(masks: Bool[np.ndarray, "K H W"]) -> Bool[np.ndarray, "K H W"]:
    """Masks without overlaps: each pixel belongs to the smallest of its instances."""
    masks, taken = masks.copy(), np.zeros(masks.shape[1:], np.bool_)
    for row in np.argsort(masks.sum(axis=(1, 2)), kind="stable"):
        masks[row] &= ~taken
        taken |= masks[row]
    return masks


def _runs(counts: str | bytes) -> list[int]:
    """Lengths of runs from COCO's string: five bits a character, from the third run the change to the last but one."""
    runs, value, shift = list[int](), 0, 0
    for char in counts.encode("latin-1", "replace") if isinstance(counts, str) else counts:
        bits = char - 48
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (bits & 16) and 1 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    return runs


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected an instances JSON of COCO")
    with decoding(path, "JSON"):
        content = json.loads(path.read_bytes())
    for part, keys in _KEYS.items():
        entries = content.get(part) if isinstance(content, dict) else None
        if not isinstance(entries, list):
            raise ValueError(f"{path}: not an instances JSON of COCO: it has no list {part}")
        for index, entry in enumerate(entries):
            name = f"{path}: entry {index} of {part}"
            for key, kind in keys.items():
                if not isinstance(entry, dict) or key not in entry:
                    raise ValueError(f"{name} has no {key}")
                if kind and type(entry[key]) is not kind:
                    raise ValueError(f"{name}: expected {key} as {kind.__name__}, got {entry[key]!r}")
            entry.setdefault("id", index)  # of annotations, for messages
        for number, count in Counter(entry["id"] for entry in entries if "id" in keys).items():
            if count > 1:
                raise ValueError(f"{path}: {count} {part} have the id {number}")
    if not content["categories"]:
        raise ValueError(f"{path}: its list categories is empty")
    return content
