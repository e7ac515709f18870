"""Compiled loops behind the CPU convolutions of `pcseg.ops.sparse_conv`.

Both kernels multiply 4 pairs by 4 input channels by one tile of output channels in the innermost loop, which is what
keeps the vector units busy: the 16 factors stay in registers, and each row of the tile is loaded once for 4 pairs.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
from numba import njit

# No "nnan" or "ninf": NaN and infinity must come out where they come in.
FAST = {"contract", "reassoc", "nsz"}
TILES = (16, 32, 48, 64)


def tile_width(channels: int) -> int:
    """The tile that wastes the fewest columns on this many output channels, the widest of those."""
    return min(TILES, key=lambda tile: (-(-channels // tile) * tile, -tile))


@cache
def product_kernel(tile: int) -> Callable[..., None]:
    """The kernel that adds ``x[in_index[p]] @ w[k]`` to ``out[out_index[p]]`` for all pairs p of the given blocks.

    Its arguments: x (V, I), w (K, tiles, I, tile), in_index and out_index (pairs,), blocks (num_blocks + 1, K): the
    pairs of offset k with an output in block b are ``blocks[b, k]:blocks[b + 1, k]``; first and last block; out (W, O).
    I must be a multiple of 4.
    """

    @njit(nogil=True, cache=True, fastmath=FAST)
    def multiply(x, w, in_index, out_index, blocks, first, last, out):
        num_offsets, num_tiles, channels, _ = w.shape
        acc = np.zeros((4, tile), x.dtype)
        for b in range(first, last):
            for k in range(num_offsets):
                for t in range(num_tiles):
                    base = t * tile
                    width = min(tile, out.shape[1] - base)
                    wt = w[k, t]
                    for p in range(blocks[b, k], blocks[b + 1, k], 4):
                        num_pairs = min(4, blocks[b + 1, k] - p)
                        # Where fewer than 4 pairs are left, the first stands in, and its product is not written.
                        i0 = in_index[p]
                        i1 = in_index[p + 1] if num_pairs > 1 else i0
                        i2 = in_index[p + 2] if num_pairs > 2 else i0
                        i3 = in_index[p + 3] if num_pairs > 3 else i0
                        for r in range(4):
                            for j in range(tile):
                                acc[r, j] = 0
                        for c in range(0, channels, 4):
                            a0, a1, a2, a3 = x[i0, c], x[i0, c + 1], x[i0, c + 2], x[i0, c + 3]
                            b0, b1, b2, b3 = x[i1, c], x[i1, c + 1], x[i1, c + 2], x[i1, c + 3]
                            c0, c1, c2, c3 = x[i2, c], x[i2, c + 1], x[i2, c + 2], x[i2, c + 3]
                            d0, d1, d2, d3 = x[i3, c], x[i3, c + 1], x[i3, c + 2], x[i3, c + 3]
                            for j in range(tile):
                                w0, w1, w2, w3 = wt[c, j], wt[c + 1, j], wt[c + 2, j], wt[c + 3, j]
                                acc[0, j] += a0 * w0 + a1 * w1 + a2 * w2 + a3 * w3
                                acc[1, j] += b0 * w0 + b1 * w1 + b2 * w2 + b3 * w3
                                acc[2, j] += c0 * w0 + c1 * w1 + c2 * w2 + c3 * w3
                                acc[3, j] += d0 * w0 + d1 * w1 + d2 * w2 + d3 * w3
                        for r in range(num_pairs):
                            row = out_index[p + r]
                            for j in range(width):
                                out[row, base + j] += acc[r, j]

    return multiply


@cache
def weight_grad_kernel(tile: int) -> Callable[..., None]:
    """The kernel that adds ``x[in_index[p]].T @ grad[out_index[p]]`` over all pairs p of offset k to ``dw[k]``.

    Its arguments: x (V, I), grad (W, O), in_index, out_index and blocks as above, span: how many blocks to take at a
    time, so that their rows stay in the cache for all offsets; first and last offset; dw (K, tiles, I, tile).
    I must be a multiple of 4.
    """

    @njit(nogil=True, cache=True, fastmath=FAST)
    def accumulate(x, grad, in_index, out_index, blocks, span, first, last, dw):
        _, num_tiles, channels, _ = dw.shape
        num_blocks = len(blocks) - 1
        acc = np.zeros((4, tile), x.dtype)
        most = 0
        for start in range(0, num_blocks, span):
            for k in range(first, last):
                most = max(most, blocks[min(start + span, num_blocks), k] - blocks[start, k])
        g = np.zeros((most + 3, tile), x.dtype)
        for start in range(0, num_blocks, span):
            stop = min(start + span, num_blocks)
            for k in range(first, last):
                begin, end = blocks[start, k], blocks[stop, k]
                num_pairs = end - begin
                for t in range(num_tiles):
                    base = t * tile
                    width = min(tile, grad.shape[1] - base)
                    for p in range(num_pairs):
                        row = out_index[begin + p]
                        for j in range(width):
                            g[p, j] = grad[row, base + j]
                    # The last pairs are filled up to 4 by pairs without a gradient.
                    g[num_pairs : num_pairs + 3] = 0
                    for c in range(0, channels, 4):
                        for r in range(4):
                            for j in range(tile):
                                acc[r, j] = 0
                        for p in range(0, num_pairs, 4):
                            i0 = in_index[begin + p]
                            i1 = in_index[begin + p + 1] if p + 1 < num_pairs else i0
                            i2 = in_index[begin + p + 2] if p + 2 < num_pairs else i0
                            i3 = in_index[begin + p + 3] if p + 3 < num_pairs else i0
                            a0, a1, a2, a3 = x[i0, c], x[i0, c + 1], x[i0, c + 2], x[i0, c + 3]
                            b0, b1, b2, b3 = x[i1, c], x[i1, c + 1], x[i1, c + 2], x[i1, c + 3]
                            c0, c1, c2, c3 = x[i2, c], x[i2, c + 1], x[i2, c + 2], x[i2, c + 3]
                            d0, d1, d2, d3 = x[i3, c], x[i3, c + 1], x[i3, c + 2], x[i3, c + 3]
                            for j in range(tile):
                                g0, g1, g2, g3 = g[p, j], g[p + 1, j], g[p + 2, j], g[p + 3, j]
                                acc[0, j] += a0 * g0 + b0 * g1 + c0 * g2 + d0 * g3
                                acc[1, j] += a1 * g0 + b1 * g1 + c1 * g2 + d1 * g3
                                acc[2, j] += a2 * g0 + b2 * g1 + c2 * g2 + d2 * g3
                                acc[3, j] += a3 * g0 + b3 * g1 + c3 * g2 + d3 * g3
                        for r in range(4):
                            for j in range(tile):
                                dw[k, t, c + r, j] += acc[r, j]

    return accumulate
