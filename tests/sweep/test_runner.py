"""Sweeps with a trainer that takes no time: runs, finished runs, and errors."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pcseg.sweep.runner import Sweep, parse_space, run_sweep

pytest.importorskip("optuna")

FAKE = (sys.executable, "-S", str(Path(__file__).with_name("fake_train.py")))


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    config = tmp_path / "config.yaml"
    config.write_text("data: {root: rooms, val: [a]}\n")
    space = parse_space(["optimizer.lr=0.01,0.02", "criterion.claims=dual,sinkhorn"])
    return Sweep(config, ("train.steps=5",), space, None, (0, 1), tmp_path / "out", FAKE)


def _calls(sweep: Sweep) -> list[str]:
    """One line for each start of a run."""
    return sorted(line for path in sweep.out.glob("runs/*/*/calls.txt") for line in path.read_text().splitlines())


def test_grid_runs_every_setting_with_every_seed_once(sweep: Sweep) -> None:
    seen: list[int] = []
    rows = run_sweep(sweep, processes=2, on_trial=lambda rows: seen.append(len(rows)))
    assert [row.setting for row in rows] == sweep.grid()
    assert [row.mean("ap") for row in rows] == pytest.approx([0.5005, 0.5005, 0.4905, 0.4905])
    assert all(sorted(row.runs) == [0, 1] for row in rows)
    assert seen == [1, 2, 3, 4]
    assert run_sweep(sweep, processes=3) == rows
    assert len(_calls(sweep)) == 8


def test_runs_that_are_done_count_in_an_interrupted_setting(sweep: Sweep) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_sweep(sweep, on_trial=_interrupt)
    calls = len(_calls(sweep))
    assert calls < 8
    missing = sweep.numbers(sweep.grid()[3], 1)
    missing.parent.mkdir(parents=True)
    missing.write_text(json.dumps({"ap": 0.25, "ap50": 0.5, "ap25": 0.5}))
    rows = run_sweep(sweep)
    assert len(rows) == 4
    assert rows[3].runs[1]["ap"] == 0.25
    assert len(_calls(sweep)) == 7


def _interrupt(rows: object) -> None:
    raise KeyboardInterrupt


def test_failures_are_reported_and_tried_again(sweep: Sweep) -> None:
    sweep = replace(sweep, space=parse_space(["optimizer.lr=0.01,7,8"]), seeds=(0,))
    good, bad, empty = run_sweep(sweep)
    assert good.failure is None
    assert bad.failure is not None
    assert bad.failure.startswith("exit status 2, error: the rate is too high")
    assert empty.failure == "AP is not a number: the held-out rooms have no objects"
    run_sweep(sweep)
    assert [len(p.read_text().splitlines()) for p in sorted(sweep.out.glob("runs/*/*/calls.txt"))] == [1, 2, 1]


def test_search_finds_the_hill_and_may_go_on(sweep: Sweep) -> None:
    space = parse_space(["optimizer.lr=0.001..1:log", "model.decoder.num_queries=20..30"])
    sweep = replace(sweep, space=space, trials=5, seeds=(0,))
    first = run_sweep(sweep, processes=2)
    assert len(first) == 5
    assert all(20 <= int(row.setting["model.decoder.num_queries"]) <= 30 for row in first)
    more = run_sweep(replace(sweep, trials=12))
    assert more[:5] == first
    assert len(more) == 12
    assert len(_calls(sweep)) == 12
    assert max(row.mean("ap") for row in more) > 0.47


def test_search_over_few_values_runs_each_once(sweep: Sweep) -> None:
    sweep = replace(sweep, trials=6, seeds=(0,), space=parse_space(["criterion.claims=dual,sinkhorn"]))
    rows = run_sweep(sweep, processes=3)
    assert len(_calls(sweep)) == len(rows) <= 2


def test_processes_share_the_cores(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    run_sweep(replace(sweep, seeds=(0,)), processes=2)
    assert {call.split()[1] for call in _calls(sweep)} == {"4"}
    with pytest.raises(ValueError, match="processes must be at least 1, got 0"):
        run_sweep(sweep, processes=0)


def test_folder_of_another_sweep(sweep: Sweep) -> None:
    run_sweep(replace(sweep, seeds=(0,)))
    for other in (sweep, replace(sweep, seeds=(0,), fixed=()), replace(sweep, seeds=(0,), trials=3)):
        with pytest.raises(ValueError, match="holds a sweep of another config, space or seeds"):
            run_sweep(other)


def test_without_optuna(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ValueError, match=r"a sweep needs optuna; pip install -e '\.\[sweep\]'"):
        run_sweep(sweep)
