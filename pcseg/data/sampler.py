"""The order in which rooms are visited."""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler


class ResumableSampler(Sampler):
    """Which rooms each training step takes: every epoch a fresh order, decided by the seed and the step alone.

    There is no hidden state: a run that resumes at step n sees what the interrupted run would have seen. A step takes
    the next rooms of the order; each part of each process takes its share of `batch_size`, or fewer where `max_voxels`
    is reached.

    Args:
        num_rooms: rooms of the dataset.
        batch_size: rooms of a step, over all processes and parts.
        num_steps: steps of the whole run.
        seed: of the run.
        start: first step to give.
        rank: of this process.
        world: number of processes.
        parts: batches that one process trains on one after another in a step; one item for each.
        num_voxels: of each room, where `max_voxels` is given.
        max_voxels: most voxels of a part; a room that has more comes alone. 0 for any number.

    Raises:
        ValueError: no rooms, or fewer in a step than processes times parts.
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
        parts: int = 1,
        num_voxels: Sequence[int] | None = None,
        max_voxels: int = 0,
    ) -> None:
        if num_rooms == 0:
            raise ValueError("there are no rooms to train on")
        if batch_size < world * parts:
            raise ValueError(
                f"train.batch_size {batch_size} must be at least {world * parts}: one room for each of {world} "
                f"processes times train.accumulate {parts}"
            )
        assert not max_voxels or (num_voxels is not None and len(num_voxels) == num_rooms)
        self.num_rooms, self.batch_size, self.num_steps = num_rooms, batch_size, num_steps
        self.seed, self.start, self.rank, self.world, self.parts = seed, start, rank, world, parts
        self.num_voxels, self.max_voxels = num_voxels, max_voxels

    def __len__(self) -> int:
        return (self.num_steps - self.start) * self.parts

    def __iter__(self) -> Iterator[list[tuple[tuple[int, ...], int]]]:
        order = self._order()
        waiting = next(order)
        groups = self.world * self.parts
        for step in range(self.num_steps):
            for group in range(groups):
                visits, voxels = [], 0
                for _ in range(group, self.batch_size, groups):  # the share of this group
                    voxels += self._size(waiting[1])
                    if visits and voxels > self.max_voxels > 0:
                        break
                    visits.append(waiting)
                    waiting = next(order)
                if step >= self.start and group % self.world == self.rank:
                    yield visits

    def _order(self) -> Iterator[tuple[tuple[int, ...], int]]:
        """All visits of all processes, without end."""
        for epoch in itertools.count():
            rooms = np.random.default_rng((self.seed, epoch)).permutation(self.num_rooms)
            for index, room in enumerate(rooms):
                yield (self.seed, 1, epoch * self.num_rooms + index), int(room)

    def _size(self, room: int) -> int:
        return 0 if self.num_voxels is None else self.num_voxels[room]
