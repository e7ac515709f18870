"""Maps a function over many rooms: in this process, in several processes, or on a Dask cluster."""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from typing import Any, TypeVar

import joblib

CONNECT_SECONDS = 10
Item = TypeVar("Item")
Result = TypeVar("Result")


def map_rooms(
    function: Callable[[Item], Result], items: Sequence[Item], *, workers: int = 1, cluster: str | None = None
) -> Iterator[tuple[Item, Result | Exception]]:
    """Call a function on every item and yield the results as the calls complete.

    Args:
        function: takes one item. It and its results go to and from other processes, so they must pickle.
        items: one per room, begun in this order.
        workers: number of processes, which share the cores of this machine; 1 works in this process.
        cluster: address of a Dask scheduler, for example "tcp://10.0.0.1:8786", whose workers replace `workers`.
            They need pcseg and the same paths. A room whose worker dies goes to another one.

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
    return ((item, _attempt(function, item, None)) for item in items)


def add_parallel_options(parser: argparse.ArgumentParser, *, default: int | None = 1, note: str = "default: 1") -> None:
    """Adds --workers and --cluster, the arguments `workers` and `cluster` of `map_rooms`.

    Args:
        parser: parser of the tool.
        default: default number of workers.
        note: description of the default in the help text.
    """
    parser.add_argument("--workers", type=int, default=default, metavar="N", help=f"number of processes ({note})")
    parser.add_argument(
        "--cluster", metavar="ADDRESS", help="address of a Dask scheduler whose workers process the rooms instead"
    )


def _in_processes(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int, cluster: str | None
) -> Iterator[tuple[Item, Result | Exception]]:
    lost: tuple[type[Exception], ...] = (BrokenProcessPool,)
    config: dict[str, Any] = {"backend": "loky", "n_jobs": workers}
    num_threads = None  # joblib shares out the cores of this machine
    with ExitStack() as stack:
        if cluster is not None:
            try:
                import distributed
            except ImportError as error:
                hint = "a cluster needs the package distributed, run: pip install 'pcseg[cluster]'"
                raise ValueError(hint) from error
            lost, num_threads = (BrokenProcessPool, distributed.KilledWorker), 1
            config = {"backend": "dask", "client": stack.enter_context(_connect(distributed, cluster))}
        with joblib.parallel_config(**config):
            pool: Any = joblib.Parallel(return_as="generator_unordered", batch_size=1, max_nbytes=None)  # type: ignore[arg-type]
        calls = (joblib.delayed(_numbered)(function, index, item, num_threads) for index, item in enumerate(items))
        waiting = set(range(len(items)))
        try:
            for index, result in pool(calls):
                waiting.remove(index)
                yield items[index], result
        except lost:
            message = "not done: a worker process was killed, perhaps out of memory; use fewer workers"
            yield from ((items[index], ValueError(message)) for index in sorted(waiting))


def _connect(distributed: Any, cluster: str) -> Any:
    try:
        client = distributed.Client(cluster, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ValueError(f"{cluster}: no Dask scheduler answers there ({error}); start one: dask scheduler") from error
    threads = client.nthreads().values()
    if set(threads) != {1}:
        client.close()
        found = f"workers with {max(threads)} threads" if threads else "no workers"
        raise ValueError(
            f"{cluster}: expected workers of one thread each, found {found}; start them with: "
            f"dask worker {cluster} --nworkers CORES --nthreads 1"
        )
    return client


def _numbered(function: Callable, index: int, item: object, num_threads: int | None) -> tuple[int, object]:
    return index, _attempt(function, item, num_threads)


def _attempt(function: Callable[[Item], Result], item: Item, num_threads: int | None) -> Result | Exception:
    if num_threads is not None:
        import numba  # not at the top: the shape checks of the tests leave out modules that import it there

        numba.set_num_threads(num_threads)
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(num_threads)
    try:
        return function(item)
    except (ValueError, OSError) as error:
        return error
    except Exception as error:
        raise RuntimeError(f"internal error at {item}") from error
