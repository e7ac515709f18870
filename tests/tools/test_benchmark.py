"""The benchmark tool: every candidate runs, and unknown names are bad usage."""

import importlib
import os
from collections.abc import Callable

import pytest
import torch

from tools import benchmark
from tools.benchmarks.conv import conv
from tools.benchmarks.criterion import CRITERIA, criterion_step
from tools.benchmarks.measure import count_waits, in_own_process, median_ms
from tools.benchmarks.metrics import metrics
from tools.benchmarks.train import PHASES, train

SMALL = ["model.unet.channels=[16]", "model.decoder.num_layers=1", "model.decoder.num_queries=10"]


@pytest.mark.parametrize("name", CRITERIA)
def test_every_criterion_runs(name: str) -> None:
    criterion_step(name, num_queries=6, num_instances=3, num_tokens=20)()


def test_medians_leave_out_the_first_round() -> None:
    calls = []
    times = median_ms({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=2)
    assert calls == ["a", "b"] * 3
    assert set(times) == {"a", "b"}


def test_unknown_name_is_bad_usage(tool: Callable[..., tuple[int, str, str]]) -> None:
    status, _, errors = tool("benchmark", "criterium")
    assert status == 2
    assert errors.startswith("error: unknown benchmark 'criterium'; expected one of criterion")
    for name, module in benchmark.BENCHMARKS.items():
        assert callable(getattr(importlib.import_module(f"tools.benchmarks.{module}"), name))


def test_a_process_of_its_own() -> None:
    assert in_own_process(os.getpid) != os.getpid()


def test_metrics_agree_with_the_straightforward_way() -> None:
    result = metrics(rounds=1, num_scenes=2, num_points=4000)
    assert result["largest_difference"] == 0
    assert len(result["ms_per_scene"]) == 4
    assert result["kib_kept_per_scene"] < 20


def test_convolutions_agree_and_are_timed() -> None:
    """Where spconv is installed, the benchmark itself compares the numbers of both."""
    before = torch.get_num_threads()
    result = conv(rounds=1, num_points=2000)
    assert torch.get_num_threads() == before
    assert result["pairs"] > result["voxels"] > 500
    for what in ("pairs", "32 channels, forward", "96 channels, backward"):
        assert result[f"1 thread, {what}"]["pcseg"]["cpu_ms"] >= 0


def test_reads_are_counted_outside_the_optimizer() -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([weight])  # reads its number of steps

    def step() -> None:
        loss = weight.sum() * (1 if (weight > 0).all() else 2) + weight[weight > 0].sum()
        loss.backward()
        optimizer.step()

    # The condition, and the second index, forward and backward.
    assert count_waits(step, torch.device("cpu")) == 3


def test_phases_of_training_add_up() -> None:
    found = train(1, 3000, 1, (0,), *SMALL)["cpu, 0 loader processes"]
    shares = [found[f"share_{phase}"] for phase in PHASES]
    assert sum(shares) == pytest.approx(1)
    assert min(shares) > 0
    assert found["rooms_per_second"] > 0
    assert 0 < found["share_waiting_for_loader"] < 1
    # Which superpoints of the room belong to an object; and what the optimizer of the CPU asks the scaler.
    assert found["waits"] == 2
