"""How tests run a tool without a second start of Python and torch."""

import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parent.parent.parent / "tools"
Tool = Callable[..., tuple[int, str, str]]


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tool:
    """Runs tools/NAME.py with arguments in this process; returns exit status, stdout and stderr."""

    def run(name: str, *arguments: object) -> tuple[int, str, str]:
        path = str(TOOLS / f"{name}.py")
        monkeypatch.setattr(sys, "argv", [path, *map(str, arguments)])
        capsys.readouterr()
        status = 0
        try:
            runpy.run_path(path, run_name="__main__")
        except SystemExit as leave:
            status = int(leave.code or 0)
        return (status, *capsys.readouterr())

    return run
