"""Data loading with readable worker errors."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from pcseg.data.dataset import RoomDataset, collate
from pcseg.structures import SceneBatch


def load_batches(rooms: RoomDataset, sampler: Sampler, num_workers: int) -> Iterator[SceneBatch]:
    """The batches that a sampler asks for, on the CPU and in its order.

    Args:
        rooms: dataset.
        sampler: gives the keys of each batch.
        num_workers: loader processes; 0 loads in this one.

    Raises:
        ValueError: a room is damaged or does not fit the config; the same with and without loader processes.
    """
    loader = DataLoader(
        _Batches(rooms),
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

    def __init__(self, rooms: RoomDataset) -> None:
        self.rooms = rooms

    def __getitem__(self, keys: Sequence[tuple[tuple[int, ...], int]]) -> SceneBatch | ValueError | OSError:
        try:
            return collate([self.rooms[key] for key in keys])
        except (ValueError, OSError) as error:
            return error
