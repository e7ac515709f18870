"""Batches that go from one process to another in one block of shared memory, not in one for every tensor.

Each block costs a file descriptor and a connection between the two processes, and the one that trains waits for it.
"""

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from pcseg.structures import SceneBatch

ALIGNMENT = 64  # bytes; tensors start at multiples of it

# Name, type, shape, first byte and end of each tensor.
Layout = list[tuple[str, torch.dtype, tuple[int, ...], int, int]]


def reduce_batch(batch: SceneBatch) -> tuple[Callable[..., SceneBatch], tuple[Any, ...]]:
    """How a batch is pickled for another process: all of its tensors as one.

    Args:
        batch: on the CPU.

    Returns:
        `restore_batch` and its arguments, as ``__reduce__`` gives them.
    """
    own = {f.name: value for f in fields(batch) if isinstance(value := getattr(batch, f.name), Tensor)}
    parts: list[Any] = [own, *(batch.targets or [])]
    layouts: list[Layout] = []
    size = 0
    for part in parts:
        layout = []
        for name, tensor in part.items():
            layout.append((name, tensor.dtype, tuple(tensor.shape), size, size + tensor.nbytes))
            size += -(-tensor.nbytes // ALIGNMENT) * ALIGNMENT
        layouts.append(layout)
    block = torch.empty(size, dtype=torch.uint8).share_memory_()
    for part, layout in zip(parts, layouts):
        for name, place in _tensors(block, layout).items():
            place.copy_(part[name])
    return restore_batch, (block, layouts, batch.names, batch.targets is not None)


def restore_batch(
    block: UInt8[Tensor, "bytes"], layouts: Sequence[Layout], names: list[str], labeled: bool
) -> SceneBatch:
    """The batch whose tensors lie in a block.

    Args:
        block: bytes of all tensors; they stay there.
        layouts: where those of the batch itself are, then those of the targets of each room.
        names: of the rooms.
        labeled: whether the batch has targets.
    """
    own, *targets = [_tensors(block, layout) for layout in layouts]
    return SceneBatch(names=names, targets=targets if labeled else None, **own)  # type: ignore[arg-type]


def _tensors(block: Tensor, layout: Layout) -> dict[str, Any]:
    """Parts of a block under their names, of their own types and shapes."""
    return {name: block[start:end].view(dtype).view(shape) for name, dtype, shape, start, end in layout}
