"""Predictions made from ground truth with the errors of models, to test metrics."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from pcseg.classes import ClassSet
from pcseg.prediction import Prediction, mask_rows
from pcseg.structures import Scene


@dataclass(frozen=True)
class ErrorRates:
    """How often each error happens, as a share of the objects.

    Args:
        missed: no prediction.
        split: two predictions, one on either side of a plane through the middle.
        merged: one prediction for the object and the one nearest to it.
        wrong_class: a random class.
        duplicated: one more prediction with a lower score.
        false: a prediction where nothing is, a ball of points.
        border: largest share of an object's points that its prediction loses.
    """

    missed: float = 0.1
    split: float = 0.08
    merged: float = 0.08
    wrong_class: float = 0.08
    duplicated: float = 0.15
    false: float = 0.15
    border: float = 0.5


def simulate_predictions(
    scene: Scene, classes: ClassSet, rng: np.random.Generator, rate: ErrorRates | None = None
) -> Prediction:
    """Predictions for a labeled scene; scores separate good from bad ones about like a model's scores.

    Args:
        scene: a labeled scene.
        classes: classes of the scene; instance classes are predicted.
        rng: random generator.
        rate: frequency of each error; `ErrorRates()` if None.

    Returns:
        Objects with masks over points, best first.

    Raises:
        ValueError: the scene has no labels.
    """
    rate = rate or ErrorRates()
    if scene.semantic is None or scene.instance is None:
        raise ValueError(f"scene {scene.name} has no labels to make predictions from")
    objects: list[tuple[Bool[np.ndarray, "P"], int]] = []
    for i in np.unique(scene.instance[scene.instance > 0]).tolist():
        mask = scene.instance == i
        label = int(scene.semantic[np.argmax(mask)])
        if label in classes.instance_classes:
            objects.append((mask, label))
    centers = np.array([scene.xyz[mask].mean(axis=0) for mask, _ in objects]).reshape(-1, 3)
    found: list[tuple[Bool[np.ndarray, "P"], int, float]] = []
    for row, (mask, label) in enumerate(objects):
        if rng.random() < rate.missed:
            continue
        if rng.random() < rate.wrong_class:
            label = int(rng.choice(classes.instance_classes))
        parts, score = [_shrunk(mask, rng.uniform(0, rate.border), rng)], 0.55 + 0.4 * rng.random()
        if rng.random() < rate.split:
            parts, score = _halves(mask, scene.xyz), score - 0.2
        elif rng.random() < rate.merged and len(objects) > 1:
            distance = np.linalg.norm(centers - centers[row], axis=1)
            distance[row] = np.inf
            parts, score = [mask | objects[int(distance.argmin())][0]], score - 0.1
        found += [(part, label, score - 0.1 * k) for k, part in enumerate(parts)]
        if rng.random() < rate.duplicated:
            found.append((_shrunk(mask, 0.4, rng), label, score - 0.25))
    for _ in range(int(rng.binomial(len(objects), rate.false))):
        distance = np.linalg.norm(scene.xyz - scene.xyz[rng.integers(len(scene))], axis=1)
        found.append((distance < rng.uniform(0.2, 0.6), int(rng.choice(classes.instance_classes)), 0.5 * rng.random()))
    found.sort(key=lambda prediction: -prediction[2])
    masks = mask_rows([np.flatnonzero(mask) for mask, _, _ in found], len(scene))
    labels, scores = [label for _, label, _ in found], [score for _, _, score in found]
    return Prediction(scene, masks, np.array(labels, np.int64), np.array(scores, np.float64), classes=classes)


def _shrunk(mask: Bool[np.ndarray, "P"], share: float, rng: np.random.Generator) -> Bool[np.ndarray, "P"]:
    return mask & (rng.random(len(mask)) >= share)


def _halves(mask: Bool[np.ndarray, "P"], xyz: np.ndarray) -> list[Bool[np.ndarray, "P"]]:
    points = xyz[mask]
    axis = int(np.ptp(points, axis=0).argmax())
    first = xyz[:, axis] < np.median(points[:, axis])
    return [mask & first, mask & ~first]
