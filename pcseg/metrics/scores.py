"""All measures from the same predictions: one small record per scene, one evaluation over all scenes."""

import csv
import io
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from pcseg.classes import ClassSet
from pcseg.files import none_for_nan
from pcseg.metrics.instance_ap import COCO_THRESHOLDS, SCANNET_THRESHOLDS, APResult, PerScene, average_precision
from pcseg.metrics.matching import SceneMatches, gather_scenes, match_scene
from pcseg.metrics.outcomes import OutcomeResult, SceneOutcomes, count_outcomes, object_outcomes
from pcseg.metrics.overlaps import scene_overlaps
from pcseg.metrics.points import count_classes, count_segments, panoptic_quality, semantic_iou
from pcseg.metrics.result import COLUMN_OF_MEAN, Result, percent
from pcseg.metrics.s3dis import S3DISScene, s3dis_protocols, s3dis_scene
from pcseg.prediction import Prediction

ONE_CLASS = ClassSet.from_dict({"name": "objects", "names": ["object"]})
COCO_NOTE = "AP over IoU 0.50 to 0.95 (COCO's ten thresholds; ScanNet's AP stops at 0.90)"
TITLES = {
    "semantic": "Points: IoU and accuracy",
    "panoptic": "Panoptic quality",
    "s3dis": "S3DIS: coverage, precision, recall",
}


@dataclass(frozen=True)
class SceneRecord:
    """Everything that the measures need of one scene: some ten kilobytes, for any number of points."""

    ap: SceneMatches  # instance AP
    objects: SceneMatches  # the same with index 0 for all classes but stuff
    s3dis: S3DISScene | None  # the S3DIS protocols; None if the class set does not report them
    semantic: Int64[np.ndarray, "pairs 3"]  # rows of true class, predicted class (C for none) and number of points
    # Per class the sum of IoU, matches, unmatched predictions and unmatched truths.
    panoptic: Float64[np.ndarray, "C 4"]
    outcomes: SceneOutcomes  # outcome of each object


