"""The loop on a model of a few numbers: parts, precision, what is skipped and counted, what waits for the device."""

import copy
import itertools
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from pcseg.data.dataset import collate
from pcseg.losses.criterion import Criterion
from pcseg.losses.terms import scene_mean
from pcseg.structures import SceneBatch
from pcseg.training.distributed import DistributedContext
from pcseg.training.optimizer import WeightAverage
from pcseg.training.stepper import Stepper, is_out_of_memory
from pcseg.training.trainer import NotFiniteError, TrainState, save_batch, train


def _room(index: int, num_voxels: int = 4) -> SceneBatch:
    generator = torch.Generator().manual_seed(index)
    rows = torch.arange(num_voxels)
    return SceneBatch(
        voxel_coords=torch.stack([0 * rows, rows, 0 * rows, 0 * rows], 1).int(),
        voxel_features=torch.randn(num_voxels, 3, generator=generator),
        pair_voxel=rows,
        pair_superpoint=rows,
        pair_points=torch.ones(num_voxels),
        superpoint_xyz=torch.randn(num_voxels, 3, generator=generator),
        superpoint_offsets=torch.tensor([0, num_voxels]),
        names=[f"room_{index}"],
        targets=[{"labels": torch.zeros(0).long(), "instance_labels": torch.zeros(num_voxels).long()}],
    )


class _Model(nn.Module):
    """One linear layer; a buffer that every forward pass changes; faults on demand."""

    def __init__(self, fault: Callable[[SceneBatch, int], float] = lambda batch, call: 1.0) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.register_buffer("seen", torch.zeros(()))
        self.fault, self.calls = fault, 0

    def forward(self, batch: SceneBatch) -> dict[str, list[Tensor]]:
        self.calls += 1
        scale = self.fault(batch, self.calls)
        values = self.layer(batch.voxel_features) * scale
        self.seen += values.detach().float().sum()
        sizes = batch.superpoint_offsets.diff().tolist()
        return {"pred_values": list(values.split(sizes)), "aux_outputs": []}


class _Criterion(Criterion):
    def __init__(self, weight: float = 1.0) -> None:
        super().__init__({"loss_square": weight, "loss_size": 0.5 * weight})

    def forward(
        self, outputs: dict[str, list[Tensor]], targets: list[object], progress: float = 0.0
    ) -> dict[str, Tensor]:
        values = [room.float() for room in outputs["pred_values"]]
        squares = scene_mean([room.square().mean()[None] for room in values])
        sizes = scene_mean([room.abs().mean()[None] for room in values])
        return self.named_losses({"loss_square": squares, "loss_size": sizes}, [outputs], targets)


def _stepper(
    fault: Callable[[SceneBatch, int], float] = lambda batch, call: 1.0, *, weight: float = 1.0, **options: object
) -> Stepper:
    torch.manual_seed(0)
    model = _Model(fault)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    return Stepper(model, _Criterion(weight), optimizer, **options)


def _gradients(stepper: Stepper) -> list[Tensor]:
    return [p.grad for p in stepper.parameters if p.grad is not None]


def _train(stepper: Stepper, num_steps: int, *, state: TrainState | None = None, **options: object) -> list[dict]:
    records: list[dict] = []
    rooms = (_room(index) for index in itertools.count())
    train(
        stepper,
        rooms,
        TrainState() if state is None else state,
        num_steps=num_steps,
        rate=lambda step: 0.1 / (1 + step),
        log=records.append,
        **options,
    )
    return records


def _out_of_memory_on(name: str | None = None, *, most: int = 9) -> Callable[[SceneBatch, int], float]:
    def fault(batch: SceneBatch, call: int) -> float:
        if name in batch.names or len(batch) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return 1.0

    return fault


def _nan_at(*calls: int) -> Callable[[SceneBatch, int], float]:
    return lambda batch, call: float("nan") if call in calls else 1.0


def test_parts_give_the_gradients_of_the_whole() -> None:
    whole, parted = _stepper(), _stepper()
    whole.step([collate([_room(i) for i in range(3)])])
    outcome = parted.step([collate([_room(0), _room(1)]), _room(2)])
    for a, b in zip(_gradients(whole), _gradients(parted), strict=True):
        torch.testing.assert_close(a, b)
    assert outcome.names == ["grad_norm", "loss", "loss_square", "loss_size", "rooms"]
    norm, loss, square, size, rooms = outcome.values.tolist()
    assert loss == pytest.approx(square + 0.5 * size)
    assert rooms == 3
    assert norm == pytest.approx(float(torch.cat([g.flatten() for g in _gradients(whole)]).norm()))


