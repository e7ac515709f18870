"""Sweeps with a trainer that takes no time: grids and searches, kills, and their command."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pcseg.sweep import Row, Sweep, best_first, parse_space, run_sweep, to_json, to_markdown
from tests.conftest import ROOT, refuses
from tests.tools.commands import passes, refused

distributions = pytest.importorskip("optuna").distributions

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
    settings = [("0.01", "dual"), ("0.01", "sinkhorn"), ("0.02", "dual"), ("0.02", "sinkhorn")]
    assert [tuple(row.setting.values()) for row in rows] == settings
    assert [row.mean("ap") for row in rows] == pytest.approx([0.5005, 0.5005, 0.4905, 0.4905])
    assert all(sorted(row.runs) == [0, 1] for row in rows)
    assert seen == [1, 2, 3, 4]
    assert run_sweep(sweep, processes=3) == rows
    assert len(_calls(sweep)) == 8


def test_failures_are_reported_and_tried_again(sweep: Sweep) -> None:
    sweep = replace(sweep, space=parse_space(["optimizer.lr=0.01,7,8"]), seeds=(0,))
    good, bad, empty = run_sweep(sweep)
    assert good.failure is None
    assert bad.failure.startswith("exit status 2, error: the rate is too high")
    assert empty.failure == "AP is not a number: the held-out rooms have no objects"
    run_sweep(sweep)
    assert [len(p.read_text().splitlines()) for p in sorted(sweep.out.glob("runs/*/*/calls.txt"))] == [1, 2, 1]


def test_search_finds_the_hill_and_runs_no_setting_twice(sweep: Sweep) -> None:
    space = parse_space(["optimizer.lr=0.001..1:log", "model.decoder.num_queries=20..30"])
    sweep = replace(sweep, space=space, trials=5, seeds=(0,))
    first = run_sweep(sweep, processes=2)
    assert len(first) == 5
    assert all(20 <= int(row.setting["model.decoder.num_queries"]) <= 30 for row in first)
    more = run_sweep(replace(sweep, trials=12))
    assert more[:5] == first
    assert len(more) == len(_calls(sweep)) == 12
    assert max(row.mean("ap") for row in more) > 0.47
    few = replace(sweep, trials=6, space=parse_space(["criterion.claims=dual,sinkhorn"]), out=sweep.out / "few")
    rows = run_sweep(few, processes=3)
    assert len(_calls(few)) == len(rows) <= 2


def test_folders_of_another_sweep_and_without_optuna(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    run_sweep(replace(sweep, seeds=(0,)))
    for other in (sweep, replace(sweep, seeds=(0,), fixed=()), replace(sweep, seeds=(0,), trials=3)):
        refuses("holds a sweep of another config, space or seeds", run_sweep, other)
    monkeypatch.setitem(sys.modules, "optuna", None)
    refuses(r"a sweep needs optuna; pip install -e '\.\[sweep\]'", run_sweep, sweep)


def test_values_intervals_and_mistakes() -> None:
    choices, floats, ints = (getattr(distributions, f"{kind}Distribution") for kind in ("Categorical", "Float", "Int"))
    space = parse_space(["a.b=1,x,1e-3", "c=[8, 16],[4, 8]", "d=1e-4..1e-2:log", "e=20..100", "f=-1..2.5", "g=2,2"])
    assert space == {
        "a.b": choices(("1", "x", "1e-3")),
        "c": choices(("[8, 16]", "[4, 8]")),
        "d": floats(1e-4, 1e-2, log=True),
        "e": ints(20, 100),
        "f": floats(-1.0, 2.5),
        "g": choices(("2",)),
    }
    for items, message in (
        ("a", "must look like key=v1,v2"),
        ("a=", "must look like key=v1,v2"),
        ("a=x..y", "could not convert string to float"),
        ("a=3..1", "low must be a number below high"),
        ("a=0..1:log", "must hold for `log=True`"),
        ("a=1..2:linear", "expected low..high or low..high:log"),
        ("a=1 a=2", "a comes twice"),
    ):
        refuses(message, parse_space, items.split())


def test_folders_are_apart_and_processes_share_the_cores(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["[8, 16]", "[8; 16]", "x" * 300, "x" * 301]
    folders = {sweep.folder({"a": text}, seed) for text in texts for seed in (0, 1)}
    assert len(folders) == 8
    assert all(len(folder.parent.name) < 120 and " " not in folder.parent.name for folder in folders)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    run_sweep(replace(sweep, seeds=(0,)), processes=2)
    assert {call.split()[1] for call in _calls(sweep)} == {"4"}
    refuses("processes must be at least 1, got 0", run_sweep, sweep, processes=0)


def test_config_is_tried_before_anything_runs(sweep: Sweep) -> None:
    def check(space: str, **changes: tuple[str, ...]) -> str:
        return replace(sweep, space=parse_space([space]), **changes).check()

    assert check("optimizer.lr=1e-3") != check("optimizer.lr=1e-2")
    refuses(r"unknown key 'optimizer\.rate'", check, "optimizer.rate=1e-3")
    refuses("expected one of dual", check, "criterion.claims=dual,single")
    refuses(r"optimizer\.lr: a grid takes values", check, "optimizer.lr=1e-3..1e-2")
    refuses(r"data\.val names no rooms", check, "optimizer.lr=1e-3", fixed=("data.val=[]",))


def _runs(*aps: float) -> dict[int, dict[str, float]]:
    return {seed: {"ap": ap, "ap50": ap + 0.1, "ap25": ap + 0.2} for seed, ap in enumerate(aps)}


def test_table_and_numbers() -> None:
    rows = [
        Row({"lr": "0.1", "claims": "dual"}, _runs(0.3, 0.5)),
        Row({"lr": "0.2", "claims": "dual"}, _runs(0.4), "exit status 2, error: too high"),
        Row({"lr": "0.3", "claims": "none"}, _runs(0.45, 0.45)),
    ]
    assert to_markdown(rows).splitlines() == [
        "| lr | claims | AP | AP50 | AP25 | seeds |",
        "|---|---|---|---|---|---|",
        "| 0.1 | dual | 40.0 (30.0 to 50.0) | 50.0 (40.0 to 60.0) | 60.0 (50.0 to 70.0) | 0, 1 |",
        "| 0.2 | dual | failed |  |  | 0 |",
        "| 0.3 | none | 45.0 (45.0 to 45.0) | 55.0 (55.0 to 55.0) | 65.0 (65.0 to 65.0) | 0, 1 |",
        "",
        "lr=0.2 claims=dual: exit status 2, error: too high",
    ]
    assert to_markdown([]) == "no run is done\n"
    assert "| 0.1 | 30.0 | 40.0 | 50.0 | 0 |" in to_markdown([Row({"lr": "0.1"}, _runs(0.3))])
    of_images = to_markdown([Row({"lr": "0.1"}, {0: {"ap": 0.3, "ap50": 0.4, "ap75": 0.2}})])
    assert of_images.splitlines()[::2] == ["| lr | AP | AP50 | AP75 | seeds |", "| 0.1 | 30.0 | 40.0 | 20.0 | 0 |"]
    assert [row.setting["lr"] for row in best_first(rows)] == ["0.3", "0.1", "0.2"], "the failed come last"
    first, second, _ = to_json(rows)["settings"]
    assert (first["ap"], first["runs"]["1"]["ap25"]) == ({"mean": 0.4, "min": 0.3, "max": 0.5}, 0.7)
    assert second["failure"] == "exit status 2, error: too high"
    assert "ap" not in second


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[object, ...]:
    """Name of the tool, and the arguments of every sweep."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # the process of the tests keeps its own handlers
    path = tmp_path / "config.yaml"
    path.write_text("data: {root: rooms, val: [a]}\ntrain: {seed: 4}\n")
    return "sweep", path, "--command", shlex.join(FAKE), "--out", tmp_path / "out"


