"""The order in which rooms are visited."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass

import numpy as np
from torch.utils.data import Sampler


@dataclass(eq=False)
class ResumableSampler(Sampler):
    """The rooms of each training step: every epoch a new order, which depends only on the seed and the step.

    There is no hidden state: a run that resumes at step n sees what the interrupted run would have seen. A step takes
    the next rooms of the order. Each micro-batch of each process takes its share of `batch_size`, or fewer rooms if
    `max_voxels` is reached.

    Raises:
        ValueError: no rooms, or fewer rooms per step than processes times micro-batches.
    """

    num_rooms: int  # of the dataset
    batch_size: int  # rooms per step, over all processes and micro-batches
    num_steps: int  # of the whole run
    _: KW_ONLY
    seed: int  # of the order
    start: int = 0  # first step to give
    rank: int = 0  # of this process
    world: int = 1  # number of processes
    accumulate: int = 1  # micro-batches per step in each process; one item for each
    num_voxels: Sequence[int] | None = None  # of each room, needed for `max_voxels`
    max_voxels: int = 0  # most voxels of a micro-batch, except for a larger room by itself; 0 for any number

    def __post_init__(self) -> None:
        if self.num_rooms == 0:
            raise ValueError("there are no rooms to train on")
        if self.batch_size < (least := self.world * self.accumulate):
            raise ValueError(
                f"train.batch_size {self.batch_size} must be at least {least}: one room for each of {self.world} "
                f"processes times train.accumulate {self.accumulate}"
            )

    def __len__(self) -> int:
        return (self.num_steps - self.start) * self.accumulate

    def __iter__(self) -> Iterator[list[tuple[tuple[int, ...], int]]]:
        order = self._order()
        waiting = next(order)
        groups = self.world * self.accumulate
        sizes = [0] * self.num_rooms if self.num_voxels is None else self.num_voxels
        for step in range(self.num_steps):
            for group in range(groups):
                visits, voxels = [], 0
                for _ in range(group, self.batch_size, groups):
                    voxels += sizes[waiting[1]]
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
