"""Semantic segmentation: IoU and accuracy of each class from one confusion matrix."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64, Integer


@dataclass(frozen=True)
class SemanticResult:
    """Semantic measures; fractions 0..1, nan where there is no ground truth.

    Args:
        miou: mean IoU over the classes with ground truth.
        macc: mean over the same classes of the share of their points that is right.
        oa: share of all labeled points that is right.
        per_class: iou and acc of each class.
    """

    miou: float
    macc: float
    oa: float
    per_class: dict[str, dict[str, float]]

    def summary(self) -> dict[str, float]:
        """The means by name."""
        return {"miou": self.miou, "macc": self.macc, "oa": self.oa}

    def classes(self) -> dict[str, dict[str, float]]:
        """The numbers of each class by name."""
        return self.per_class


def semantic_iou(confusion: Int64[np.ndarray, "C C+1"], class_names: Sequence[str]) -> SemanticResult:
    """Measures from a confusion matrix.

    Args:
        confusion: points by true class (row) and predicted class (column; the last column is no class).
        class_names: name of each class index.

    Returns:
        SemanticResult. Void points were never counted; a labeled point without a predicted class is wrong.
    """
    num_classes = len(class_names)
    right = np.diagonal(confusion).astype(np.float64)
    in_truth = confusion.sum(axis=1)
    union = in_truth + confusion[:, :num_classes].sum(axis=0) - right
    has_gt = in_truth > 0
    nothing = np.full(num_classes, np.nan)
    iou = np.divide(right, union, out=nothing.copy(), where=has_gt)
    acc = np.divide(right, in_truth, out=nothing.copy(), where=has_gt)
    some = bool(has_gt.any())
    return SemanticResult(
        miou=float(iou[has_gt].mean()) if some else float("nan"),
        macc=float(acc[has_gt].mean()) if some else float("nan"),
        oa=float(right.sum() / in_truth.sum()) if some else float("nan"),
        per_class={name: {"iou": float(iou[i]), "acc": float(acc[i])} for i, name in enumerate(class_names)},
    )


class SemanticIoU:
    """Collects scenes for `semantic_iou`; only the confusion matrix is kept.

    Args:
        class_names: name of each class index.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self.class_names = tuple(class_names)
        self._confusion = np.zeros((len(class_names), len(class_names) + 1), np.int64)

    def add(self, pred: Integer[np.ndarray, "P"], gt: Integer[np.ndarray, "Q"]) -> None:
        """Adds one scene.

        Args:
            pred: predicted class index of each point, -1 for none.
            gt: true class index of each point; -1 is void and does not count.

        Raises:
            ValueError: different lengths, or a value outside -1..C-1.
        """
        num_classes = len(self.class_names)
        if len(pred) != len(gt):
            raise ValueError(f"pred has {len(pred)} points, gt has {len(gt)}; they must be of one scene")
        for what, values in (("pred", pred), ("gt", gt)):
            if len(values) and not -1 <= values.min() <= values.max() < num_classes:
                bad = values.min() if values.min() < -1 else values.max()
                raise ValueError(f"{what} holds class index {bad}, expected -1..{num_classes - 1}")
        known = gt >= 0
        column = np.where(pred < 0, num_classes, pred)[known].astype(np.int64)
        key = gt[known].astype(np.int64) * (num_classes + 1) + column
        self._confusion += np.bincount(key, minlength=self._confusion.size).reshape(self._confusion.shape)

    def state(self) -> Int64[np.ndarray, "C C+1"]:
        """The confusion matrix, for `merge` of another process."""
        return self._confusion.copy()

    def merge(self, states: Iterable[Int64[np.ndarray, "C C+1"]]) -> None:
        """Adds the confusion matrices of other processes."""
        for state in states:
            self._confusion += state

    def compute(self) -> SemanticResult:
        """The measures over the scenes added so far."""
        return semantic_iou(self._confusion, self.class_names)
