"""The command line of sweeps, with a trainer that takes no time: a whole grid, two processes, kills."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("optuna")

ROOT = Path(__file__).resolve().parent.parent.parent
FAKE = shlex.join([sys.executable, "-S", str(ROOT / "tests" / "sweep" / "fake_train.py")])


def _command(config_file: Path, *arguments: object) -> list[str]:
    tool = [sys.executable, str(ROOT / "tools" / "sweep.py"), str(config_file), *map(str, arguments)]
    return [*tool, "--command", FAKE, "--out", str(config_file.parent / "out")]


def _sweep(config_file: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(_command(config_file, *arguments), capture_output=True, text=True, check=False)


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text("data: {root: rooms, val: [a]}\ntrain: {seed: 4}\n")
    return path


def test_grid_of_two_processes_leaves_table_and_picture(config_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_MEET", "2")  # each of the two runs waits until the other one has begun
    done = _sweep(
        config_file,
        "train.steps=3",
        "--grid",
        "optimizer.lr=0.01,0.02",
        "--processes",
        2,
        "--json",
        config_file.parent / "n",
    )
    assert done.returncode == 0, done.stderr
    out = config_file.parent / "out"
    table = (out / "table.md").read_text()
    assert table in done.stdout
    assert "| 0.01 | 50.4 | 60.0 | 70.0 | 4 |" in table
    assert (out / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((out / "table.json").read_text()) == json.loads((config_file.parent / "n").read_text())


def test_terminated_sweep_continues(config_file: Path) -> None:
    arguments = ("--grid", "optimizer.lr=0.01,0.02,0.03")
    gate = config_file.parent / "gate"
    environment = {**os.environ, "FAKE_GATE": str(gate)}
    stopped = subprocess.Popen(_command(config_file, *arguments), stdout=subprocess.DEVNULL, env=environment)
    slow = "out/runs/optimizer.lr=0.02*/*/calls.txt"
    _until(lambda: any(config_file.parent.glob(slow)))
    refused = _sweep(config_file, *arguments)
    assert refused.returncode == 2
    assert "another sweep is running in this folder" in refused.stderr
    stopped.send_signal(signal.SIGTERM)
    stopped.wait()
    gate.touch()
    assert len(list(config_file.parent.glob("out/runs/*/*/ap.json"))) == 1
    done = _sweep(config_file, *arguments)
    assert done.returncode == 0, done.stderr
    calls = [path.read_text().splitlines() for path in config_file.parent.glob("out/runs/*/*/calls.txt")]
    assert sorted(map(len, calls)) == [1, 1, 2]
    assert len(json.loads((config_file.parent / "out" / "table.json").read_text())["settings"]) == 3


def _until(condition) -> None:
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it never came")


def test_failed_settings_end_in_one_sentence(config_file: Path) -> None:
    done = _sweep(config_file, "--grid", "optimizer.lr=7,0.01")
    assert done.returncode == 2
    assert "error: 1 of 2 settings failed; " in done.stderr
    assert "the rate is too high" in (config_file.parent / "out" / "table.md").read_text()


def test_mistakes(config_file: Path, tool: Callable[..., tuple[int, str, str]]) -> None:
    for arguments, message in (
        (("--search", "optimizer.lr=0.1..1"), "--search needs --trials N"),
        (("--grid", "optimizer.lr=0.1", "--seeds", "a"), "--seeds must be integers such as 0,1,2, got 'a'"),
    ):
        status, _, errors = tool("sweep", config_file, *arguments)
        assert status == 2
        assert message in errors
