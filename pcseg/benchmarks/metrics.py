"""Speed of the metrics, compared with a direct implementation."""

import pickle
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from pcseg.benchmarks.measure import median_ms, print_row
from pcseg.classes import SCANNET20
from pcseg.metrics.instance_ap import InstanceAP, average_precision
from pcseg.metrics.matching import match_scene
from pcseg.metrics.overlaps import SceneOverlaps, find_objects
from pcseg.metrics.scores import Scores
from pcseg.prediction import Prediction
from pcseg.structures import Scene


def metric_scene(seed: int, num_points: int) -> tuple[Prediction, Prediction]:
    """Predictions of a labeled scene in random point order, the worst case: over 2000 superpoints and over points."""
    rng = np.random.default_rng(seed)
    num_superpoints, num_preds, num_objects = 2000, 100, 30
    superpoint = rng.permutation(num_superpoints)[rng.integers(0, num_superpoints, num_points)].astype(np.int32)
    owner = np.sort(rng.integers(0, num_objects + 1, num_superpoints)).astype(np.int32)
    label_of_object = np.append(-1, rng.integers(2, 20, num_objects)).astype(np.int32)
    target = rng.integers(1, num_objects + 1, num_preds)
    instance = owner[superpoint]
    scene = Scene.without_xyz(str(seed), num_points, semantic=label_of_object[instance], instance=instance)
    masks = (owner[None] == target[:, None]) ^ (rng.random((num_preds, num_superpoints)) < 0.02)
    objects = label_of_object[target].astype(np.int64), rng.random(num_preds), None, SCANNET20
    over_points = Prediction(scene, csr_array(masks[:, superpoint]), *objects)
    return Prediction(scene, csr_array(masks), *objects, superpoint), over_points


def count_one_by_one(prediction: Prediction, counted: np.ndarray) -> SceneOverlaps:
    """Counts overlaps like the official script: each mask with void and each instance of its class."""
    scene, labels = prediction.scene, prediction.labels
    assert scene.semantic is not None
    assert scene.instance is not None
    objects = find_objects(scene.semantic, scene.instance, counted)
    overlaps = np.zeros((len(prediction), len(objects) + 1), np.int64)
    for row in range(len(prediction)):
        mask = prediction.point_mask(row)
        for column in [0, *(1 + np.flatnonzero(objects.labels == labels[row])).tolist()]:
            overlaps[row, column] = np.count_nonzero(np.logical_and(objects.of_point == column, mask))
        # The remaining points lie on instances of other classes and matter only for the size of the mask.
        others = np.flatnonzero(objects.labels != labels[row])
        overlaps[row, 1 + others[:1]] = np.count_nonzero(mask) - overlaps[row].sum()
    return SceneOverlaps(prediction, objects, counted, overlaps)


def metrics(rounds: int, num_scenes: int = 20, num_points: int = 150_000) -> dict[str, Any]:
    """Times instance AP and all metrics together on scenes with 100 predictions and 30 instances each.

    Args:
        rounds: number of rounds of each measurement; more than 5 count as 5.
        num_scenes: number of scenes.
        num_points: number of points in each scene.
    """
    by_superpoint, by_point = zip(*(metric_scene(seed, num_points) for seed in range(num_scenes)))
    counted = np.isin(np.arange(20), SCANNET20.instance_classes)
    found: dict[str, Any] = {}

    def fast(name: str, predictions: tuple[Prediction, ...]) -> None:
        found[name] = InstanceAP(SCANNET20)
        for prediction in predictions:
            found[name].add(prediction)
        found[name].compute()

    def straightforward() -> None:
        matches = [match_scene(count_one_by_one(prediction, counted), 100) for prediction in by_point]
        found["straightforward"] = average_precision(matches, SCANNET20)

    def everything() -> None:
        scores = Scores(SCANNET20)
        for prediction in by_superpoint:
            scores.add(prediction)
        scores.compute()

    steps = {
        "AP, superpoint masks": lambda: fast("superpoints", by_superpoint),
        "AP, point masks": lambda: fast("points", by_point),
        "AP, straightforward": straightforward,
        "every measure, superpoint masks": everything,
    }
    times = {name: ms / num_scenes for name, ms in median_ms(steps, min(rounds, 5)).items()}
    results = [found["superpoints"].compute(), found["points"].compute(), found["straightforward"]]
    difference = max(float(np.nanmax(np.abs(r.per_threshold - results[2].per_threshold))) for r in results)
    kilobytes = len(pickle.dumps(found["superpoints"].state())) / num_scenes / 1024
    for name, ms in times.items():
        print_row(name, {"ms": ms})
    print(f"largest difference of an AP {difference:.0e}; {kilobytes:.1f} KiB stored per scene", flush=True)
    return {"ms_per_scene": times, "largest_difference": difference, "kib_kept_per_scene": kilobytes}
