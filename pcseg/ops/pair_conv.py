"""Convolution over the pairs of a kernel map, forward and backward, for the CPU (and, slower, for any device)."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from pcseg.kernels.conv import TILE_ROWS, add_weight_grad, multiply_pairs, tile_width
from pcseg.ops.neighbors import BLOCK, KernelMap
from pcseg.ops.threads import for_each

SMALL_WORK = 4_000_000  # multiplications below which a second thread does not pay
SPAN = 512 // BLOCK  # blocks whose features stay in the cache while all offsets use them


def _in_parts(work: Callable[[int, int], None], pairs_before: np.ndarray, multiplications: int) -> None:
    """Calls work(first, last) for intervals of tasks of about as many pairs, a few for each thread.

    `pairs_before` is the number of pairs before each task and of all of them; `multiplications` is that of all tasks.
    """
    num_threads = torch.get_num_threads()
    if num_threads == 1 or multiplications < SMALL_WORK:
        work(0, len(pairs_before) - 1)
        return
    inner = np.searchsorted(pairs_before, np.linspace(0, pairs_before[-1], 3 * num_threads + 1)[1:-1])
    cuts = itertools.pairwise([0, *inner.tolist(), len(pairs_before) - 1])
    for_each(lambda span: work(*span), [(a, b) for a, b in cuts if b > a])


def _is_compiled(x: Tensor) -> bool:
    """Whether the compiled loops take these features; torch's own operations take all others."""
    return x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64)


def _padded(x: Tensor, dim: int, multiple: int) -> Tensor:
    """x with zeros behind it, so that the dimension becomes a multiple."""
    missing = -x.shape[dim] % multiple
    return F.pad(x, (0, 0) * (x.ndim - 1 - dim) + (0, missing)) if missing else x


