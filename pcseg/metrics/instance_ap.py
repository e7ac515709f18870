"""Average precision of instances, equal to ScanNet's evaluator."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from jaxtyping import Float64

from pcseg.classes import ClassSet
from pcseg.metrics.matching import Curve, SceneMatches, gather_scenes, match_scene, precision_recall, select_class
from pcseg.metrics.overlaps import scene_overlaps
from pcseg.metrics.result import Result, nanmean
from pcseg.prediction import Prediction

Record = TypeVar("Record")
# The script has nine thresholds, 0.50 to 0.90: its arange stops before 0.95, although the documentation says 0.95.
SCANNET_THRESHOLDS: tuple[float, ...] = (*np.arange(0.5, 0.95, 0.05).tolist(), 0.25)
# COCO's ten thresholds 0.50 to 0.95 (and 0.25), for the AP that the documentation describes. Only the thresholds are
# COCO's: the curve is still integrated as ScanNet does.
COCO_THRESHOLDS: tuple[float, ...] = (*np.arange(0.5, 1.0, 0.05).tolist(), 0.25)


@dataclass(frozen=True, kw_only=True, repr=False)
class APResult(Result):
    """Average precision: ap (mean over all thresholds but 0.25), ap50 and ap25.

    Means are over classes with ground truth, also within a group, as in the benchmark's table.
    """

    per_threshold: Float64[np.ndarray, "C T"]  # AP of each class at each threshold
    thresholds: tuple[float, ...]  # IoU thresholds, the columns of `per_threshold`
    num_gt: dict[str, int]  # number of ground-truth objects that count, per class
    num_pred: dict[str, int]  # number of predictions that count, per class
    # Precision over recall, by class with ground truth and by threshold; AP is the area under them.
    curves: dict[str, dict[float, Curve]]

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

    Source: evaluate_semantic_instance.py of the ScanNet benchmark. The script fails if every prediction of a class is
    ignored; here the class gets 0, as in repaired copies of the script.
    """
    scenes = gather_scenes(matches)
    found = {classes.names[i]: select_class(scenes, i, min_points) for i in sorted(classes.instance_classes)}
    curves = {
        name: {float(threshold): precision_recall(of_class, threshold) for threshold in thresholds}
        for name, of_class in found.items()
        if of_class.num_gt
    }
    names, nothing = list(found), [np.nan] * len(thresholds)
    rows = [[*map(_area, curves[name].values())] if name in curves else nothing for name in names]
    table = np.array(rows, np.float64).reshape(len(names), len(thresholds))
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
        num_gt={name: of_class.num_gt for name, of_class in found.items()},
        num_pred={name: len(of_class.pred_scores) for name, of_class in found.items()},
        curves=curves,
    )


def _area(curve: Curve) -> float:
    """Precision weighted by half the recall from the step before to the step after, as the script integrates."""
    padded = np.concatenate([curve.recall[:1], curve.recall, [0.0]])
    return float(np.dot(curve.precision, (padded[:-2] - padded[2:]) / 2))


class PerScene(ABC, Generic[Record]):
    """State of a metric: one small record per scene, so that several processes can share the scenes."""

    def __init__(self, classes: ClassSet, *, min_points: int = 100) -> None:
        self.classes = classes
        self.min_points = min_points
        self._scenes: dict[str, Record] = {}

    def __len__(self) -> int:
        return len(self._scenes)

    @abstractmethod
    def _record(self, prediction: Prediction) -> Record:
        """What the metric needs of one scene."""

    def add(self, prediction: Prediction) -> None:
        """Adds a scene.

        Args:
            prediction: the predicted objects and the scene with its ground truth. Instance ids are unique in the
                scene; points of a class without instance, and of classes that do not count, are void.

        Raises:
            ValueError: the scene has no ground truth, has other classes, or was added before.
        """
        name = prediction.scene.name
        if name in self._scenes:
            raise ValueError(f"scene {name!r} was added before; every scene counts once, give each its own name")
        self._scenes[name] = self._record(prediction)

    @property
    def names(self) -> list[str]:
        """Names of the scenes added so far, sorted."""
        return sorted(self._scenes)

    def records(self) -> list[Record]:
        """The records in order of name, so that sums do not depend on the order of `add` and `merge`."""
        return [self._scenes[name] for name in self.names]

    def state(self) -> dict[str, Record]:
        """The record of each scene by name, for `merge` of another process."""
        return dict(self._scenes)

    def merge(self, states: Iterable[dict[str, Record]]) -> None:
        """Adds the scenes of other processes, results of `state`; adds none if one of them is refused.

        Raises:
            ValueError: a scene is here already, or in two of the states.
        """
        merged = dict(self._scenes)
        for state in states:
            if both := merged.keys() & state:
                raise ValueError(f"scene {min(both)!r} comes from two processes; let one process evaluate each scene")
            merged |= state
        self._scenes = merged


class InstanceAP(PerScene[SceneMatches]):
    """Instance AP over scenes, as `average_precision`; only the matches of each scene are stored.

    Args:
        classes: the dataset's classes; predictions of classes that are no instance classes are dropped, and objects of
            them are void, as wall and floor of ScanNet.
        thresholds: IoU thresholds, SCANNET_THRESHOLDS or COCO_THRESHOLDS.
        min_points: smaller predictions are dropped, smaller objects are ignored.

    >>> from pcseg.prediction import Prediction
    >>> from pcseg.structures import Scene
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
