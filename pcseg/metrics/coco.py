"""Mask AP of COCO, by pycocotools."""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int64

from pcseg.metrics.result import Result, nanmean

MIN_SCORE = 0.3  # objects that score less count for AP only
SIZES = ("small", "medium", "large")  # below 32 x 32 pixels, up to 96 x 96, and above


@dataclass(frozen=True, kw_only=True, repr=False)
class CocoScores(Result):
    """Mask AP: ap (mean over IoU thresholds 0.50 to 0.95), ap50 and ap75.

    Means are over classes with true instances, and so are those of the sizes, which are the groups.
    """

    num_gt: dict[str, int]  # true instances of each class and size
    image_ids: tuple[Any, ...]
    # True instances found and missed, and objects without one, at IoU 0.5 and scores from 0.3, of each image and class.
    counts: Int64[np.ndarray, "B C 3"]

    @property
    def ap(self) -> float:
        """Mean over classes and IoU thresholds."""
        return self.mean["ap"]

    def worst(self, num: int) -> list[int]:
        """Images with instances by their F1, the lowest first; among equals, the one with more errors."""
        found, missed, false = self.counts.sum(1).T
        rows = np.lexsort((-missed - false, found / np.maximum(2 * found + missed + false, 1)))
        return [int(row) for row in rows if found[row] + missed[row]][:num]

    def to_text(self) -> str:
        """Tables for a terminal."""
        return f"{super().to_text()}\n{self.count_text()}"

    def count_text(self, rows: Any = slice(None)) -> str:
        """One line about some images."""
        found, missed, false = self.counts[rows].reshape(-1, 3).sum(0)
        return f"{found} of {found + missed} objects found, {false} predictions without object"


def coco_scores(truth: dict[str, Any], results: Sequence[dict[str, Any]]) -> CocoScores:
    """Score objects as COCO does.

    Args:
        truth: content of an instances JSON with masks as RLE, from `CocoDataset.truth`.
        results: objects in COCO's format of results: image_id, category_id, score and segmentation as RLE.
    """
    from pycocotools import mask
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def indexed(annotations: Sequence[dict[str, Any]]) -> COCO:
        coco: Any = COCO()
        # COCOeval takes the id 0 for "no match".
        entries = [{"iscrowd": 0, **each, "id": number} for number, each in enumerate(annotations, start=1)]
        for entry in entries:
            entry.setdefault("area", float(mask.area(entry["segmentation"])))
        coco.dataset = {**truth, "annotations": entries}
        coco.createIndex()
        return coco

    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        evaluation: Any = COCOeval(indexed(truth["annotations"]), indexed(results), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
    params = evaluation.params
    matches = np.array(evaluation.evalImgs, object).reshape(len(params.catIds), len(params.areaRng), -1)
    counts = np.array([[_counts(each) for each in of_class] for of_class in matches[:, 0]], np.int64).swapaxes(0, 1)
    num_gt = np.vectorize(_num_gt)(matches).sum(2)
    precision = evaluation.eval["precision"][..., -1]  # threshold, recall, class, size
    precision = np.where(precision < 0, np.nan, precision)

    def means(classes: Any, size: int = 0) -> dict[str, float]:
        rows = {"ap": slice(None), "ap50": 0, "ap75": 5}
        return {key: nanmean(precision[row, :, classes, size]) for key, row in rows.items()}

    of_id = {each["id"]: str(each.get("name", each["id"])) for each in truth["categories"]}
    names = [of_id[each] for each in params.catIds]
    return CocoScores(
        mean=means(slice(None)),
        per_class={name: means(row) for row, name in enumerate(names)},
        per_group={name: means(slice(None), size) for size, name in enumerate(SIZES, start=1)},
        num_gt={**dict(zip(names, num_gt[:, 0].tolist())), **dict(zip(SIZES, num_gt.sum(0)[1:].tolist()))},
        image_ids=tuple(params.imgIds),
        counts=counts,
    )


def _num_gt(match: dict[str, Any] | None) -> int:
    return 0 if match is None else int(np.count_nonzero(np.asarray(match["gtIgnore"]) == 0))


def _counts(match: dict[str, Any] | None) -> tuple[int, int, int]:
    """Objects found and missed, and false objects, of one image and class."""
    if match is None:
        return 0, 0, 0
    sure = ~match["dtIgnore"][0].astype(np.bool_) & (np.array(match["dtScores"]) >= MIN_SCORE)
    found = int(np.count_nonzero(sure & (match["dtMatches"][0] > 0)))
    return found, _num_gt(match) - found, int(np.count_nonzero(sure)) - found
