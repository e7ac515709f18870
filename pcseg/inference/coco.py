"""Objects of rooms as one JSON in the manner of COCO, with run-length encoded masks over points."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from jaxtyping import Bool

from pcseg.classes import ClassSet
from pcseg.structures import Prediction


def rle_counts(mask: Bool[np.ndarray, "P"]) -> list[int]:
    """Lengths of the runs of a mask, the first one of points outside (0 where the mask begins with a point inside).

    Source:
        The uncompressed RLE of COCO (cocoapi, PythonAPI/pycocotools/mask.py), for an image P high and 1 wide.
    """
    if len(mask) == 0:
        return []
    borders = np.flatnonzero(np.diff(mask)) + 1
    counts = np.diff(np.concatenate([[0], borders, [len(mask)]])).tolist()
    return [0, *counts] if mask[0] else counts


def coco_document(predictions: Iterable[Prediction], *, threshold: float = 0.0) -> dict[str, Any]:
    """Rooms and their objects as COCO writes images and annotations.

    A room is an image of P rows and 1 column, so that pycocotools reads the masks. Masks may overlap. `bbox` is the
    axis-aligned box as x, y, z of its least corner and its three edges, in meters; `area` counts points.

    Args:
        predictions: rooms of one class set; each is taken when the previous one is done.
        threshold: objects that score less are left out.

    Returns:
        images (id, file_name, height, width, num_points), categories (id of the class in its dataset's own files, name,
        isthing, color) and annotations (id, image_id, category_id, segmentation, area, bbox, score, iscrowd); lists,
        numbers and texts alone.

    Raises:
        ValueError: different class sets, or a prediction without objects.

    Source:
        COCO's data format, cocodataset.org, with a third dimension to the boxes.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    classes: ClassSet | None = None
    for image_id, prediction in enumerate(predictions, 1):
        name, found = prediction.scene.name, prediction.classes
        if not prediction.has_objects or found is None:
            raise ValueError(f"{name}: no objects were predicted for it, only classes")
        classes = classes or found
        if found != classes:
            raise ValueError(
                f"{name} has the classes of {found.name}, those before it the classes of {classes.name}; "
                "write a file for each class set"
            )
        size = {"height": len(prediction.scene), "width": 1, "num_points": len(prediction.scene)}
        images.append({"id": image_id, "file_name": name, **size})
        for annotation in _annotations(prediction, classes, threshold):
            annotations.append({"id": len(annotations) + 1, "image_id": image_id, **annotation})
    return {"images": images, "categories": _categories(classes), "annotations": annotations}


def _categories(classes: ClassSet | None) -> list[dict[str, Any]]:
    if classes is None:
        return []
    return [
        {"id": number, "name": name, "isthing": int(name not in classes.stuff), "color": list(color)}
        for number, name, color in zip(classes.ids, classes.names, classes.colors)
    ]


def _annotations(prediction: Prediction, classes: ClassSet, threshold: float) -> list[dict[str, Any]]:
    found = []
    for row in np.flatnonzero(prediction.scores >= threshold):
        mask = prediction.point_mask(int(row))
        points = prediction.scene.xyz[mask].astype(np.float64)
        low, high = (points.min(axis=0), points.max(axis=0)) if len(points) else (np.zeros(3), np.zeros(3))
        found.append(
            {
                "category_id": classes.ids[prediction.labels[row]],
                "segmentation": {"size": [len(mask), 1], "counts": rle_counts(mask)},
                "area": len(points),
                "bbox": [round(float(value), 4) for value in (*low, *(high - low))],
                "score": round(float(prediction.scores[row]), 6),
                "iscrowd": 0,
            }
        )
    return found
