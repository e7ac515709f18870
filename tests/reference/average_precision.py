"""Instance AP the slow, obvious way: sets of points and plain loops, after the rules of ScanNet's evaluator."""

import math


def scene_of(masks, labels, scores, semantic, instance, counted):
    """One scene as Python objects; an object is (class, points), a prediction (class, score, points)."""
    objects = {}
    void = set()
    for point, (label, i) in enumerate(zip(semantic.tolist(), instance.tolist())):
        if label in counted and i > 0:
            objects.setdefault((label, i), set()).add(point)
        else:
            void.add(point)
    return {
        "objects": [(label, points) for (label, _), points in sorted(objects.items())],
        "predictions": [
            (label, score, {point for point, inside in enumerate(mask.tolist()) if inside})
            for mask, label, score in zip(masks, labels.tolist(), scores.tolist())
        ],
        "void": void,
    }


def iou(a, b):
    return len(a & b) / len(a | b)


def decide(scene, label, threshold, min_points):
    """Outcomes of one class in one scene: scores of true and of false positives, and the number of large objects."""
    all_objects = [points for c, points in scene["objects"] if c == label]
    large = [points for points in all_objects if len(points) >= min_points]
    small = [points for points in all_objects if len(points) < min_points]
    predictions = [(score, points) for c, score, points in scene["predictions"] if c == label and points]
    predictions = [(score, points) for score, points in predictions if len(points) >= min_points]

    true, false, used = [], [], set()
    for thing in large:
        kept = None
        for number, (score, points) in enumerate(predictions):
            if number in used or not iou(thing, points) > threshold:
                continue
            if kept is None:
                kept = score
                used.add(number)
            else:
                false.append(min(kept, score))
                kept = max(kept, score)
        if kept is not None:
            true.append(kept)
    for score, points in predictions:
        if any(iou(thing, points) > threshold for thing in all_objects):
            continue
        ignored = len(points & scene["void"]) + sum(len(points & thing) for thing in small)
        if ignored / len(points) <= threshold:
            false.append(score)
    return true, false, len(large)


def curve_of(scenes, label, threshold, min_points):
    """Precision and recall of one class, from the lowest confidence, where everything is kept, to none."""
    true, false, num_gt = [], [], 0
    for scene in scenes:
        more_true, more_false, more_gt = decide(scene, label, threshold, min_points)
        true, false, num_gt = true + more_true, false + more_false, num_gt + more_gt
    if num_gt == 0:
        return []
    curve = []
    for least in sorted(set(true + false)):
        hits = sum(score >= least for score in true)
        kept = hits + sum(score >= least for score in false)
        curve.append((hits / kept, hits / num_gt))
    return [*curve, (1.0, 0.0)]


def class_ap(scenes, label, threshold, min_points):
    """AP of one class at one threshold, nan where it has no large object."""
    curve = curve_of(scenes, label, threshold, min_points)
    area = 0.0 if curve else math.nan
    for i, (precision, recall) in enumerate(curve):
        before = curve[i - 1][1] if i > 0 else recall
        after = curve[i + 1][1] if i + 1 < len(curve) else 0.0
        area += precision * (before - after) / 2
    return area


def table(scenes, counted, min_points, thresholds):
    """AP of each class at each threshold."""
    return [[class_ap(scenes, label, threshold, min_points) for threshold in thresholds] for label in counted]
