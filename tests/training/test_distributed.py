"""Two processes share rooms and get the numbers of one."""

import multiprocessing
import os
import socket
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch.utils.hooks import RemovableHandle

from pcseg.classes import S3DIS
from pcseg.data.dataset import collate, make_batch
from pcseg.losses.competitive import CompetitiveOptions
from pcseg.losses.criterion import Criterion
from pcseg.losses.influencer_criterion import InfluencerCriterion
from pcseg.losses.mask_influencer import FirstPassOptions
from pcseg.losses.set_criterion import SetCriterion
from pcseg.metrics.scores import Scores
from pcseg.metrics.simulate import simulate_predictions
from pcseg.models.influencerformer import InfluencerFormer
from pcseg.models.query_decoder import QueryDecoder, QueryDecoderOptions
from pcseg.models.sparse_unet import SparseUNet, SparseUNetOptions
from pcseg.ops.superpoints import over_segment
from pcseg.structures import SceneBatch
from pcseg.synthetic import make_room
from pcseg.training.distributed import SINGLE_PROCESS, DistributedContext, join_processes
from pcseg.training.evaluate import ScoredRooms
from pcseg.training.stepper import Stepper

NUM_ROOMS = 3
Answer = dict[str, Any]


def _score(processes: DistributedContext) -> Answer:
    done = ScoredRooms(Scores(S3DIS))
    for index in processes.shard(NUM_ROOMS):
        scene = make_room(0, index, num_points=3000)
        prediction = simulate_predictions(scene, S3DIS, np.random.default_rng(index))
        done.num_points[scene.name] = len(scene)
        if index != 1:  # the second room has no labels
            done.scores.add(prediction)
    done = done.gather(processes)
    return {"rooms": done.num_points, "unlabeled": done.unlabeled, "scores": done.scores.compute().to_json()}


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
    "influencer": lambda: InfluencerCriterion(13, CompetitiveOptions(weight_tokens=True)),
    "first_pass": lambda: InfluencerCriterion(13, FirstPassOptions()),
    "hungarian": lambda: SetCriterion(13, mask_activation="softmax"),
}
# Rooms of each part of each process; the last room has no instances.
STEPS: dict[str, tuple[tuple[tuple[int, ...], ...], ...]] = {
    "one room each": (((0,),), ((1,),)),
    "uneven": (((0, 1),), ((2,),)),
    "two parts": (((0,), (1, 0)), ((2,), (1,))),
}
# When a process runs out of memory: before any message of the step, between messages, after the last of forward, after
# some of backward, and after all of them.
MOMENTS = ("first", "forward", "criterion", "backward", "last")


class Shortage(NamedTuple):
    """A step on which memory runs out."""

    shares: tuple[tuple[tuple[int, ...], ...], ...]  # rooms of each part of each process
    on: int | None  # the room that does not fit; None where two rooms at once do not
    remaining: tuple[tuple[int, ...], ...]  # the parts on which one process would train in the end


SHORTAGES = {
    "its only room": Shortage((((0,),), ((1,),)), 1, ((0,),)),
    "one of its rooms": Shortage((((0, 1),), ((2,),)), 1, ((0, 2),)),
    "rooms together": Shortage((((2,),), ((0, 1),)), None, ((2, 0), (1,))),
    "in two parts": Shortage((((0,), (1, 0)), ((2,), (1,))), 1, ((0, 2), (0,))),
    "everywhere": Shortage((((1,), (1,)), ((1,), (1,))), 1, ()),
}
SHORT_OF_MEMORY = [("its only room", moment) for moment in MOMENTS]
SHORT_OF_MEMORY += [("one of its rooms", "forward"), ("rooms together", "last"), ("in two parts", "last")]
CASES = [(name, "influencer") for name in STEPS] + [("uneven", "first_pass"), ("uneven", "hungarian")]


def _stepper(processes: DistributedContext, criterion: str) -> Stepper:
    torch.manual_seed(0)
    options = QueryDecoderOptions(width=16, num_heads=2, num_layers=2, ffn_width=16, num_queries=12)
    unet = SparseUNet(6, SparseUNetOptions((8, 8, 8), blocks_per_level=1, checkpointing=True))
    model = InfluencerFormer(unet, QueryDecoder(8, 13, options)).double().train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    return Stepper(model, CRITERIA[criterion](), optimizer, processes=processes)


