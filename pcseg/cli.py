"""Shared by all command lines: exit codes, one-line error messages and JSON output."""

import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pcseg.files import atomic_write, none_for_nan


def run_tool(main: Callable[[], None]) -> None:
    """Runs a command line and ends the process with its exit code.

    0: success. 2: invalid input or usage, with a one-line message on stderr. 1: internal error, with a traceback.
    The log of pcseg goes to stderr.
    """
    log, terminal = logging.getLogger("pcseg"), logging.StreamHandler()
    log.setLevel(logging.INFO)
    log.addHandler(terminal)
    try:
        main()
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    finally:
        log.removeHandler(terminal)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes results as JSON, with null for numbers that are not finite.

    Args:
        path: the file, written atomically.
        content: nested dicts and lists of numbers and texts.
    """
    atomic_write(path, json.dumps(none_for_nan(content), indent=1, allow_nan=False) + "\n")
