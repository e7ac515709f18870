"""Exact overlaps of predicted masks with ground-truth objects, counted in points."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int64, Integer

from pcseg.kernels.histogram import count_by_mask, count_by_point, count_keys, count_pairs, replace_keys

# Above this many entries the table (superpoint, object) costs more memory than it saves time: 256 MB.
MAX_TABLE = 2**25


@dataclass(frozen=True)
class SceneObjects:
    """The ground-truth objects of one scene, sorted by class, then by instance id.

    Args:
        of_point: 0 where a point is void (no object that counts), otherwise 1 + the row of its object.
        labels: class index of each object.
        num_points: points of each object.
    """

    of_point: Int64[np.ndarray, "P"]
    labels: Int64[np.ndarray, "K"]
    num_points: Int64[np.ndarray, "K"]

    def __len__(self) -> int:
        return len(self.labels)


def find_objects(
    semantic: Integer[np.ndarray, "P"], instance: Integer[np.ndarray, "P"], counted: Bool[np.ndarray, "C"]
) -> SceneObjects:
    """The objects of a labeled scene: one for each pair of class and instance id, as in ScanNet's files.

    Args:
        semantic: class index of each point; anything outside 0..C-1 is void.
        instance: id of the object of each point, 0 for none (void too).
        counted: which classes count; points of the others are void.

    Returns:
        SceneObjects with int64 arrays.
    """
    stride = int(instance.max(initial=0)) + 1
    num_classes = len(counted)
    # The kernel is compiled for int32 and for int64; everything else becomes int64.
    classes, ids = (a if a.dtype == np.int32 else a.astype(np.int64, copy=False) for a in (semantic, instance))
    # Key class * stride + instance; 0 is void.
    key = np.empty(len(classes), np.int64)
    if num_classes * stride <= max(len(key), 1_000_000):
        counts = np.zeros(max(num_classes * stride, 1), np.int64)
        count_keys(classes, ids, counted, stride, key, counts)
        counts[0] = 0
        present = np.flatnonzero(counts)
        rank = np.zeros(len(counts), np.int64)
        rank[present] = np.arange(1, len(present) + 1)
        of_point, num_points = replace_keys(key, rank), counts[present]
    else:  # ids so large that a table of them would not fit
        count_keys(classes, ids, counted, stride, key, np.empty(0, np.int64))
        present, of_point, num_points = np.unique(np.append(0, key), return_inverse=True, return_counts=True)
        present, of_point, num_points = present[1:], of_point[1:], num_points[1:]
    return SceneObjects(
        of_point=of_point.astype(np.int64, copy=False),
        labels=(present // stride).astype(np.int64, copy=False),
        num_points=num_points.astype(np.int64, copy=False),
    )


def count_overlaps(
    masks: np.ndarray, objects: SceneObjects, superpoint: Integer[np.ndarray, "P"] | None = None
) -> Int64[np.ndarray, "I objects"]:
    """How many points each mask shares with void (column 0) and with each object (columns 1..K).

    Args:
        masks: bool (I, P), or bool (I, S) where `superpoint` is given; point masks are not made then.
        objects: the ground truth.
        superpoint: superpoint of each point, 0..S-1.

    Returns:
        Counts of points; a row adds up to the points of its mask.
    """
    num_columns = len(objects) + 1
    if superpoint is None:
        return _count_rows(masks, objects.of_point, num_columns)
    num_superpoints = masks.shape[1]
    if num_superpoints * num_columns > MAX_TABLE:
        counts = [_count_rows(row[superpoint][None], objects.of_point, num_columns) for row in masks]
        return np.concatenate([*counts, np.zeros((0, num_columns), np.int64)])
    # Whole numbers below 2**24 add up exactly in float32, below 2**53 in float64; integers would not use BLAS.
    dtype = np.float32 if len(superpoint) < 2**24 else np.float64
    table = np.zeros((num_superpoints, num_columns), dtype)
    count_pairs(superpoint, objects.of_point, table)
    return (masks.astype(dtype) @ table).astype(np.int64)


def _count_rows(
    masks: np.ndarray, of_point: Int64[np.ndarray, "P"], num_columns: int
) -> Int64[np.ndarray, "I objects"]:
    owner = of_point.astype(np.int32)
    # masks[:, superpoint] comes out of numpy with the masks of a point side by side; a copy would cost more.
    if masks.flags.f_contiguous and not masks.flags.c_contiguous:
        by_point = np.zeros((num_columns, len(masks)), np.int32)
        count_by_point(masks.T.view(np.uint8), owner, by_point)
        return by_point.T.astype(np.int64)
    counts = np.zeros((len(masks), num_columns), np.int64)
    content = np.ascontiguousarray(masks).view(np.uint8)
    whole = content.shape[1] // 8 * 8
    count_by_mask(np.ascontiguousarray(content[:, :whole]).view(np.uint64), content, owner, counts)
    return counts


def check_scene(
    name: str,
    masks: np.ndarray,
    labels: Integer[np.ndarray, "I"],
    scores: Float[np.ndarray, "J"],
    semantic: Integer[np.ndarray, "P"],
    instance: Integer[np.ndarray, "Q"],
    superpoint: Integer[np.ndarray, "R"] | None,
    num_classes: int,
) -> None:
    """Refuses predictions and ground truth that do not fit together.

    Raises:
        ValueError: with the name of the scene, what was expected and what was found.
    """
    if masks.ndim != 2 or masks.dtype != np.bool_:
        raise ValueError(f"scene {name}: masks must be bool of two dimensions, got {masks.dtype} {masks.shape}")
    if not len(masks) == len(labels) == len(scores):
        raise ValueError(
            f"scene {name}: masks, labels and scores must have one row per prediction, "
            f"got {len(masks)}, {len(labels)} and {len(scores)}"
        )
    if len(semantic) != len(instance):
        raise ValueError(f"scene {name}: gt_semantic has {len(semantic)} points, gt_instance has {len(instance)}")
    num_points = masks.shape[1] if superpoint is None else len(superpoint)
    if num_points != len(semantic):
        what = "masks" if superpoint is None else "superpoint"
        raise ValueError(f"scene {name}: {what} cover {num_points} points, the ground truth has {len(semantic)}")
    if superpoint is not None and num_points and not 0 <= superpoint.min() <= superpoint.max() < masks.shape[1]:
        raise ValueError(
            f"scene {name}: masks have {masks.shape[1]} superpoints, but superpoint ids run from "
            f"{superpoint.min()} to {superpoint.max()}"
        )
    if not np.isfinite(scores).all():
        row = int(np.flatnonzero(~np.isfinite(scores))[0])
        raise ValueError(f"scene {name}: the score of prediction {row} is {scores[row]}, not a finite number")
    if len(labels) and not 0 <= labels.min() <= labels.max() < num_classes:
        row = int(np.flatnonzero((labels < 0) | (labels >= num_classes))[0])
        raise ValueError(f"scene {name}: prediction {row} has class index {labels[row]}, expected 0..{num_classes - 1}")
    if len(instance) and instance.min() < 0:
        raise ValueError(f"scene {name}: gt_instance holds {instance.min()}, expected 0 for no object and ids from 1")
