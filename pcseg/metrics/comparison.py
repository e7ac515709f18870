"""The same predictions under every reading of a measure that is in use: what difference it makes."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pcseg.metrics.instance_ap import SCANNET_THRESHOLDS, Curve, precision_recall_curves
from pcseg.metrics.scores import Scores


@dataclass(frozen=True)
class Reading:
    """One reading of a measure.

    Args:
        measure: what is measured, such as AP.
        name: which reading.
        value: what it gives, a fraction.
        is_base: whether the others of the measure are compared with this one, the first that pcseg reports.
    """

    measure: str
    name: str
    value: float
    is_base: bool = False


def compare_readings(scores: Scores, everything_counts: Scores, areas: dict[str, Scores]) -> list[Reading]:
    """Every measure in the readings that scripts and papers have.

    Args:
        scores: the rooms.
        everything_counts: the same rooms and predictions with `min_points=1`.
        areas: the rooms by area.

    Returns:
        Readings, those of one measure one after another, ours first.
    """
    result, coco = scores.compute(), scores.compute().coco
    readings = [
        Reading("AP", "ScanNet's script: nine thresholds, 0.50 to 0.90", result.ap.ap, True),
        Reading("AP", "its documentation: ten thresholds, 0.50 to 0.95", coco.ap),
        Reading("AP", "nine thresholds, precision made to fall as in COCO, 101 recalls", _coco_area(scores)),
        Reading("AP", "nine thresholds, objects under 100 points count too", everything_counts.compute().ap.ap),
        Reading("AP", "mean over rooms of the AP of each", _over(scores, lambda room: room.compute().ap.ap)),
        Reading("AP50", "ScanNet's script", result.ap.ap50, True),
        Reading("AP50", "mean over rooms of the AP50 of each", _over(scores, lambda room: room.compute().ap.ap50)),
    ]
    if result.s3dis is not None:
        mean = result.s3dis.mean
        for measure, key in (("mPrec", "precision"), ("mRec", "recall")):
            readings += [
                Reading(measure, "best F1 of the curve (OneFormer3D)", mean[f"{key}_best_f1"], True),
                Reading(measure, "partition of all predictions (ASIS, ISBNet)", mean[f"{key}_partition"]),
                Reading(measure, "partition of those of score 0.8 and more (Mask3D)", mean[f"{key}_confidence"]),
            ]
        readings += [
            Reading("mCov", "mean over objects, then rooms, then classes (ASIS)", mean["mcov"], True),
            Reading("mCov", "mean over all objects of a class, then classes", _pooled_coverage(scores)),
            Reading("mWCov", "weighted by points within a room (ASIS)", mean["mwcov"], True),
        ]
        means = [part.compute() for part in areas.values()]
        readings += [
            Reading("six folds, AP50", "all rooms together", result.ap.ap50, True),
            Reading("six folds, AP50", "mean of the areas", float(np.mean([m.ap.ap50 for m in means]))),
        ]
        for name, key in (("mPrec", "precision_best_f1"), ("mCov", "mcov")):
            folds = [m.s3dis.mean[key] for m in means if m.s3dis is not None]
            readings += [
                Reading(f"six folds, {name}", "all rooms together", mean[key], True),
                Reading(f"six folds, {name}", "mean of the areas", float(np.mean(folds))),
            ]
    panoptic = result.panoptic
    matched = [row["sq"] for row in panoptic.per_class.values() if row["sq"] > 0]
    readings += [
        Reading("mIoU", "one confusion matrix over all points", result.semantic.miou, True),
        Reading(
            "mIoU", "mean over rooms of the mIoU of each", _over(scores, lambda room: room.compute().semantic.miou)
        ),
        Reading("PQ", "matches over all rooms (panopticapi)", panoptic.all["pq"], True),
        Reading("PQ", "mean over rooms of the PQ of each", _over(scores, lambda r: r.compute().panoptic.all["pq"])),
        Reading("SQ", "classes without a match are 0 (panopticapi)", panoptic.all["sq"], True),
        Reading("SQ", "classes without a match are left out", float(np.mean(matched)) if matched else float("nan")),
    ]
    return readings


def _over(scores: Scores, measure: Callable[[Scores], float]) -> float:
    values = np.array([measure(scores.subset([name])) for name in scores.names])
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def _pooled_coverage(scores: Scores) -> float:
    rooms = [record.s3dis for record in scores.records() if record.s3dis is not None]
    num_gt = np.array([room.num_gt for room in rooms])
    covered = np.array([np.nan_to_num(room.partition.coverage) for room in rooms]) * num_gt
    has_gt = num_gt.sum(axis=0) > 0
    return float((covered.sum(axis=0)[has_gt] / num_gt.sum(axis=0)[has_gt]).mean())


def _coco_area(scores: Scores) -> float:
    curves = precision_recall_curves(
        [record.ap for record in scores.records()],
        scores.classes.names,
        counted_classes=scores.classes.instance_classes,
        thresholds=SCANNET_THRESHOLDS[:-1],
        min_points=scores.min_points,
    )
    return float(np.mean([interpolated_area(curve) for lines in curves.values() for curve in lines.values()]))


def interpolated_area(curve: Curve) -> float:
    """COCO's area: the mean over 101 recalls of the best precision at that recall or a greater one; 0 beyond the last.

    Source:
        COCOeval.accumulate of pycocotools.
    """
    # The last point of a curve, (1, 0), keeps nothing; COCO's curve has no such point.
    recall, precision = curve.recall[-2::-1], np.maximum.accumulate(curve.precision[:-1])[::-1]
    position = np.searchsorted(recall, np.linspace(0, 1, 101), side="left")
    return float(np.append(precision, 0.0)[position].mean())
