import copy
import itertools
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pcseg.data.dataset import collate
from pcseg.losses.criterion import Criterion, scene_mean
from pcseg.structures import SceneBatch
from pcseg.training.loop import TooManySkippedError, TrainOptions, TrainState, grad_scaler, is_out_of_memory, train
from pcseg.training.optimizer import OptimizerOptions, WeightAverage, learning_rate
from tests.conftest import refuses

CPU = torch.device("cpu")
Fault = Callable[[SceneBatch, int], float]  # factor of the outputs for a batch and the number of the call


def _room(index: int, num_voxels: int = 4) -> SceneBatch:
    generator, rows = torch.Generator().manual_seed(index), torch.arange(num_voxels)
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
    """One linear layer, and a buffer that every forward pass changes."""

    def __init__(self, fault: Fault) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.register_buffer("seen", torch.zeros(()))
        self.fault, self.calls = fault, 0

    def forward(self, batch: SceneBatch) -> dict[str, list[Tensor]]:
        self.calls += 1
        values = self.layer(batch.voxel_features)
        self.seen += values.detach().float().sum()
        values = values * self.fault(batch, self.calls)
        return {"pred_values": list(values.split(batch.superpoint_offsets.diff().tolist())), "aux_outputs": []}


class _Criterion(Criterion):
    def forward(self, outputs: dict[str, list[Tensor]], targets: list, progress: float = 0.0) -> dict[str, Tensor]:
        rooms = [room.float() for room in outputs["pred_values"]]
        terms = {"loss_square": [room.square() for room in rooms], "loss_size": [room.abs() for room in rooms]}
        means = {key: scene_mean([room.mean()[None] for room in values]) for key, values in terms.items()}
        return self.named_losses(means, [outputs], targets)


class _Run:
    """Parts of a run, and the records of its steps."""

    def __init__(self, fault: Fault = lambda batch, call: 1.0, *, weight=1.0, clip_norm=0.0, **options: Any) -> None:
        torch.manual_seed(0)
        self.model = _Model(fault)
        self.criterion = _Criterion({"loss_square": weight, "loss_size": 0.5 * weight})
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.1, fused=True)
        self.options, self.rates = options, OptimizerOptions(lr=0.1, warmup=0.0, clip_norm=clip_norm)
        self.scaler = grad_scaler(CPU, options.get("precision", "float32"))
        self.state, self.records = TrainState(), list[dict[str, Any]]()

    def train(self, steps: int, rooms: Iterable[SceneBatch] | None = None, **more: Any) -> list[dict[str, Any]]:
        rooms = map(_room, itertools.count(self.state.step)) if rooms is None else rooms
        options = TrainOptions(steps=steps, **self.options)
        parts = self.model, self.criterion, self.optimizer, rooms, options, self.rates
        train(*parts, state=self.state, scaler=self.scaler, log=self.records.append, **more)
        return self.records

    def gradients(self) -> Tensor:
        return torch.cat([p.grad.flatten() for p in self.model.parameters() if p.grad is not None])

    def content(self) -> list[Tensor]:
        moments = [value for state in self.optimizer.state.values() for value in state.values()]
        return [value.clone() for value in [*self.model.state_dict().values(), *moments]]