def test_gradients_are_clipped() -> None:
    stepper = _stepper(clip_norm=1e-3)
    assert stepper.step([_room(0)]).values[0] > 1e-3
    assert torch.cat([g.flatten() for g in _gradients(stepper)]).norm() == pytest.approx(1e-3, rel=1e-3)


def test_records_and_rates() -> None:
    stepper, state = _stepper(), TrainState()
    average = WeightAverage(stepper.model, 0.9)
    reads: list[int] = []
    records = _train(
        stepper, 5, state=state, accumulate=2, ema=average, log_every=2, after_read=lambda s: reads.append(s.step)
    )
    assert [record["step"] for record in records] == [1, 2, 3, 4, 5]
    assert [record["lr"] for record in records] == [0.1 / (1 + step) for step in range(5)]
    expected = {"step", "lr", "grad_norm", "loss", "loss_square", "loss_size", "rooms", "skipped"}
    assert set(records[0]) == expected | {"seconds", "loading_seconds"}
    assert {record["rooms"] for record in records} == {2}
    assert reads == [2, 4, 5]
    assert stepper.model.calls == 10
    assert state.seconds == pytest.approx(sum(record["seconds"] for record in records))
    assert average.num_updates == 5
    assert not torch.equal(average.weights["layer.weight"], stepper.model.layer.weight)
    one_by_one = _train(_stepper(), 5, accumulate=2)
    assert [r["loss"] for r in one_by_one] == [r["loss"] for r in records]


def test_a_loader_that_ends_ends_the_training() -> None:
    state = TrainState()
    train(_stepper(), [_room(0)], state, num_steps=3, rate=lambda step: 0.1)
    assert state.step == 1


