"""Small labeled scenes with predictions, for the tests of the metrics."""

from collections.abc import Callable

import numpy as np

from pcseg.classes import ClassSet
from pcseg.prediction import Prediction
from pcseg.structures import Scene

NAMES = ("ceiling", "floor", "chair")
CLASSES = ClassSet.from_dict({"name": "test", "names": NAMES})


def labeled(semantic, instance, name: str = "room") -> Scene:
    """A scene of this ground truth, arrays or lists, and nothing else."""
    truth = {"semantic": np.asarray(semantic, np.int32), "instance": np.asarray(instance, np.int32)}
    return Scene.without_xyz(name, len(semantic), **truth)


def predict(masks, labels, scores, semantic, instance, superpoint=None, *, name="room", classes=CLASSES) -> Prediction:
    """Predicted objects of a scene with this ground truth, all of them arrays or lists."""
    objects = np.asarray(masks, np.bool_), np.asarray(labels, np.int64), np.asarray(scores, np.float64)
    return Prediction(labeled(semantic, instance, name), *objects, classes=classes, superpoint=superpoint)


def measured(metric, *rooms: Prediction):
    """The metric, after it saw these rooms."""
    for room in rooms:
        metric.add(room)
    return metric


def random_scene(rng: np.random.Generator, num_points: int, num_preds: int) -> dict[str, np.ndarray]:
    """Arguments of `predict`: objects in runs of superpoints, predictions of them with some superpoints swapped."""
    drawn = np.sort(rng.integers(0, max(num_points // 5, 1), num_points))
    superpoint = np.unique(drawn, return_inverse=True)[1].astype(np.int32)
    object_of_superpoint = np.sort(rng.integers(0, 6, int(superpoint.max(initial=-1)) + 1))
    class_of_object = np.append(-1, rng.integers(-1, len(NAMES), 6))
    # Superpoints do not follow the objects exactly.
    moved = rng.random(num_points) < 0.1
    instance = np.where(moved, rng.integers(0, 6, num_points), object_of_superpoint[superpoint]).astype(np.int32)
    target = rng.integers(0, 6, num_preds)
    masks = object_of_superpoint[None] == target[:, None]
    masks ^= rng.random(masks.shape) < rng.choice([0.0, 0.1, 0.3], (num_preds, 1))
    labels = np.where(rng.random(num_preds) < 0.8, class_of_object[target], rng.integers(0, len(NAMES), num_preds))
    scores = rng.choice([0.1, 0.25, 0.5, 0.8, 0.9], num_preds)
    truth = {"semantic": class_of_object[instance].astype(np.int32), "instance": instance, "superpoint": superpoint}
    return {"masks": masks, "labels": np.maximum(labels, 0).astype(np.int64), "scores": scores, **truth}


def rooms_of(scenes: list[dict[str, np.ndarray]], form: Callable) -> list[Prediction]:
    """The predictions of some scenes, each in a form: `dict`, as it is, or `over_points`."""
    return [predict(**form(scene), name=f"room{number}") for number, scene in enumerate(scenes)]


def over_points(scene: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same arguments with masks over points."""
    others = {key: value for key, value in scene.items() if key not in ("masks", "superpoint")}
    return {"masks": scene["masks"][:, scene["superpoint"]], **others}
