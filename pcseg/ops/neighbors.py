"""Which voxels meet at each offset of a convolution kernel, on sparse grids."""

import itertools
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Int32, Int64
from torch import Tensor

from pcseg.kernels.neighbors import find_shifted

MAX_CELLS = 2**60  # cells of the box around all voxels that int64 keys can tell apart, with a margin
BLOCK = 128  # voxels that the CPU kernels take at a time: their features fit into the first cache


@dataclass(frozen=True)
class KernelMap:
    """Pairs of rows (input, output) that the offsets of a kernel join, offset after offset.

    Voxels are ranked (in the order of their keys), and within one offset the ranks of the inputs and of the outputs
    both ascend. Blocks of `BLOCK` consecutive ranks are therefore consecutive pairs, and no two blocks share a row.
    Pairs ``in_blocks[b, k]:in_blocks[b + 1, k]`` of offset k have their input in block b, and so on for the outputs.
    """

    in_index: Int32[Tensor, "pairs"]  # row of the input voxel of each pair
    out_index: Int32[Tensor, "pairs"]  # row of the output voxel; within one offset every row occurs at most once
    in_blocks: Int64[np.ndarray, "num_in_blocks_1 K"]
    out_blocks: Int64[np.ndarray, "num_out_blocks_1 K"]
    num_in: int  # number of voxels on the input side
    num_out: int  # number of voxels on the output side

    @property
    def num_offsets(self) -> int:
        return self.out_blocks.shape[1]

    def pairs(self, offset: int) -> slice:
        """Positions of the pairs of an offset."""
        return slice(int(self.out_blocks[0, offset]), int(self.out_blocks[-1, offset]))

    def transposed(self) -> "KernelMap":
        """The map of the inverse convolution: input and output change places."""
        return KernelMap(self.out_index, self.in_index, self.out_blocks, self.in_blocks, self.num_out, self.num_in)

    def to(self, device: torch.device) -> "KernelMap":
        """A copy whose pairs are on `device`."""
        return replace(self, in_index=self.in_index.to(device), out_index=self.out_index.to(device))


def voxel_keys(
    coords: Int32[np.ndarray, "V 4"], batch_size: int, margin: int = 0
) -> tuple[Int64[np.ndarray, "V"], tuple[int, int, int]]:
    """One integer per voxel, in the order of (batch, x, y, z).

    Args:
        coords: batch index, x, y, z; not negative.
        batch_size: number of rooms.
        margin: free cells around the voxels, so that a neighbor up to this far never wraps into another row.

    Returns:
        The keys, and the steps of the key along x, y and z.

    Raises:
        ValueError: the box around the voxels has more cells than an int64 can count.
    """
    columns = np.ascontiguousarray(coords[:, 1:].T)  # ten times faster than the maximum along the first axis
    size = [int(n) + 1 + 2 * margin for n in columns.max(axis=1, initial=0)]
    steps = (size[1] * size[2], size[2], 1)
    if batch_size * size[0] * steps[0] >= MAX_CELLS:
        raise ValueError(f"voxel coordinates span {size} cells, more than int64 keys can count: use larger voxels")
    keys = coords[:, 0].astype(np.int64) * (size[0] * steps[0])
    for axis in range(3):
        keys += (columns[axis].astype(np.int64) + margin) * steps[axis]
    return keys, steps


def is_ascending(keys: Int64[np.ndarray, "V"]) -> bool:
    """Whether every key is larger than the one before."""
    return bool((keys[1:] > keys[:-1]).all())


def voxel_order(coords: Int32[Tensor, "V 4"], batch_size: int) -> Int64[Tensor, "V"] | None:
    """Checks the voxels of a batch and sorts them.

    Args:
        coords: batch index, x, y, z of each voxel.
        batch_size: number of rooms in the batch.

    Returns:
        The order that sorts the rows, or None if they are sorted.

    Raises:
        ValueError: wrong shape or dtype, a negative coordinate, a duplicate row, or a batch index out of range.
    """
    if coords.dtype != torch.int32 or coords.ndim != 2 or coords.shape[1] != 4:
        got = f"{coords.dtype} {tuple(coords.shape)}"
        raise ValueError(f"voxel coordinates must be int32 (V, 4): batch, x, y, z; got {got}")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    rows = coords.cpu().numpy()
    if not len(rows):
        return None
    if rows.min() < 0:
        row = int((rows < 0).any(axis=1).argmax())
        raise ValueError(f"voxel {row} has a negative coordinate: {rows[row].tolist()}; shift the room to start at 0")
    if rows[:, 0].max() >= batch_size:
        row = int(rows[:, 0].argmax())
        raise ValueError(f"voxel {row} is in room {rows[row, 0]} (counted from 0), but batch_size is {batch_size}")
    keys, _ = voxel_keys(rows, batch_size)
    if is_ascending(keys):
        return None
    order = keys.argsort()
    same = np.flatnonzero(np.diff(keys[order]) == 0)
    if len(same):
        first, second = sorted(order[same[0] : same[0] + 2])
        raise ValueError(f"voxels {first} and {second} have the same coordinates: {rows[first].tolist()}")
    return torch.from_numpy(order).to(coords.device)


