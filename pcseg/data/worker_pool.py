"""One function over many rooms, in processes that start cheaply and share out the cores."""

import contextlib
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")

# Less raw data than this is processed sooner than the start of another process would take.
BYTES_PER_WORKER = 16 * 2**20


def num_cores() -> int:
    """Cores that this process may use; a container or a scheduler may leave it fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_workers(num_bytes: int) -> int:
    """As many processes as pay for `num_bytes` of raw files, at most one a core."""
    return max(1, min(num_cores(), num_bytes // BYTES_PER_WORKER))


def in_processes(
    work: Callable[[Path], Result], paths: Sequence[Path], num_workers: int, preload: Sequence[str]
) -> Iterator[tuple[Path, Result | None]]:
    """What `work` gives for each path, in the order in which it gets done; the processes start at once.

    Args:
        work: goes to the processes, so it must pickle; it is expected not to raise.
        paths: begun in this order.
        num_workers: processes; each computes with its share of the cores.
        preload: modules that all of them need.

    Returns:
        Pairs of path and result; None for a result that was lost with its process.
    """
    num_workers = min(num_workers, len(paths))
    method = start_method()
    context = multiprocessing.get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload(list(preload))
    threads = max(1, num_cores() // num_workers)
    pool = ProcessPoolExecutor(num_workers, context, _limit_threads, (threads,))
    return _finished(pool, {pool.submit(work, path): path for path in paths})


def start_method() -> str:
    """The cheapest way to start processes that is safe now.

    A forked process has imported everything already, but may hang on what another thread held. A fork server imports
    once for all of them.
    """
    methods = multiprocessing.get_all_start_methods()
    if sys.platform == "linux" and threading.active_count() == 1:
        return "fork"
    return "forkserver" if "forkserver" in methods else "spawn"


def _finished(pool: ProcessPoolExecutor, futures: dict[Future[Result], Path]) -> Iterator[tuple[Path, Result | None]]:
    with contextlib.ExitStack() as stack:
        # On Ctrl-C and errors rooms that have not begun are not begun.
        stack.callback(pool.shutdown, cancel_futures=True)
        for future in as_completed(futures):
            try:
                yield futures[future], future.result()
            except BrokenProcessPool:
                yield futures[future], None


def _limit_threads(num_threads: int) -> None:
    # Not at the top: the shape checks of the tests leave out modules that import numba there.
    import numba

    numba.set_num_threads(min(num_threads, numba.get_num_threads()))
