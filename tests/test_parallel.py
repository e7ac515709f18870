import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from itertools import pairwise
from operator import attrgetter
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch

from pcseg.data.preprocess import RoomReader, preprocess
from pcseg.data.scan_files import read_labeled_scan
from pcseg.parallel import map_rooms, progress_bar
from tests.conftest import ROOT, refuses


def _work(item: int) -> int:
    if item == 0:
        return _num_threads(item)
    if item == 2:
        raise ValueError("room 2 is damaged")
    if item == 9:
        raise KeyError("bug")
    if item == 10:
        os._exit(1)
    return item * 10


def _num_threads(item: int) -> int:
    return torch.get_num_threads()


def _slow(folder: Path) -> tuple[int, float, float]:
    """Takes a while; returns the process, and when it began and ended. Room 3 kills the first worker that tries it."""
    is_first = not any(folder.iterdir())
    (folder / f"{os.getpid()}.{time.time_ns()}").touch()
    if folder.name == "3" and is_first:
        os.kill(os.getpid(), signal.SIGKILL)
    begin = time.time()
    time.sleep(0.3)
    return os.getpid(), begin, time.time()


@pytest.mark.parametrize(("workers", "threads"), [(1, 1), (1, 2), (3, 1)])
def test_results_and_errors_of_every_item(workers: int, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    found = dict(map_rooms(_work, [3, 2, 1, 0], workers=workers, threads=threads))
    if workers > 1:
        assert found[0] == max(1, joblib.cpu_count() // workers), "the workers share the cores"
    assert (found[1], found[3], str(found[2])) == (10, 30, "room 2 is damaged")
    rooms = map_rooms(_work, [1, 9], workers=workers, threads=threads)
    refuses("internal error at 9", list, rooms, error=RuntimeError)


def test_a_killed_worker_names_unfinished_rooms_and_bad_requests_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found = dict(map_rooms(_work, [1, 10, 3], workers=2))
    assert set(found) == {1, 10, 3}
    assert "a worker process was killed" in str(found[10])
    monkeypatch.setattr("pcseg.parallel.CONNECT_SECONDS", 1)
    refuses("at least 1 worker, got 0", map_rooms, _work, [1], workers=0)
    refuses(r"127\.0\.0\.1:9: no Dask scheduler answers", list, map_rooms(_work, [1], cluster="tcp://127.0.0.1:9"))
    monkeypatch.setitem(sys.modules, "distributed", None)
    refuses("a cluster needs the package distributed", list, map_rooms(_work, [1], cluster="tcp://127.0.0.1:9"))


def test_progress_where_no_terminal_is(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for seconds, shares in ((30, ["100"]), (0, ["0", "33", "67", "100"])):
        monkeypatch.setattr("pcseg.parallel.LINE_SECONDS", seconds)
        assert list(progress_bar(range(3), mininterval=0)) == [0, 1, 2]
        assert sorted({line.split("%")[0].strip() for line in capsys.readouterr().err.splitlines()}, key=int) == shares


@pytest.fixture
def cluster() -> Iterator[tuple[str, list[subprocess.Popen]]]:
    """Address of a scheduler on loopback, and its two workers."""
    pytest.importorskip("distributed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    one = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "2", "--no-nanny"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with ExitStack() as stack:
        processes = []
        for command in [[*dask, "--host", address, "--no-dashboard"], *[[*one, "--no-dashboard"]] * 2]:
            process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            stack.callback(process.wait)
            stack.callback(process.kill)
            processes.append(process)
        yield address, processes[1:]


def test_a_cluster_loses_no_room_with_a_killed_worker(cluster, tmp_path: Path) -> None:
    from distributed import Client

    address, processes = cluster
    with Client(address, timeout=60, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)
    folders = [tmp_path / str(index) for index in range(10)]
    for folder in folders:
        folder.mkdir()
    done = dict(map_rooms(_slow, folders, cluster=address))
    assert set(done) == set(folders)
    calls = sorted(done.values())
    assert {pid for pid, _, _ in calls} <= {process.pid for process in processes}
    for (pid, _, end), (next_pid, begin, _) in pairwise(calls):
        assert pid != next_pid or end <= begin, "the threads of a worker take turns"
    begun = [len(list(folder.iterdir())) for folder in folders]
    assert min(begun) == 1
    assert begun[3] == 2, "the room of the killed worker was done again"
    assert [process.poll() for process in processes].count(-signal.SIGKILL) == 1
    assert dict(map_rooms(_num_threads, [0], cluster=address)) == {0: 2}
    # The remaining worker makes the rooms that this process makes.
    for name in "ab":
        np.savez(tmp_path / f"{name}.npz", xyz=np.random.default_rng(0).random((300, 3)))
    read = partial(read_labeled_scan, needs_labels=False)
    reader = RoomReader("s3dis", attrgetter("stem"), lambda path: [path], read)
    scans = sorted(tmp_path.glob("*.npz"))
    here = preprocess(scans, reader, tmp_path / "here")
    there = preprocess(scans, reader, tmp_path / "there", cluster=address)
    assert (there["written"], there["sha256"]) == (2, here["sha256"])
