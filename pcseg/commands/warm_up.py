"""Compile all kernels now, in parallel, so that nothing is compiled later.

An installed package has them compiled already, unless it was built on a machine with another
processor. Otherwise the first prediction or training compiles what it needs.
"""

import argparse
import ctypes
import gc
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workers", type=int, metavar="N", help="number of processes (default: one per core)")


def run(args: argparse.Namespace) -> None:
    if args.workers is not None and args.workers < 1:
        raise ValueError(f"--workers must be at least 1, got {args.workers}")
    from pcseg.kernels import compile_kernels
    from pcseg.parallel import progress_bar

    names, done = compile_kernels(workers=args.workers)
    for _ in progress_bar(done, total=len(names), unit="kernel", disable=not names):
        pass
    print("all kernels are compiled")


def compile_missing(modules: Sequence[str]) -> Callable[[Sequence[str]], None]:
    """Starts to compile what is not in the cache yet; the result waits for the modules that it is called with.

    Args:
        modules: modules of pcseg.kernels.
    """
    from pcseg.kernels import COMPILE_SECONDS, compile_kernels

    names, compiled = compile_kernels(modules)
    if names:
        text = "compiling %d kernels, once: about %d s (pcseg warm-up compiles all)"
        logging.getLogger("pcseg").info(text, len(names), 1 + COMPILE_SECONDS * len(names) / (os.cpu_count() or 1))
    missing, done, turn = list(names), iter(compiled), threading.Lock()

    def wait(needed: Sequence[str]) -> None:
        with turn:  # of the threads that have a scan each
            while any(name.startswith(tuple(needed)) for name in missing):
                missing.remove(next(done))
            if not missing:
                next(done, None)  # the end, which marks the cache as complete

    return wait


@contextmanager
def quick_imports() -> Iterator[None]:
    """Imports torch in less time: with its library from another thread, and without garbage collection.

    The library takes a fifth of the time and not the lock of Python. Collection takes a tenth of the start, and the
    objects stay.
    """
    if "torch" in sys.modules:
        yield
        return
    threading.Thread(target=_load_library, daemon=True).start()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _load_library() -> None:
    package = find_spec("torch")
    for folder in package.submodule_search_locations or () if package else ():
        for path in Path(folder, "lib").glob("libtorch_python.*"):
            with suppress(OSError):  # then torch says what is wrong
                ctypes.CDLL(str(path))
