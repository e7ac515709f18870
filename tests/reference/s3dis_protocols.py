"""The S3DIS measures the slow, obvious way, on scenes as average_precision.scene_of makes them."""

import math

from tests.reference.average_precision import curve_of, iou


def mean(values):
    values = [value for value in values if not math.isnan(value)]
    return sum(values) / len(values) if values else math.nan


def partition(scene, least):
    """Predictions as disjoint sets: a point belongs to the best-scored one (of equals the later) that holds it."""
    owner = {}
    for number, (_, score, points) in enumerate(scene["predictions"]):
        for point in points:
            if score >= least and (point not in owner or score >= scene["predictions"][owner[point]][1]):
                owner[point] = number
    parts = [set() for _ in scene["predictions"]]
    for point, number in owner.items():
        parts[number].add(point)
    return [(label, part) for (label, _, _), part in zip(scene["predictions"], parts) if part]


def coverage(scenes, label):
    plain, weighted = [], []
    for scene in scenes:
        things = [points for c, points in scene["objects"] if c == label]
        found = [points for c, points in partition(scene, -math.inf) if c == label]
        best = [max((iou(thing, points) for points in found), default=0.0) for thing in things]
        if things:
            plain.append(sum(best) / len(best))
            weighted.append(sum(b * len(t) for b, t in zip(best, things)) / sum(map(len, things)))
    return mean(plain), mean(weighted)


def rates(scenes, label, least):
    true = kept = num_gt = 0
    for scene in scenes:
        things = [points for c, points in scene["objects"] if c == label]
        num_gt += len(things)
        for c, points in partition(scene, least):
            if c == label:
                kept += 1
                true += any(iou(thing, points) >= 0.5 for thing in things)
    if num_gt == 0:
        return math.nan, math.nan
    return (true / kept if kept else 0.0), min(1.0, true / num_gt)


def best_f1(scenes, label, min_points):
    curve = curve_of(scenes, label, 0.5, min_points)
    has_pred = any(c == label and len(p) >= max(min_points, 1) for scene in scenes for c, _, p in scene["predictions"])
    if not curve:
        return math.nan, math.nan
    if not has_pred:
        return 0.0, 0.0
    return max(curve, key=lambda point: 2 * point[0] * point[1] / (point[0] + point[1] + 0.0001))


def measures(scenes, label, min_points):
    """In the order of COLUMNS."""
    strict, every = rates(scenes, label, 0.8), rates(scenes, label, -math.inf)
    return *coverage(scenes, label), *strict, *best_f1(scenes, label, min_points), *every
