"""Batches between processes: what arrives is what was sent, in one block of memory."""

from collections.abc import Iterator
from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pcseg.data.batch_transfer import ALIGNMENT, reduce_batch, restore_batch
from pcseg.data.dataset import collate
from pcseg.structures import SceneBatch


def _batch(num_rooms: int, *, labeled: bool = True, num_voxels: int = 5) -> SceneBatch:
    generator = torch.Generator().manual_seed(num_rooms)
    targets = [
        {
            "labels": torch.randint(0, 9, (k,), generator=generator),
            "instance_labels": torch.randint(0, 9, (2,), generator=generator),
            "centers": torch.rand((k, 3), generator=generator),
        }
        for k in range(num_rooms)  # the first room has no instances
    ]
    return SceneBatch(
        voxel_coords=torch.randint(0, 99, (num_voxels, 4), generator=generator, dtype=torch.int32),
        voxel_features=torch.rand((num_voxels, 3), generator=generator),
        pair_voxel=torch.randint(0, 5, (7,), generator=generator),
        pair_superpoint=torch.randint(0, 2, (7,), generator=generator),
        pair_points=torch.rand(7, generator=generator),
        superpoint_xyz=torch.rand((2 * num_rooms, 3), generator=generator),
        superpoint_offsets=2 * torch.arange(num_rooms + 1),
        names=[f"room {i}" for i in range(num_rooms)],
        targets=targets if labeled else None,  # type: ignore[arg-type]
    )


def _tensors(batch: SceneBatch) -> Iterator[tuple[str, Tensor]]:
    for f in fields(batch):
        if isinstance(value := getattr(batch, f.name), Tensor):
            yield f.name, value
    for room, targets in enumerate(batch.targets or []):
        for name, value in targets.items():
            assert isinstance(value, Tensor)
            yield f"{room} {name}", value


def _assert_same(found: SceneBatch, expected: SceneBatch) -> None:
    assert found.names == expected.names
    assert (found.targets is None) == (expected.targets is None)
    mine, theirs = dict(_tensors(found)), dict(_tensors(expected))
    assert list(mine) == list(theirs)
    for name, value in theirs.items():
        assert mine[name].dtype == value.dtype
        assert mine[name].shape == value.shape
        assert torch.equal(mine[name], value)


def _blocks(batch: SceneBatch) -> set[int]:
    return {value.untyped_storage().data_ptr() for _, value in _tensors(batch) if value.numel()}


@pytest.mark.parametrize("num_rooms", [1, 3])
@pytest.mark.parametrize("labeled", [True, False])
@pytest.mark.parametrize("num_voxels", [0, 1, 5])
def test_a_batch_becomes_one_block_and_comes_back(num_rooms: int, labeled: bool, num_voxels: int) -> None:
    batch = _batch(num_rooms, labeled=labeled, num_voxels=num_voxels)
    restore, arguments = reduce_batch(batch)
    assert restore is restore_batch
    found = restore(*arguments)
    _assert_same(found, batch)
    assert len(_blocks(found)) == 1
    assert all(value.data_ptr() % ALIGNMENT == 0 for _, value in _tensors(found) if value.numel())


def test_tensors_with_gaps_between_their_rows() -> None:
    batch = replace(_batch(1), voxel_features=torch.arange(30.0).reshape(5, 6)[:, ::2])
    restore, arguments = reduce_batch(batch)
    _assert_same(restore(*arguments), batch)


def test_what_is_changed_in_one_tensor_stays_there() -> None:
    batch = _batch(2)
    restore, arguments = reduce_batch(batch)
    found = restore(*arguments)
    found.voxel_features.zero_()
    _assert_same(replace(found, voxel_features=batch.voxel_features), batch)


class _Batches(Dataset):
    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> SceneBatch:
        return _batch(index + 1)


def test_a_loader_sends_one_block_a_batch() -> None:
    loader = DataLoader(_Batches(), batch_size=1, collate_fn=collate, num_workers=1)
    found = list(loader)
    assert [len(batch) for batch in found] == [1, 2, 3]
    for batch in found:
        _assert_same(batch, _batch(len(batch)))
        assert len(_blocks(batch)) == 1
