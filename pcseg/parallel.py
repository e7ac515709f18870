"""Maps a function over many rooms: in this process, in several processes, or on a Dask cluster. Shows the progress."""

import argparse
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from tqdm import tqdm

CONNECT_SECONDS = 10
LINE_SECONDS = 30  # between lines of progress where no terminal shows a bar
# Calls within one Dask worker take turns; each starts threads of its own.
_TURN = threading.Lock()
Item = TypeVar("Item")
Result = TypeVar("Result")


def map_rooms(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    workers: int = 1,
    cluster: str | None = None,
    threads: int = 1,
) -> Iterator[tuple[Item, Result | Exception]]:
    """Calls a function on every item and yields each result as the call completes.

    Args:
        function: takes one item. It and its results go to and from other processes, so they must pickle.
        items: one per room, begun in this order.
        workers: number of processes, which share the cores of this machine; 1 works in this process.
        cluster: address of a Dask scheduler, for example "tcp://10.0.0.1:8786", whose workers replace `workers`. They
            need pcseg and the same paths. A room whose worker dies goes to another one.
        threads: number of items that this process works on at a time, where there are no other processes.

    Yields:
        The item with its result, or with the ValueError or OSError that the call raised. If a worker on this machine
        is killed, for example out of memory, every unfinished item gets a ValueError.

    Raises:
        ValueError: fewer than one worker, or no such cluster.
        RuntimeError: any other error of the call; it names the item.

    >>> dict(map_rooms(len, ["kitchen", "hall"]))
    {'kitchen': 7, 'hall': 4}
    """
    if workers < 1:
        raise ValueError(f"expected at least 1 worker, got {workers}")
    if cluster is not None or (workers > 1 and len(items) > 1):
        return _in_processes(function, items, min(workers, len(items)), cluster)
    if threads > 1 and len(items) > 1:
        return _in_threads(function, items, threads)
    return (_call(function, item, item) for item in items)


def add_parallel_options(parser: argparse.ArgumentParser, default: int | None = 1) -> None:
    """Adds --workers, with this default (None: one per core or fewer), and --cluster, the arguments of `map_rooms`."""
    text = f"number of processes (default: {default or 'one per core, fewer for little work'})"
    parser.add_argument("--workers", type=int, default=default, metavar="N", help=text)
    text = "address of a Dask scheduler whose workers process the rooms instead"
    parser.add_argument("--cluster", metavar="ADDRESS", help=text)


class _Lines:
    """A file for a bar of tqdm, which redraws itself: some states and the last become lines of stderr, for logs."""

    def __init__(self) -> None:
        self.time, self.state = time.monotonic(), ""

    def write(self, text: str) -> None:
        self.state = text.replace("\x1b[A", "").strip() or self.state  # without the move of a nested bar
        # A bar ends with a line feed.
        if text == "\n" or time.monotonic() - self.time >= LINE_SECONDS:
            self.time = time.monotonic()
            sys.stderr.write(f"{self.state}\n")

    def flush(self) -> None:
        sys.stderr.flush()


def progress_bar(items: Iterable[Any] | None = None, **options: Any) -> "tqdm":
    """A bar of tqdm on stderr; where that is no terminal, a line every 30 seconds and at the end.

    Args:
        items: what to iterate over, if the bar should count it.
        **options: options of tqdm, such as ``total`` and ``unit``.
    """
    from tqdm import tqdm

    return tqdm(items, file=sys.stderr if sys.stderr.isatty() else _Lines(), **options)


def _in_threads(
    function: Callable[[Item], Result], items: Sequence[Item], threads: int
) -> Iterator[tuple[Item, Result | Exception]]:
    pool = ThreadPoolExecutor(threads)
    try:
        for call in as_completed([pool.submit(_call, function, item, item) for item in items]):
            yield call.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _in_processes(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int, cluster: str | None
) -> Iterator[tuple[Item, Result | Exception]]:
    from concurrent.futures.process import BrokenProcessPool

    import joblib

    lost: tuple[type[Exception], ...] = (BrokenProcessPool,)
    config: dict[str, Any] = {"backend": "loky", "n_jobs": workers}
    with ExitStack() as stack:
        if cluster is not None:
            try:
                import distributed

                client = stack.enter_context(distributed.Client(cluster, timeout=CONNECT_SECONDS, set_as_default=False))
            except ImportError as error:
                raise ValueError("a cluster needs the package distributed: pip install 'pcseg[cluster]'") from error
            except (OSError, ValueError) as error:
                raise ValueError(f"{cluster}: no Dask scheduler answers ({error}); run: dask scheduler") from error
            if not client.nthreads():
                raise ValueError(f"{cluster}: the scheduler has no workers; run: dask worker {cluster}")
            lost, config = (*lost, distributed.KilledWorker), {"backend": "dask", "client": client}
        with joblib.parallel_config(**config):
            pool: Any = joblib.Parallel(return_as="generator_unordered", batch_size=1, max_nbytes=None)  # type: ignore[arg-type]
        call = joblib.delayed(_call if cluster is None else _take_turn)
        waiting = dict(enumerate(items))
        try:
            for index, result in pool(call(function, item, index) for index, item in waiting.copy().items()):
                yield waiting.pop(index), result
        except lost:
            message = "not done: a worker process was killed, perhaps out of memory; use fewer workers"
            yield from ((item, ValueError(message)) for item in waiting.values())


def _take_turn(function: Callable[[Item], Result], item: Item, index: Any) -> tuple[Any, Result | Exception]:
    """A call on a Dask worker, with as many threads as the worker has, which wait until it ends."""
    import distributed
    import torch

    num_threads = distributed.get_worker().state.nthreads
    with _TURN:
        torch.set_num_threads(num_threads)
        return _call(function, item, index)


def _call(function: Callable[[Item], Result], item: Item, index: Any) -> tuple[Any, Result | Exception]:
    try:
        return index, function(item)
    except (ValueError, OSError) as error:
        return index, error
    except Exception as error:
        raise RuntimeError(f"internal error at {item}") from error