def test_a_step_that_is_not_finite_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    stepper, state = _stepper(_nan_at(2)), TrainState()
    seen: list[list[Tensor]] = []

    def look(state: TrainState) -> None:
        moments = [value for s in stepper.optimizer.state.values() for value in s.values()]
        seen.append([value.clone() for value in [*stepper.model.state_dict().values(), *moments]])

    records = _train(stepper, 3, state=state, max_skipped=1, after_read=look)
    assert all(torch.equal(a, b) for a, b in zip(seen[0], seen[1], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(seen[1], seen[2], strict=True))
    assert [record["skipped"] for record in records] == [0, 1, 1]
    assert (state.skipped, state.skipped_in_a_row, state.overflows) == (1, 0, 0)
    assert "step 2: loss_square, loss_size not finite on room_1; the step is skipped" in caplog.text


@pytest.mark.parametrize("log_every", [1, 3])
def test_too_many_of_them_stop_the_run_and_leave_the_batch(log_every: int, tmp_path: Path) -> None:
    state = TrainState()
    with pytest.raises(NotFiniteError, match="step 4: loss_square, loss_size not finite on room_3; 3 steps") as error:
        _train(_stepper(_nan_at(2, 3, 4)), 6, state=state, max_skipped=2, log_every=log_every)
    assert state.skipped == 3
    save_batch(tmp_path / "bad" / "batch.pt", error.value.parts)
    (content,) = torch.load(tmp_path / "bad" / "batch.pt", weights_only=True)
    batch = SceneBatch(**content)
    assert batch.names == ["room_3"]
    assert torch.equal(batch.voxel_features, _room(3).voxel_features)


def test_gradients_that_are_not_finite_are_found_without_a_bad_loss() -> None:
    def fault(batch: SceneBatch, call: int) -> float:
        stepper.model.layer.weight.register_hook(lambda grad: grad * torch.inf)
        return 1.0

    stepper = _stepper(fault)
    with pytest.raises(NotFiniteError, match="the gradients not finite on room_0"):
        _train(stepper, 2)


def test_room_without_memory_is_left_out_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    stepper, state = _stepper(_out_of_memory_on("room_1", most=2)), TrainState()
    train(
        stepper, [collate([_room(i) for i in range(3)])], state, num_steps=1, rate=lambda step: 0.1, log=lambda r: None
    )
    assert state.left_out == {"room_1": 1}
    assert state.skipped == 0
    assert "out of memory on room_0, room_1, room_2: going on room by room" in caplog.text
    assert "out of memory on room_1 alone: the room is left out of this step" in caplog.text
    other = _stepper()
    outcome = other.step([collate([_room(0), _room(2)])])
    assert outcome.values[-1] == 2
    for a, b in zip(stepper.parameters, other.parameters, strict=True):
        torch.testing.assert_close(a, b)
    torch.testing.assert_close(stepper.model.seen, other.model.seen)  # what failed left no trace


def test_step_without_any_room_is_skipped() -> None:
    stepper, state = _stepper(_out_of_memory_on("room_0")), TrainState()
    before = copy.deepcopy(stepper.model.state_dict())
    records = _train(stepper, 1, state=state, max_skipped=1)
    assert (records[0]["rooms"], records[0]["skipped"]) == (0, 1)
    assert all(torch.equal(value, before[name]) for name, value in stepper.model.state_dict().items())
    with pytest.raises(NotFiniteError, match="no memory for any room on room_0"):
        _train(stepper, 1)


def test_memory_of_several_processes() -> None:
    stepper = _stepper(_out_of_memory_on("room_1"), processes=DistributedContext(rank=1, world=2))
    with pytest.raises(MemoryError, match="process 1: out of memory on room_1, and still with a single voxel of it"):
        stepper.step([_room(1)])


def test_other_errors_are_not_taken_for_lack_of_memory() -> None:
    with pytest.raises(RuntimeError, match="allocate") as error:
        torch.empty(10**15)
    assert is_out_of_memory(error.value)
    assert is_out_of_memory(MemoryError())

    def fault(batch: SceneBatch, call: int) -> float:
        raise RuntimeError("size mismatch")

    with pytest.raises(RuntimeError, match="size mismatch"):
        _stepper(fault).step([_room(0)])


def test_fp16_finds_its_scale_and_counts_that_apart() -> None:
    stepper, state = _stepper(weight=100.0, precision="fp16"), TrainState()
    before = stepper.model.layer.weight.clone()
    records = _train(stepper, 12, state=state)
    scale = stepper.scaler.get_scale()
    assert 1 <= scale < 2**16
    assert state.overflows == pytest.approx(16 - torch.tensor(scale).log2().item())
    assert 0 < state.overflows < 12
    assert state.skipped == 0
    assert records[-1]["grad_norm"] < float("inf")
    assert not torch.equal(before, stepper.model.layer.weight)


@pytest.mark.parametrize(("precision", "error"), [("bf16", 0.02), ("fp16", 0.002)])
def test_half_precision_is_near_float32(precision: str, error: float) -> None:
    exact, half = _stepper(), _stepper(precision=precision)
    values = [stepper.step([collate([_room(0), _room(1)])]).values for stepper in (exact, half)]
    torch.testing.assert_close(values[1], values[0], rtol=error, atol=0)
    assert not torch.equal(*values)
    assert {p.dtype for p in half.parameters} == {torch.float32}


@pytest.mark.parametrize("precision", ["float32", "fp16"])
def test_resumed_steps_are_the_same_to_the_bit(precision: str) -> None:
    whole = _stepper(weight=100.0 if precision == "fp16" else 1.0, precision=precision)
    _train(whole, 4)
    saved = copy.deepcopy((whole.model.state_dict(), whole.state_dict()))
    resumed = _stepper(weight=100.0 if precision == "fp16" else 1.0, precision=precision)
    resumed.model.load_state_dict(saved[0])
    resumed.load_state_dict(saved[1])
    for stepper in (whole, resumed):
        _train(stepper, 8, state=TrainState(step=4))
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


def _transfers(log_every: int) -> int:
    """Numbers that the host asks the device for in 8 steps, each of which would wait on a GPU."""
    stepper, state = _stepper(clip_norm=1.0), TrainState(step=2)
    _train(stepper, 2)  # the first step makes the state of the optimizer
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        _train(stepper, 10, state=state, log_every=log_every)
    waiting = ("aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero")
    return sum(event.name in waiting and "aten::_fused_adamw_" not in _callers(event) for event in profiler.events())


def _callers(event: Any) -> list[str]:
    """The CPU kernel of the optimizer reads its own count of steps; the one for GPUs does not."""
    parent = event.cpu_parent
    return [] if parent is None else [parent.name, *_callers(parent)]


def test_no_step_waits_for_the_device() -> None:
    assert _transfers(log_every=8) == 0


def _rooms_then_fault() -> Iterator[SceneBatch]:
    yield _room(0)
    raise OSError("disk gone")


def test_faults_of_the_loader_are_not_hidden(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    with pytest.raises(OSError, match="disk gone"):
        train(_stepper(), _rooms_then_fault(), TrainState(), num_steps=2, rate=lambda step: 0.1)
