"""Two processes share rooms and get the numbers of one."""

import multiprocessing
import os
import socket
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pcseg.data.dataset import collate, make_batch
from pcseg.data.synthetic import make_room
from pcseg.engine.distributed import ALONE, Processes, join_processes
from pcseg.engine.evaluate import ScoredRooms
from pcseg.engine.stepper import Stepper
from pcseg.labels import S3DIS
from pcseg.losses.criterion import Criterion
from pcseg.losses.influencer_criterion import InfluencerCriterion
from pcseg.losses.set_criterion import SetCriterion
from pcseg.metrics.perturb import perturbed
from pcseg.metrics.scores import Scores
from pcseg.models.influencerformer import InfluencerFormer
from pcseg.models.query_decoder import QueryDecoder
from pcseg.models.sparse_unet import SparseUNet
from pcseg.models.voxel_batch_norm import synchronize
from pcseg.ops.superpoints import over_segment
from pcseg.structures import SceneBatch

NUM_ROOMS = 3
Answer = dict[str, Any]


def _score(processes: Processes) -> Answer:
    done = ScoredRooms(Scores(S3DIS))
    for index in processes.share(NUM_ROOMS):
        scene = make_room(0, index, num_points=3000)
        instances = perturbed(scene, S3DIS, np.random.default_rng(index))
        done.num_points[scene.name] = len(scene)
        if index != 1:  # the second room has no labels
            done.scores.add(scene.name, instances, scene.semantic, scene.instance)
    done = done.gather(processes)
    return {"rooms": done.num_points, "unlabelled": done.unlabelled, "scores": done.scores.compute().to_json()}


@cache
def _room(index: int) -> SceneBatch:
    """A small room in float64; the last one has no instances."""
    scene = make_room(0, index, num_points=2500 + 500 * index)
    scene = scene.with_(superpoint=over_segment(scene.xyz, scene.rgb))
    if index == NUM_ROOMS - 1:
        scene = scene.with_(instance=np.zeros_like(scene.instance))
    batch = make_batch([scene], voxel_size=0.25, features=("rgb", "xyz"), instance_classes=range(13))
    doubles = {key: value.double() for key, value in vars(batch).items() if getattr(value, "dtype", 0) == torch.float32}
    assert batch.targets is not None
    targets = [{k: v.double() if v.is_floating_point() else v for k, v in t.items()} for t in batch.targets]
    return SceneBatch(**{**vars(batch), **doubles, "targets": targets})


CRITERIA: dict[str, Callable[[], Criterion]] = {
    "influencer": lambda: InfluencerCriterion(13, weight_tokens=True),
    "first_pass": lambda: InfluencerCriterion(13, "first_pass"),
    "hungarian": lambda: SetCriterion(13, mask_activation="softmax"),
}
# Rooms of each part of each process; the last room has no instances.
STEPS: dict[str, tuple[tuple[tuple[int, ...], ...], ...]] = {
    "one room each": (((0,),), ((1,),)),
    "uneven": (((0, 1),), ((2,),)),
    "two parts": (((0,), (1, 0)), ((2,), (1,))),
}
CASES = [(name, "influencer") for name in STEPS] + [("uneven", "first_pass"), ("uneven", "hungarian")]


def _step(processes: Processes, criterion: str, parts: list[SceneBatch]) -> dict[str, Tensor]:
    """Gradients, running statistics and losses of one step with these rooms."""
    torch.manual_seed(0)
    decoder = QueryDecoder(8, 13, width=16, num_heads=2, num_layers=2, ffn_width=16, num_queries=12)
    model = InfluencerFormer(SparseUNet(6, (8, 8, 8), blocks_per_level=1, checkpoint=True), decoder).double().train()
    if processes.world > 1:
        synchronize(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    outcome = Stepper(model, CRITERIA[criterion](), optimizer, processes=processes).step(parts)
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {**gradients, **dict(model.named_buffers()), **dict(zip(outcome.names, outcome.values))}


def _steps(processes: Processes) -> Answer:
    answers = {}
    for name, criterion in CASES:
        parts = [collate([_room(i) for i in part]) for part in STEPS[name][processes.rank]]
        values = _step(processes, criterion, parts)
        answers[name, criterion] = {key: value.numpy() for key, value in values.items()}
    return answers


def _process(rank: int, port: int, work: Callable[[Processes], Answer], queue: multiprocessing.Queue) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes = join_processes()
    queue.put((rank, work(processes)))
    processes.close()


def _in_two_processes(work: Callable[[Processes], Answer]) -> list[Answer]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    workers = [context.Process(target=_process, args=(rank, port, work, queue)) for rank in range(2)]
    for worker in workers:
        worker.start()
    answers = dict(queue.get(timeout=200) for _ in workers)
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    return [answers[0], answers[1]]


def _everything(processes: Processes) -> Answer:
    total = processes.sum(torch.tensor([1.0, processes.rank])).tolist()
    shares = list(processes.share(NUM_ROOMS))
    return {"sum": total, "share": shares, "scores": _score(processes), "steps": _steps(processes)}


@pytest.fixture(scope="module")
def answers() -> list[Answer]:
    return _in_two_processes(_everything)


def test_every_room_is_scored_once(answers: list[Answer]) -> None:
    assert [answer["share"] for answer in answers] == [[0, 2], [1]]
    assert [answer["sum"] for answer in answers] == [[2.0, 1.0]] * 2
    alone = _score(ALONE)
    assert alone["unlabelled"] == ["Area_2_conferenceRoom_1"]
    for answer in answers:
        assert answer["scores"] == alone


@pytest.mark.parametrize(("step", "criterion"), CASES)
def test_gradients_of_two_processes_are_those_of_one(answers: list[Answer], step: str, criterion: str) -> None:
    parts = [collate([_room(i) for of_process in part for i in of_process]) for part in zip(*STEPS[step])]
    expected = _step(ALONE, criterion, parts)
    for answer in answers:
        found = answer["steps"][step, criterion]
        assert set(found) == set(expected)
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value.numpy(), rtol=0, atol=1e-6, err_msg=name)


def test_alone() -> None:
    assert "WORLD_SIZE" not in os.environ
    processes = join_processes()
    assert processes.is_first
    assert list(processes.share(3)) == [0, 1, 2]
    assert processes.gather("x") == ["x"]
    values = torch.ones(2)
    assert processes.sum(values) is values
    processes.close()
