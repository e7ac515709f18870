"""DistributedContext over rooms: how many, how they start, and what is told of one that dies."""

import functools
import os
import sys
import threading
from pathlib import Path

import pytest

from pcseg.data import worker_pool
from pcseg.data.worker_pool import BYTES_PER_WORKER, default_workers, in_processes, num_cores, start_method


def _number(path: Path, offset: int) -> int:
    return int(path.name) + offset


def _die(path: Path) -> str:
    if path.name == "2":
        os._exit(1)
    return path.name


def _threads(path: Path) -> int:
    import numba

    return numba.get_num_threads()


def test_every_path_gets_its_result() -> None:
    paths = [Path(str(number)) for number in range(7)]
    work = functools.partial(_number, offset=10)
    found = dict(in_processes(work, paths, 3, preload=["pcseg.data.preprocess"]))
    assert found == {path: int(path.name) + 10 for path in paths}


def test_a_process_that_dies_loses_results_and_no_more() -> None:
    paths = [Path(str(number)) for number in range(4)]
    found = dict(in_processes(_die, paths, 2, preload=[]))
    assert set(found) == set(paths)
    assert found[Path("2")] is None
    assert all(result in (None, path.name) for path, result in found.items())


def test_cores_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_pool, "num_cores", lambda: 3)
    assert [threads for _, threads in in_processes(_threads, [Path("0"), Path("1")], 3, preload=[])] == [1, 1]


def test_as_many_workers_as_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_pool, "num_cores", lambda: 8)
    assert [default_workers(n * BYTES_PER_WORKER) for n in (0, 1, 3, 100)] == [1, 1, 3, 8]
    assert default_workers(BYTES_PER_WORKER - 1) == 1
    monkeypatch.undo()
    assert 1 <= num_cores() <= (os.cpu_count() or 1)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no process is forked")
def test_nothing_is_forked_beside_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "active_count", lambda: 1)
    assert start_method() == "fork"
    monkeypatch.setattr(threading, "active_count", lambda: 2)
    assert start_method() == "forkserver"
