"""What all command lines share: exit status and the one sentence for bad input."""

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pcseg.files import atomic_write


def run_tool(main: Callable[[], None]) -> None:
    """Run a command line and leave the process with its status.

    0: done. 2: bad input or usage, told in one sentence on stderr. 1: a fault of ours, with a traceback.
    """
    try:
        main()
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write numbers as JSON, NaN as null; the file appears whole or not at all."""
    text = json.dumps(_null_for_nan(content), indent=1, allow_nan=False) + "\n"
    atomic_write(path, text)


def _null_for_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _null_for_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_null_for_nan(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
