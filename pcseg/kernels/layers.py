"""The loop behind the boxes of objects, compiled by numba; `layers` is the module to call."""

import numpy as np
from numba import njit


@njit(cache=True)
def boxes(xyz, ids, count):
    """Axis-aligned boxes of the points of each id.

    Args:
        xyz: float32 (P, 3).
        ids: int32 (P,), 0..count-1.
        count: how many ids there are.

    Returns:
        float32 (count, 3) twice, least and greatest corners; infinity and minus infinity for ids without points.
    """
    low, high = np.full((count, 3), np.inf, np.float32), np.full((count, 3), -np.inf, np.float32)
    for i in range(len(xyz)):
        for k in range(3):
            low[ids[i], k] = min(low[ids[i], k], xyz[i, k])
            high[ids[i], k] = max(high[ids[i], k], xyz[i, k])
    return low, high