@dataclass(frozen=True, repr=False)
class Evaluation:
    """Results of all measures."""

    ap: APResult  # ScanNet's AP
    coco: APResult  # the same at COCO's ten thresholds
    objects: APResult  # ScanNet's AP of all classes but stuff as one
    semantic: Result  # mIoU and accuracy of points
    panoptic: Result  # PQ, SQ and RQ
    outcomes: OutcomeResult  # outcome of each object
    s3dis: Result | None = None  # mCov, mWCov, mPrec and mRec; None if the class set does not report them

    def __repr__(self) -> str:
        return self.to_text()

    def to_json(self) -> dict[str, Any]:
        """All numbers by name, None for what is not defined."""
        coco = {"ap": self.coco.ap, "classes": {name: {"ap": row["ap"]} for name, row in self.coco.per_class.items()}}
        return {
            **self.ap.to_json(),
            "thresholds": none_for_nan(self.ap.threshold_means()),
            "class_thresholds": none_for_nan(self.ap.class_thresholds()),
            "coco_thresholds": none_for_nan(coco),
            "objects": none_for_nan(self.objects.mean),
            **{key: result.to_json() for key, result in self.further().items()},
            "outcomes": self.outcomes.to_json(),
        }

    def to_text(self) -> str:
        """Tables for a terminal."""
        tables = [f"{TITLES[key]}\n{result.to_text()}" for key, result in self.further().items()]
        ap = f"Average precision\n{self.ap.to_text()}\n{COCO_NOTE}: {percent(self.coco.ap)}\n{self.objects_note()}"
        return "\n\n".join([ap, *tables, self.outcomes.to_text()])

    def to_csv(self) -> str:
        """One line per class and group of classes, and a last line "mean"; a column per measure, empty for none."""
        coco = {name: {"ap_coco_thresholds": row["ap"]} for name, row in self.coco.per_class.items()}
        thresholds = {name: _by_threshold(row) for name, row in self.ap.class_thresholds().items()}
        results: list[Result] = [
            self.ap,
            Result({"ap_coco_thresholds": self.coco.ap}, coco),
            Result(_by_threshold(self.ap.threshold_means()), thresholds),
            *self.further().values(),
        ]
        rows: dict[str, dict[str, float]] = {}
        mean: dict[str, float] = {}
        for result in results:
            mean |= {COLUMN_OF_MEAN.get(key, key): value for key, value in result.mean.items()}
            for name, values in {**result.per_class, **result.per_group}.items():
                rows.setdefault(name, {}).update(values)
        # Classes that AP does not count have a line only if another measure does.
        of_ap = {*self.ap.per_class, *self.ap.per_group}
        rows = {name: row for name, row in rows.items() if name in of_ap or not np.isnan([*row.values()]).all()}
        rows["mean"] = mean
        columns = list(dict.fromkeys(column for row in rows.values() for column in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, ["class", *columns], lineterminator="\n")
        writer.writeheader()
        for name, row in rows.items():
            known = {key: float(value) for key, value in row.items() if not math.isnan(value)}
            writer.writerow({"class": name, **known})
        return text.getvalue()

    def objects_note(self) -> str:
        """The AP of all objects as one class, in words."""
        values = " / ".join(map(percent, self.objects.mean.values()))
        return f"AP / AP50 / AP25 of all objects as one class, without surfaces: {values}"

    def further(self) -> dict[str, Result]:
        """The measures other than AP, by the keys of `TITLES`."""
        results = {"semantic": self.semantic, "panoptic": self.panoptic, "s3dis": self.s3dis}
        return {key: result for key, result in results.items() if result is not None}


class Scores(PerScene[SceneRecord]):
    """All measures over scenes; only a small record of each scene is stored.

    Without `semantic`, points have the class of their best object. Points of classes that instance AP does not count
    are then void in the semantic and panoptic measures.

    Args:
        classes: the dataset's classes.
        min_points: smaller predictions are dropped, smaller objects are ignored.
        min_score: predictions that score less count for AP and the S3DIS protocols only.
    """

    def __init__(self, classes: ClassSet, *, min_points: int = 100, min_score: float = 0.3) -> None:
        super().__init__(classes, min_points=min_points)
        self.min_score = min_score

    def _record(self, prediction: Prediction) -> SceneRecord:
        overlaps = scene_overlaps(prediction, self.classes)
        matches = match_scene(overlaps, self.min_points)
        partition = prediction.point_rows(self.min_score, min_points=0)
        truth, labels = prediction.scene.semantic, prediction.labels
        assert truth is not None
        assert prediction.scene.instance is not None
        if prediction.semantic is None:
            panoptic = np.append(-1, np.where(overlaps.counted[labels], labels, -1))[partition]
            semantic, segment = panoptic, np.where(panoptic < 0, 0, partition)
            truth = np.where(np.append(overlaps.counted, False)[truth], truth, -1)
        else:
            semantic, segment = prediction.semantic, partition
            panoptic = np.where(partition > 0, np.append(-1, labels)[partition], semantic)
        points = count_classes(semantic, truth, len(self.classes))
        is_stuff = self.classes.is_stuff
        return SceneRecord(
            ap=matches,
            objects=match_scene(overlaps, self.min_points, self.classes.is_stuff.astype(np.int64)),
            s3dis=s3dis_scene(overlaps) if self.classes.s3dis_protocols else None,
            semantic=np.stack([points.a, points.b, points.points], axis=1),
            panoptic=count_segments((panoptic, segment), (truth, prediction.scene.instance), is_stuff),
            outcomes=object_outcomes(overlaps, partition, min_points=self.min_points, min_score=self.min_score),
        )

    def subset(self, names: Collection[str]) -> "Scores":
        """The scores of some of the scenes."""
        part = Scores(self.classes, min_points=self.min_points, min_score=self.min_score)
        part.merge([{name: self._scenes[name] for name in names}])
        return part

    def compute(self) -> Evaluation:
        """All measures over the scenes added so far."""
        classes, records = self.classes, self.records()
        confusion = np.zeros((len(classes), len(classes) + 1), np.int64)
        counts = np.zeros((len(classes), 4))
        for record in records:
            rows, columns, points = record.semantic.T
            confusion[rows, columns] += points
            counts += record.panoptic
        s3dis = None
        if classes.s3dis_protocols:
            scenes = [record.s3dis for record in records if record.s3dis is not None]
            matches = gather_scenes(record.ap for record in records)
            s3dis = s3dis_protocols(scenes, matches, classes, min_points=self.min_points)
        return Evaluation(
            ap=self.average_precision(SCANNET_THRESHOLDS),
            coco=self.average_precision(COCO_THRESHOLDS),
            objects=average_precision((record.objects for record in records), ONE_CLASS, min_points=self.min_points),
            semantic=semantic_iou(confusion, classes),
            panoptic=panoptic_quality(counts, classes),
            outcomes=count_outcomes((record.outcomes for record in records), classes.names),
            s3dis=s3dis,
        )

    def average_precision(self, thresholds: Sequence[float]) -> APResult:
        """Instance AP alone, at any IoU thresholds."""
        matches = [record.ap for record in self.records()]
        return average_precision(matches, self.classes, thresholds=thresholds, min_points=self.min_points)


def _by_threshold(values: dict[str, float]) -> dict[str, float]:
    return {f"ap_iou_{key}": value for key, value in values.items()}
