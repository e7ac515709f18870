"""Compiled loop behind `pcseg.ops.neighbors`."""

import numpy as np

from pcseg.kernels import kernel


@kernel("i8[::1], i8, i4[::1], i4[::1]")
def find_shifted(keys: np.ndarray, shift: int, source: np.ndarray, target: np.ndarray) -> int:
    """Writes positions of all pairs with keys[source] = keys[target] + shift.

    Args:
        keys: int64 (V,), ascending.
        shift: negative.
        source: int32 (V,), gets the position of the smaller key of each pair, ascending.
        target: int32 (V,), gets the position of the larger key of each pair, ascending.

    Returns:
        Number of pairs.
    """
    count = 0
    j = 0
    for i in range(len(keys)):  # both sides ascend, so one walk with two pointers finds them
        wanted = keys[i] + shift
        while keys[j] < wanted:
            j += 1
        if keys[j] == wanted:
            source[count] = j
            target[count] = i
            count += 1
    return count
