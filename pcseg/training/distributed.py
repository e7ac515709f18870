"""Several processes, started by torchrun: how they share rooms and combine results."""

import os
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

Value = TypeVar("Value")


@dataclass(frozen=True)
class DistributedContext:
    """This process among all processes of a job.

    >>> list(DistributedContext(rank=1, world=2).shard(5))
    [1, 3]
    """

    rank: int = 0  # index of this process; process 0 prints and writes
    world: int = 1  # number of processes
    local_rank: int | None = None  # rank on this machine, which is the index of its GPU; None: one process

    @property
    def is_first(self) -> bool:
        """Whether this process prints and writes."""
        return self.rank == 0

    def shard(self, num: int) -> range:
        """The indices out of 0..num-1 that this process works on; each index belongs to exactly one process."""
        return range(self.rank, num, self.world)

    def gather(self, value: Value) -> list[Value]:
        """The values of all processes, in the order of their ranks; every process gets them."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes, with the same bits in each; without gradient."""
        if self.world == 1:
            return values
        total = values.detach().clone()
        dist.all_reduce(total)
        return total

    def wait_for_all(self) -> None:
        """Return when every process has called this."""
        self.gather(None)

    def close(self) -> None:
        """Leave the job once all processes are done."""
        if self.world > 1:
            self.wait_for_all()
            dist.destroy_process_group()


SINGLE_PROCESS = DistributedContext()


def join_processes() -> DistributedContext:
    """Join the job that torchrun started; without torchrun, a job of one process.

    nccl carries tensors on GPUs and gloo those on the CPU, where evaluation keeps its results.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return SINGLE_PROCESS
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, store=_store_of_torchrun(), rank=int(os.environ["RANK"]), world_size=world)
    return DistributedContext(dist.get_rank(), world, int(os.environ.get("LOCAL_RANK", "0")))


def _store_of_torchrun() -> dist.Store | None:
    """A store with the addresses of the processes since the last restart; None for torch's own choice.

    torchrun's own store outlives its processes, and keeps the addresses of dead ones (pytorch issue 135712).
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    store = dist.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
    return dist.PrefixStore(f"restart {os.environ['TORCHELASTIC_RESTART_COUNT']}", store)
