"""Work shared among threads."""

import multiprocessing
import threading
from collections import Counter

import pytest

from pcseg.ops.threads import for_each


@pytest.fixture(params=[1, 2, 5])
def num_threads(request, set_threads):
    set_threads(request.param)
    return request.param


def test_every_item_comes_once(num_threads):
    for count in (0, 1, 3, 100):
        seen = []
        for_each(seen.append, range(count))
        assert Counter(seen) == Counter(range(count))
    together = threading.Barrier(num_threads)
    for_each(lambda _: together.wait(timeout=30), range(num_threads))  # they work at the same time


@pytest.mark.parametrize("bad", [0, 7, 19])
def test_an_error_reaches_the_caller(num_threads, bad):
    def refuse(item):
        if item == bad:
            raise ValueError(f"no {item}")

    with pytest.raises(ValueError, match=f"no {bad}"):
        for_each(refuse, range(20))


def _sum_in_child(queue):
    seen = []
    for_each(seen.append, range(50))
    queue.put(sum(seen))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_works_in_a_forked_process(num_threads):
    for_each(lambda item: None, range(8))
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_sum_in_child, args=(queue,))
    child.start()
    assert queue.get(timeout=60) == sum(range(50))
    child.join()
    assert child.exitcode == 0
