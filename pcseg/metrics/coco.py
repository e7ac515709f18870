"""Mask AP of COCO, by pycocotools."""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

_LABELS = {"ap": "AP", "ap50": "AP50", "ap75": "AP75", "small": "AP small", "medium": "AP medium", "large": "AP large"}


@dataclass(frozen=True)
class CocoScores:
    """Mask AP over classes, 0..1; NaN without true instances."""

    ap: float  # mean over IoU thresholds 0.5, 0.55 .. 0.95
    ap50: float
    ap75: float
    small: float  # AP of instances below 32 x 32 pixels
    medium: float  # up to 96 x 96 pixels
    large: float  # above

    def to_json(self) -> dict[str, float]:
        """The numbers by name."""
        return asdict(self)

    def to_text(self) -> str:
        """One line, in percent."""
        return "  ".join(f"{_LABELS[key]} {100 * value:.1f}" for key, value in asdict(self).items())


def coco_scores(truth: dict[str, Any], results: Sequence[dict[str, Any]]) -> CocoScores:
    """Score objects as COCO does.

    Args:
        truth: instances JSON of COCO, with all masks as RLE.
        results: objects in COCO's format of results: image_id, category_id, score, and segmentation as RLE.
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
        evaluation = COCOeval(indexed(truth["annotations"]), indexed(results), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return CocoScores(*(float(value) if value >= 0 else float("nan") for value in evaluation.stats[:6]))
