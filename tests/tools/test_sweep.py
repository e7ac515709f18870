"""The command line of sweeps, with a trainer that takes no time: a whole grid, two processes, kills."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.tools.commands import ROOT, passes, refused

pytest.importorskip("optuna")

FAKE = shlex.join([sys.executable, "-S", str(ROOT / "tests" / "sweep" / "fake_train.py")])


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[object, ...]:
    """Name of the tool, and the arguments of every sweep."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # the process of the tests keeps its own handlers
    path = tmp_path / "config.yaml"
    path.write_text("data: {root: rooms, val: [a]}\ntrain: {seed: 4}\n")
    return "sweep", path, "--command", FAKE, "--out", tmp_path / "out"


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
    command = (*command, "--grid", "optimizer.lr=0.01,0.02,0.03")
    name, *arguments = map(str, command)
    program = [sys.executable, str(ROOT / "tools" / f"{name}.py"), *arguments]
    gate, runs = tmp_path / "gate", tmp_path / "out" / "runs"
    stopped = subprocess.Popen(program, stdout=subprocess.DEVNULL, env={**os.environ, "FAKE_GATE": str(gate)})
    end = time.monotonic() + 60
    while not any(runs.glob("optimizer.lr=0.02*/*/calls.txt")):
        assert time.monotonic() < end, "the second run never began"
        time.sleep(0.05)
    assert "another sweep is running in this folder" in refused(*command)
    stopped.send_signal(signal.SIGTERM)
    stopped.wait()
    gate.touch()
    assert len(list(runs.glob("*/*/ap.json"))) == 1
    passes(*command)
    assert sorted(len(path.read_text().splitlines()) for path in runs.glob("*/*/calls.txt")) == [1, 1, 2]
    assert len(json.loads((tmp_path / "out" / "table.json").read_text())["settings"]) == 3


def test_failed_settings_end_in_one_sentence(command, tmp_path: Path) -> None:
    assert "error: 1 of 2 settings failed; " in refused(*command, "--grid", "optimizer.lr=7,0.01")
    assert "the rate is too high" in (tmp_path / "out" / "table.md").read_text()


def test_mistakes(command) -> None:
    for options, message in (
        (("--search", "optimizer.lr=0.1..1"), "--search needs --trials N"),
        (("--grid", "optimizer.lr=0.1", "--seeds", "a"), "--seeds must be integers such as 0,1,2, got 'a'"),
    ):
        assert message in refused(*command, *options)
