"""Batches from loader processes, whose faults end a run with one sentence."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from pcseg.data.dataset import RoomDataset, collate
from pcseg.structures import SceneBatch


def load_batches(rooms: RoomDataset, sampler: Sampler, num_workers: int) -> Iterator[SceneBatch]:
    """The batches that a sampler asks for, in its order.

    Args:
        rooms: what it asks from.
        sampler: gives the keys of each batch.
        num_workers: loader processes; 0 loads in this one.

    Raises:
        ValueError: a room is damaged or does not fit the recipe; the same with and without loader processes.
    """
    loader = DataLoader(
        _Rooms(rooms),
        batch_sampler=sampler,
        collate_fn=_collate,
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
    """Turns torch's error about a loader process, which may come in the middle of any work, into one sentence.

    Raises:
        ChildProcessError: a loader process was killed or crashed.
    """
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise ChildProcessError(
            f"a loader process died: {str(error).splitlines()[0]} Most often memory has run out: lower "
            "train.num_workers, and continue with --resume"
        ) from None


class _Rooms(Dataset):
    """Rooms, or the errors that they gave: torch would bury the sentence of an error under the worker's traceback."""

    def __init__(self, rooms: RoomDataset) -> None:
        self.rooms = rooms

    def __getitem__(self, key: tuple[tuple[int, ...], int]) -> SceneBatch | ValueError | OSError:
        try:
            return self.rooms[key]
        except (ValueError, OSError) as error:
            return error


def _collate(parts: Sequence[SceneBatch | ValueError | OSError]) -> SceneBatch | ValueError | OSError:
    rooms = []
    for part in parts:
        if isinstance(part, Exception):
            return part
        rooms.append(part)
    return collate(rooms)
