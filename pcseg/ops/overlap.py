"""Points that groups of two partitions share, for votes, IoUs and confusion matrices; means and bounds of groups."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int32, Int64, Integer

# Largest table that is counted without sorting, even for few points.
DENSE = 2**20


@dataclass(frozen=True)
class OverlapTable:
    """Pairs of groups that share points, sorted by `a`, then by `b`. Other pairs take no memory."""

    a: Int64[np.ndarray, "E"]  # id of the first group of each pair
    b: Int64[np.ndarray, "E"]  # id of the second group of each pair
    points: Int64[np.ndarray, "E"]  # number of shared points, at least 1

    def dense(self, num_a: int, num_b: int) -> Int64[np.ndarray, "num_a num_b"]:
        """The table as an array, where the ids are below `num_a` and `num_b`."""
        table = np.zeros((num_a, num_b), np.int64)
        table[self.a, self.b] = self.points
        return table

    def majority(self, num_a: int, *, empty: int = 0) -> Int64[np.ndarray, "num_a"]:
        """The `b` that shares most points with each `a` below `num_a`: the smallest of equals, `empty` for none."""
        order = np.lexsort((self.b, -self.points, self.a))
        ids, first = np.unique(self.a[order], return_index=True)
        result = np.full(num_a, empty, np.int64)
        result[ids] = self.b[order][first]
        return result

    def iou(self) -> Float64[np.ndarray, "E"]:
        """Intersection over union of each pair."""
        rank_a, rank_b = unique_ids(self.a)[1], unique_ids(self.b)[1]
        size_a, size_b = np.bincount(rank_a, self.points), np.bincount(rank_b, self.points)
        return self.points / (size_a[rank_a] + size_b[rank_b] - self.points)


def overlap_table(a: Integer[np.ndarray, "P"], b: Integer[np.ndarray, "P"]) -> OverlapTable:
    """Counts the points that each pair of groups shares, from the ids of both groups of each point.

    Time and memory do not depend on how large the ids are.

    >>> import numpy as np
    >>> table = overlap_table(np.array([0, 0, 0, 7]), np.array([2, 1, 2, 1]))
    >>> list(zip(table.a.tolist(), table.b.tolist(), table.points.tolist()))
    [(0, 1, 1), (0, 2, 2), (7, 1, 1)]
    >>> table.majority(8, empty=-1).tolist()
    [2, -1, -1, -1, -1, -1, -1, 1]
    """
    low_a, span_a = _range(a)
    low_b, span_b = _range(b)
    if span_a * span_b <= max(4 * len(a), DENSE):
        key = a.astype(np.int64) * span_b
        key += b
        key -= low_a * span_b + low_b
        counts = np.bincount(key)
        keys = np.flatnonzero(counts)
        return OverlapTable(keys // span_b + low_a, keys % span_b + low_b, counts[keys])
    ids_a, rank_a, _ = unique_ids(a)
    ids_b, rank_b, _ = unique_ids(b)
    keys, points = np.unique(rank_a * len(ids_b) + rank_b, return_counts=True)
    return OverlapTable(ids_a[keys // len(ids_b)], ids_b[keys % len(ids_b)], points)


def unique_ids(
    ids: Integer[np.ndarray, "P"],
) -> tuple[Int64[np.ndarray, "N"], Int64[np.ndarray, "P"], Int64[np.ndarray, "N"]]:
    """`np.unique` with inverse and counts, without sorting if the ids are close together."""
    low, span = _range(ids)
    if span > max(4 * len(ids), DENSE):
        found, rank, counts = np.unique(ids, return_inverse=True, return_counts=True)
        return found.astype(np.int64), rank.reshape(-1), counts
    ids = ids.astype(np.int64) - low
    counts = np.bincount(ids, minlength=1)
    present = np.flatnonzero(counts)
    rank_of = np.zeros(len(counts), np.int64)
    rank_of[present] = np.arange(len(present))
    return present + low, rank_of[ids], counts[present]


def by_first_seen(ids: Integer[np.ndarray, "P"]) -> tuple[Int64[np.ndarray, "N"], Int64[np.ndarray, "P"]]:
    """The first row of each id, ascending, and the number of each row's id in this order.

    >>> [part.tolist() for part in by_first_seen(np.array([7, 3, 7, 5]))]
    [[0, 1, 3], [0, 1, 0, 2]]
    """
    rows, rank = np.unique(ids, return_index=True, return_inverse=True)[1:]
    order = np.argsort(rows)
    return rows[order], np.argsort(order)[rank.reshape(-1)]


def object_ids(semantic: Integer[np.ndarray, "P"], instance: Integer[np.ndarray, "P"]) -> Int32[np.ndarray, "P"]:
    """Numbers the objects of labeled points: one object for each pair of instance id and class.

    Args:
        semantic: class index of each point, -1 for none; points without a class are an object of their own.
        instance: instance id of each point, 0 for none.

    Returns:
        0 for no object, otherwise 1..K in the order of the instance ids, then of the classes.

    >>> object_ids(np.array([8, 8, 7, 7]), np.array([1, 5000, 1, 0])).tolist()
    [2, 3, 1, 0]
    """
    low, span = _range(semantic)
    pairs = np.where(instance > 0, instance.astype(np.int64) * span + (semantic - low), 0)
    return unique_ids(np.append(0, pairs))[1][1:].astype(np.int32)


def _range(ids: Integer[np.ndarray, "P"]) -> tuple[int, int]:
    """The smallest id, or 0, and the number of ids up to the largest."""
    low = int(ids.min(initial=0))
    return low, int(ids.max(initial=0)) - low + 1


def group_bounds(
    rows: Float[np.ndarray, "N C"], group: Integer[np.ndarray, "N"], num_groups: int
) -> tuple[Float[np.ndarray, "G C"], Float[np.ndarray, "G C"]]:
    """Least and greatest values of each group, infinity and minus infinity where a group is empty.

    Args:
        rows: values, for example points.
        group: group of each row, 0..num_groups-1.
        num_groups: number of groups G.

    >>> [bound.tolist() for bound in group_bounds(np.array([[1.0], [2.0], [6.0]]), np.array([0, 2, 2]), 3)]
    [[[1.0], [inf], [2.0]], [[1.0], [-inf], [6.0]]]
    """
    low, high = np.full((2, rows.shape[1], num_groups), [[[np.inf]], [[-np.inf]]], rows.dtype)
    for column, least, greatest in zip(rows.T, low, high):  # many times faster than all columns at once
        np.minimum.at(least, group, column)
        np.maximum.at(greatest, group, column)
    return low.T.copy(), high.T.copy()


def group_means(
    rows: Float[np.ndarray, "N C"], group: Integer[np.ndarray, "N"], num_groups: int
) -> Float64[np.ndarray, "G C"]:
    """Mean of the rows of each group, 0 where a group is empty.

    Args:
        rows: values to average.
        group: group of each row, 0..num_groups-1.
        num_groups: number of groups G.

    >>> group_means(np.array([[1.0], [2.0], [6.0]]), np.array([0, 2, 2]), 3).tolist()
    [[1.0], [0.0], [4.0]]
    """
    sums = np.stack([np.bincount(group, column, num_groups) for column in rows.T], axis=1)
    return sums / np.maximum(np.bincount(group, minlength=num_groups), 1)[:, None]
