"""What can be shown of a room: layers of ids, each with a colour and a text; PNG, page and window share them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32, Int64, UInt8

from pcseg.labels import ClassSet
from pcseg.structures import Instances, Scene
from pcseg.viz.colours import NO_OBJECT, height_colors, instance_colors, superpoint_colors
from pcseg.viz.mistakes import ERROR_COLORS, ERROR_HINTS, ERROR_NAMES, match_ids, object_errors

UNNAMED = "object"  # has no class of the set
OBJECT_LAYERS = ("truth", "prediction")
# Objects are shown from this score on. In rooms that the model of `make demo` had not seen, 27.5 objects each, 28.0 are
# left (32.5 from 0.25 on, 22.8 from 0.7 on), and precision and recall are in balance: 0.73 and 0.74 at IoU 0.5.
DEFAULT_THRESHOLD = 0.5


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
        colors: one colour per row.
        entries: one text per row.
    """

    key: str
    title: str
    ids: Int32[np.ndarray, "P"]
    colors: UInt8[np.ndarray, "R 3"]
    entries: tuple[Entry, ...]

    def point_colors(self) -> UInt8[np.ndarray, "P 3"]:
        """The colour of each point."""
        return self.colors[self.ids]

    def point_numbers(self) -> Int32[np.ndarray, "P"]:
        """The number that the entry of each point has; of predicted objects what `Instances.point_ids` gives."""
        return np.array([entry.number for entry in self.entries], np.int32)[self.ids]


def entry_name(key: str, entry: Entry) -> str:
    """How an entry of a layer is called where it stands alone: objects and superpoints with their number."""
    numbered = (key in OBJECT_LAYERS and entry.number > 0) or (key == "superpoint" and entry.number >= 0)
    return f"{entry.name} {entry.number}" if numbered else entry.name


def input_colors(scene: Scene) -> UInt8[np.ndarray, "P 3"]:
    """The colours of the scan, or colours by height where it has none."""
    return scene.rgb if scene.rgb is not None else height_colors(scene.xyz)


def check_parts(
    scene: Scene,
    instances: Instances | None,
    semantic: Int32[np.ndarray, "P"] | None,
    classes: ClassSet | None,
) -> None:
    """Refuses a room without points, and labels that are not those of the room.

    Raises:
        ValueError: one of both.
    """
    if len(scene) == 0:
        raise ValueError(f"scene {scene.name}: it has no points, so there is nothing to draw")
    if instances is not None and instances.num_points != len(scene):
        raise ValueError(f"scene {scene.name}: masks are for {instances.num_points} points, the scene has {len(scene)}")
    if semantic is not None and len(semantic) != len(scene):
        raise ValueError(f"scene {scene.name}: {len(semantic)} predicted classes, the scene has {len(scene)} points")
    labels = {"semantic": scene.semantic, "predicted semantic": semantic}
    labels["object labels"] = None if instances is None else instances.labels
    for name, value in labels.items():
        if value is None or value.size == 0:
            continue
        if classes is None:
            raise ValueError(f"scene {scene.name}: it has class labels ({name}), so the class set must be given")
        if value.max() >= len(classes):
            raise ValueError(
                f"scene {scene.name}: {name} has class {value.max()}, {classes.name} has 0 to {len(classes) - 1}"
            )


def scene_layers(
    scene: Scene,
    instances: Instances | None = None,
    semantic: Int32[np.ndarray, "P"] | None = None,
    classes: ClassSet | None = None,
    threshold: float = 0.0,
) -> list[Layer]:
    """Every layer that the scene and its predictions have.

    A predicted object has the colour of the true object it matches (see `match_ids`); other predictions get colours of
    their own.

    Args:
        scene: the room; truth is shown where it has labels.
        instances: predicted objects; where masks meet, the higher score is shown.
        semantic: predicted class of each point, -1 for none.
        classes: names and colours; needed where there are labels.
        threshold: predictions that score less are left out.

    Returns:
        Layers in the order truth, prediction, semantic_truth, semantic_prediction, superpoint, errors.

    Raises:
        ValueError: no points, or labels that do not fit.
    """
    check_parts(scene, instances, semantic, classes)
    layers = []
    true_ids = pred_ids = None
    true_class: np.ndarray = np.zeros(1, np.int64)
    pred_class: np.ndarray = np.zeros(1, np.int64)
    if scene.instance is not None and scene.instance.max(initial=0) > 0:
        true_numbers, true_ids = _compact(scene.instance)
        true_class = _majority_class(true_ids, len(true_numbers), scene.semantic)
    if instances is not None:
        pred_numbers, pred_ids = _compact(instances.point_ids(threshold))
        pred_class = np.concatenate([[-1], instances.labels[pred_numbers[1:] - 1]]).astype(np.int64)
    pairs = np.zeros((0, 2), np.int64)
    ious = np.zeros(0)
    if true_ids is not None and pred_ids is not None:
        pairs, ious = match_ids(true_ids, pred_ids)
    if true_ids is not None:
        colors = _object_colors(scene.xyz, true_ids, true_class, classes)
        entries = _object_entries(true_ids, true_numbers, true_class, classes, None, pairs, ious)
        layers.append(Layer("truth", "Ground truth", true_ids, colors, entries))
    if pred_ids is not None and instances is not None:
        given = (layers[0].colors, true_ids, pairs) if true_ids is not None else None
        colors = _object_colors(scene.xyz, pred_ids, pred_class, classes, given)
        scores = np.concatenate([[0.0], instances.scores[pred_numbers[1:] - 1]])
        entries = _object_entries(pred_ids, pred_numbers, pred_class, classes, scores, pairs[:, ::-1], ious)
        layers.append(Layer("prediction", "Prediction", pred_ids, colors, entries))
    if scene.semantic is not None and classes is not None:
        layers.append(_semantic_layer("semantic_truth", "Classes: truth", scene.semantic, classes))
    if semantic is not None and classes is not None:
        layers.append(_semantic_layer("semantic_prediction", "Classes: prediction", semantic, classes))
    if scene.superpoint is not None:
        layers.append(_superpoint_layer(scene.superpoint))
    errors = None
    if true_ids is not None and pred_ids is not None and classes is not None:
        errors = object_errors(true_ids, pred_ids, true_class, pred_class, pairs, classes)
    elif scene.semantic is not None and semantic is not None:
        errors = np.where(scene.semantic == semantic, 1, 2)
        errors[scene.semantic < 0] = 0
    if errors is not None:
        layers.append(_error_layer(errors.astype(np.int32)))
    return layers


