"""Files that appear whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_open(path: Path, *, sync: bool = False) -> Iterator[BinaryIO]:
    """A file to write that takes its name only when all of it is on disk.

    Args:
        path: what was there before stays until the new file is whole; missing folders are made.
        sync: wait until the disk has it, so that it outlives a crash of the machine.

    Raises:
        OSError: the folder cannot be written, or the path is a folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        raise IsADirectoryError(f"{path}: a folder; expected the name of a file to write")
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            if sync:
                file.flush()
                os.fsync(file.fileno())
        mask = os.umask(0)  # mkstemp makes files private; give the mode that open() would have given
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def atomic_write(path: Path, content: bytes | str) -> Path:
    """Write bytes, or text as UTF-8, through `atomic_open`; gives the path back."""
    path = Path(path)
    with atomic_open(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)
    return path
