"""Compiled loops behind the CPU convolutions of `pcseg.ops.pair_conv`.

Both are small matrix products on scattered rows. The innermost loops, `add_tile` and `add_outer_tile`, emit LLVM vector
code. Numba alone would not hold a whole tile of sums in registers.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from pcseg.kernels import kernel

# No "nnan" or "ninf": NaN and infinity must pass through.
FAST = {"contract", "reassoc", "nsz"}
# A tile of TILE_ROWS rows and up to 3 vectors of sums, with a row of factors: 32 registers with AVX-512, 16 without.
HAS_AVX512 = bool(binding.get_host_cpu_features().get("avx512f"))
VECTOR_BYTES = 64 if HAS_AVX512 else 32
TILE_ROWS = 8 if HAS_AVX512 else 4
# Products of pairs of bfloat16, added to float32; older LLVMs give the instruction other types.
HAS_BF16 = bool(binding.get_host_cpu_features().get("avx512bf16")) and binding.llvm_version_info[0] >= 17
# With it, a U-Net takes 28 % less time on an AMD EPYC, and 60 % more on an Intel Xeon.
FAST_BF16 = HAS_BF16 and binding.get_host_cpu_name().startswith("znver")
PAIRS_AHEAD = 16  # a pair takes about 20 cycles, its rows come from memory in a few hundred


def tile_width(channels: int, itemsize: int) -> int:
    """Number of columns of the widest tile, of up to 3 vectors, that wastes the fewest columns.

    Args:
        channels: number of columns in all.
        itemsize: bytes of a number.
    """
    lanes = VECTOR_BYTES // itemsize
    return lanes * min((3, 2, 1), key=lambda num: -(-channels // (num * lanes)) * num)


class _Halves(ir.Type):
    """A vector of 32 bfloat16, which llvmlite has no type for."""

    def _to_string(self) -> str:
        return "<32 x bfloat>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Halves)

    def __hash__(self) -> int:
        return hash(_Halves)


def _emit_add_product(builder: Any, total: Any, left: Any, right: Any) -> Any:
    """A vector of sums plus products; integers hold pairs of bfloat16, whose two products are added up."""
    if isinstance(left.type.element, ir.IntType):
        kind = ir.FunctionType(total.type, [total.type, _Halves(), _Halves()])
        dot = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx512bf16.dpbf16ps.512")
        return builder.call(dot, [total, *(builder.bitcast(pairs, _Halves()) for pairs in (left, right))])
    return builder.fadd(total, builder.fmul(left, right, flags=("contract",)), flags=("contract",))


def _emit_prefetch(builder: Any, address: Any) -> None:
    """Fetches the line at this address into the cache; a wrong address does no harm."""
    byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
    function = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
    to_read, all_caches, data = number(0), number(3), number(1)
    builder.call(function, [builder.bitcast(address, byte), to_read, all_caches, data])


def _emit_tile(context: Any, builder: Any, sig: Any, args: Any, places: Callable[..., Any]) -> Any:
    """Emits the loop of a tile: TILE_ROWS rows and num_vectors vectors of sums, added to `out` at its end.

    The arguments of the loop begin with a, b, length, num_vectors, out, out_starts. `places` takes them (pointers for
    arrays) and the step. It returns the position of each row's factor in a and of the other factors in b. It also
    returns pairs of a pointer and a position to prefetch.
    """

    def pointer(kind: Any, arg: Any) -> Any:
        if isinstance(kind, types.Tuple):
            return [pointer(*pair) for pair in zip(kind.types, cgutils.unpack_tuple(builder, arg))]
        return context.make_array(kind)(context, builder, arg).data if isinstance(kind, types.Array) else arg

    def at(base: Any, start: Any, offset: int) -> Any:
        return builder.gep(base, [builder.add(start, ir.Constant(start.type, offset))])

    pointers = [pointer(kind, arg) for kind, arg in zip(sig.args, args)]
    a, b, length, _, out, out_starts = pointers[:6]
    itemsize = sig.args[0].dtype.bitwidth // 8
    lanes = VECTOR_BYTES // itemsize
    vector = ir.VectorType(context.get_data_type(sig.args[4].dtype), lanes)
    taken = ir.VectorType(context.get_data_type(sig.args[0].dtype), lanes)
    undefined = ir.Constant(taken, ir.Undefined)
    first = ir.Constant(ir.IntType(32), 0)
    everywhere = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
    columns = [lanes * t for t in range(sig.args[3].literal_value)]
    sums = [[cgutils.alloca_once(builder, vector) for _ in columns] for _ in range(TILE_ROWS)]
    starts = [at(out_starts, ir.Constant(length.type, 0), r) for r in range(TILE_ROWS)]
    for place, row in zip(starts, sums):
        start = builder.load(place)
        for cell, c in zip(row, columns):
            builder.store(ir.Constant(vector, [0.0] * lanes), cell)
            _emit_prefetch(builder, at(out, start, c))
    with cgutils.for_range(builder, length, intp=length.type) as loop:
        a_places, b_place, later = places(builder, pointers, loop.index)
        for array, place in later:
            _emit_prefetch(builder, builder.gep(array, [place]))
        right = [builder.load(builder.bitcast(at(b, b_place, c), taken.as_pointer()), align=itemsize) for c in columns]
        for place, row in zip(a_places, sums):
            factor = builder.load(builder.gep(a, [place]))
            left = builder.shuffle_vector(builder.insert_element(undefined, factor, first), undefined, everywhere)
            for cell, others in zip(row, right):
                builder.store(_emit_add_product(builder, builder.load(cell), left, others), cell)
    for place, row in zip(starts, sums):
        start = builder.load(place)
        for cell, c in zip(row, columns):
            target = builder.bitcast(at(out, start, c), vector.as_pointer())
            total = builder.fadd(builder.load(target, align=itemsize), builder.load(cell))
            builder.store(total, target, align=itemsize)
    return context.get_dummy_value()


def _add_tile(typingctx, a, b, length, num_vectors, out, out_starts, a_starts, b_start, b_step):
    """Adds a product to TILE_ROWS rows of `out`, num_vectors wide; arrays are contiguous, positions count elements.

    For s < length: ``out[out_starts[r] + j] += a[a_starts[r] + s] * b[b_start + s * b_step + j]``. After TILE_ROWS
    positions for this tile, a_starts has the positions for the next one, which the loop prefetches.
    """
    if not isinstance(num_vectors, types.IntegerLiteral):
        return None

    def places(builder: Any, pointers: Any, step: Any) -> Any:
        a_data, *_, a_starts, b_start, b_step = pointers

        def a_start(row: Any) -> Any:
            return builder.load(builder.gep(a_starts, [row]))

        a_places = [builder.add(a_start(step.type(r)), step) for r in range(TILE_ROWS)]
        turn = builder.and_(step, step.type(TILE_ROWS - 1))  # the rows of the next tile take turns
        a_later = builder.add(a_start(builder.add(turn, step.type(TILE_ROWS))), builder.sub(step, turn))
        return a_places, builder.add(b_start, builder.mul(step, b_step)), [(a_data, a_later)]

    i = types.intp
    return types.void(a, b, i, num_vectors, out, out_starts, a_starts, i, i), partial(_emit_tile, places=places)


def _add_outer_tile(typingctx, a, b, length, num_vectors, out, out_starts, left, right, begin):
    """Adds a sum of outer products to TILE_ROWS rows of `out`, num_vectors wide.

    For each p of length from begin: ``out[out_starts[r] + j] += a[rows[p], column + r] * b[rows[p], column + j]``.
    `left` has rows, width and column of a; `right` has the same for b.
    """
    if not isinstance(num_vectors, types.IntegerLiteral):
        return None

    def places(builder: Any, pointers: Any, step: Any) -> Any:
        a_data, b_data, length, *_, left, right, begin = pointers

        def places_of(step: Any) -> Any:
            pair = builder.add(begin, step)
            for rows, width, column in (left, right):
                row = builder.sext(builder.load(builder.gep(rows, [pair])), width.type)
                yield builder.add(builder.mul(row, width), column)

        a_place, b_place = places_of(step)
        a_places = [builder.add(a_place, step.type(r)) for r in range(TILE_ROWS)]
        if not HAS_AVX512:  # tiles of half the rows leave no time to fetch
            return a_places, b_place, []
        later = builder.add(step, step.type(PAIRS_AHEAD))
        a_later, b_later = places_of(builder.select(builder.icmp_signed("<", later, length), later, step))
        lanes = VECTOR_BYTES * 8 // b.dtype.bitwidth
        b_laters = [builder.add(b_later, step.type(lanes * t)) for t in range(num_vectors.literal_value)]
        return a_places, b_place, [(a_data, a_later), *((b_data, place) for place in b_laters)]

    i = types.intp
    return types.void(a, b, i, num_vectors, out, out_starts, left, right, i), partial(_emit_tile, places=places)


# Called without typingctx.
add_tile: Any = intrinsic(prefer_literal=True)(_add_tile)
add_outer_tile: Any = intrinsic(prefer_literal=True)(_add_outer_tile)


@kernel()
def _round_to_half(value):
    """The nearest bfloat16 of a float32, as uint16."""
    bits = np.float32(value).view(np.uint32)
    return np.uint16((bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))) >> np.uint32(16))


_FLOATS = "f4[:,::1], f4[:,:,:,::1], i4[::1], i4[::1], i8[:,::1], i8, i8, i8, f4[:,::1], f4[:,::1], f4[:,::1], i8"
_HALVES = "i4[:,::1], i4[:,:,:,::1], i4[::1], i4[::1], i8[:,::1], i8, i8, i8, f4[:,::1], f4[:,::1], u2[:,::1], i8"


@kernel(_FLOATS, *([_HALVES] if HAS_BF16 else []), fastmath=FAST)
def multiply_pairs(x, w, in_index, out_index, blocks, span, first, last, out, norm, activated, block_rows):
    """Adds ``x[in_index[p]] @ w[k]`` to ``out[out_index[p]]`` for all pairs p of the given blocks.

    Args:
        x: (V, I), or (V, I / 2) pairs of bfloat16 as int32.
        w: (K, tiles, I, tile), tile of `tile_width`; or (K, tiles, I / 2, tile) pairs of bfloat16.
        in_index: (pairs,).
        out_index: (pairs,).
        blocks: (num_blocks + 1, K); pairs of offset k with an output in block b are ``blocks[b, k]:blocks[b + 1, k]``.
        span: number of blocks at a time, whose rows stay in the cache for all offsets.
        first: first block.
        last: end of the blocks.
        out: (W + 1, tiles * tile); the last row takes the unused sums of tiles with fewer pairs than rows.
        norm: (2, tiles * tile), scale and shift of each column.
        activated: (W + 1, tiles * tile), gets ReLU(out * scale + shift) while the sums are in the cache; may be `out`,
            and no rows for none. Then block b must have the outputs from row b * block_rows on. With pairs of bfloat16
            it is bfloat16, too, as uint16.
        block_rows: number of outputs in a block.
    """
    num_offsets, num_tiles, channels, tile = w.shape
    num_vectors = tile * w.itemsize // VECTOR_BYTES
    sources = np.zeros(2 * TILE_ROWS, np.intp)
    targets = np.zeros(TILE_ROWS, np.intp)
    for block in range(first, last, span):
        stop = min(block + span, last)
        for k in range(num_offsets):
            end = blocks[stop, k]
            for t in range(num_tiles):
                start = (k * num_tiles + t) * channels * tile
                for p in range(blocks[block, k], end, TILE_ROWS):
                    for r in range(TILE_ROWS):
                        row = len(out) - 1
                        if p + r < end:
                            sources[r] = in_index[p + r] * channels
                            row = out_index[p + r]
                        targets[r] = row * out.shape[1] + t * tile
                        if p + r + TILE_ROWS < end:
                            sources[r + TILE_ROWS] = in_index[p + r + TILE_ROWS] * channels
                    if num_vectors == 3:
                        add_tile(x, w, channels, 3, out, targets, sources, start, tile)
                    elif num_vectors == 2:
                        add_tile(x, w, channels, 2, out, targets, sources, start, tile)
                    else:
                        add_tile(x, w, channels, 1, out, targets, sources, start, tile)
        for row in range(block * block_rows, min(stop * block_rows, len(activated) - 1)):
            for c in range(out.shape[1]):
                value = out[row, c] * norm[0, c] + norm[1, c]
                value = np.float32(0) if value < 0 else value  # NaN passes
                activated[row, c] = _round_to_half(value) if activated.itemsize == 2 else value


@kernel("f4[:,::1], f4[:,::1], i4[::1], i4[::1], i8[:,::1], i8, i8, i8, f4[:,:,:,::1]", fastmath=FAST)
def add_weight_grad(x, grad, in_index, out_index, blocks, span, first, last, dw):
    """Adds ``x[in_index[p]].T @ grad[out_index[p]]`` over all pairs p of offset k to ``dw[k]``.

    Args:
        x: float32 (V, I), I a multiple of TILE_ROWS.
        grad: float32 (W, tiles * tile), gradient of the outputs.
        in_index: int32 (pairs,), row of x of each pair.
        out_index: int32 (pairs,), row of grad of each pair.
        blocks: int64 (num_blocks + 1, K); pairs of block b and offset k are ``blocks[b, k]:blocks[b + 1, k]``.
        span: number of blocks at a time, whose rows stay in the cache for all offsets.
        first: first offset k.
        last: end of the offsets.
        dw: float32 (K, tiles, I, tile), gradient of the weights; added to.
    """
    _, num_tiles, channels, tile = dw.shape
    num_vectors = tile * dw.itemsize // VECTOR_BYTES
    num_blocks, width = len(blocks) - 1, num_tiles * tile
    targets = np.zeros(TILE_ROWS, np.intp)
    for block in range(0, num_blocks, span):
        for k in range(first, last):
            begin = blocks[block, k]
            pairs = blocks[min(block + span, num_blocks), k] - begin
            for t in range(num_tiles):
                for c in range(0, channels, TILE_ROWS):
                    for r in range(TILE_ROWS):
                        targets[r] = ((k * num_tiles + t) * channels + c + r) * tile
                    left, right = (in_index, channels, c), (out_index, width, t * tile)
                    if num_vectors == 3:
                        add_outer_tile(x, grad, pairs, 3, dw, targets, left, right, begin)
                    elif num_vectors == 2:
                        add_outer_tile(x, grad, pairs, 2, dw, targets, left, right, begin)
                    else:
                        add_outer_tile(x, grad, pairs, 1, dw, targets, left, right, begin)
