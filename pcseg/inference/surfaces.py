"""Walls, floors and ceilings as objects: pieces of one plane, from class probabilities."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float32, Float64
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

from pcseg.ops.overlap import group_bounds
from pcseg.ops.segment import group_rows
from pcseg.prediction import NO_IDS, Prediction, mask_rows
from pcseg.structures import Scene

MAX_ANGLE = 15.0  # degrees between neighboring superpoints of a surface
MAX_DISTANCE = 0.1  # meters from the plane of a surface, root of the mean square over the points of a piece
MAX_GAP = 1.5  # meters between two pieces of a surface, such as a wall on both sides of a door
WHOLE_AREA = 2.0  # square meters; smaller surfaces get lower scores, as they are often parts of others


def with_surfaces(
    prediction: Prediction,
    semantic: Float32[np.ndarray, "S C"],
    links: csr_array,
    *,
    min_points: int = 0,
    shown_above: float = 0.0,
) -> Prediction:
    """Adds surfaces: superpoints of one stuff class in one plane, also where a door or a cupboard interrupts them.

    Connected superpoints that face the same way are pieces. A piece joins the largest surface whose plane it is in.

    Args:
        prediction: objects with masks over superpoints, and classes.
        semantic: class probabilities of each superpoint.
        links: `superpoint_links` of the scene.
        min_points: smaller surfaces are left out.
        shown_above: objects with at least this score keep their superpoints to themselves.

    Returns:
        The objects and the surfaces, best first. The score of a surface is its mean probability, and less if it is
        smaller than `WHOLE_AREA`.
    """
    assert prediction.classes is not None
    shapes, counts, label = _Shapes(prediction.scene), prediction.column_points, semantic.argmax(axis=1)
    for row in np.flatnonzero(prediction.scores >= shown_above).tolist():
        label[prediction.columns(row)] = -1
    columns, labels, scores = [], [], []
    for index in map(prediction.classes.index, sorted(prediction.classes.stuff)):
        for rows in _coplanar(shapes, _flat_pieces(shapes, np.flatnonzero(label == index), links)):
            if (size := counts[rows].sum()) >= min_points:
                columns.append(rows)
                labels.append(index)
                scores.append(
                    semantic[rows, index] @ counts[rows] / size * min(1, shapes.area(rows) / WHOLE_AREA) ** 0.5
                )
    order = np.argsort(-np.concatenate([prediction.scores, scores]), kind="stable")
    every = [*(prediction.columns(row) for row in range(len(prediction))), *columns]
    return replace(
        prediction,
        masks=mask_rows(every, prediction.num_columns),
        labels=np.concatenate([prediction.labels, np.array(labels, np.int64)]),
        scores=np.concatenate([prediction.scores, np.array(scores, prediction.scores.dtype)]),
        ids=NO_IDS,
    ).select(order)


class _Shapes:
    """Position, spread and box of superpoints and of sets of them, in meters."""

    def __init__(self, scene: Scene) -> None:
        assert scene.superpoint is not None
        superpoint = scene.superpoint
        columns = [x.astype(np.float64) - x.mean(dtype=np.float64) for x in scene.xyz.T]
        self.count = np.bincount(superpoint)
        self.sum = np.stack([np.bincount(superpoint, x) for x in columns], axis=1)
        self.product = np.empty((len(self.count), 3, 3))
        for a in range(3):
            for b in range(a + 1):
                product = np.bincount(superpoint, columns[a] * columns[b])
                self.product[:, a, b] = self.product[:, b, a] = product
        self.low, self.high = group_bounds(np.array(columns).T, superpoint, len(self.count))
        mean = self.sum / self.count[:, None]
        spread = self.product / self.count[:, None, None] - mean[:, :, None] * mean[:, None]
        self.normal = np.linalg.eigh(spread)[1][:, :, 0]

    def moments(self, rows: np.ndarray) -> tuple[Float64[np.ndarray, "3"], Float64[np.ndarray, "3 3"]]:
        """Mean and covariance of the points of some superpoints."""
        count = self.count[rows].sum()
        mean = self.sum[rows].sum(axis=0) / count
        return mean, self.product[rows].sum(axis=0) / count - np.outer(mean, mean)

    def area(self, rows: np.ndarray) -> float:
        """Area of a rectangle with this spread."""
        return float(12 * np.sqrt(np.linalg.eigvalsh(self.moments(rows)[1])[1:].clip(0).prod()))

    def gap(self, rows: np.ndarray, others: np.ndarray) -> float:
        """Distance of the box of some superpoints from the nearest box of others."""
        low, high = self.low[rows].min(axis=0), self.high[rows].max(axis=0)
        away = np.maximum(0, np.maximum(self.low[others] - high, low - self.high[others]))
        return float(np.linalg.norm(away, axis=1).min())


def _flat_pieces(shapes: _Shapes, rows: np.ndarray, links: csr_array) -> list[np.ndarray]:
    """Connected superpoints that face the same way, most points first."""
    if len(rows) == 0:
        return []
    near = coo_array(links[rows][:, rows])
    first, second = near.coords
    cosine = np.abs((shapes.normal[rows[first]] * shapes.normal[rows[second]]).sum(axis=1))
    same = cosine > np.cos(np.radians(MAX_ANGLE))
    graph = coo_array((np.ones(same.sum()), (first[same], second[same])), shape=near.shape)
    pieces = [rows[piece] for piece in group_rows(connected_components(graph, directed=False)[1])]
    return sorted(pieces, key=lambda piece: -shapes.count[piece].sum())


def _coplanar(shapes: _Shapes, pieces: list[np.ndarray]) -> list[np.ndarray]:
    """Joins pieces, the largest first, with the first surface that has them in its plane and is near."""
    surfaces: list[np.ndarray] = []
    centers, normals = np.zeros((2, len(pieces), 3))
    for piece in pieces:
        mean, spread = shapes.moments(piece)
        own = np.linalg.eigh(spread)[1][:, 0]
        center, normal = centers[: len(surfaces)], normals[: len(surfaces)]
        square = ((normal @ spread) * normal).sum(axis=1) + ((mean - center) * normal).sum(axis=1) ** 2
        inside = (square <= MAX_DISTANCE**2) & (np.abs(normal @ own) > np.cos(np.radians(MAX_ANGLE)))
        near = (i for i in np.flatnonzero(inside) if shapes.gap(piece, surfaces[i]) <= MAX_GAP)
        if (found := next(near, None)) is None:
            centers[len(surfaces)], normals[len(surfaces)] = mean, own
            surfaces.append(piece)
        else:
            surfaces[found] = np.sort(np.concatenate([surfaces[found], piece]))
    return surfaces