def _multiply_pairs(x: Tensor, weight: Tensor, kernel_map: KernelMap) -> Tensor:
    """Sum over the pairs of each output of ``x[in] @ weight[k]``; weight (K, I, O), any strides."""
    num_outputs = weight.shape[2]
    if not _is_compiled(x):
        # Half precision multiplies, float32 adds up: a sum of 27 products would lose its last digits.
        dtype = torch.promote_types(x.dtype, torch.float32)
        out = torch.zeros((kernel_map.num_out, num_outputs), dtype=dtype, device=x.device)
        for k in range(kernel_map.num_offsets):
            pairs = kernel_map.pairs(k)
            product = x.index_select(0, kernel_map.in_index[pairs]) @ weight[k]
            out.index_add_(0, kernel_map.out_index[pairs], product.to(out.dtype))
        return out.to(x.dtype)
    tile = tile_width(num_outputs, x.element_size())
    out = x.new_zeros((kernel_map.num_out + 1, -(-num_outputs // tile) * tile))
    add_pair_conv(x.detach(), _tiles(weight.detach(), x.dtype), kernel_map, out)
    return out[:-1, :num_outputs].contiguous()


def _tiles(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """Weights (K, I, O), any strides, in the order in which the kernel takes them; int32 are pairs of bfloat16."""
    halves = dtype == torch.bfloat16
    tile, in_number = tile_width(weight.shape[2], 4 if halves else dtype.itemsize), 2 if halves else 1
    weight = _padded(_padded(weight.to(dtype), 1, in_number), 2, tile)
    tiles = weight.unflatten(2, (-1, tile)).unflatten(1, (-1, in_number)).permute(0, 3, 1, 4, 2).contiguous()
    return (tiles.view(torch.int32) if halves else tiles).squeeze(4)


def has_whole_tiles(num_outputs: int) -> bool:
    """Whether `add_pair_conv` takes this number of output channels."""
    return num_outputs % tile_width(num_outputs, 4) == 0


def pack_weight(weight: Float32[Tensor, "O k k k I"], dtype: torch.dtype) -> Tensor:
    """The weight of a convolution as `add_pair_conv` takes it, for features of this dtype: float32 or bfloat16."""
    return _tiles(weight.detach().flatten(1, 3).permute(1, 2, 0), dtype)


def add_pair_conv(
    features: Float[Tensor, "V I"],
    packed: Tensor,
    kernel_map: KernelMap,
    out: Float[Tensor, "W_1 O"],
    norm: Float32[Tensor, "2 O"] | None = None,
    activated: Float[Tensor, "W_1 O"] | None = None,
) -> None:
    """Adds a sparse convolution to the rows of `out` in place, on the CPU and without gradients.

    Args:
        features: one row per input voxel; further rows are not read. They are of the dtype of `out`, or bfloat16 for
            float32 if `HAS_BF16`.
        packed: from `pack_weight`; `has_whole_tiles` must be true of O.
        kernel_map: pairs of k ** 3 offsets; with `norm`, its outputs must be sorted voxels.
        out: one row per output voxel, and one more, which is overwritten.
        norm: scale and shift of each channel.
        activated: gets ReLU(out * scale + shift) of each row but the last, in the dtype of features; may be `out`.
    """
    norm = out.new_zeros((0, 0)) if norm is None else norm
    activated = features.new_zeros((0, 0)) if activated is None else activated
    if features.dtype == torch.bfloat16:  # the kernel takes two numbers for one
        features, activated = _padded(features, 1, 2).contiguous().view(torch.int32), activated.view(torch.uint16)
    in_index, out_index, blocks = kernel_map.in_index.numpy(), kernel_map.out_index.numpy(), kernel_map.out_blocks
    pairs_before, multiplications = blocks.sum(axis=1), len(in_index) * packed[0].numel()
    args = (features.contiguous().numpy(), packed.numpy(), in_index, out_index, blocks, SPAN)
    targets = (out.numpy(), norm.numpy(), activated.numpy(), BLOCK)
    _in_parts(lambda a, b: multiply_pairs(*args, a, b, *targets), pairs_before - pairs_before[0], multiplications)


def _weight_grad(x: Tensor, grad: Tensor, kernel_map: KernelMap) -> Tensor:
    """Sum over the pairs of each offset of ``x[in].T @ grad[out]``: (K, I, O)."""
    num_inputs, num_outputs = x.shape[1], grad.shape[1]
    if not _is_compiled(x):
        products = []
        for k in range(kernel_map.num_offsets):
            pairs = kernel_map.pairs(k)
            rows = x.index_select(0, kernel_map.in_index[pairs])
            products.append(rows.t() @ grad.index_select(0, kernel_map.out_index[pairs]))
        return torch.stack(products)
    tile = tile_width(num_outputs, x.element_size())
    rows, columns = _padded(x.detach(), 1, TILE_ROWS), _padded(grad.detach(), 1, tile)
    in_index, out_index, blocks = kernel_map.in_index.numpy(), kernel_map.out_index.numpy(), kernel_map.out_blocks
    tiles = x.new_zeros((kernel_map.num_offsets, columns.shape[1] // tile, rows.shape[1], tile))
    target = tiles.numpy()
    args = (rows.contiguous().numpy(), columns.contiguous().numpy(), in_index, out_index, blocks, SPAN)
    pairs_before, multiplications = np.append(blocks[0], len(in_index)), len(in_index) * num_inputs * num_outputs
    _in_parts(lambda a, b: add_weight_grad(*args, a, b, target), pairs_before, multiplications)
    return tiles.transpose(1, 2).flatten(2)[:, :num_inputs, :num_outputs]


class _PairConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, kernel_map: KernelMap) -> Tensor:
        ctx.save_for_backward(features, weight)
        ctx.kernel_map = kernel_map
        with torch.autocast(features.device.type, enabled=False):
            return _multiply_pairs(features, weight.flatten(1, 3).permute(1, 2, 0), kernel_map)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        features, weight = ctx.saved_tensors
        kernel_map: KernelMap = ctx.kernel_map
        grad_features, grad_weight = None, None
        with torch.autocast(grad.device.type, enabled=False):
            if ctx.needs_input_grad[0]:
                grad_features = _multiply_pairs(grad, weight.flatten(1, 3).permute(1, 0, 2), kernel_map.transposed())
            if ctx.needs_input_grad[1]:
                grad_weight = _weight_grad(features, grad, kernel_map).permute(2, 0, 1).reshape(weight.shape)
        return grad_features, grad_weight, None


def pair_conv(
    features: Float[Tensor, "V I"], weight: Float[Tensor, "O k k k I"], kernel_map: KernelMap
) -> Float[Tensor, "W O"]:
    """Sparse convolution: each output is the sum of ``weight[k] @ features[i]`` over its pairs (i, offset k).

    The result does not depend on the number of threads: one thread sums each output, and each weight, in one order. (On
    CUDA, index_add sums in any order.)

    Args:
        features: I features of each of V input voxels.
        weight: kernel for O output features; its axes 1, 2, 3 go with x, y, z.
        kernel_map: pairs of input and output voxels of each offset.
    """
    return _PairConv.apply(features, weight, kernel_map)
