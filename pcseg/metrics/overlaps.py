"""Exact overlaps of predicted masks with ground-truth objects, in points."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int64, Integer
from scipy.sparse import coo_array, csr_array

from pcseg.classes import ClassSet
from pcseg.ops.overlap import overlap_table, unique_ids
from pcseg.prediction import Prediction


@dataclass(frozen=True)
class SceneObjects:
    """The ground-truth objects of one scene, sorted by class, then by instance id."""

    of_point: Int64[np.ndarray, "P"]  # 0 for void points (no object that counts), otherwise 1 + the row of the object
    labels: Int64[np.ndarray, "K"]  # class index of each object
    num_points: Int64[np.ndarray, "K"]  # points of each object

    def __len__(self) -> int:
        return len(self.labels)

    def shared_with(self, part: Integer[np.ndarray, "P"], num_parts: int) -> Int64[np.ndarray, "parts objects"]:
        """Points that each part 1..num_parts, 0 for none, shares with void (column 0) and each object (1..K)."""
        return overlap_table(part, self.of_point).dense(num_parts + 1, len(self) + 1)[1:]


@dataclass(frozen=True)
class SceneOverlaps:
    """A prediction compared with the ground truth of its scene."""

    prediction: Prediction  # the predicted objects
    objects: SceneObjects  # the ground truth
    counted: Bool[np.ndarray, "C"]  # whether each class counts
    # Points that each prediction shares with void (column 0) and with each object (columns 1..K); a row adds up to the
    # points of the prediction.
    points: Int64[np.ndarray, "I objects"]


def scene_overlaps(prediction: Prediction, classes: ClassSet) -> SceneOverlaps:
    """Compares a prediction with the ground truth of its scene.

    Objects of classes that instance AP does not count are void.

    Raises:
        ValueError: the scene has no ground truth, or the labels are of other classes.
    """
    scene = prediction.scene
    if scene.semantic is None or scene.instance is None:
        raise ValueError(f"scene {scene.name}: it has no ground truth to compare with")
    if prediction.classes is not None and prediction.classes.names != classes.names:
        raise ValueError(f"scene {scene.name}: its classes are {prediction.classes.name}, expected {classes.name}")
    counted = np.isin(np.arange(len(classes)), classes.instance_classes)
    objects = find_objects(scene.semantic, scene.instance, counted)
    return SceneOverlaps(prediction, objects, counted, _count_overlaps(prediction, objects))


def find_objects(
    semantic: Integer[np.ndarray, "P"], instance: Integer[np.ndarray, "P"], counted: Bool[np.ndarray, "C"]
) -> SceneObjects:
    """The objects of a labeled scene: one for each pair of class and instance id, as in ScanNet's files.

    Points of class -1, of instance 0, and of classes that are not counted are void.

    Args:
        semantic: class index of each point, -1 for none.
        instance: instance id of each point, 0 for none.
        counted: whether each class counts.
    """
    inside = np.append(counted, False)[semantic] & (instance > 0)  # class -1 reads the last entry
    stride = int(instance.max(initial=0)) + 1
    keys = np.append(0, np.where(inside, semantic * np.int64(stride) + instance, 0))  # void comes first
    keys, rank, num_points = unique_ids(keys)
    return SceneObjects(rank[1:], keys[1:] // stride, num_points[1:])


def _count_overlaps(prediction: Prediction, objects: SceneObjects) -> Int64[np.ndarray, "I objects"]:
    """Counts the points that each mask shares with void (column 0) and with each object (columns 1..K)."""
    num_columns = len(objects) + 1
    if not prediction.has_objects:
        return np.zeros((0, num_columns), np.int64)
    if prediction.superpoint is None:
        num_points = len(objects.of_point)
        ones = np.ones(num_points, np.int64)
        table = csr_array((ones, objects.of_point, np.arange(num_points + 1)), shape=(num_points, num_columns))
    else:
        pairs = overlap_table(prediction.superpoint, objects.of_point)
        table = coo_array((pairs.points, (pairs.a, pairs.b)), shape=(prediction.num_columns, num_columns)).tocsr()
    return csr_array(prediction.masks @ table).toarray()