def _step(stepper: Stepper, parts: list[SceneBatch]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Gradients, running statistics and losses of one step with these rooms; and the rooms that were left out."""
    outcome = stepper.step(parts)
    gradients = {name: p.grad for name, p in stepper.model.named_parameters() if p.grad is not None}
    # Batch norms count their calls as well, which nothing reads.
    buffers = {name: b for name, b in stepper.model.named_buffers() if b.is_floating_point()}
    values = {**gradients, **buffers, **dict(zip(outcome.names, outcome.values))}
    return {key: value.numpy().copy() for key, value in values.items()}, outcome.left_out


def _steps(processes: DistributedContext) -> Answer:
    answers = {}
    for name, criterion in CASES:
        parts = [collate([_room(i) for i in part]) for part in STEPS[name][processes.rank]]
        answers[name, criterion], _ = _step(_stepper(processes, criterion), parts)
    return answers


def _runs_out_of_memory(stepper: Stepper, on: int | None, moment: str) -> list[RemovableHandle]:
    """From now on, at this moment of every attempt with this room, or with two rooms at once."""
    batches: list[SceneBatch] = []

    def fault(*_: object) -> None:
        batch = batches[-1]
        fits = len(batch) < 2 if on is None else _room(on).names[0] not in batch.names
        if not fits and len(batch.voxel_coords) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    model = stepper.model
    assert isinstance(model, InfluencerFormer)
    handles = [model.register_forward_pre_hook(lambda _, args: batches.append(args[0]))]
    if moment in ("backward", "last"):
        layer = model.unet.down[0] if moment == "backward" else model.unet.stem
        return [*handles, layer.weight.register_hook(fault)]
    module = {"first": model.unet.stem, "forward": model.unet.up[0], "criterion": stepper.criterion}[moment]
    return [*handles, module.register_forward_pre_hook(fault)]


def _steps_without_memory(processes: DistributedContext) -> Answer:
    """Two steps each: in the first one memory runs out."""
    answers = {}
    for name, moment in [*SHORT_OF_MEMORY, ("everywhere", "last")]:
        shares, on, _ = SHORTAGES[name]
        stepper = _stepper(processes, "influencer")
        parts = [collate([_room(i) for i in part]) for part in shares[processes.rank]]
        handles = _runs_out_of_memory(stepper, on, moment)
        first = _step(stepper, parts)
        for handle in handles:
            handle.remove()
        answers[name, moment] = first, _step(stepper, parts)
    return answers


def _process(rank: int, port: int, work: Callable[[DistributedContext], Answer], queue: multiprocessing.Queue) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes = join_processes()
    queue.put((rank, work(processes)))
    processes.close()


def _in_two_processes(work: Callable[[DistributedContext], Answer]) -> list[Answer]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    workers = [context.Process(target=_process, args=(rank, port, work, queue)) for rank in range(2)]
    for worker in workers:
        worker.start()
    answers = dict(queue.get(timeout=400) for _ in workers)
    for worker in workers:
        worker.join(200)
        assert worker.exitcode == 0
    return [answers[0], answers[1]]


def _everything(processes: DistributedContext) -> Answer:
    total = processes.sum(torch.tensor([1.0, processes.rank])).tolist()
    shares = list(processes.shard(NUM_ROOMS))
    return {
        "sum": total,
        "any": [processes.any(processes.rank == 1), processes.any(False)],
        "share": shares,
        "scores": _score(processes),
        "steps": _steps(processes),
        "without memory": _steps_without_memory(processes),
    }


@pytest.fixture(scope="module")
def answers() -> list[Answer]:
    return _in_two_processes(_everything)


def test_every_room_is_scored_once(answers: list[Answer]) -> None:
    assert [answer["share"] for answer in answers] == [[0, 2], [1]]
    assert [answer["sum"] for answer in answers] == [[2.0, 1.0]] * 2
    assert [answer["any"] for answer in answers] == [[True, False]] * 2
    alone = _score(SINGLE_PROCESS)
    assert alone["unlabeled"] == ["Area_2_conferenceRoom_1"]
    for answer in answers:
        assert answer["scores"] == alone


@pytest.mark.parametrize(("step", "criterion"), CASES)
def test_gradients_of_two_processes_are_those_of_one(answers: list[Answer], step: str, criterion: str) -> None:
    parts = [collate([_room(i) for of_process in part for i in of_process]) for part in zip(*STEPS[step])]
    expected, _ = _step(_stepper(SINGLE_PROCESS, criterion), parts)
    for answer in answers:
        _assert_same(answer["steps"][step, criterion], expected)


def _assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(("name", "moment"), SHORT_OF_MEMORY)
def test_only_rooms_that_do_not_fit_are_left_out(answers: list[Answer], name: str, moment: str) -> None:
    shares, on, remaining = SHORTAGES[name]
    expected, _ = _step(
        _stepper(SINGLE_PROCESS, "influencer"), [collate([_room(i) for i in part]) for part in remaining]
    )
    left_out = [] if on is None else _room(1).names * sum(part.count(1) for share in shares for part in share)
    num_rooms = sum(len(part) for share in shares for part in share)
    for answer in answers:
        first, second = answer["without memory"][name, moment]
        assert first[1] == left_out
        assert first[0]["rooms"] == num_rooms - len(left_out)
        _assert_same(first[0], expected)
        assert second[1] == []
        assert second[0]["rooms"] == num_rooms
    _assert_same(answers[0]["without memory"][name, moment][1][0], answers[1]["without memory"][name, moment][1][0])


def test_step_without_any_room_changes_nothing(answers: list[Answer]) -> None:
    fresh = dict(_stepper(SINGLE_PROCESS, "influencer").model.named_buffers())
    for answer in answers:
        (values, left_out), (_, left_out_after) = answer["without memory"]["everywhere", "last"]
        assert (left_out, left_out_after) == (_room(1).names * 4, [])
        assert values["rooms"] == 0
        assert np.isnan(values["grad_norm"])
        assert np.isnan(values["loss"])
        for name, buffer in fresh.items():
            if buffer.is_floating_point():
                np.testing.assert_array_equal(values[name], buffer.numpy())


def test_alone() -> None:
    assert "WORLD_SIZE" not in os.environ
    processes = join_processes()
    assert processes.is_first
    assert list(processes.shard(3)) == [0, 1, 2]
    assert processes.gather("x") == ["x"]
    assert [processes.any(True), processes.any(False)] == [True, False]
    values = torch.ones(2)
    assert processes.sum(values) is values
    processes.close()
