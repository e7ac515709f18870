"""Greedy clustering of influencers and followers, one token after another."""

import numpy as np


def greedy_clusters(followers, influencers, influence, radius):
    """Pairs (influencer, set of its followers), in the order in which they are found."""
    free = set(range(len(influence)))
    waiting = set(free)
    found = []
    while waiting & free:
        token = min(waiting & free, key=lambda i: (-influence[i], i))
        waiting.remove(token)
        members = {i for i in free if np.linalg.norm(followers[i] - influencers[token]) < radius}
        if members:
            found.append((token, members))
            free -= members
    return found


def reached_iou(followers, influencers, labels, radius):
    """IoU between what each influencer attracts and its own instance, tokens of label -1 left out."""
    iou = np.zeros(len(labels))
    for i, label in enumerate(labels):
        if label > 0:
            is_near = np.linalg.norm(followers - influencers[i], axis=1) < radius
            near = set(np.flatnonzero(is_near & (labels >= 0)))
            own = set(np.flatnonzero(labels == label))
            iou[i] = len(near & own) / len(near | own)
    return iou
