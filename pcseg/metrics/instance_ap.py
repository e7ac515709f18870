"""Average precision of instances, equal to ScanNet's evaluator."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Float64, Integer

from pcseg.metrics.histogram import check_scene, count_overlaps, find_objects
from pcseg.metrics.matching import SceneMatches, assign, gather_scenes, match_scene, precision_recall, select_class
from pcseg.metrics.per_scene import PerScene

# The script has nine thresholds, 0.50 to 0.90: its arange stops before 0.95, whatever the documentation says.
SCANNET_THRESHOLDS: tuple[float, ...] = (*np.arange(0.5, 0.95, 0.05).tolist(), 0.25)
# COCO's ten thresholds 0.50 to 0.95 (and 0.25), for those who want the AP that the documentation describes. Only the
# thresholds are COCO's: the curve is still integrated as ScanNet does.
COCO_THRESHOLDS: tuple[float, ...] = (*np.arange(0.5, 1.0, 0.05).tolist(), 0.25)


@dataclass(frozen=True)
class APResult:
    """Average precision; fractions 0..1, nan where there is no ground truth.

    Args:
        ap: mean over classes with ground truth and over all thresholds but 0.25.
        ap50, ap25: mean over classes with ground truth at IoU 0.50 and 0.25.
        per_class: (ap, ap50, ap25) of each class by name.
        per_threshold: AP of each class at each threshold.
        thresholds: IoU thresholds, the columns of `per_threshold`.
        num_gt: ground-truth objects that count, per class.
        num_pred: predictions that count, per class.
        per_group: (ap, ap50, ap25) of groups of classes, such as head, common and tail of ScanNet200: means over the
            classes of the group with ground truth, as the benchmark's table has them.
    """

    ap: float
    ap50: float
    ap25: float
    per_class: dict[str, tuple[float, float, float]]
    per_threshold: Float64[np.ndarray, "C T"]
    thresholds: Float64[np.ndarray, "T"]
    num_gt: dict[str, int]
    num_pred: dict[str, int]
    per_group: dict[str, tuple[float, float, float]] = field(default_factory=dict)

    def summary(self) -> dict[str, float]:
        """The means by name."""
        return {"ap": self.ap, "ap50": self.ap50, "ap25": self.ap25}

    def classes(self) -> dict[str, dict[str, float]]:
        """The numbers of each class by name."""
        return {name: dict(zip(("ap", "ap50", "ap25"), values)) for name, values in self.per_class.items()}

    def groups(self) -> dict[str, dict[str, float]]:
        """The numbers of each group of classes by name."""
        return {name: dict(zip(("ap", "ap50", "ap25"), values)) for name, values in self.per_group.items()}

    def threshold_means(self) -> dict[str, float]:
        """Mean AP over the classes at each threshold, by its two digits: "0.50", "0.55", ..."""
        return {f"{threshold:.2f}": _mean(self.per_threshold[:, i]) for i, threshold in enumerate(self.thresholds)}

    def class_thresholds(self) -> dict[str, dict[str, float]]:
        """AP of each class at each threshold, by its two digits."""
        keys = [f"{threshold:.2f}" for threshold in self.thresholds]
        return {name: dict(zip(keys, row)) for name, row in zip(self.per_class, self.per_threshold.tolist())}


def average_precision(
    matches: Iterable[SceneMatches],
    class_names: Sequence[str],
    *,
    counted_classes: Sequence[int] | None = None,
    thresholds: Sequence[float] = SCANNET_THRESHOLDS,
    min_points: int = 100,
    groups: Mapping[str, Sequence[str]] | None = None,
) -> APResult:
    """Average precision over scenes.

    Args:
        matches: one record per scene, from `match_scene`; their order does not matter.
        class_names: name of each class index.
        counted_classes: class indices that are reported; all where None.
        thresholds: IoU thresholds; AP50 and AP25 are nan where 0.50 or 0.25 is not among them.
        min_points: ground-truth objects with fewer points are ignored.
        groups: names of the classes of each group to report; classes that do not count are left out.

    Returns:
        APResult with the counted classes in the order of `class_names`.

    Source:
        evaluate_semantic_instance.py of the ScanNet benchmark. Where every prediction of a class is ignored the
        script fails; the class gets 0 here, as in the script's mended copies.
    """
    scenes = gather_scenes(matches)
    labels = range(len(class_names)) if counted_classes is None else sorted(counted_classes)
    limits = np.array(thresholds, np.float64)
    table = np.full((len(labels), len(limits)), np.nan)
    num_gt: dict[str, int] = {}
    num_pred: dict[str, int] = {}
    for row, label in enumerate(labels):
        of_class = select_class(scenes, label, min_points)
        num_gt[class_names[label]] = of_class.num_gt
        num_pred[class_names[label]] = len(of_class.pred_scores)
        if of_class.num_gt:
            for column, threshold in enumerate(limits):
                true, false = assign(of_class, threshold)
                table[row, column] = _area(*precision_recall(true, false, of_class.num_gt))

    is25, is50 = np.isclose(limits, 0.25), np.isclose(limits, 0.5)
    columns = (~is25, is50, is25)
    return APResult(
        *(_mean(table[:, column]) for column in columns),
        per_class={
            class_names[label]: tuple(_mean(table[row, column]) for column in columns)  # type: ignore[misc]
            for row, label in enumerate(labels)
        },
        per_threshold=table,
        thresholds=limits,
        num_gt=num_gt,
        num_pred=num_pred,
        per_group={
            group: tuple(  # type: ignore[misc]
                _mean(table[np.isin([class_names[label] for label in labels], list(members))][:, column])
                for column in columns
            )
            for group, members in (groups or {}).items()
        },
    )


@dataclass(frozen=True)
class Curve:
    """Precision over recall of one class at one IoU threshold, from everything kept (first) to nothing (last: 1, 0)."""

    precision: Float64[np.ndarray, "steps"]
    recall: Float64[np.ndarray, "steps"]


def precision_recall_curves(
    matches: Iterable[SceneMatches],
    class_names: Sequence[str],
    *,
    counted_classes: Sequence[int] | None = None,
    thresholds: Sequence[float] = (0.25, 0.5, 0.75),
    min_points: int = 100,
) -> dict[str, dict[float, Curve]]:
    """The curves under which `average_precision` measures the area, for pictures.

    Args:
        matches: one record per scene, from `match_scene`.
        class_names: name of each class index.
        counted_classes: class indices that are reported; all where None.
        thresholds: IoU thresholds.
        min_points: ground-truth objects with fewer points are ignored.

    Returns:
        For each class with ground truth one curve per threshold.
    """
    scenes = gather_scenes(matches)
    curves: dict[str, dict[float, Curve]] = {}
    for label in range(len(class_names)) if counted_classes is None else sorted(counted_classes):
        of_class = select_class(scenes, label, min_points)
        if of_class.num_gt:
            curves[class_names[label]] = {
                threshold: Curve(*precision_recall(*assign(of_class, threshold), of_class.num_gt))
                for threshold in thresholds
            }
    return curves


def _area(precision: Float64[np.ndarray, "steps"], recall: Float64[np.ndarray, "steps"]) -> float:
    """Precision weighted by half the recall from the step before to the step after, as the script integrates."""
    padded = np.concatenate([recall[:1], recall, [0.0]])
    return float(np.dot(precision, (padded[:-2] - padded[2:]) / 2))


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


class InstanceAP(PerScene[SceneMatches]):
    """Collects scenes for `average_precision`; only the matches of a scene are kept.

    Args:
        class_names: name of each class index.
        counted_classes: class indices that count; objects of the others are void and predictions of them are
            dropped, as wall and floor in ScanNet. All classes count where None.
        thresholds: IoU thresholds, SCANNET_THRESHOLDS or COCO_THRESHOLDS.
        min_points: smaller predictions are dropped, smaller objects ignored.
        groups: names of the classes of each group to report, `ClassSet.groups`.

    Raises:
        ValueError: a class that counts, or one of a group, is not in `class_names`.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        *,
        counted_classes: Sequence[int] | None = None,
        thresholds: Sequence[float] = SCANNET_THRESHOLDS,
        min_points: int = 100,
        groups: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        super().__init__()
        self.class_names = tuple(class_names)
        self.counted_classes = tuple(range(len(class_names)) if counted_classes is None else sorted(counted_classes))
        self.thresholds = tuple(float(threshold) for threshold in thresholds)
        self.min_points = min_points
        outside = [label for label in self.counted_classes if not 0 <= label < len(class_names)]
        if outside:
            raise ValueError(f"counted_classes holds {outside[0]}, expected class indices 0..{len(class_names) - 1}")
        self.groups = {group: tuple(members) for group, members in (groups or {}).items()}
        strange = [(group, name) for group, names in self.groups.items() for name in names if name not in class_names]
        if strange:
            raise ValueError(f"group {strange[0][0]} holds {strange[0][1]!r}, which is not among the classes")
        self._counted = np.isin(np.arange(len(class_names)), self.counted_classes)

    def add(
        self,
        name: str,
        masks: np.ndarray,
        labels: Integer[np.ndarray, "I"],
        scores: Float[np.ndarray, "J"],
        gt_semantic: Integer[np.ndarray, "P"],
        gt_instance: Integer[np.ndarray, "Q"],
        superpoint: Integer[np.ndarray, "R"] | None = None,
    ) -> None:
        """Adds one scene.

        Args:
            name: name of the scene; every scene may be added once.
            masks: bool (I, P) over points, or bool (I, S) over superpoints where `superpoint` is given.
            labels: class index of each prediction, 0..C-1.
            scores: confidence of each prediction, finite.
            gt_semantic: class index of each point; anything outside 0..C-1 is void.
            gt_instance: id of the object of each point, 0 for none, from 1, unique in the scene. Points of a class
                that have no object are void.
            superpoint: superpoint of each point, 0..S-1.

        Raises:
            ValueError: arrays that do not fit together, a score that is not finite, a class index outside 0..C-1,
                a scene added before.
        """
        self._check_new(name)
        check_scene(name, masks, labels, scores, gt_semantic, gt_instance, superpoint, len(self.class_names))
        objects = find_objects(gt_semantic, gt_instance, self._counted)
        overlaps = count_overlaps(masks, objects, superpoint)
        self._scenes[name] = match_scene(overlaps, labels, scores, objects, self._counted, self.min_points)

    def compute(self, thresholds: Sequence[float] | None = None) -> APResult:
        """Average precision over the scenes added so far; all nan where no scene has a ground-truth object.

        Args:
            thresholds: IoU thresholds in the place of the metric's own, such as COCO_THRESHOLDS.
        """
        return average_precision(
            self._scenes.values(),
            self.class_names,
            counted_classes=self.counted_classes,
            thresholds=self.thresholds if thresholds is None else thresholds,
            min_points=self.min_points,
            groups=self.groups,
        )