def _equal(before: list[Tensor], after: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def _nan_at(*calls: int) -> Fault:
    return lambda batch, call: float("nan") if call in calls else 1.0


def test_micro_batches_give_the_gradients_of_the_whole() -> None:
    whole, divided = _Run(), _Run(accumulate=2)
    whole.train(1, [collate([_room(0), _room(1), _room(2)])])
    (record,) = divided.train(1, [collate([_room(0), _room(1)]), _room(2)])
    torch.testing.assert_close(divided.gradients(), whole.gradients())
    assert record["loss"] == pytest.approx(record["loss_square"] + 0.5 * record["loss_size"])
    assert (record["loss"], record["rooms"]) == (pytest.approx(whole.records[0]["loss"]), 3)
    assert record["grad_norm"] == pytest.approx(float(divided.gradients().norm()))
    clipped = _Run(clip_norm=1e-3)
    assert clipped.train(1)[0]["grad_norm"] > 1e-3
    assert clipped.gradients().norm() == pytest.approx(1e-3, rel=1e-3)


def test_records_and_rates() -> None:
    run, reads = _Run(accumulate=2, log_every=2), list[int]()
    average = WeightAverage(run.model, 0.9)
    records = run.train(5, average=average, after_log=lambda: reads.append(run.state.step))
    assert [record["step"] for record in records] == [1, 2, 3, 4, 5]
    assert [record["lr"] for record in records] == [learning_rate(step, 5, run.rates) for step in range(5)]
    expected = ["step", "lr", "grad_norm", "loss", "loss_square", "loss_size", "rooms", "seconds", "loading_seconds"]
    assert (list(records[0]), {record["rooms"] for record in records}) == ([*expected, "skipped"], {2})
    assert (reads, run.model.calls) == ([2, 4, 5], 10)
    assert run.state.seconds == pytest.approx(sum(record["seconds"] for record in records))
    assert average.num_updates == 5
    assert not torch.equal(average.weights["layer.weight"], run.model.layer.weight)
    assert [r["loss"] for r in _Run(accumulate=2).train(5)] == [r["loss"] for r in records]


@pytest.mark.skipif(not torch.set_flush_denormal(False), reason="a CPU that cannot")
def test_numbers_too_small_for_float32_are_zero_in_steps_alone() -> None:
    small, seen = torch.full((8,), 1e-30), list[bool]()

    def is_any(*_: Any) -> float:
        seen.append(bool((small * 1e-10).any()))
        return 1.0

    _Run(is_any).train(1, after_log=is_any)
    assert seen == [False, True]
    refuses("size of tensor", _Run(lambda batch, call: torch.ones(7)).train, 1, error=RuntimeError)
    assert (small * 1e-10).all()


def test_a_step_that_is_not_finite_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    run, seen = _Run(_nan_at(2), max_skipped=1), list[list[Tensor]]()
    records = run.train(3, after_log=lambda: seen.append(run.content()))
    assert [_equal(*pair) for pair in itertools.pairwise(seen)] == [True, False]
    assert [record["skipped"] for record in records] == [0, 1, 1]
    assert (run.state.skipped, run.state.skipped_in_a_row, run.state.overflows) == (1, 0, 0)
    assert "step 2: loss_square, loss_size not finite on room_1; the step is skipped, 1 so far" in caplog.text


@pytest.mark.parametrize("log_every", [1, 3])
def test_too_many_of_them_stop_the_run_and_give_the_batch(log_every: int) -> None:
    run = _Run(_nan_at(2, 3, 4), max_skipped=2, log_every=log_every)
    with pytest.raises(TooManySkippedError, match=r"step 4: .* not finite on room_3; .* 3 consecutively") as error:
        run.train(6)
    assert run.state.skipped == 3
    assert [batch.names for batch in error.value.batches] == [["room_3"]]


def test_other_faults_than_the_loss() -> None:
    run = _Run(max_skipped=0)
    run.model.layer.weight.register_hook(lambda grad: grad * torch.inf)
    refuses("the gradients not finite on room_0", run.train, 2, error=TooManySkippedError)
    with pytest.raises(RuntimeError, match="allocate") as error:
        torch.empty(10**15)
    assert is_out_of_memory(error.value)
    refuses("size of tensor", _Run(lambda batch, call: torch.ones(7)).train, 1, error=RuntimeError)


@pytest.mark.parametrize("moment", ["forward", "backward"])
def test_out_of_memory(moment: str, caplog: pytest.LogCaptureFixture) -> None:
    def out_of_memory(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    def fault(batch: SceneBatch, call: int) -> float:
        if "room_3" in batch.names:
            if moment == "forward":
                out_of_memory()
            handles.append(run.model.layer.weight.register_hook(out_of_memory))
        else:
            [handle.remove() for handle in handles]
        return 1.0

    handles, seen = [], list[list[Tensor]]()
    run = _Run(fault, accumulate=2, max_skipped=1)
    rooms = [_room(0), _room(1), _room(2), collate([_room(3), _room(4)]), _room(5), _room(6)]
    records = run.train(3, rooms, after_log=lambda: seen.append(run.content()))
    assert [_equal(*pair) for pair in itertools.pairwise(seen)] == [True, False]
    assert [record["rooms"] for record in records] == [2, 0, 2]
    assert run.state.left_out == {"room_3": 1, "room_4": 1}
    assert "step 2: out of memory on room_3, room_4; the step is skipped, 1 so far" in caplog.text


def test_fp16_finds_its_scale_and_resumes_to_the_bit() -> None:
    run = _Run(weight=100.0, precision="fp16")
    before = run.model.layer.weight.clone()
    records = run.train(12)
    scale = run.scaler.get_scale()
    assert 1 <= scale < 2**16
    assert run.state.overflows == pytest.approx(16 - torch.tensor(scale).log2().item())
    assert 0 < run.state.overflows < 12
    assert run.state.skipped == 0
    assert records[-1]["grad_norm"] < float("inf")
    assert not torch.equal(before, run.model.layer.weight)
    run, resumed = (_Run(weight=100.0, precision="fp16") for _ in range(2))

    def stop() -> None:
        if run.state.step == 4:
            for name in ("model", "optimizer", "scaler"):
                getattr(resumed, name).load_state_dict(copy.deepcopy(getattr(run, name).state_dict()))

    run.train(8, after_log=stop)
    resumed.state.step = 4
    resumed.train(8)
    assert _equal(run.content(), resumed.content())


@pytest.mark.parametrize(("precision", "error"), [("bf16", 0.02), ("fp16", 0.002)])
def test_half_precision_is_near_float32(precision: str, error: float) -> None:
    exact, half = _Run(), _Run(precision=precision)
    (expected,), (found,) = (run.train(1, [collate([_room(0), _room(1)])]) for run in (exact, half))
    for name in ("loss", "grad_norm"):
        assert found[name] == pytest.approx(expected[name], rel=error)
    assert found["loss"] != expected["loss"]
    assert {p.dtype for p in half.model.parameters()} == {torch.float32}
