"""Several processes, started by torchrun: who takes which scenes, and how results come together."""

import os
from dataclasses import dataclass
from typing import Any, TypeVar

import torch.distributed as dist

Value = TypeVar("Value")


@dataclass(frozen=True)
class Processes:
    """This process among all of a job.

    Args:
        rank: 0 for the one that prints and writes.
        world: number of processes.
        local_rank: rank on this machine, which is the GPU to take.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0

    @property
    def is_first(self) -> bool:
        """Whether this process prints and writes."""
        return self.rank == 0

    def share(self, num: int) -> range:
        """Which of `num` things this process does; every thing is done by exactly one process."""
        return range(self.rank, num, self.world)

    def gather(self, value: Value) -> list[Value]:
        """The values of all processes, in the order of their ranks; every process gets them."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def close(self) -> None:
        """Leaves the job once all processes are done."""
        if self.world > 1:
            dist.barrier()
            dist.destroy_process_group()


def join_processes() -> Processes:
    """Joins the job that torchrun started; alone where it did not.

    Results are small and on the CPU, so gloo carries them, with GPUs too.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return Processes()
    dist.init_process_group("gloo")
    return Processes(dist.get_rank(), world, int(os.environ.get("LOCAL_RANK", "0")))
