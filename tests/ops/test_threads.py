import multiprocessing
import threading
from collections import Counter

import pytest

from pcseg.ops.threads import for_each


@pytest.fixture(params=[1, 2, 5])
def num_threads(request, set_threads):
    set_threads(request.param)
    return request.param


def test_every_item_comes_once_and_an_error_reaches_the_caller(num_threads):
    for count in (0, 1, 3, 100):
        seen = []
        for_each(seen.append, range(count))
        assert Counter(seen) == Counter(range(count))
    together = threading.Barrier(num_threads)
    for_each(lambda _: together.wait(timeout=30), range(num_threads))  # they work at the same time
    for bad in (0, 7, 19):
        with pytest.raises(ZeroDivisionError):
            for_each(lambda item: 1 / item, [1] * bad + [0] + [1] * (19 - bad))


def _sum(count):
    seen = []
    for_each(seen.append, range(count))
    return sum(seen)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_works_in_a_forked_process(num_threads):
    assert _sum(8) == 28
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply_async(_sum, (50,)).get(timeout=60) == sum(range(50))
