"""Matrix NMS pair by pair, as section 3.3 of SOLOv2 (Wang et al. 2020) defines it."""

import math

import numpy as np


def slow_matrix_nms(
    masks: np.ndarray, labels: np.ndarray, scores: np.ndarray, points: np.ndarray, sigma: float
) -> list[float]:
    """New score of each object, in the order given, which is from the best to the worst."""

    def iou(i: int, j: int) -> float:
        shared = sum(p for p, a, b in zip(points, masks[i], masks[j]) if a and b)
        either = sum(p for p, a, b in zip(points, masks[i], masks[j]) if a or b)
        return shared / max(either, 1)

    def kept(overlap: float) -> float:
        return math.exp(-(overlap**2) / sigma)

    found = []
    for j in range(len(masks)):
        decay = 1.0
        for i in range(j):
            if labels[i] == labels[j]:
                most = max((iou(k, i) for k in range(i) if labels[k] == labels[i]), default=0.0)
                decay = min(decay, kept(iou(i, j)) / kept(most))
        found.append(float(scores[j]) * decay)
    return found
