"""Speed of the measures, against the straightforward way."""

import pickle
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from pcseg.classes import SCANNET20
from pcseg.metrics.histogram import find_objects
from pcseg.metrics.instance_ap import InstanceAP, average_precision
from pcseg.metrics.matching import match_scene
from pcseg.metrics.scores import Scores
from pcseg.structures import Prediction, Scene
from tools.benchmarks.timing import median_ms


def metric_scene(seed: int, num_points: int, num_preds: int = 100, num_objects: int = 30) -> dict[str, np.ndarray]:
    """A labeled scene with points in no order, the worst case, and predictions over 2000 superpoints."""
    rng = np.random.default_rng(seed)
    num_superpoints = 2000
    superpoint = rng.permutation(num_superpoints)[rng.integers(0, num_superpoints, num_points)].astype(np.int32)
    owner = np.sort(rng.integers(0, num_objects + 1, num_superpoints)).astype(np.int32)
    label_of_object = np.append(-1, rng.integers(2, 20, num_objects)).astype(np.int32)
    target = rng.integers(1, num_objects + 1, num_preds)
    return {
        "masks": (owner[None] == target[:, None]) ^ (rng.random((num_preds, num_superpoints)) < 0.02),
        "labels": label_of_object[target].astype(np.int64),
        "scores": rng.random(num_preds),
        "gt_semantic": label_of_object[owner[superpoint]],
        "gt_instance": owner[superpoint],
        "superpoint": superpoint,
    }


def count_one_by_one(
    masks: np.ndarray, labels: np.ndarray, gt_semantic: np.ndarray, gt_instance: np.ndarray
) -> np.ndarray:
    """Overlaps the straightforward way of the official script: each mask with void and each object of its class."""
    objects = find_objects(gt_semantic, gt_instance, np.isin(np.arange(20), SCANNET20.instance_classes))
    overlaps = np.zeros((len(masks), len(objects) + 1), np.int64)
    for row, mask in enumerate(masks):
        for column in [0, *(1 + np.flatnonzero(objects.labels == labels[row])).tolist()]:
            overlaps[row, column] = np.count_nonzero(np.logical_and(objects.of_point == column, mask))
        # The rest of its points, on whatever object of another class: they count for its size alone.
        others = np.flatnonzero(objects.labels != labels[row])
        overlaps[row, 1 + others[:1]] = np.count_nonzero(mask) - overlaps[row].sum()
    return overlaps


def metrics(rounds: int, num_scenes: int = 20, num_points: int = 150_000) -> dict[str, Any]:
    """Instance AP of 20 scenes of 150k points, 100 predictions and 30 objects each, and all measures together."""
    scenes = [metric_scene(seed, num_points) for seed in range(num_scenes)]
    points = [{**s, "masks": np.ascontiguousarray(s["masks"][:, s["superpoint"]]), "superpoint": None} for s in scenes]
    predictions = []
    for i, s in enumerate(scenes):
        scene = Scene.without_xyz(str(i), num_points, semantic=s["gt_semantic"], instance=s["gt_instance"])
        given = csr_array(s["masks"]), s["labels"], s["scores"], None, SCANNET20, s["superpoint"]
        predictions.append(Prediction(scene, *given))
    counted = np.isin(np.arange(20), SCANNET20.instance_classes)
    options = {"counted_classes": SCANNET20.instance_classes}
    found: dict[str, Any] = {}

    def fast(name: str, given: list[Any]) -> None:
        found[name] = InstanceAP(SCANNET20.names, **options)  # type: ignore[arg-type]
        for i, scene in enumerate(given):
            found[name].add(str(i), **scene)
        found[name].compute()

    def straightforward() -> None:
        matches = []
        for s in points:
            overlaps = count_one_by_one(s["masks"], s["labels"], s["gt_semantic"], s["gt_instance"])
            objects = find_objects(s["gt_semantic"], s["gt_instance"], counted)
            matches.append(match_scene(overlaps, s["labels"], s["scores"], objects, counted, 100))
        found["straightforward"] = average_precision(matches, SCANNET20.names, **options)  # type: ignore[arg-type]

    def everything() -> None:
        scores = Scores(SCANNET20)
        for prediction in predictions:
            scores.add(prediction)
        scores.compute()

    steps = {
        "AP, superpoint masks": lambda: fast("superpoints", scenes),
        "AP, point masks": lambda: fast("points", points),
        "AP, straightforward": straightforward,
        "every measure, superpoint masks": everything,
    }
    times = {name: ms / num_scenes for name, ms in median_ms(steps, min(rounds, 5)).items()}
    results = [found["superpoints"].compute(), found["points"].compute(), found["straightforward"]]
    difference = max(float(np.nanmax(np.abs(r.per_threshold - results[2].per_threshold))) for r in results)
    kilobytes = len(pickle.dumps(found["superpoints"].state())) / num_scenes / 1024
    for name, ms in times.items():
        print(f"{name:<40}{ms:>10.2f} ms a scene")
    print(f"largest difference of an AP {difference:.0e}; {kilobytes:.1f} KiB kept a scene", flush=True)
    return {"ms_per_scene": times, "largest_difference": difference, "kib_kept_per_scene": kilobytes}
