"""The point under a pixel, found by sorting."""

import numpy as np


def nearest_on_screen(xyz, shown, matrix, x, y, width, height, reach, slack):
    clip = np.column_stack([xyz, np.ones(len(xyz))]) @ matrix.T
    depth = clip[:, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        across = (clip[:, 0] / depth + 1) * width / 2 - x
        down = (1 - clip[:, 1] / depth) * height / 2 - y
    distance = np.hypot(across, down)
    near = np.flatnonzero(shown & (depth > 0) & (distance <= reach))
    if len(near) == 0:
        return -1
    surface = near[depth[near] <= depth[near].min() * (1 + slack)]
    return int(surface[distance[surface].argmin()])
