"""Compiled loops behind `pcseg.ops.neighbors`."""

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def find_shifted(keys: np.ndarray, shift: int, found: np.ndarray) -> int:
    """For each of the ascending keys, the position of key + shift (shift < 0) in `found`, or -1; returns the hits.

    Both sides ascend, so one walk with two pointers does it.
    """
    count = 0
    j = 0
    for i in range(len(keys)):
        wanted = keys[i] + shift
        while keys[j] < wanted:
            j += 1
        if keys[j] == wanted:
            found[i] = j
            count += 1
        else:
            found[i] = -1
    return count


@njit(nogil=True, cache=True)
def list_pairs(
    out_rank: np.ndarray,
    in_rank: np.ndarray,
    block: int,
    in_index: np.ndarray,
    out_index: np.ndarray,
    start: int,
    out_blocks: np.ndarray,
    in_blocks: np.ndarray,
) -> None:
    """Writes the pairs (in_rank[i], out_rank[i]) from `start` on, without those where either is -1; both ascend.

    ``out_blocks[b]`` becomes the first pair whose output rank is at least ``b * block``, ``in_blocks`` likewise.
    """
    p = start
    b_out = 0
    b_in = 0
    for i in range(len(in_rank)):
        if in_rank[i] < 0 or out_rank[i] < 0:
            continue
        while b_out * block <= out_rank[i]:
            out_blocks[b_out] = p
            b_out += 1
        while b_in * block <= in_rank[i]:
            in_blocks[b_in] = p
            b_in += 1
        in_index[p] = in_rank[i]
        out_index[p] = out_rank[i]
        p += 1
    out_blocks[b_out:] = p
    in_blocks[b_in:] = p
