"""How tests run a tool without a second start of Python and torch."""

import io
import runpy
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parent.parent.parent


def tool(name: str, *arguments: object) -> tuple[int, str, str]:
    """Runs tools/NAME.py with arguments in this process; returns exit status, stdout and stderr."""
    path = str(ROOT / "tools" / f"{name}.py")
    status, out, err = 0, io.StringIO(), io.StringIO()
    with mock.patch("sys.argv", [path, *map(str, arguments)]), redirect_stdout(out), redirect_stderr(err):
        try:
            runpy.run_path(path, run_name="__main__")
        except SystemExit as leave:
            status = int(leave.code or 0)
    return status, out.getvalue(), err.getvalue()


def passes(name: str, *arguments: object) -> tuple[str, str]:
    """What a tool that succeeds prints to stdout and stderr."""
    status, out, err = tool(name, *arguments)
    assert status == 0, err
    return out, err


def refused(name: str, *arguments: object) -> str:
    """The error message of a tool that ends with status 2."""
    status, _, err = tool(name, *arguments)
    assert (status, err.count("error: ")) == (2, 1), err
    assert "Traceback" not in err
    return err[err.index("error: ") :]
