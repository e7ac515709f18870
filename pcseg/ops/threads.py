"""Threads that share work, for compiled loops that release the interpreter's lock."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import torch

Item = TypeVar("Item")


@cache
def _helpers(num_threads: int, pid: int) -> ThreadPoolExecutor:
    """Threads of this process; the key is its id, because the threads of a parent do not survive a fork."""
    return ThreadPoolExecutor(num_threads, thread_name_prefix="pcseg")


def for_each(function: Callable[[Item], object], items: Iterable[Item]) -> None:
    """Calls function(item) for every item, in any order, on as many threads as torch uses.

    The calling thread is one of them, and the next free thread takes the next item. A helper may have to wait for a
    core, because torch's own threads spin for milliseconds after each operation. The first error is raised here.
    """
    items = list(items)
    waiting = iter(items)  # its next() is one step under the interpreter's lock

    def work() -> None:
        for item in waiting:
            function(item)

    num_threads = torch.get_num_threads()
    pool = _helpers(num_threads, os.getpid())
    helpers = [pool.submit(work) for _ in range(min(num_threads, len(items)) - 1)]
    try:
        work()
    finally:
        for helper in helpers:
            if not helper.cancel():  # it has begun
                helper.result()
