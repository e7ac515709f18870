"""What can be shown of a room: layers of ids, each with a color and a text; PNG, page and window share them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32, Int64, UInt8

from pcseg.classes import ClassSet
from pcseg.structures import Prediction, Scene
from pcseg.viz.colors import NO_OBJECT, height_colors, instance_colors, superpoint_colors
from pcseg.viz.errors import ERROR_COLORS, ERROR_HINTS, ERROR_NAMES, object_errors
from pcseg.viz.matched_objects import MatchedObjects, compact_ids

UNNAMED = "object"  # has no class of the set
OBJECT_LAYERS = ("truth", "prediction")
# Objects are shown from this score on. In rooms that a model of configs/synthetic.yaml had not seen, precision is 0.96
# and recall 0.90 at IoU 0.5, each point left to its best object; 0.92 and 0.91 from 0.2 on, 0.97 and 0.87 from 0.5 on.
DEFAULT_THRESHOLD = 0.3


@dataclass(frozen=True)
class Entry:
    """One row of a layer: an object, a class, a kind of mistake.

    Args:
        number: id of the object in the scene, 1 + row of the prediction, or class index.
        name: class name, or the row's own.
        num_points: points that show it.
        score: confidence, where it is a prediction.
        match: row of the object it matches in the layer of truth or of predictions; 0 for none.
        iou: overlap with that object, 0..1.
        hint: a sentence for tooltips.
    """

    number: int
    name: str
    num_points: int
    score: float | None = None
    match: int = 0
    iou: float | None = None
    hint: str = ""


@dataclass(frozen=True)
class Layer:
    """One id per point, and what each id means.

    Args:
        key: truth, prediction, semantic_truth, semantic_prediction, superpoint or errors.
        title: how pictures and buttons call it.
        ids: row of `entries` for each point; row 0 is "nothing" everywhere.
        colors: one color per row.
        entries: one text per row.
    """

    key: str
    title: str
    ids: Int32[np.ndarray, "P"]
    colors: UInt8[np.ndarray, "R 3"]
    entries: tuple[Entry, ...]

    def point_colors(self) -> UInt8[np.ndarray, "P 3"]:
        """The color of each point."""
        return self.colors[self.ids]

    def point_numbers(self) -> Int32[np.ndarray, "P"]:
        """The number that the entry of each point has; of predicted objects what `Prediction.point_ids` gives."""
        return np.array([entry.number for entry in self.entries], np.int32)[self.ids]


def entry_name(key: str, entry: Entry) -> str:
    """How an entry of a layer is called where it stands alone: objects and superpoints with their number."""
    numbered = (key in OBJECT_LAYERS and entry.number > 0) or (key == "superpoint" and entry.number >= 0)
    return f"{entry.name} {entry.number}" if numbered else entry.name


def input_colors(scene: Scene) -> UInt8[np.ndarray, "P 3"]:
    """The colors of the scan, or colors by height where it has none."""
    return scene.rgb if scene.rgb is not None else height_colors(scene.xyz)


def scene_layers(prediction: Prediction, threshold: float = 0.0) -> list[Layer]:
    """Every layer that the scene and its prediction have.

    A predicted object has the color of the true object it matches (see `match_ids`); other predictions get colors of
    their own.

    Args:
        prediction: a scene and what was predicted for it; where masks overlap, the higher score is shown.
        threshold: objects that score less are left out.

    Returns:
        Layers in the order truth, prediction, semantic_truth, semantic_prediction, superpoint, errors.

    Raises:
        ValueError: the scene has no points.
    """
    scene, semantic, classes = prediction.scene, prediction.semantic, prediction.classes
    if len(scene) == 0:
        raise ValueError(f"scene {scene.name}: it has no points, so there is nothing to draw")
    objects = MatchedObjects.of(prediction, threshold)
    layers = _object_layers(objects, prediction)
    if scene.semantic is not None and classes is not None:
        layers.append(_semantic_layer("semantic_truth", "Classes: truth", scene.semantic, classes))
    if semantic is not None and classes is not None:
        layers.append(_semantic_layer("semantic_prediction", "Classes: prediction", semantic, classes))
    if scene.superpoint is not None:
        layers.append(_superpoint_layer(scene.superpoint))
    errors = None
    if objects.true_ids is not None and objects.pred_ids is not None and classes is not None:
        given = objects.true_ids, objects.pred_ids, objects.true_class, objects.pred_class
        errors = object_errors(*given, objects.pairs, classes)
    elif scene.semantic is not None and semantic is not None:
        errors = np.where(scene.semantic == semantic, 1, 2)
        errors[scene.semantic < 0] = 0
    if errors is not None:
        layers.append(_error_layer(errors.astype(np.int32)))
    return layers


def with_all_objects(layers: Sequence[Layer], prediction: Prediction) -> list[Layer]:
    """Layers that show every predicted object; mistakes stay those of the threshold that `layers` were made with.

    Args:
        layers: as `scene_layers` gives them for the same prediction.
        prediction: a scene and what was predicted for it.

    Returns:
        As many layers, those that need not change are the same.
    """
    if not prediction.has_objects:
        return list(layers)
    objects = MatchedObjects.of(prediction, 0.0)
    by_key = {layer.key: layer for layer in _object_layers(objects, prediction)}
    return [by_key.get(layer.key, layer) for layer in layers]


def _object_layers(objects: MatchedObjects, prediction: Prediction) -> list[Layer]:
    """The layer of truth and that of predictions, those of them that there are."""
    xyz, classes = prediction.scene.xyz, prediction.classes
    layers = []
    given = None
    if objects.true_ids is not None:
        ids, numbers, labels = objects.true_ids, objects.true_numbers, objects.true_class
        colors = _object_colors(xyz, ids, labels, classes)
        entries = _object_entries(ids, numbers, labels, classes, None, objects.pairs, objects.ious)
        layers.append(Layer("truth", "Ground truth", ids, colors, entries))
        given = colors, ids, objects.pairs
    if objects.pred_ids is not None:
        ids, numbers, labels = objects.pred_ids, objects.pred_numbers, objects.pred_class
        colors = _object_colors(xyz, ids, labels, classes, given)
        scores = np.concatenate([[0.0], prediction.scores[numbers[1:] - 1]])
        entries = _object_entries(ids, numbers, labels, classes, scores, objects.pairs[:, ::-1], objects.ious)
        layers.append(Layer("prediction", "Prediction", ids, colors, entries))
    return layers


def sorted_rows(ids: Int32[np.ndarray, "N"]) -> tuple[Int64[np.ndarray, "N"], Int64[np.ndarray, "G"]]:
    """Rows in the order of their ids, and where each id begins among them."""
    small = ids.astype(np.uint16) if ids.max(initial=0) < 1 << 16 else ids  # sorted by digits, three times as fast
    order = np.argsort(small, kind="stable")
    return order, np.flatnonzero(np.diff(ids[order], prepend=-1))


def _object_colors(
    xyz: np.ndarray,
    ids: np.ndarray,
    labels: np.ndarray,
    classes: ClassSet | None,
    given: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None,
) -> np.ndarray:
    """Colors of objects, row 0 for none; `given`: colors and ids of the truth, and the pairs (true, predicted)."""
    count = len(labels)
    # Surfaces are pale, and so is what has no class in a room whose objects have one.
    pale = (labels < 0) & (labels.max() >= 0)
    if classes is not None:
        pale |= np.isin(labels, [classes.names.index(name) for name in classes.stuff])
    center = _centers(xyz, ids, count)
    colors = np.zeros((count, 3), np.uint8)
    free = np.arange(count) > 0
    taken = None
    if given is not None:
        true_colors, true_ids, pairs = given
        colors[pairs[:, 1]] = true_colors[pairs[:, 0]]
        free[pairs[:, 1]] = False
        taken = true_colors[1:], _centers(xyz, true_ids, len(true_colors))[1:]
    colors[free] = instance_colors(center[free], pale[free], taken)
    colors[0] = NO_OBJECT
    return colors


def _centers(xyz: np.ndarray, ids: np.ndarray, count: int) -> np.ndarray:
    """Mean of the points of each id, (count, 3); the origin for ids without points."""
    sums = [np.bincount(ids, xyz[:, axis], count) for axis in range(3)]
    return np.stack(sums, axis=1) / np.maximum(np.bincount(ids, minlength=count), 1)[:, None]


def _object_entries(
    ids: np.ndarray,
    numbers: np.ndarray,
    labels: np.ndarray,
    classes: ClassSet | None,
    scores: np.ndarray | None,
    pairs: np.ndarray,
    ious: np.ndarray,
) -> tuple[Entry, ...]:
    """Texts of objects; `pairs`: (this row, row of the match)."""
    sizes = np.bincount(ids, minlength=len(numbers))
    matched = {int(row): (int(other), float(iou)) for (row, other), iou in zip(pairs, ious)}
    entries = [Entry(0, "no object", int(sizes[0]))]
    for row in range(1, len(numbers)):
        match, iou = matched.get(row, (0, None))
        name = classes.names[labels[row]] if classes is not None and labels[row] >= 0 else UNNAMED
        score = None if scores is None else float(scores[row])
        entries.append(Entry(int(numbers[row]), name, int(sizes[row]), score, match, iou))
    return tuple(entries)


def _semantic_layer(key: str, title: str, semantic: np.ndarray, classes: ClassSet) -> Layer:
    present, ids = compact_ids(semantic + 1)
    table = np.vstack([np.array([NO_OBJECT], np.uint8), classes.color_table()])
    sizes = np.bincount(ids, minlength=len(present))
    names = ("not labeled", *classes.names)
    entries = tuple(Entry(int(k) - 1, names[k], int(n)) for k, n in zip(present, sizes))
    return Layer(key, title, ids, table[present], entries)


def _superpoint_layer(superpoint: np.ndarray) -> Layer:
    sizes = np.bincount(superpoint)
    colors = np.vstack([np.array([NO_OBJECT], np.uint8), superpoint_colors(len(sizes))])
    entries = (Entry(-1, "none", 0), *(Entry(k, "superpoint", int(n)) for k, n in enumerate(sizes)))
    return Layer("superpoint", "Superpoints", (superpoint + 1).astype(np.int32), colors, entries)


def _error_layer(errors: np.ndarray) -> Layer:
    sizes = np.bincount(errors, minlength=len(ERROR_NAMES))
    entries = tuple(Entry(k, ERROR_NAMES[k], int(sizes[k]), hint=ERROR_HINTS[k]) for k in range(len(ERROR_NAMES)))
    return Layer("errors", "Errors", errors, np.array(ERROR_COLORS, np.uint8), entries)
