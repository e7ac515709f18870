"""Compiled loops behind `pcseg.metrics.histogram`."""

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def count_by_mask(words: np.ndarray, bytes_: np.ndarray, owner: np.ndarray, counts: np.ndarray) -> None:
    """Masks one after another in memory: adds to counts[i, owner[p]] for each point p of mask i.

    Args:
        words: uint64 (I, W), the masks eight points at a time; words of zeros are passed over.
        bytes_: uint8 (I, P), the same masks point by point; points from 8 W on are read here.
        owner: int32 (P,), the column of each point.
        counts: int64 (I, columns), added to.
    """
    num_words, num_points = words.shape[1], bytes_.shape[1]
    for i in range(len(bytes_)):
        row, mask = counts[i], bytes_[i]
        for w in range(num_words):
            word = words[i, w]
            if word:
                p = 8 * w
                for k in range(p, p + 8):
                    row[owner[k]] += mask[k]
        for k in range(8 * num_words, num_points):
            row[owner[k]] += mask[k]


@njit(cache=True, nogil=True)
def count_by_point(bytes_: np.ndarray, owner: np.ndarray, counts: np.ndarray) -> None:
    """Points one after another in memory: adds to counts[owner[p], i] for each point p of mask i.

    Args:
        bytes_: uint8 (P, I), 1 where a point is in a mask.
        owner: int32 (P,), the column of each point.
        counts: int32 (columns, I), added to.
    """
    for p in range(len(bytes_)):
        row, inside = counts[owner[p]], bytes_[p]
        for i in range(len(inside)):
            row[i] += inside[i]


@njit(cache=True, nogil=True)
def count_keys(
    classes: np.ndarray, ids: np.ndarray, counted: np.ndarray, stride: int, key: np.ndarray, counts: np.ndarray
) -> None:
    """One number per object, class * stride + id, and how often each occurs.

    Args:
        classes: int32 or int64 (P,), class of each point; outside 0..C-1 is void.
        ids: int32 or int64 (P,), object of each point, 0 for none.
        counted: bool (C,), classes that count; the others are void.
        stride: greater than every id.
        key: int64 (P,), written: the number of each point, 0 for void.
        counts: int64, added to, by number; empty where that is not wanted.
    """
    counted_keys = len(counts) > 0
    for p in range(len(classes)):
        label = classes[p]
        number = 0
        if 0 <= label < len(counted) and counted[label] and ids[p] > 0:
            number = np.int64(label) * stride + ids[p]
        key[p] = number
        if counted_keys:
            counts[number] += 1


@njit(cache=True, nogil=True)
def replace_keys(key: np.ndarray, rank: np.ndarray) -> np.ndarray:
    """Writes rank[key] into `key` and returns it."""
    for p in range(len(key)):
        key[p] = rank[key[p]]
    return key


@njit(cache=True, nogil=True)
def count_pairs(rows: np.ndarray, columns: np.ndarray, table: np.ndarray) -> None:
    """Adds 1 to table[rows[p], columns[p]] for each p; a float table is exact as far as its whole numbers go."""
    for p in range(len(rows)):
        table[rows[p], columns[p]] += 1
