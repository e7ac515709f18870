"""The benchmark tool: every candidate runs, and unknown names are bad usage."""

import subprocess
import sys
from pathlib import Path

import pytest

from tools.benchmarks.criterion import CRITERIA, criterion_step
from tools.benchmarks.metrics import metrics
from tools.benchmarks.timing import median_ms

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.parametrize("name", CRITERIA)
def test_every_criterion_runs(name: str) -> None:
    criterion_step(name, num_queries=6, num_instances=3, warm_up=True)()


def test_medians_leave_out_the_first_round() -> None:
    calls = []
    times = median_ms({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=2)
    assert calls == ["a", "b"] * 3
    assert set(times) == {"a", "b"}


def test_unknown_name_is_bad_usage() -> None:
    command = [sys.executable, "tools/benchmark.py", "criterium"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: no benchmark is called 'criterium'; there are criterion")


def test_metrics_agree_with_the_straightforward_way() -> None:
    result = metrics(rounds=1, num_scenes=2, num_points=4000)
    assert result["largest_difference"] == 0
    assert len(result["ms_per_scene"]) == 4
    assert result["kib_kept_per_scene"] < 20
