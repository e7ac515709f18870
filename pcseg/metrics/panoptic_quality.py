"""Panoptic quality (PQ) of points: objects and surfaces in one measure."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Integer

from pcseg.metrics.histogram import SceneObjects, find_objects


@dataclass(frozen=True)
class PanopticResult:
    """Panoptic quality; fractions 0..1, nan for classes that neither ground truth nor prediction hold.

    Args:
        all, things, stuff: pq, sq and rq averaged over all classes, over thing classes and over stuff classes.
        per_class: pq, sq and rq of each class.
    """

    all: dict[str, float]
    things: dict[str, float]
    stuff: dict[str, float]
    per_class: dict[str, dict[str, float]]

    def summary(self) -> dict[str, float]:
        """The means by name."""
        named = [("", self.all), ("_things", self.things), ("_stuff", self.stuff)]
        return {f"{key}{suffix}": value for suffix, values in named for key, value in values.items()}

    def classes(self) -> dict[str, dict[str, float]]:
        """The numbers of each class by name."""
        return self.per_class


def panoptic_quality(
    counts: Float64[np.ndarray, "C 4"], class_names: Sequence[str], stuff: Collection[str]
) -> PanopticResult:
    """PQ = SQ x RQ: mean IoU of matched segments times their F1.

    Args:
        counts: per class the sum of IoU over matches, matches (TP), unmatched predictions (FP), unmatched truths (FN).
        class_names: name of each class index.
        stuff: names of stuff classes; the others are things.

    Returns:
        PanopticResult.

    Source:
        Kirillov et al., Panoptic Segmentation, CVPR 2019.
    """
    total, matched, false_pred, missed = counts.T
    segments = matched + false_pred / 2 + missed / 2
    nothing = np.full(len(class_names), np.nan)
    rq = np.divide(matched, segments, out=nothing.copy(), where=segments > 0)
    # Without a match SQ is 0, as in the paper's own program.
    sq = np.divide(total, matched, out=np.where(segments > 0, 0.0, np.nan), where=matched > 0)
    pq = np.divide(total, segments, out=nothing.copy(), where=segments > 0)
    values = {"pq": pq, "sq": sq, "rq": rq}
    is_stuff = np.array([name in stuff for name in class_names], np.bool_)

    def mean(chosen: Bool[np.ndarray, "C"]) -> dict[str, float]:
        chosen = chosen & (segments > 0)
        return {key: float(value[chosen].mean()) if chosen.any() else float("nan") for key, value in values.items()}

    return PanopticResult(
        all=mean(np.ones_like(is_stuff)),
        things=mean(~is_stuff),
        stuff=mean(is_stuff),
        per_class={name: {key: float(value[i]) for key, value in values.items()} for i, name in enumerate(class_names)},
    )


class PanopticQuality:
    """Collects scenes for `panoptic_quality`; only four numbers per class are kept.

    All points of a stuff class in a scene are one segment, whatever their instance id; a thing segment is one
    instance id of one class. Void are points without class, and points of a thing class without instance. IoU leaves
    the void points of a prediction out; a match needs IoU > 0.5; an unmatched prediction more than half void does not
    count.

    Args:
        class_names: name of each class index.
        stuff: names of stuff classes.

    Raises:
        ValueError: a stuff class is not in `class_names`.

    Source:
        Kirillov et al., Panoptic Segmentation, CVPR 2019, and its program panopticapi for void.
    """

    def __init__(self, class_names: Sequence[str], stuff: Collection[str]) -> None:
        unknown = sorted(set(stuff) - set(class_names))
        if unknown:
            raise ValueError(f"stuff holds {unknown[0]!r}, which is not among the classes {', '.join(class_names)}")
        self.class_names = tuple(class_names)
        self.stuff = frozenset(stuff)
        self._is_stuff = np.array([name in self.stuff for name in class_names], np.bool_)
        self._counts = np.zeros((len(class_names), 4))

    def add(
        self,
        pred_semantic: Integer[np.ndarray, "A"],
        pred_instance_ids: Integer[np.ndarray, "B"],
        gt_semantic: Integer[np.ndarray, "P"],
        gt_instance: Integer[np.ndarray, "Q"],
    ) -> None:
        """Adds one scene.

        Args:
            pred_semantic: predicted class index of each point, -1 for none.
            pred_instance_ids: predicted instance of each point, 0 for none; ignored on stuff.
            gt_semantic: true class index of each point, -1 for void.
            gt_instance: true instance of each point, 0 for none; ignored on stuff.

        Raises:
            ValueError: arrays of different lengths, a class index outside -1..C-1, an instance id below 0.
        """
        lengths = [len(pred_semantic), len(pred_instance_ids), len(gt_semantic), len(gt_instance)]
        if len(set(lengths)) > 1:
            raise ValueError(f"the four arrays must have one entry per point, got lengths {lengths}")
        truth = self._segments("gt", gt_semantic, gt_instance)
        found = self._segments("pred", pred_semantic, pred_instance_ids)
        shape = (len(found) + 1, len(truth) + 1)
        key = found.of_point * shape[1] + truth.of_point
        table = np.bincount(key, minlength=shape[0] * shape[1]).reshape(shape)[1:]
        on_void, shared = table[:, 0], table[:, 1:] * (found.labels[:, None] == truth.labels[None])
        # The union of two segments that share points is never empty; elsewhere the IoU is 0 / 1.
        union = (found.num_points - on_void)[:, None] + truth.num_points[None] - shared
        iou = shared / np.maximum(union, 1)
        rows, columns = np.nonzero(iou > 0.5)
        false_pred = 2 * on_void <= found.num_points
        false_pred[rows] = False
        missed = np.ones(len(truth), np.bool_)
        missed[columns] = False
        num_classes = len(self.class_names)
        for column, labels, weights in (
            (0, found.labels[rows], iou[rows, columns]),
            (1, found.labels[rows], None),
            (2, found.labels[false_pred], None),
            (3, truth.labels[missed], None),
        ):
            self._counts[:, column] += np.bincount(labels, weights=weights, minlength=num_classes)

    def _segments(
        self, what: str, semantic: Integer[np.ndarray, "P"], instance: Integer[np.ndarray, "P"]
    ) -> SceneObjects:
        num_classes = len(self.class_names)
        if len(semantic) and not -1 <= semantic.min() <= semantic.max() < num_classes:
            bad = semantic.min() if semantic.min() < -1 else semantic.max()
            raise ValueError(f"{what}_semantic holds class index {bad}, expected -1..{num_classes - 1}")
        if len(instance) and instance.min() < 0:
            raise ValueError(f"{what}_instance holds {instance.min()}, expected 0 for no instance and ids from 1")
        on_stuff = np.append(self._is_stuff, False)[semantic]  # class -1 reads the last entry
        return find_objects(semantic, np.where(on_stuff, 1, instance), np.ones(num_classes, np.bool_))

    def state(self) -> Float64[np.ndarray, "C 4"]:
        """The counts, for `merge` of another process."""
        return self._counts.copy()

    def merge(self, states: Iterable[Float64[np.ndarray, "C 4"]]) -> None:
        """Adds the counts of other processes."""
        for state in states:
            self._counts += state

    def compute(self) -> PanopticResult:
        """Panoptic quality over the scenes added so far."""
        return panoptic_quality(self._counts, self.class_names, self.stuff)
