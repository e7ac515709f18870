"""Matrix NMS pair by pair, as section 3.3 of SOLOv2 (Wang et al. 2020) defines it."""

import math


def slow_matrix_nms(masks, labels, scores, points, sigma):
    """New score of each object, in the order given, which is from the best to the worst."""

    def iou(i, j):
        """0 for objects of two classes."""
        shared, either = (points[inside].sum() for inside in (masks[i] & masks[j], masks[i] | masks[j]))
        return (labels[i] == labels[j]) * shared / max(either, 1)

    most = [max((iou(k, i) for k in range(i)), default=0.0) for i in range(len(masks))]
    decays = [[math.exp((most[i] ** 2 - iou(i, j) ** 2) / sigma) for i in range(j)] for j in range(len(masks))]
    return [score * min([1.0, *decay]) for score, decay in zip(scores, decays)]
