"""What all views can show of a room: layers with one id per point, and a color and a text for each id.

One of them is what is wrong at each point: objects of the ground truth and of a prediction, which of them match.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int32, Int64, Integer, UInt8

from pcseg.choices import DEFAULT_THRESHOLD as DEFAULT_THRESHOLD
from pcseg.classes import NO_CLASSES, ClassSet
from pcseg.ops.overlap import group_means, object_ids, overlap_table, unique_ids
from pcseg.prediction import Prediction
from pcseg.structures import Scene
from pcseg.viz.colors import NO_OBJECT, height_colors, instance_colors, superpoint_colors

UNNAMED = "object"  # name of objects without a class of the set
OBJECT_LAYERS = ("truth", "prediction")
MATCH_IOU = 0.25  # the lowest threshold of the ScanNet benchmark
# Name, color and hint. Colors after Okabe and Ito (2008), except that what is right stays pale.
ERRORS = (
    ("no object", (226, 228, 232), "neither the truth nor the prediction has an object here"),
    ("correct", (157, 208, 190), "the matching object, with the right class"),
    ("wrong class", (230, 159, 0), "the matching object, with another class"),
    ("missed", (0, 114, 178), "an object that no prediction covers here"),
    ("false positive", (213, 94, 0), "a prediction where there is no object"),
    ("wrong object", (204, 121, 167), "a prediction that reaches into another object, or matches none"),
)
DIGITS = {  # keys of the layers in the window and on the page
    "input": "1",
    "truth": "2",
    "prediction": "3",
    "semantic_prediction": "4",
    "semantic_truth": "4",
    "superpoint": "5",
    "errors": "6",
}


@dataclass(frozen=True)
class Objects:
    """Objects of a room; row 0 means no object."""

    ids: Int32[np.ndarray, "P"]  # row of each point
    numbers: Int64[np.ndarray, "R"]  # id of each row in the scene or the prediction
    labels: Int64[np.ndarray, "R"]  # class of each row, -1 for none
    scores: Float64[np.ndarray, "R"] | None = None  # of predicted objects

    @staticmethod
    def of_scene(scene: Scene) -> "Objects | None":
        """Objects of the ground truth, one for each pair of instance id and class; None without ground truth."""
        if scene.instance is None or scene.instance.max(initial=0) <= 0:
            return None
        semantic = np.full(len(scene), -1, np.int32) if scene.semantic is None else scene.semantic
        ids = object_ids(semantic, scene.instance)
        numbers, labels = np.empty((2, ids.max() + 1), np.int64)
        numbers[ids], labels[ids] = scene.instance, semantic
        numbers[0], labels[0] = 0, -1
        return Objects(ids, numbers, labels)

    @staticmethod
    def of_prediction(prediction: Prediction, threshold: float) -> "Objects | None":
        """Predicted objects with at least the threshold as score; None if no objects were predicted."""
        if not prediction.has_objects:
            return None
        found, ids = compact_ids(prediction.point_rows(threshold))
        numbers, labels = np.append(0, prediction.ids)[found], np.append(-1, prediction.labels)[found]
        return Objects(ids, numbers, labels.astype(np.int64), np.append(0.0, prediction.scores)[found])


def compact_ids(ids: Integer[np.ndarray, "P"]) -> tuple[Int64[np.ndarray, "R"], Int32[np.ndarray, "P"]]:
    """The distinct ids in rising order, with 0 for none or negative ones first, and the row of each point among them.

    >>> compact_ids(np.array([7, -1, 7, 3]))
    (array([0, 3, 7]), array([2, 0, 2, 1], dtype=int32))
    """
    numbers, rows, _ = unique_ids(np.append(0, np.maximum(ids, 0)))
    return numbers, rows[1:].astype(np.int32)


def match_objects(truth: Objects | None, predicted: Objects | None) -> list[tuple[int, int, float]]:
    """Pairs true and predicted objects one to one, the highest IoU first.

    Returns:
        True row, predicted row and IoU (at least 0.25) of each pair.
    """
    if truth is None or predicted is None:
        return []
    table = overlap_table(truth.ids, predicted.ids)
    iou = table.iou()
    candidates = np.flatnonzero((table.a > 0) & (table.b > 0) & (iou >= MATCH_IOU))
    matches: list[tuple[int, int, float]] = []
    matched_true, matched_pred = set(), set()
    for k in candidates[np.argsort(-iou[candidates], kind="stable")]:
        a, b = int(table.a[k]), int(table.b[k])
        if a not in matched_true and b not in matched_pred:
            matched_true.add(a)
            matched_pred.add(b)
            matches.append((a, b, float(iou[k])))
    return matches


def point_errors(
    truth: Objects, predicted: Objects, classes: ClassSet, *, min_points: int = 0
) -> Int32[np.ndarray, "P"]:
    """What is wrong at each point.

    Args:
        truth: objects of the ground truth; if none of them has a class, all are scored.
        predicted: objects above the threshold, of the same points.
        classes: class set whose `instance_classes` are scored; true objects of other classes count as none.
        min_points: number of points below which a true object counts as none.

    Returns:
        Row of ERRORS of each point.
    """
    # A room without any class labels still has objects to find.
    scored = np.isin(truth.labels, classes.instance_classes) | (truth.labels.max() < 0)
    scored &= np.bincount(truth.ids, minlength=len(scored)) >= min_points
    scored[0] = False
    partner = np.zeros(len(predicted.labels), np.int64)  # true row of each prediction
    for a, b, _ in match_objects(truth, predicted):
        partner[b] = a
    has_true, has_pred = scored[truth.ids], predicted.ids > 0
    together = has_true & has_pred & (partner[predicted.ids] == truth.ids)
    true_label = truth.labels[truth.ids]
    same_class = (predicted.labels[predicted.ids] == true_label) | (true_label < 0)
    errors = np.zeros(len(truth.ids), np.int32)
    errors[has_true & ~has_pred] = 3
    errors[has_pred & (truth.ids == 0)] = 4
    errors[has_true & has_pred] = 5
    errors[together & ~same_class] = 2
    errors[together & same_class] = 1
    return errors


@dataclass(frozen=True)
class LayerEntry:
    """One row of a layer: an object, a class, a superpoint or a kind of error."""

    number: int  # id in the scene or prediction, class index, or superpoint; below 0 for none
    name: str  # class name, or the name of the row
    num_points: int  # number of points of the row
    score: float | None = None  # score of a predicted object
    match: int = 0  # row of the matching object in the other layer of objects; 0 for none
    iou: float | None = None  # overlap with the matching object, 0..1
    hint: str = ""  # sentence for tooltips


@dataclass(frozen=True)
class Layer:
    """One id per point and the meaning of each id."""

    key: str  # truth, prediction, semantic_truth, semantic_prediction, superpoint or errors
    title: str  # name in pictures and on buttons
    ids: Int32[np.ndarray, "P"]  # row of each point; row 0 is "nothing" in every layer except errors and superpoint
    colors: UInt8[np.ndarray, "R 3"]  # color of each row
    entries: tuple[LayerEntry, ...]  # text of each row

    def point_colors(self) -> UInt8[np.ndarray, "P 3"]:
        """Color of each point."""
        return self.colors[self.ids]

    def name_of(self, row: int) -> str:
        """Name of a row; objects and superpoints have their number in it."""
        entry = self.entries[row]
        return f"{entry.name} {entry.number}" if row and self.key in (*OBJECT_LAYERS, "superpoint") else entry.name


def input_colors(scene: Scene) -> UInt8[np.ndarray, "P 3"]:
    """The colors of the scan, or colors by height if it has none."""
    return scene.rgb if scene.rgb is not None else height_colors(scene.xyz)


def scene_layers(prediction: Prediction, threshold: float = 0.0, *, all_objects: bool = False) -> dict[str, Layer]:
    """Every layer that the scene and its prediction have.

    A predicted object has the color of the true object that it matches; others have colors of their own. No object has
    the color of a class or of a kind of error of another layer. Where masks overlap, the higher score is shown.

    Args:
        prediction: scene, and what was predicted for it.
        threshold: least score of an object, 0..1; lower ones count nowhere.
        all_objects: whether lower ones count after all, except in the layer of errors.

    Returns:
        Layers by key, in the order truth, prediction, semantic_truth, semantic_prediction, superpoint, errors.

    Raises:
        ValueError: the scene has no points.
    """
    scene, semantic, classes = prediction.scene, prediction.semantic, prediction.classes
    if len(scene) == 0:
        raise ValueError(f"scene {scene.name}: it has no points, so there is nothing to draw")
    truth, predicted = Objects.of_scene(scene), Objects.of_prediction(prediction, threshold)
    layers: dict[str, Layer] = {}
    for key, title, labels in (
        ("semantic_truth", "Classes: truth", scene.semantic),
        ("semantic_prediction", "Classes: prediction", semantic),
    ):
        if labels is not None and classes is not None:
            present, ids = compact_ids(labels + 1)
            names, table = ("not labeled", *classes.names), np.vstack([[NO_OBJECT], classes.color_table()])
            rows = [(int(k) - 1, names[k], "") for k in present]
            layers[key] = _layer(key, title, ids, table[present], rows)
    if scene.superpoint is not None:
        count = int(scene.superpoint.max()) + 1
        rows = [(-1, "none", ""), *((number, "superpoint", "") for number in range(count))]
        colors = np.vstack([[NO_OBJECT], superpoint_colors(count)])
        layers["superpoint"] = _layer("superpoint", "Superpoints", scene.superpoint + 1, colors, rows)
    errors = None
    if truth is not None and predicted is not None and classes is not None:
        errors = point_errors(truth, predicted, classes, min_points=prediction.min_points)
    elif scene.semantic is not None and semantic is not None:
        errors = np.where(scene.semantic < 0, 0, np.where(scene.semantic == semantic, 1, 2))
    if errors is not None:
        rows = [(number, name, hint) for number, (name, _, hint) in enumerate(ERRORS)]
        layers["errors"] = _layer("errors", "Errors", errors, np.array([color for _, color, _ in ERRORS]), rows)
    legend = np.vstack([[NO_OBJECT], *(layer.colors for key, layer in layers.items() if key != "superpoint")])
    every = Objects.of_prediction(prediction, 0.0) if all_objects else predicted
    return _object_layers(truth, every, prediction, legend) | layers


def _layer(key: str, title: str, ids: np.ndarray, colors: np.ndarray, rows: Sequence[tuple[int, str, str]]) -> Layer:
    """A layer whose rows have a number, a name and a hint."""
    sizes = np.bincount(ids, minlength=len(rows))
    entries = tuple(LayerEntry(number, name, int(size), hint=hint) for (number, name, hint), size in zip(rows, sizes))
    return Layer(key, title, ids.astype(np.int32), colors.astype(np.uint8), entries)


def _object_layers(
    truth: Objects | None, predicted: Objects | None, prediction: Prediction, legend: np.ndarray
) -> dict[str, Layer]:
    layers: dict[str, Layer] = {}
    matches = match_objects(truth, predicted)
    for key, title, objects, own in (("truth", "Ground truth", truth, 0), ("prediction", "Prediction", predicted, 1)):
        if objects is not None:
            partners = {rows[own]: (rows[1 - own], iou) for *rows, iou in matches}
            layers[key] = _object_layer(key, title, objects, prediction, partners, layers.get("truth"), legend)
    return layers


def _object_layer(
    key: str,
    title: str,
    objects: Objects,
    prediction: Prediction,
    partners: Mapping[int, tuple[int, float]],
    truth: Layer | None,
    legend: np.ndarray,
) -> Layer:
    """`partners`: row and IoU of the matching object by row; `truth`: layer whose colors matching objects take;
    `legend`: colors of other meaning."""
    xyz, labels, num_rows = prediction.scene.xyz, objects.labels, len(objects.numbers)
    classes = prediction.classes or NO_CLASSES
    # Surfaces are pale, and so are objects without a class in a room whose objects have one.
    is_surface = (labels < 0) & (labels.max() >= 0)
    is_surface |= np.isin(labels, np.flatnonzero(classes.is_stuff))
    colors = np.tile(np.array(NO_OBJECT, np.uint8), (num_rows, 1))
    free, taken = np.arange(num_rows) > 0, None
    if truth is not None:
        taken = truth.colors[1:], group_means(xyz, truth.ids, len(truth.colors))[1:]
        for row, (other, _) in partners.items():
            colors[row], free[row] = truth.colors[other], False
    colors[free] = instance_colors(group_means(xyz, objects.ids, num_rows)[free], is_surface[free], taken, legend)
    sizes = np.bincount(objects.ids, minlength=num_rows)
    entries = [LayerEntry(0, "no object", int(sizes[0]))]
    for row in range(1, num_rows):
        name = classes.names[labels[row]] if labels[row] >= 0 else UNNAMED
        score = None if objects.scores is None else float(objects.scores[row])
        entries.append(
            LayerEntry(int(objects.numbers[row]), name, int(sizes[row]), score, *partners.get(row, (0, None)))
        )
    return Layer(key, title, objects.ids, colors, tuple(entries))
