"""Data loading with readable worker errors."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from pcseg.data.dataset import collate
from pcseg.structures import Batch


def load_batches(
    rooms: Dataset, sampler: Sampler, num_workers: int, collate: Callable[[list], Batch] = collate
) -> Iterator[Any]:
    """The batches that a sampler asks for, on the CPU and in its order; with 0 workers this process loads them.

    Args:
        rooms: rooms or images by key.
        sampler: lists of these keys, one per batch.
        num_workers: number of loader processes; 0 for none.
        collate: from a list of loaded rooms to a batch.

    Raises:
        ValueError: a room is damaged or does not fit the config; the same with and without loader processes.
    """
    loader = DataLoader(
        _Batches(rooms, collate),
        sampler=sampler,
        batch_size=None,  # a key is a whole batch
        num_workers=num_workers,
        # A loader draws once when it starts; from the global generator, a resumed run would have drawn once too often.
        generator=torch.Generator(),
    )
    for batch in loader:
        if isinstance(batch, Exception):
            raise batch
        yield batch


@contextmanager
def reraise_worker_errors() -> Iterator[None]:
    """Turn torch's errors about other processes, which may interrupt any work, into one-line errors.

    Raises:
        ChildProcessError: a loader process was killed or crashed, or another process of the job ended.
    """
    try:
        yield
    except RuntimeError as error:
        first = str(error).partition("\n")[0]
        if "DataLoader worker" in first:
            raise ChildProcessError(
                f"a loader process died: {first} The usual cause is lack of memory: lower train.num_workers, and "
                "continue with --resume"
            ) from None
        if "Connection closed by peer" in first or "Connection reset by peer" in first:
            raise ChildProcessError("another process of this job ended; its message says why") from None
        raise


class _Batches(Dataset):
    """Batches, or the errors that they raise: torch would bury an error under the traceback of its worker."""

    def __init__(self, rooms: Dataset, collate: Callable[[list], Batch]) -> None:
        self.rooms, self.collate = rooms, collate

    def __getitem__(self, keys: Sequence[tuple[tuple[int, ...], int]]) -> Batch | ValueError | OSError:
        try:
            return self.collate([self.rooms[key] for key in keys])
        except (ValueError, OSError) as error:
            return error
