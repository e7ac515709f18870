"""What was found, for other programs: a point cloud with scalar fields, and a table of objects."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8
from plyfile import PlyData, PlyElement

from pcseg.files import atomic_open, atomic_write
from pcseg.structures import Prediction

COLUMNS = (
    *("id", "class", "score", "points", "center_x", "center_y", "center_z"),
    *("min_x", "min_y", "min_z", "max_x", "max_y", "max_z", "volume"),
)


@dataclass(frozen=True)
class ObjectTable:
    """Objects without overlap, measured on the points that bear their ids.

    Args:
        ids: as `Prediction.point_ids` gives them; an object that better ones cover altogether has no row.
        labels: class index.
        scores: 0..1.
        num_points: how many bear the id.
        centers: mean of these points, meters.
        low: least corner of their axis-aligned box, meters.
        high: greatest corner.
    """

    ids: Int64[np.ndarray, "K"]
    labels: Int64[np.ndarray, "K"]
    scores: Float64[np.ndarray, "K"]
    num_points: Int64[np.ndarray, "K"]
    centers: Float64[np.ndarray, "K 3"]
    low: Float64[np.ndarray, "K 3"]
    high: Float64[np.ndarray, "K 3"]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def volumes(self) -> Float64[np.ndarray, "K"]:
        """Of the boxes, cubic meters: what an object takes up, not what it is made of."""
        return (self.high - self.low).prod(axis=1)


def object_table(prediction: Prediction, threshold: float = 0.0) -> ObjectTable:
    """Measures every object that is visible: some point has its id.

    Args:
        prediction: the objects of a scene.
        threshold: objects that score less are left out.

    Returns:
        A row per object in the order of ids, which is that of scores.
    """
    by_point = prediction.point_ids(threshold)
    order = np.argsort(by_point, kind="stable")
    order = order[by_point[order] > 0]
    ids, starts, counts = np.unique(by_point[order], return_index=True, return_counts=True)
    xyz = prediction.scene.xyz[order].astype(np.float64)
    if len(ids) == 0:
        low = high = sums = np.zeros((0, 3))
    else:
        low, high, sums = (f.reduceat(xyz, starts) for f in (np.minimum, np.maximum, np.add))
    return ObjectTable(
        ids=ids.astype(np.int64),
        labels=np.asarray(prediction.labels, np.int64)[ids - 1],
        scores=np.asarray(prediction.scores, np.float64)[ids - 1],
        num_points=counts.astype(np.int64),
        centers=sums / counts[:, None],
        low=low,
        high=high,
    )


def write_csv(path: Path, prediction: Prediction, threshold: float = 0.0) -> None:
    """Writes one line per object: its id, class and score, how many points, their mean, their box and its volume.

    Args:
        path: the file; it is replaced only when the new one is whole.
        prediction: the objects of a scene.
        threshold: objects that score less are left out.

    Raises:
        ValueError: no objects were predicted.
        OSError: the file cannot be written.
    """
    if not prediction.has_objects:
        raise ValueError(f"{prediction.scene.name}: no objects were predicted for it, only classes")
    table = object_table(prediction, threshold)
    names = prediction.classes.names if prediction.classes is not None else ()
    lengths = np.concatenate([table.centers, table.low, table.high, table.volumes[:, None]], axis=1)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in range(len(table)):
        score = f"{table.scores[row]:.4f}"
        name = names[table.labels[row]]
        writer.writerow([table.ids[row], name, score, table.num_points[row], *(f"{v:.4f}" for v in lengths[row])])
    atomic_write(path, text.getvalue())


def write_ply(path: Path, prediction: Prediction, colors: UInt8[np.ndarray, "P 3"], threshold: float = 0.0) -> None:
    """Writes the points in their order, painted, with what was found as scalar fields; a mesh keeps its faces.

    Properties of a vertex: x y z, nx ny nz where the room has normals, red green blue, then scalar_instance (id of
    `Prediction.point_ids`), scalar_score (of that object, 0 for none), scalar_semantic (class index, -1 for none), and
    quality, the id once more. CloudCompare takes for a scalar field what has "scal" in its name; MeshLab has one scalar
    a vertex, called quality.

    Args:
        path: the file; it is replaced only when the new one is whole.
        prediction: a scene with its objects and the classes of its points; absent parts get no scalar fields.
        colors: color of each point.
        threshold: objects that score less are left out.

    Raises:
        OSError: the file cannot be written.

    Source:
        CloudCompare, libs/qCC_io/src/PlyFilter.cpp; MeshLab, issue 107.
    """
    scene = prediction.scene
    columns = _vectors("xyz", scene.xyz)
    if scene.normal is not None:
        columns |= _vectors(("nx", "ny", "nz"), scene.normal)
    columns |= _vectors(("red", "green", "blue"), colors)
    # Both programs hold scalars in single precision, which counts to 16 million without gaps.
    if prediction.has_objects:
        ids = prediction.point_ids(threshold)
        columns["scalar_instance"] = columns["quality"] = ids.astype(np.float32)
        columns["scalar_score"] = np.append(np.float32(0), prediction.scores.astype(np.float32))[ids]
    if prediction.semantic is not None:
        columns["scalar_semantic"] = prediction.semantic.astype(np.float32)
    vertex = np.empty(len(scene), [(name, values.dtype) for name, values in columns.items()])
    for name, values in columns.items():
        vertex[name] = values
    elements = [PlyElement.describe(vertex, "vertex")]
    if scene.faces is not None:
        faces = np.empty(len(scene.faces), [("vertex_indices", np.int32, (3,))])
        faces["vertex_indices"] = scene.faces
        elements.append(PlyElement.describe(faces, "face"))
    with atomic_open(path) as file:
        PlyData(elements, byte_order="<").write(file)


def _vectors(names: str | tuple[str, ...], rows: Float32[np.ndarray, "P 3"] | UInt8[np.ndarray, "P 3"]) -> dict:
    return {name: rows[:, axis] for axis, name in enumerate(names)}