def test_grid_of_two_processes_leaves_table_and_picture(command, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("FAKE_MEET", "2")  # each of the two runs waits until the other one has begun
    options = ("--grid", "optimizer.lr=0.01,0.02", "--processes", 2, "--json", tmp_path / "n")
    printed, _ = passes(*command, "train.steps=3", *options)
    table = (tmp_path / "out" / "table.md").read_text()
    assert table in printed
    assert "| 0.01 | 50.4 | 60.0 | 70.0 | 4 |" in table
    assert (tmp_path / "out" / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "out" / "table.json").read_text()) == json.loads((tmp_path / "n").read_text())


def test_terminated_sweep_continues(command, tmp_path: Path) -> None:
    command = (*command, "--grid", "optimizer.lr=0.01,0.02,0.03", "--seeds", "0,1")
    name, *arguments = map(str, command)
    program = [sys.executable, str(ROOT / "tools" / f"{name}.py"), *arguments]
    gate, runs = tmp_path / "gate", tmp_path / "out" / "runs"
    stopped = subprocess.Popen(program, stdout=subprocess.DEVNULL, env={**os.environ, "FAKE_GATE": str(gate)})
    end = time.monotonic() + 300
    while len(list(runs.glob("optimizer.lr=0.02*/*/calls.txt"))) < 2:
        assert time.monotonic() < end, "the fourth run never began"
        time.sleep(0.05)
    assert "another sweep is running in this folder" in refused(*command)
    stopped.send_signal(signal.SIGTERM)
    stopped.wait()
    gate.touch()
    assert len(list(runs.glob("*/*/ap.json"))) == 3
    passes(*command)
    assert sorted(len(path.read_text().splitlines()) for path in runs.glob("*/*/calls.txt")) == [1, 1, 1, 1, 1, 2]
    assert len(json.loads((tmp_path / "out" / "table.json").read_text())["settings"]) == 3


def test_failures_and_mistakes_end_in_one_sentence_and_images_are_swept_too(command, tmp_path: Path) -> None:
    assert "error: 1 of 2 settings failed; " in refused(*command, "--grid", "optimizer.lr=7,0.01")
    assert "the rate is too high" in (tmp_path / "out" / "table.md").read_text()
    assert "--search needs --trials N" in refused(*command, "--search", "optimizer.lr=0.1..1")
    message = "--seeds must be integers such as 0,1,2, got 'a'"
    assert message in refused(*command, "--grid", "optimizer.lr=0.1", "--seeds", "a")
    (tmp_path / "config.yaml").write_text("kind: images\ndata: {root: images}\n")
    words = ("--out", tmp_path / "images", "--grid", "criterion.claims=dual,softmin")
    assert "| softmin | 50.0 |" in passes(*command, *words)[0]
