"""Merges the objects of several looks at one scan, its tiles or its views, to the objects of the scan."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64, Integer
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

from pcseg.classes import ClassSet
from pcseg.inference.tiles import Tile
from pcseg.ops.segment import group_rows
from pcseg.structures import Prediction, Scene, mask_rows

Part = tuple[Tile, Prediction]  # what one look saw, and its objects, with masks over the superpoints of the tile


def merge(
    parts: Sequence[Part],
    scene: Scene,
    classes: ClassSet,
    *,
    min_iou: float = 0.5,
    min_shared: float = 0.1,
    min_owned: float = 0.2,
    score_threshold: float = 0.0,
) -> Prediction:
    """Merges objects of one class that agree where both of their parts look, over any number of parts.

    Votes are weighted by how much of the object each part sees. A superpoint is in a merged mask if the objects with it
    have at least half of the points of all those whose part sees it. The score is the mean over points and over the
    parts that see them, 0 for a part without such an object; a part counts by the points of the object that it sees.
    An object at the edge of a tile is dropped if the neighbor, which sees all of it, does not confirm it.

    Args:
        parts: tiles or views.
        scene: the scan, with superpoints.
        classes: classes that the labels of objects index.
        min_iou: two objects merge if their IoU, over what both parts see, is greater.
        min_shared: least share of the smaller object that two objects must have in common.
        min_owned: least share of an object in superpoints that one of its parts owns.
        score_threshold: least score of a merged object.

    Returns:
        Objects with masks over the superpoints of the scan, best first.
    """
    assert scene.superpoint is not None
    counts = np.bincount(scene.superpoint).astype(np.float64)
    objects = _Objects.of(parts, counts)
    first, second = _links(objects, min_iou, min_shared)
    num = len(objects.labels)
    graph = coo_array((np.ones(len(first), bool), (first, second)), shape=(num, num))
    groups = group_rows(connected_components(graph, directed=False)[1]) if num else []
    seen = objects.seen.tocsc()
    votes = _Votes(len(counts))
    masks, labels, scores = [], [], []
    for group in groups:
        members = group.tolist()
        mask, owned = votes.decide(
            [(objects.columns(i), parts[int(objects.part[i])][0], float(objects.size[i])) for i in members]
        )
        points = counts[mask]
        if not len(mask) or points[owned].sum() < min_owned * points.sum():
            continue
        sight = seen[:, mask] @ points
        agreed = [points[np.isin(mask, objects.columns(i), assume_unique=True)].sum() for i in members]
        score = objects.scores[group] @ (agreed * sight[objects.part[group]]) / (sight @ sight)
        score = float(min(score, objects.scores[group].max()))
        if score >= score_threshold:
            masks.append(mask)
            labels.append(int(objects.labels[group[0]]))
            scores.append(score)
    best = np.argsort(-np.array(scores), kind="stable")
    return Prediction(
        scene,
        mask_rows([masks[i] for i in best], len(counts)),
        np.array(labels, np.int64)[best],
        np.array(scores, np.float32)[best],
        classes=classes,
        superpoint=scene.superpoint,
    )


@dataclass(frozen=True)
class _Objects:
    """Objects of all parts, one after another.

    masks: (I, S), the number of points of each superpoint in the mask.
    seen: (parts, S), 1 where a part sees a superpoint.
    """

    masks: csr_array
    seen: csr_array
    part: Int64[np.ndarray, "I"]
    labels: Integer[np.ndarray, "I"]
    scores: Float64[np.ndarray, "I"]
    size: Float64[np.ndarray, "I"]

    @classmethod
    def of(cls, parts: Sequence[Part], counts: Float64[np.ndarray, "S"]) -> "_Objects":
        found = [prediction for _, prediction in parts]
        inside = np.concatenate([tile.columns[prediction.masks.indices] for tile, prediction in parts])
        sizes = np.concatenate([np.diff(prediction.masks.indptr) for prediction in found])
        masks = csr_array((counts[inside], inside, np.cumsum([0, *sizes])), shape=(len(sizes), len(counts)))
        sees = np.repeat(np.arange(len(parts)), [len(tile.columns) for tile, _ in parts])
        seen = np.concatenate([tile.columns for tile, _ in parts])
        return cls(
            masks,
            csr_array((np.ones(len(seen)), (sees, seen)), shape=(len(parts), len(counts))),
            np.repeat(np.arange(len(parts)), [len(prediction) for prediction in found]),
            np.concatenate([prediction.labels for prediction in found]),
            np.concatenate([prediction.scores for prediction in found]).astype(np.float64),
            masks @ np.ones(len(counts)),
        )

    def in_sight(self) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        """A function that gives the points of objects that parts see, for pairs with at least one such point."""
        table = (self.masks @ self.seen.T).tocoo()
        num_parts = len(self.seen.indptr) - 1
        keys = table.row * np.int64(num_parts) + table.col
        order = np.argsort(keys)
        keys, points = keys[order], table.data[order]
        return lambda index, part: points[np.searchsorted(keys, index * num_parts + part)]

    def columns(self, index: int) -> np.ndarray:
        """Superpoints of one object, ascending."""
        return self.masks.indices[self.masks.indptr[index] : self.masks.indptr[index + 1]]


def _links(
    objects: _Objects, min_iou: float, min_shared: float
) -> tuple[Int64[np.ndarray, "L"], Int64[np.ndarray, "L"]]:
    """Pairs of objects of two parts that are the same; each has at most one partner in the other part."""
    pairs = []
    for rows in group_rows(objects.labels):
        masks = objects.masks[rows]
        inside = csr_array((np.ones_like(masks.data), masks.indices, masks.indptr), shape=masks.shape)
        shared = (masks @ inside.T).tocoo()
        pairs.append((rows[shared.row], rows[shared.col], shared.data))
    if not pairs:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    first, second, shared = (np.concatenate(column) for column in zip(*pairs))
    apart = objects.part[first] != objects.part[second]
    first, second, shared = first[apart], second[apart], shared[apart]
    sight = objects.in_sight()
    iou = shared / (sight(first, objects.part[second]) + sight(second, objects.part[first]) - shared)
    agree = (iou > min_iou) & (shared >= min_shared * np.minimum(objects.size[first], objects.size[second]))
    first, second, iou = first[agree], second[agree], iou[agree]
    best = _best(first, objects.part[second], iou) & _best(second, objects.part[first], iou)
    return first[best], second[best]


def _best(
    owner: Int64[np.ndarray, "L"], part: Int64[np.ndarray, "L"], iou: Float64[np.ndarray, "L"]
) -> Bool[np.ndarray, "L"]:
    """Whether a pair has the largest IoU of its owner with objects of the part, the first of equal ones."""
    order = np.lexsort((-iou, part, owner))
    is_first = np.ones(len(order), bool)
    is_first[1:] = (np.diff(owner[order]) != 0) | (np.diff(part[order]) != 0)
    best = np.zeros(len(order), bool)
    best[order[is_first]] = True
    return best


class _Votes:
    """Weighted votes for superpoints; the arrays are as long as the scan, but only what a group sees is touched."""

    def __init__(self, num_superpoints: int) -> None:
        self.yes = np.zeros(num_superpoints)
        self.all = np.zeros(num_superpoints)
        self.owned = np.zeros(num_superpoints, bool)

    def decide(
        self, members: Sequence[tuple[np.ndarray, Tile, float]]
    ) -> tuple[Integer[np.ndarray, "n"], Bool[np.ndarray, "n"]]:
        """Superpoints with at least half of the votes, and whether one of the parts owns them.

        `members`: superpoints, part and weight of each object.
        """
        for columns, part, weight in members:
            self.yes[columns] += weight
            self.all[part.columns] += weight
            self.owned[part.columns[part.owned]] = True
        touched = np.unique(np.concatenate([columns for columns, _, _ in members]))
        mask = touched[2 * self.yes[touched] >= self.all[touched]]
        owned = self.owned[mask]
        for columns, part, _ in members:
            self.yes[columns] = 0
            self.all[part.columns] = 0
            self.owned[part.columns] = False
        return mask, owned