def _compact(ids: np.ndarray) -> tuple[np.ndarray, Int32[np.ndarray, "P"]]:
    """The ids that occur, 0 first even where it does not, and the row of each point among them."""
    ids = np.maximum(ids, 0)
    if ids.max() > 8 * len(ids) + 1000:  # ids that are far apart: a table of them would be large
        numbers, rows = np.unique(np.append(ids, 0), return_inverse=True)
        return numbers, rows[:-1].astype(np.int32)
    present = np.bincount(ids) > 0
    present[0] = True
    return np.flatnonzero(present), (np.cumsum(present, dtype=np.int32) - 1)[ids].astype(np.int32)


def sorted_rows(ids: Int32[np.ndarray, "N"]) -> tuple[Int64[np.ndarray, "N"], Int64[np.ndarray, "G"]]:
    """Rows in the order of their ids, and where each id begins among them."""
    small = ids.astype(np.uint16) if ids.max(initial=0) < 1 << 16 else ids  # sorted by digits, three times as fast
    order = np.argsort(small, kind="stable")
    return order, np.flatnonzero(np.diff(ids[order], prepend=-1))


def _majority_class(ids: np.ndarray, count: int, semantic: np.ndarray | None) -> np.ndarray:
    """Most frequent class of each object's points, -1 where they have none; row 0 is -1."""
    if semantic is None:
        return np.full(count, -1, np.int64)
    width = int(semantic.max(initial=-1)) + 2
    votes = np.bincount(ids.astype(np.int64) * width + semantic + 1, minlength=count * width).reshape(count, width)
    majority = votes.argmax(axis=1) - 1
    majority[0] = -1
    return majority


def _boxes(xyz: np.ndarray, ids: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    low, high = np.full((count, 3), np.inf, np.float32), np.full((count, 3), -np.inf, np.float32)
    order, starts = sorted_rows(ids)
    low[ids[order[starts]]] = np.minimum.reduceat(xyz[order], starts)
    high[ids[order[starts]]] = np.maximum.reduceat(xyz[order], starts)
    return low, high


def _object_colors(
    xyz: np.ndarray,
    ids: np.ndarray,
    labels: np.ndarray,
    classes: ClassSet | None,
    given: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None,
) -> np.ndarray:
    """Colours of objects, row 0 for none; `given`: colours and ids of the truth, and the pairs (true, predicted)."""
    count = len(labels)
    # Surfaces are pale, and so is what has no class in a room whose objects have one.
    muted = (labels < 0) & (labels.max() >= 0)
    if classes is not None:
        muted |= np.isin(labels, [classes.names.index(name) for name in classes.stuff])
    low, high = _boxes(xyz, ids, count)
    colors = np.zeros((count, 3), np.uint8)
    free = np.ones(count, np.bool_)
    free[0] = False
    if given is None:
        colors[free] = instance_colors(low[free], high[free], muted[free])
    else:
        true_colors, true_ids, pairs = given
        true_low, true_high = _boxes(xyz, true_ids, len(true_colors))
        colors[pairs[:, 1]] = true_colors[pairs[:, 0]]
        free[pairs[:, 1]] = False
        colors[free] = instance_colors(low[free], high[free], muted[free], true_colors[1:], true_low[1:], true_high[1:])
    colors[0] = NO_OBJECT
    return colors


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
    present, ids = _compact(semantic + 1)
    table = np.vstack([np.array([NO_OBJECT], np.uint8), classes.color_table()])
    sizes = np.bincount(ids, minlength=len(present))
    names = ("not labelled", *classes.names)
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
