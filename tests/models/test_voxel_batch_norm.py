"""Messages between processes in their order, without other processes: what they send is made up."""

import pytest
import torch
from torch import Tensor

from pcseg.models.voxel_batch_norm import Exchange, VoxelBatchNorm, synchronize


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[list[float]]:
    """What this process, of two, sends; the other one sends zeros."""
    messages: list[list[float]] = []

    def all_gather(parts: list[Tensor], values: Tensor) -> None:
        messages.append(values.tolist())
        parts[0].copy_(values)
        parts[1].zero_()

    monkeypatch.setattr("torch.distributed.all_reduce", lambda values: messages.append(values.tolist()))
    monkeypatch.setattr("torch.distributed.all_gather", all_gather)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 2)
    return messages


def test_nothing_is_sent_twice(sent: list[list[float]]) -> None:
    exchange = Exchange()
    exchange.sum(torch.tensor([1.0]))
    exchange.gather(torch.tensor([2.0]))
    exchange.catch_up()
    for value in (3.0, 4.0, 5.0):
        exchange.sum(torch.tensor([value]))
    assert sent == [[1.0], [2.0], [5.0]]
    exchange.begin()
    exchange.sum(torch.tensor([6.0]))
    assert sent[3:] == [[6.0]]


def test_process_without_rooms_adds_zeros(sent: list[list[float]]) -> None:
    exchange = Exchange()
    exchange.begin(silent=True)
    assert exchange.sum(torch.tensor([1.0])).tolist() == [0.0]
    assert [part.tolist() for part in exchange.gather(torch.tensor([2.0]))] == [[0.0], [0.0]]
    exchange.begin()
    assert exchange.sum(torch.tensor([1.0])).tolist() == [1.0]


@pytest.mark.parametrize("num_voxels", [1, 2, 7])
def test_batch_norm_with_a_process_without_rooms(sent: list[list[float]], num_voxels: int) -> None:
    plain, shared = torch.nn.BatchNorm1d(3), VoxelBatchNorm(3)
    synchronize(shared)
    x = torch.randn(num_voxels, 3)
    found = shared(x)
    if num_voxels > 1:
        torch.testing.assert_close(found, plain(x))
        torch.testing.assert_close(shared.running_var, plain.running_var)
    assert found.isfinite().all()
    assert shared.running_var is not None
    assert shared.running_var.isfinite().all()
    assert len(sent) == 1
