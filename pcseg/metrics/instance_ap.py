"""Average precision of instances, equal to ScanNet's evaluator."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from pcseg.classes import ClassSet
from pcseg.metrics.matching import (
    ClassMatches,
    SceneMatches,
    assign,
    gather_scenes,
    match_scene,
    precision_recall,
    select_class,
)
from pcseg.metrics.overlaps import scene_overlaps
from pcseg.metrics.result import Result, nanmean
from pcseg.metrics.state import PerScene
from pcseg.structures import Prediction

# The script has nine thresholds, 0.50 to 0.90: its arange stops before 0.95, although the documentation says 0.95.
SCANNET_THRESHOLDS: tuple[float, ...] = (*np.arange(0.5, 0.95, 0.05).tolist(), 0.25)
# COCO's ten thresholds 0.50 to 0.95 (and 0.25), for the AP that the documentation describes. Only the thresholds are
# COCO's: the curve is still integrated as ScanNet does.
COCO_THRESHOLDS: tuple[float, ...] = (*np.arange(0.5, 1.0, 0.05).tolist(), 0.25)


@dataclass(frozen=True, kw_only=True)
class APResult(Result):
    """Average precision: ap (mean over all thresholds but 0.25), ap50 and ap25.

    Means are over classes with ground truth; those of a group too, as in the benchmark's table.

    Args:
        per_threshold: AP of each class at each threshold.
        thresholds: IoU thresholds, the columns of `per_threshold`.
        num_gt: number of ground-truth objects that count, per class.
        num_pred: number of predictions that count, per class.
    """

    per_threshold: Float64[np.ndarray, "C T"]
    thresholds: tuple[float, ...]
    num_gt: dict[str, int]
    num_pred: dict[str, int]

    @property
    def ap(self) -> float:
        """Mean over classes and over all thresholds but 0.25."""
        return self.mean["ap"]

    @property
    def ap50(self) -> float:
        """Mean over classes at IoU 0.50."""
        return self.mean["ap50"]

    @property
    def ap25(self) -> float:
        """Mean over classes at IoU 0.25."""
        return self.mean["ap25"]

    def threshold_means(self) -> dict[str, float]:
        """Mean AP over the classes at each threshold, by its two digits: "0.50", "0.55", ..."""
        return {f"{threshold:.2f}": nanmean(column) for threshold, column in zip(self.thresholds, self.per_threshold.T)}

    def class_thresholds(self) -> dict[str, dict[str, float]]:
        """AP of each class at each threshold, by its two digits."""
        keys = [f"{threshold:.2f}" for threshold in self.thresholds]
        return {name: dict(zip(keys, row)) for name, row in zip(self.per_class, self.per_threshold.tolist())}


def average_precision(
    matches: Iterable[SceneMatches],
    classes: ClassSet,
    *,
    thresholds: Sequence[float] = SCANNET_THRESHOLDS,
    min_points: int = 100,
) -> APResult:
    """Average precision over scenes.

    Args:
        matches: one record per scene, in any order.
        classes: the dataset's classes; instance classes and groups are reported.
        thresholds: IoU thresholds; AP50 and AP25 are nan unless 0.50 and 0.25 are among them.
        min_points: ground-truth objects with fewer points are ignored.

    Source:
        evaluate_semantic_instance.py of the ScanNet benchmark. The script fails if every prediction of a class is
        ignored; here the class gets 0, as in repaired copies of the script.
    """
    names = [classes.names[label] for label in sorted(classes.instance_classes)]
    table = np.full((len(names), len(thresholds)), np.nan)
    num_gt, num_pred = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    for row, (name, of_class) in enumerate(_by_class(matches, classes, min_points)):
        num_gt[name], num_pred[name] = of_class.num_gt, len(of_class.pred_scores)
        if of_class.num_gt:
            table[row] = [_area(_curve(of_class, threshold)) for threshold in thresholds]
    is25, is50 = np.isclose(thresholds, 0.25), np.isclose(thresholds, 0.5)

    def means(rows: list[int]) -> dict[str, float]:
        kept = {"ap": ~is25, "ap50": is50, "ap25": is25}
        return {key: nanmean(table[rows][:, columns]) for key, columns in kept.items()}

    return APResult(
        mean=means(list(range(len(names)))),
        per_class={name: means([row]) for row, name in enumerate(names)},
        per_group={
            group: means([row for row, name in enumerate(names) if name in members])
            for group, members in classes.groups.items()
        },
        per_threshold=table,
        thresholds=tuple(map(float, thresholds)),
        num_gt=num_gt,
        num_pred=num_pred,
    )


@dataclass(frozen=True)
class Curve:
    """Precision over recall of one class at one IoU threshold, from the lowest score to none.

    Args:
        precision: share of the remaining predictions that are right.
        recall: share of the objects that they find.
    """

    precision: Float64[np.ndarray, "steps"]
    recall: Float64[np.ndarray, "steps"]


def precision_recall_curves(
    matches: Iterable[SceneMatches],
    classes: ClassSet,
    *,
    thresholds: Sequence[float] = (0.25, 0.5, 0.75),
    min_points: int = 100,
) -> dict[str, dict[float, Curve]]:
    """The curves whose area `average_precision` measures, for pictures.

    Args:
        matches: one record per scene, in any order.
        classes: the dataset's classes; instance classes are reported.
        thresholds: IoU thresholds.
        min_points: ground-truth objects with fewer points are ignored.

    Returns:
        For each class with ground truth, one curve per threshold.
    """
    return {
        name: {threshold: _curve(of_class, threshold) for threshold in thresholds}
        for name, of_class in _by_class(matches, classes, min_points)
        if of_class.num_gt
    }


def _by_class(
    matches: Iterable[SceneMatches], classes: ClassSet, min_points: int
) -> Iterator[tuple[str, ClassMatches]]:
    scenes = gather_scenes(matches)
    for label in sorted(classes.instance_classes):
        yield classes.names[label], select_class(scenes, label, min_points)


def _curve(matches: ClassMatches, threshold: float) -> Curve:
    return Curve(*precision_recall(*assign(matches, threshold), matches.num_gt))


def _area(curve: Curve) -> float:
    """Precision weighted by half the recall from the step before to the step after, as the script integrates."""
    padded = np.concatenate([curve.recall[:1], curve.recall, [0.0]])
    return float(np.dot(curve.precision, (padded[:-2] - padded[2:]) / 2))


class InstanceAP(PerScene[SceneMatches]):
    """Instance AP over scenes, as `average_precision`; only the matches of each scene are stored.

    Args:
        classes: the dataset's classes; predictions of classes that are no instance classes are dropped, and objects of
            them are void, as wall and floor of ScanNet.
        thresholds: IoU thresholds, SCANNET_THRESHOLDS or COCO_THRESHOLDS.
        min_points: smaller predictions are dropped, smaller objects are ignored.

    >>> from pcseg.structures import Prediction, Scene
    >>> classes = ClassSet.from_dict({"name": "mine", "names": ["chair", "lamp"]})
    >>> truth = np.repeat([1, 2], 200).astype(np.int32)  # a chair and a lamp of 200 points each
    >>> scene = Scene("room", np.zeros((400, 3), np.float32), semantic=truth - 1, instance=truth)
    >>> metric = InstanceAP(classes)
    >>> metric.add(Prediction(scene, truth[None] == 1, np.array([0]), np.array([0.9]), classes=classes))
    >>> metric.compute().mean
    {'ap': 0.5, 'ap50': 0.5, 'ap25': 0.5}
    """

    def __init__(
        self, classes: ClassSet, *, thresholds: Sequence[float] = SCANNET_THRESHOLDS, min_points: int = 100
    ) -> None:
        super().__init__(classes, min_points=min_points)
        self.thresholds = tuple(thresholds)

    def _record(self, prediction: Prediction) -> SceneMatches:
        return match_scene(scene_overlaps(prediction, self.classes), self.min_points)

    def compute(self) -> APResult:
        """Average precision over the scenes added so far; nan if no scene has a ground-truth object."""
        return average_precision(self.records(), self.classes, thresholds=self.thresholds, min_points=self.min_points)
