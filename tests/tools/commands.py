"""How tests run a command without a second start of Python and torch."""

import io
import runpy
from contextlib import redirect_stderr, redirect_stdout
from unittest import mock

from pcseg import cli
from tests.conftest import ROOT


def tool(name: str, *arguments: object) -> tuple[int, str, str]:
    """Runs `pcseg NAME`, or tools/NAME.py, in this process; returns exit status, stdout and stderr."""
    words, path = list(map(str, arguments)), str(ROOT / "tools" / f"{name}.py")
    status, out, err = 0, io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            if name in cli.COMMANDS:
                cli.main([*name.split(), *words])
            else:
                with mock.patch("sys.argv", [path, *words]):
                    runpy.run_path(path, run_name="__main__")
        except SystemExit as leave:
            status = int(leave.code or 0)
    return status, out.getvalue(), err.getvalue()


def passes(name: str, *arguments: object) -> tuple[str, str]:
    """What a command that succeeds prints to stdout and stderr."""
    status, out, err = tool(name, *arguments)
    assert status == 0, err
    return out, err


def refused(name: str, *arguments: object) -> str:
    """The error message of a command that ends with status 2."""
    status, _, err = tool(name, *arguments)
    assert (status, err.count("error: ")) == (2, 1), err
    assert "Traceback" not in err
    return err[err.index("error: ") :]
