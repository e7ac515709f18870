"""All measures of this package from the same predictions: one small record per scene, one evaluation over all."""

import csv
import io
import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from pcseg.classes import ClassSet
from pcseg.files import none_for_nan
from pcseg.metrics.histogram import count_overlaps, find_objects
from pcseg.metrics.instance_ap import COCO_THRESHOLDS, SCANNET_THRESHOLDS, APResult, average_precision
from pcseg.metrics.matching import SceneMatches, match_scene
from pcseg.metrics.outcomes import OutcomeResult, SceneOutcomes, count_outcomes, object_outcomes
from pcseg.metrics.panoptic_quality import PanopticQuality, PanopticResult, panoptic_quality
from pcseg.metrics.per_scene import PerScene
from pcseg.metrics.s3dis_protocols import S3DISProtocols, S3DISResult, S3DISScene, s3dis_scene
from pcseg.metrics.semantic_iou import SemanticIoU, SemanticResult, semantic_iou
from pcseg.metrics.table import Result, format_table, to_json
from pcseg.structures import Prediction

COCO_NOTE = "AP over IoU 0.50 to 0.95 (COCO's ten thresholds; ScanNet's AP stops at 0.90)"


@dataclass(frozen=True)
class SceneRecord:
    """All that the measures need of one scene: some ten kilobytes, whatever the number of points.

    Args:
        ap: for instance AP.
        s3dis: for the S3DIS protocols, on that dataset only.
        semantic: rows true class, predicted class (C for none), points.
        panoptic: per class sum of IoU, matches, unmatched predictions, unmatched truths.
        outcomes: what became of each object.
    """

    ap: SceneMatches
    s3dis: S3DISScene | None
    semantic: Int64[np.ndarray, "pairs 3"]
    panoptic: Float64[np.ndarray, "C 4"]
    outcomes: SceneOutcomes


@dataclass(frozen=True)
class Evaluation:
    """What was measured; the S3DIS protocols only for that dataset's classes.

    Args:
        ap: ScanNet's AP.
        coco: the same at COCO's ten thresholds.
        semantic: mIoU and accuracy of points.
        panoptic: PQ, SQ and RQ.
        outcomes: what became of each object.
        s3dis: mCov, mWCov, mPrec and mRec.
    """

    ap: APResult
    coco: APResult
    semantic: SemanticResult
    panoptic: PanopticResult
    outcomes: OutcomeResult
    s3dis: S3DISResult | None = None

    def to_json(self) -> dict[str, Any]:
        """Everything as one dict of numbers, null for what is not defined."""
        coco = {"ap": self.coco.ap, "classes": {name: {"ap": v[0]} for name, v in self.coco.per_class.items()}}
        return {
            **to_json(self.ap),
            "thresholds": none_for_nan(self.ap.threshold_means()),
            "class_thresholds": none_for_nan(self.ap.class_thresholds()),
            "coco_thresholds": none_for_nan(coco),
            **{key: to_json(result) for key, result in self._further().items()},
            "outcomes": self.outcomes.to_json(),
        }

    def to_text(self) -> str:
        """Tables for a terminal."""
        coco = "-" if math.isnan(self.coco.ap) else f"{100 * self.coco.ap:.1f}"
        tables = [format_table(result) for result in self._further().values()]
        return "\n\n".join([f"{format_table(self.ap)}\n{COCO_NOTE}: {coco}", *tables, self.outcomes.to_text()])

    def to_csv(self) -> str:
        """One line per class and group of classes and a last line "mean"; a column per measure, empty for none."""
        rows: dict[str, dict[str, float]] = {}
        coco = {name: {"ap_coco_thresholds": values[0]} for name, values in self.coco.per_class.items()}
        thresholds = {
            name: {f"ap_iou_{key}": value for key, value in values.items()}
            for name, values in self.ap.class_thresholds().items()
        }
        parts = [self.ap.classes(), self.ap.groups(), coco, thresholds]
        parts += [result.classes() for result in self._further().values()]
        for part in parts:
            for name, values in part.items():
                rows.setdefault(name, {}).update(values)
        means = {"ap_coco_thresholds": self.coco.ap}
        means |= {f"ap_iou_{key}": value for key, value in self.ap.threshold_means().items()}
        means |= self.ap.summary()
        for result in self._further().values():
            means |= {{"miou": "iou", "macc": "acc"}.get(key, key): value for key, value in result.summary().items()}
        rows["mean"] = means
        known = {*self.ap.per_class, *self.ap.per_group, "mean"}
        rows = {
            name: row
            for name, row in rows.items()
            if name in known or not all(math.isnan(value) for value in row.values())
        }
        columns = list(dict.fromkeys(column for row in rows.values() for column in row))
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["class", *columns])
        for name, row in rows.items():
            values = [row.get(column, float("nan")) for column in columns]
            writer.writerow([name, *("" if math.isnan(value) else repr(float(value)) for value in values)])
        return text.getvalue()

    def _further(self) -> dict[str, Result]:
        results = {"semantic": self.semantic, "panoptic": self.panoptic, "s3dis": self.s3dis}
        return {key: result for key, result in results.items() if result is not None}


