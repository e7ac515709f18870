"""Merges the objects predicted in the tiles or views of a scan."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float64, Int64, Integer
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

from pcseg.classes import ClassSet
from pcseg.inference.filters import mask_points
from pcseg.inference.tiles import Tile
from pcseg.ops.segment import group_rows
from pcseg.prediction import NO_IDS, Prediction, mask_rows
from pcseg.structures import Scene

Part = tuple[Tile, Prediction]  # a tile and its objects, with masks over the superpoints of the tile
_LEAST_SHARED = 0.1  # share of the smaller object that two objects must have in common to merge
_LEAST_OWNED = 0.2  # share of a merged object in superpoints that one of its parts owns


def merge(
    parts: Sequence[Part],
    scene: Scene,
    classes: ClassSet,
    *,
    min_iou: float = 0.5,
    score_threshold: float = 0.0,
    one_class: bool = False,
) -> Prediction:
    """Merges objects of one class that agree where both of their parts see, over any number of parts.

    Votes are weighted by how much of the object each part sees. A merged mask contains the superpoints that get at
    least half of the votes of the parts that see them. The score is the mean over points and over the parts that see
    them, 0 for a part without such an object. A part counts by the points of the object that it sees. An object at the
    edge of a tile is dropped if the neighbor, which sees all of it, does not confirm it.

    Args:
        parts: tiles or views.
        scene: the scan, with superpoints.
        classes: classes that the labels of objects index.
        min_iou: two objects merge if their IoU, over what both parts see, is greater.
        score_threshold: least score of a merged object.
        one_class: objects of different classes merge, too; the class with most votes, times scores, is that of all.

    Returns:
        Objects with masks over the superpoints of the scan, best first.
    """
    every = _all_objects(parts, scene, classes)
    if not every.masks.nnz:
        return replace(every.select(np.zeros(0, np.int64)), scores=np.zeros(0, np.float32))
    part = np.repeat(np.arange(len(parts)), [len(found) for _, found in parts])
    num_columns = np.int64(scene.num_superpoints)
    tiles = mask_rows([tile.columns for tile, _ in parts], scene.num_superpoints)
    num_groups, group = _groups(every, part, tiles, min_iou, one_class)
    size, shape = every.masks @ every.column_points, (num_groups, len(parts))

    # All groups at once, as pairs of a group and a superpoint that one of its objects has; votes are points of objects.
    row = np.repeat(np.arange(len(every)), np.diff(every.masks.indptr))
    keys, pair = np.unique(group[row] * num_columns + every.masks.indices, return_inverse=True)
    owner, column = np.divmod(keys, num_columns)
    yes = np.bincount(pair, size[row])
    # Each pair with every part that sees its superpoint: 2 where the part owns it, otherwise 1.
    is_owned = np.concatenate([tile.owned for tile, _ in parts])
    seen = csr_array((1 + is_owned, tiles.indices, tiles.indptr), shape=tiles.shape).T.tocsr()[column].tocoo()
    votes = _values(coo_array((size, (group, part)), shape).tocsr(), owner[seen.row], seen.col)
    chosen = 2 * yes >= np.bincount(seen.row, votes, len(keys))
    points = np.where(chosen, every.column_points[column], 0.0)
    owned = np.bincount(seen.row, (votes > 0) & (seen.data > 1), len(keys)) > 0
    total = np.bincount(owner, points, num_groups)
    whole = (total > 0) & (np.bincount(owner, points * owned, num_groups) >= _LEAST_OWNED * total)

    sight = coo_array((points[seen.row], (owner[seen.row], seen.col)), shape).tocsr()
    agreed = np.bincount(row, points[pair], len(every)) * _values(sight, group, part)
    squares = sight.power(2).sum(axis=1)
    best = np.zeros(num_groups)
    np.maximum.at(best, group, every.scores)
    scores = np.bincount(group, every.scores * agreed, num_groups) / np.where(whole, squares, 1)
    scores = np.minimum(scores, best)
    whole &= scores >= score_threshold
    rows = np.flatnonzero(whole)[np.argsort(-scores[whole], kind="stable")]
    inside = np.ones(chosen.sum(), np.bool_), (owner[chosen], column[chosen])
    masks = coo_array(inside, (num_groups, scene.num_superpoints)).tocsr()[rows]
    ballots = coo_array((size * every.scores, (group, every.labels)), (num_groups, len(classes.names))).toarray()
    labels = ballots.argmax(axis=1)[rows].astype(every.labels.dtype)
    return replace(every, masks=masks, labels=labels, scores=scores[rows].astype(np.float32), ids=NO_IDS)


def _values(
    table: csr_array, rows: Integer[np.ndarray, "N"], columns: Integer[np.ndarray, "N"]
) -> Float64[np.ndarray, "N"]:
    """Values of a table at some places, 0 where it has none."""
    return np.asarray(table[rows, columns]) if len(rows) else np.zeros(0)  # scipy gives a sparse array for no places


def _all_objects(parts: Sequence[Part], scene: Scene, classes: ClassSet) -> Prediction:
    """The objects of all parts, one after another, with masks over the superpoints of the scan."""
    columns = [tile.columns[found.columns(row)] for tile, found in parts for row in range(len(found))]
    return Prediction(
        scene,
        mask_rows(columns, scene.num_superpoints),
        np.concatenate([found.labels for _, found in parts]),
        np.concatenate([found.scores for _, found in parts]).astype(np.float64),
        classes=classes,
        superpoint=scene.superpoint,
    )


def _groups(
    objects: Prediction, part: Int64[np.ndarray, "I"], tiles: csr_array, min_iou: float, one_class: bool
) -> tuple[int, Integer[np.ndarray, "I"]]:
    """Groups of objects that are the same: their number, and the group of each object.

    An object has at most one partner in each other part. `part` is the part of each object; `tiles` (parts, S) is True
    where a part sees a superpoint.
    """
    points = mask_points(objects)
    pairs = []
    for rows in [np.arange(len(objects))] if one_class else group_rows(objects.labels):
        shared = (points[rows] @ objects.masks[rows].T.astype(np.float64)).tocoo()
        pairs.append((rows[shared.row], rows[shared.col], shared.data))
    first, second, shared = (np.concatenate(column) for column in zip(*pairs))
    apart = part[first] != part[second]
    first, second, shared = first[apart], second[apart], shared[apart]
    # Points of an object that a part sees, for pairs that share some; the IoU is over what both parts see.
    sight, size = csr_array(points @ tiles.T.astype(np.float64)), points.sum(axis=1)
    of_first, of_second = _values(sight, first, part[second]), _values(sight, second, part[first])
    iou = shared / (of_first + of_second - shared)
    agree = (iou > min_iou) & (shared >= _LEAST_SHARED * np.minimum(size[first], size[second]))
    first, second, iou = first[agree], second[agree], iou[agree]
    best = _best(first, part[second], iou) & _best(second, part[first], iou)
    links = coo_array((np.ones(best.sum(), bool), (first[best], second[best])), shape=(len(objects), len(objects)))
    return connected_components(links, directed=False)


def _best(
    owner: Int64[np.ndarray, "L"], part: Int64[np.ndarray, "L"], iou: Float64[np.ndarray, "L"]
) -> Bool[np.ndarray, "L"]:
    """Whether a pair has the largest IoU of its owner with objects of the part, the first of equal ones."""
    order = np.lexsort((-iou, part, owner))
    is_first = (np.diff(owner[order], prepend=-1) != 0) | (np.diff(part[order], prepend=-1) != 0)
    best = np.zeros(len(order), bool)
    best[order[is_first]] = True
    return best
