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

    The arguments of the loop begin with a, b, length, num_vectors, out. `places` takes them (pointers for arrays). It
    returns where each row starts in `out`, and a function of the step. That one returns the position of each row's
    factor in a and of the other factors in b, and pairs of a pointer and a position to prefetch.
    """

    def pointer(kind: Any, arg: Any) -> Any:
        if isinstance(kind, types.UniTuple | types.Tuple):
            return [pointer(*pair) for pair in zip(kind.types, cgutils.unpack_tuple(builder, arg))]
        return context.make_array(kind)(context, builder, arg).data if isinstance(kind, types.Array) else arg

    def at(base: Any, start: Any, offset: int) -> Any:
        return builder.gep(base, [builder.add(start, ir.Constant(start.type, offset))])

    pointers = [pointer(kind, arg) for kind, arg in zip(sig.args, args)]
    a, b, length, _, out = pointers[:5]
    itemsize = sig.args[0].dtype.bitwidth // 8
    lanes = VECTOR_BYTES // itemsize
    vector = ir.VectorType(context.get_data_type(sig.args[4].dtype), lanes)
    taken = ir.VectorType(context.get_data_type(sig.args[0].dtype), lanes)
    undefined = ir.Constant(taken, ir.Undefined)
    first = ir.Constant(ir.IntType(32), 0)
    everywhere = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
    columns = [lanes * t for t in range(sig.args[3].literal_value)]
    sums = [[cgutils.alloca_once(builder, vector) for _ in columns] for _ in range(TILE_ROWS)]
    starts, at_step = places(builder, pointers)
    for start, row in zip(starts, sums):
        for cell, c in zip(row, columns):
            builder.store(ir.Constant(vector, [0.0] * lanes), cell)
            _emit_prefetch(builder, at(out, start, c))
    with cgutils.for_range(builder, length, intp=length.type) as loop:
        a_places, b_place, later = at_step(loop.index)
        for array, place in later:
            _emit_prefetch(builder, builder.gep(array, [place]))
        right = [builder.load(builder.bitcast(at(b, b_place, c), taken.as_pointer()), align=itemsize) for c in columns]
        for place, row in zip(a_places, sums):
            factor = builder.load(builder.gep(a, [place]))
            left = builder.shuffle_vector(builder.insert_element(undefined, factor, first), undefined, everywhere)
            for cell, others in zip(row, right):
                builder.store(_emit_add_product(builder, builder.load(cell), left, others), cell)
    for start, row in zip(starts, sums):
        for cell, c in zip(row, columns):
            target = builder.bitcast(at(out, start, c), vector.as_pointer())
            total = builder.fadd(builder.load(target, align=itemsize), builder.load(cell))
            builder.store(total, target, align=itemsize)
    return context.get_dummy_value()


def _emit_row(builder: Any, rows: Any, position: Any, width: Any) -> Any:
    """Where the row of this number starts: ``rows[position] * width``."""
    row = builder.load(builder.gep(rows, [position]))
    return builder.mul(builder.sext(row, width.type), width)


def _add_tile(typingctx, a, b, length, num_vectors, out, rows, tail, pair, end, b_start, b_step, out_place):
    """Adds a product to TILE_ROWS rows of `out`, num_vectors wide; arrays are contiguous, positions count elements.

    For s < length: ``out[rows[1][p], column + j] += a[rows[0][p], s] * b[b_start + s * b_step + j]`` for pairs p from
    `pair` on. If there are not enough up to `end`, `tail` has the rows instead. out_place is (width, column).
    """
    if not isinstance(num_vectors, types.IntegerLiteral):
        return None

    def places(builder: Any, pointers: Any) -> Any:
        a_data, _, length, _, _, (in_rows, out_rows), (in_tail, out_tail), pair, end, b_start, b_step, place = pointers
        width, column = place
        left = builder.sub(end, pair)
        whole, more = (builder.icmp_signed(">=", left, left.type(n * TILE_ROWS)) for n in (1, 2))
        in_now = builder.select(whole, builder.gep(in_rows, [pair]), in_tail)
        out_now = builder.select(whole, builder.gep(out_rows, [pair]), out_tail)
        positions = [pair.type(r) for r in range(TILE_ROWS)]
        starts = [builder.add(_emit_row(builder, out_now, r, width), column) for r in positions]
        a_starts = [_emit_row(builder, in_now, r, length) for r in positions]

        def at_step(step: Any) -> Any:
            a_places = [builder.add(start, step) for start in a_starts]
            b_place = builder.add(b_start, builder.mul(step, b_step))
            if num_vectors.literal_value == 1:  # products too short to fetch beside them
                return a_places, b_place, []
            turn = builder.and_(step, step.type(TILE_ROWS - 1))  # the rows of the next tile take turns
            next_pair = builder.select(more, builder.add(builder.add(pair, turn), pair.type(TILE_ROWS)), pair)
            a_later = builder.add(_emit_row(builder, in_rows, next_pair, length), builder.sub(step, turn))
            return a_places, b_place, [(a_data, a_later)]

        return starts, at_step

    i = types.intp
    pairs = types.UniTuple(types.Array(types.int32, 1, "C"), 2)
    signature = types.void(a, b, i, num_vectors, out, pairs, pairs, i, i, i, i, types.UniTuple(i, 2))
    return signature, partial(_emit_tile, places=places)


def _add_outer_tile(typingctx, a, b, length, num_vectors, out, out_start, out_step, left, right, begin):
    """Adds a sum of outer products to TILE_ROWS rows of `out`, num_vectors wide.

    For each p of length from begin: ``out[out_start + r * out_step + j] += a[rows[p], column + r] * b[rows[p], column +
    j]``. `left` has rows, width and column of a; `right` has the same for b.
    """
    if not isinstance(num_vectors, types.IntegerLiteral):
        return None

    def places(builder: Any, pointers: Any) -> Any:
        a_data, b_data, length, _, _, out_start, out_step, left, right, begin = pointers
        starts = [builder.add(out_start, builder.mul(out_step, out_step.type(r))) for r in range(TILE_ROWS)]

        def places_of(step: Any) -> Any:
            for rows, width, column in (left, right):
                yield builder.add(_emit_row(builder, rows, builder.add(begin, step), width), column)

        def at_step(step: Any) -> Any:
            a_place, b_place = places_of(step)
            a_places = [builder.add(a_place, step.type(r)) for r in range(TILE_ROWS)]
            if not HAS_AVX512:  # tiles of half the rows leave no time to fetch
                return a_places, b_place, []
            later = builder.add(step, step.type(PAIRS_AHEAD))
            a_later, b_later = places_of(builder.select(builder.icmp_signed("<", later, length), later, step))
            lanes = VECTOR_BYTES * 8 // b.dtype.bitwidth
            b_laters = [builder.add(b_later, step.type(lanes * t)) for t in range(num_vectors.literal_value)]
            return a_places, b_place, [(a_data, a_later), *((b_data, place) for place in b_laters)]

        return starts, at_step

    i = types.intp
    return types.void(a, b, i, num_vectors, out, i, i, left, right, i), partial(_emit_tile, places=places)


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
    in_tail, out_tail = np.zeros(TILE_ROWS, np.int32), np.full(TILE_ROWS, len(out) - 1, np.int32)
    rows, tail = (in_index, out_index), (in_tail, out_tail)
    for block in range(first, last, span):
        stop = min(block + span, last)
        for k in range(num_offsets):
            end = blocks[stop, k]
            for t in range(num_tiles):
                start = (k * num_tiles + t) * channels * tile
                place = (out.shape[1], t * tile)
                for p in range(blocks[block, k], end, TILE_ROWS):
                    if p + TILE_ROWS > end:
                        for r in range(TILE_ROWS):
                            in_tail[r] = in_index[p + r] if p + r < end else 0
                            out_tail[r] = out_index[p + r] if p + r < end else len(out) - 1
                    if num_vectors == 3:
                        add_tile(x, w, channels, 3, out, rows, tail, p, end, start, tile, place)
                    elif num_vectors == 2:
                        add_tile(x, w, channels, 2, out, rows, tail, p, end, start, tile, place)
                    else:
                        add_tile(x, w, channels, 1, out, rows, tail, p, end, start, tile, place)
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
    for block in range(0, num_blocks, span):
        for k in range(first, last):
            begin = blocks[block, k]
            pairs = blocks[min(block + span, num_blocks), k] - begin
            for t in range(num_tiles):
                for c in range(0, channels, TILE_ROWS):
                    start = ((k * num_tiles + t) * channels + c) * tile
                    left, right = (in_index, channels, c), (out_index, width, t * tile)
                    if num_vectors == 3:
                        add_outer_tile(x, grad, pairs, 3, dw, start, tile, left, right, begin)
                    elif num_vectors == 2:
                        add_outer_tile(x, grad, pairs, 2, dw, start, tile, left, right, begin)
                    else:
                        add_outer_tile(x, grad, pairs, 1, dw, start, tile, left, right, begin)
