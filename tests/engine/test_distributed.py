"""Two processes share rooms and get the numbers of one."""

import multiprocessing
import os
import socket

import numpy as np

from pcseg.data.synthetic import make_room
from pcseg.engine.distributed import Processes, join_processes
from pcseg.engine.evaluate import ScoredRooms
from pcseg.labels import S3DIS
from pcseg.metrics.perturb import perturbed
from pcseg.metrics.scores import Scores

NUM_ROOMS = 3


def _score(processes: Processes) -> ScoredRooms:
    done = ScoredRooms(Scores(S3DIS))
    for index in processes.share(NUM_ROOMS):
        scene = make_room(0, index, num_points=3000)
        instances = perturbed(scene, S3DIS, np.random.default_rng(index))
        done.num_points[scene.name] = len(scene)
        if index != 1:  # the second room has no labels
            done.scores.add(scene.name, instances, scene.semantic, scene.instance)
    return done.gather(processes)


def _process(rank: int, port: int, queue: multiprocessing.Queue) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes = join_processes()
    done = _score(processes)
    queue.put(
        (rank, list(processes.share(NUM_ROOMS)), done.num_points, done.unlabelled, done.scores.compute().to_json())
    )
    processes.close()


def test_two_processes_equal_one() -> None:
    alone = _score(Processes())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    workers = [context.Process(target=_process, args=(rank, port, queue)) for rank in range(2)]
    for worker in workers:
        worker.start()
    answers = sorted(queue.get(timeout=120) for _ in workers)
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert [share for _, share, *_ in answers] == [[0, 2], [1]]
    for _, _, num_points, unlabelled, content in answers:
        assert num_points == alone.num_points
        assert unlabelled == alone.unlabelled == ["Area_2_conferenceRoom_1"]
        assert content == alone.scores.compute().to_json()


def test_alone() -> None:
    assert "WORLD_SIZE" not in os.environ
    processes = join_processes()
    assert processes.is_first
    assert list(processes.share(3)) == [0, 1, 2]
    assert processes.gather("x") == ["x"]
    processes.close()