def _join(
    pairs: list[tuple[np.ndarray, np.ndarray]], orders: tuple[np.ndarray | None, ...], sizes: tuple[int, int]
) -> KernelMap:
    """The map of the pairs (input ranks, output ranks) of each offset, both ascending.

    `orders` has the rows of input and output voxels by rank, None where rank and row are the same; `sizes` counts them.
    """
    starts = list(itertools.accumulate((len(ranks) for ranks, _ in pairs), initial=0))
    index, blocks = [], []
    for side, (order, size) in enumerate(zip(orders, sizes)):
        edges = np.arange(-(-size // BLOCK) + 1, dtype=np.int32) * BLOCK
        found = [start + np.searchsorted(pair[side], edges) for start, pair in zip(starts, pairs)]
        blocks.append(np.stack(found, axis=1))
        ranks = np.concatenate([pair[side] for pair in pairs])
        index.append(torch.from_numpy(ranks if order is None else order[ranks]))
    (in_index, out_index), (in_blocks, out_blocks) = index, blocks
    return KernelMap(in_index, out_index, in_blocks, out_blocks, *sizes)


def submanifold_map(coords: Int32[Tensor, "V 4"], batch_size: int) -> KernelMap:
    """The map of a submanifold convolution with kernel 3: outputs where the inputs are.

    Offset k = (i, j, l) joins output (x, y, z) with input (x, y, z) + (i, j, l) - 1. This equals a dense conv3d with
    padding 1; k counts l fastest.

    Args:
        coords: batch index, x, y, z of each voxel, as `voxel_order` admits them, in any order.
        batch_size: number of rooms in the batch.

    Returns:
        The map of 27 offsets; an offset and its mirror image hold the same pairs, transposed.
    """
    keys, steps = voxel_keys(coords.cpu().numpy(), batch_size, margin=1)
    order = None if is_ascending(keys) else keys.argsort().astype(np.int32)
    keys = keys if order is None else keys[order]
    pairs = []
    for offset in itertools.islice(itertools.product((-1, 0, 1), repeat=3), 13):
        source, target = np.empty((2, len(keys)), np.int32)
        count = find_shifted(keys, sum(o * s for o, s in zip(offset, steps)), source, target)
        pairs.append((source[:count], target[:count]))
    rank = np.arange(len(keys), dtype=np.int32)
    pairs += [(rank, rank), *((target, source) for source, target in reversed(pairs))]
    return _join(pairs, (order, order), (len(keys), len(keys))).to(coords.device)


def downsample_map(coords: Int32[Tensor, "V 4"], batch_size: int) -> tuple[Int32[Tensor, "W 4"], KernelMap]:
    """The map of a convolution with kernel 2 and stride 2: cells of 2 x 2 x 2 voxels become one.

    Args:
        coords: batch index, x, y, z of each voxel, as `voxel_order` admits them, in any order.
        batch_size: number of rooms in the batch.

    Returns:
        Coordinates of the coarse voxels (halved, sorted), and the map of 8 offsets from fine to coarse.
    """
    rows = coords.cpu().numpy()
    coarse = rows >> np.array([0, 1, 1, 1], np.int32)
    child = (rows[:, 1] & 1) * 4 + (rows[:, 2] & 1) * 2 + (rows[:, 3] & 1)
    keys, _ = voxel_keys(coarse, batch_size)
    # Ranked by parent first, so that parents ascend with their children.
    order = (keys * 8 + child).argsort()
    keys, child = keys[order], child[order]
    is_first = np.diff(keys, prepend=-1) != 0
    parent = np.cumsum(is_first, dtype=np.int32) - np.int32(1)
    children = [np.flatnonzero(child == k).astype(np.int32) for k in range(8)]
    coarse_coords = np.ascontiguousarray(coarse[order[is_first]])
    pairs, sizes = [(rank, parent[rank]) for rank in children], (len(order), len(coarse_coords))
    kernel_map = _join(pairs, (order.astype(np.int32), None), sizes)
    return torch.from_numpy(coarse_coords).to(coords.device), kernel_map.to(coords.device)


class SparseGrid:
    """The voxels of one resolution, and the kernel maps that all layers on them share.

    Args:
        coords: batch index, x, y, z in voxels of this resolution; unique rows, not negative.
        batch_size: number of rooms.
        finer: grid of half the voxel size that this one was made from; its voxels are not checked again.
        checked: whether `voxel_order` has seen these voxels; otherwise they are checked here.

    Raises:
        ValueError: what `voxel_order` refuses.
    """

    def __init__(
        self, coords: Int32[Tensor, "V 4"], batch_size: int, finer: "SparseGrid | None" = None, *, checked: bool = False
    ) -> None:
        if finer is None and not checked:
            voxel_order(coords, batch_size)
        self.coords, self.batch_size, self.finer = coords, batch_size, finer
        self.stride: int = 1 if finer is None else 2 * finer.stride
        self.shared: dict[str, Any] = {} if finer is None else finer.shared  # what a backend saves for all levels

    def __len__(self) -> int:
        return len(self.coords)

    @cached_property
    def extent(self) -> tuple[int, ...]:
        """Voxels along x, y and z from 0 to the last one."""
        if self.finer is not None:
            return tuple((n + 1) // 2 for n in self.finer.extent)
        return tuple(n + 1 for n in self.coords[:, 1:].amax(dim=0).tolist()) if len(self) else (0, 0, 0)

    @cached_property
    def submanifold(self) -> KernelMap:
        """The map from these voxels to themselves, made once."""
        return submanifold_map(self.coords, self.batch_size)

    @cached_property
    def coarser(self) -> tuple["SparseGrid", KernelMap]:
        """The voxels of twice the size and the map to them, made once."""
        coords, kernel_map = downsample_map(self.coords, self.batch_size)
        return SparseGrid(coords, self.batch_size, finer=self), kernel_map