class Scores(PerScene[SceneRecord]):
    """Collects scenes for every measure; one small record per scene is kept, no mask and no point.

    Args:
        classes: the dataset's classes.
        min_points: smaller predictions are dropped, smaller objects ignored.
        min_score: predictions that score less do not count as mistakes or duplicates, and take no points where
            classes of points are made from the objects alone. AP and the S3DIS protocols take all predictions.
    """

    def __init__(self, classes: ClassSet, *, min_points: int = 100, min_score: float = 0.3) -> None:
        super().__init__()
        self.classes = classes
        self.min_points = min_points
        self.min_score = min_score
        self.counted = np.isin(np.arange(len(classes)), classes.instance_classes)

    def add(self, prediction: Prediction) -> None:
        """Adds one scene, with the ground truth of `prediction.scene`; every scene may be added once.

        Points take the predicted `semantic` class, and that of their best object where they have one in the panoptic
        measures. Without `semantic` both are of the objects alone, and points of classes that instance AP does not
        count are void.

        Args:
            prediction: a labeled scene with its objects.

        Raises:
            ValueError: a scene without labels, with other classes, or added before.
        """
        scene, labels, scores = prediction.scene, prediction.labels, prediction.scores
        name, superpoint = scene.name, prediction.superpoint
        self._check_new(name)
        if scene.semantic is None or scene.instance is None:
            raise ValueError(f"scene {name} has no labels to compare with")
        if prediction.classes is not None and prediction.classes.names != self.classes.names:
            raise ValueError(f"scene {name} has classes {prediction.classes.name}, expected {self.classes.name}")
        masks = prediction.masks.toarray()
        objects = find_objects(scene.semantic, scene.instance, self.counted)
        overlaps = count_overlaps(masks, objects, superpoint)
        matches = match_scene(overlaps, labels, scores, objects, self.counted, self.min_points)
        s3dis = None
        if self.classes.s3dis_protocols:
            s3dis = s3dis_scene(masks, labels, scores, superpoint, objects, matches, self.counted)
        partition = prediction.point_ids(self.min_score).astype(np.int64)
        truth, semantic = scene.semantic, prediction.semantic
        if semantic is None:
            semantic = panoptic = np.append(-1, np.where(self.counted[labels], labels, -1))[partition]
            segment = np.where(panoptic < 0, 0, partition)
            truth = np.where(np.append(self.counted, False)[truth], truth, -1)
        else:
            panoptic = np.where(partition > 0, np.append(-1, labels)[partition], semantic)
            surfaces = [self.classes.index(name) for name in self.classes.stuff]
            segment = np.where(np.isin(panoptic, surfaces), 0, partition)
        by_class, by_segment = SemanticIoU(self.classes.names), PanopticQuality(self.classes.names, self.classes.stuff)
        by_class.add(semantic, truth)
        by_segment.add(panoptic, segment, truth, scene.instance)
        confusion = by_class.state()
        rows, columns = np.nonzero(confusion)
        self._scenes[name] = SceneRecord(
            ap=matches,
            s3dis=s3dis,
            semantic=np.stack([rows, columns, confusion[rows, columns]], axis=1),
            panoptic=by_segment.state(),
            outcomes=object_outcomes(
                overlaps,
                partition,
                labels,
                scores,
                objects,
                self.counted,
                min_points=self.min_points,
                min_score=self.min_score,
            ),
        )

    @property
    def names(self) -> list[str]:
        """The scenes added so far, in order of name."""
        return sorted(self._scenes)

    def records(self) -> list[SceneRecord]:
        """The records in order of name, so that whatever adds them up does not depend on who made them when."""
        return [self._scenes[name] for name in self.names]

    def subset(self, names: Collection[str]) -> "Scores":
        """The same with some of the scenes only."""
        part = Scores(self.classes, min_points=self.min_points, min_score=self.min_score)
        part.merge([{name: self._scenes[name] for name in names}])
        return part

    def compute(self) -> Evaluation:
        """Every measure over the scenes added so far."""
        classes, records = self.classes, self.records()
        confusion = np.zeros((len(classes), len(classes) + 1), np.int64)
        counts = np.zeros((len(classes), 4))
        for record in records:
            rows, columns, points = record.semantic.T
            confusion[rows, columns] += points
            counts += record.panoptic
        protocols = None
        if classes.s3dis_protocols:
            protocols = S3DISProtocols(classes.names, min_points=self.min_points)
            protocols.merge([{name: r.s3dis for name, r in zip(self.names, records) if r.s3dis is not None}])
        return Evaluation(
            ap=self.average_precision(SCANNET_THRESHOLDS),
            coco=self.average_precision(COCO_THRESHOLDS),
            semantic=semantic_iou(confusion, classes.names),
            panoptic=panoptic_quality(counts, classes.names, classes.stuff),
            outcomes=count_outcomes((record.outcomes for record in records), classes.names),
            s3dis=None if protocols is None else protocols.compute(),
        )

    def average_precision(self, thresholds: tuple[float, ...]) -> APResult:
        """Instance AP alone, at thresholds of choice."""
        return average_precision(
            [record.ap for record in self.records()],
            self.classes.names,
            counted_classes=self.classes.instance_classes,
            thresholds=thresholds,
            min_points=self.min_points,
            groups=self.classes.groups,
        )
