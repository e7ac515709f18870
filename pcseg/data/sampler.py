"""The order in which rooms are visited."""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler


class ResumableSampler(Sampler):
    """The rooms of each training step: every epoch a new order, which depends only on the seed and the step.

    There is no hidden state: a run that resumes at step n sees what the interrupted run would have seen. A step takes
    the next rooms of the order. Each micro-batch of each process takes its share of `batch_size`, or fewer rooms if
    `max_voxels` is reached.

    Args:
        num_rooms: number of rooms of the dataset.
        batch_size: number of rooms per step, over all processes and micro-batches.
        num_steps: number of steps of the whole run.
        seed: seed of the order.
        start: first step to give.
        rank: rank of this process.
        world: number of processes.
        accumulate: number of micro-batches per step in each process; one item for each.
        num_voxels: number of voxels of each room, needed for `max_voxels`.
        max_voxels: largest number of voxels of a micro-batch, but for a larger room by itself. 0 for any number.

    Raises:
        ValueError: no rooms, or fewer rooms per step than processes times micro-batches.
    """

    def __init__(
        self,
        num_rooms: int,
        batch_size: int,
        num_steps: int,
        *,
        seed: int,
        start: int = 0,
        rank: int = 0,
        world: int = 1,
        accumulate: int = 1,
        num_voxels: Sequence[int] | None = None,
        max_voxels: int = 0,
    ) -> None:
        if num_rooms == 0:
            raise ValueError("there are no rooms to train on")
        if batch_size < world * accumulate:
            raise ValueError(
                f"train.batch_size {batch_size} must be at least {world * accumulate}: one room for each of {world} "
                f"processes times train.accumulate {accumulate}"
            )
        assert not max_voxels or (num_voxels is not None and len(num_voxels) == num_rooms)
        self.num_rooms, self.batch_size, self.num_steps = num_rooms, batch_size, num_steps
        self.seed, self.start, self.rank, self.world, self.accumulate = seed, start, rank, world, accumulate
        self.num_voxels, self.max_voxels = num_voxels, max_voxels

    def __len__(self) -> int:
        return (self.num_steps - self.start) * self.accumulate

    def __iter__(self) -> Iterator[list[tuple[tuple[int, ...], int]]]:
        order = self._order()
        waiting = next(order)
        groups = self.world * self.accumulate
        for step in range(self.num_steps):
            for group in range(groups):
                visits, voxels = [], 0
                for _ in range(group, self.batch_size, groups):
                    voxels += self._size(waiting[1])
                    if visits and voxels > self.max_voxels > 0:
                        break
                    visits.append(waiting)
                    waiting = next(order)
                if step >= self.start and group % self.world == self.rank:
                    yield visits

    def _order(self) -> Iterator[tuple[tuple[int, ...], int]]:
        """All visits of all processes, without end: the seed of its augmentation, and the room."""
        for epoch in itertools.count():
            rooms = np.random.default_rng((self.seed, epoch)).permutation(self.num_rooms)
            for index, room in enumerate(rooms):
                yield (self.seed, 1, epoch * self.num_rooms + index), int(room)

    def _size(self, room: int) -> int:
        return 0 if self.num_voxels is None else self.num_voxels[room]
