"""Two processes share rooms and get the numbers of one."""

import multiprocessing
import os
import socket
from collections.abc import Callable
from functools import cache, partial
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from torch.utils._pytree import tree_map_only

from pcseg.data.dataset import collate, make_batch
from pcseg.losses.competitive import CompetitiveOptions
from pcseg.losses.criterion import Criterion
from pcseg.losses.influencer_criterion import InfluencerCriterion
from pcseg.losses.mask_influencer import FirstPassOptions
from pcseg.losses.set_criterion import SetCriterion
from pcseg.models.influencerformer import InfluencerFormer
from pcseg.models.query_decoder import QueryDecoder, QueryDecoderOptions
from pcseg.models.sparse_unet import SparseUNet, SparseUNetOptions
from pcseg.models.voxel_batch_norm import synchronize
from pcseg.ops.superpoints import over_segment
from pcseg.structures import SceneBatch
from pcseg.synthetic import make_room
from pcseg.training.distributed import SINGLE_PROCESS, DistributedContext, join_processes
from pcseg.training.loop import TrainOptions, TrainState, grad_scaler, train
from pcseg.training.optimizer import OptimizerOptions

NUM_ROOMS = 3
Answer = dict[str, Any]
CRITERIA: dict[str, Callable[..., Criterion]] = {
    "influencer": partial(InfluencerCriterion, 13, CompetitiveOptions(weight_tokens=True)),
    "first_pass": partial(InfluencerCriterion, 13, FirstPassOptions()),
    "hungarian": partial(SetCriterion, 13, mask_activation="softmax"),
}
# Rooms of each micro-batch of each process; the last room has no instances.
STEPS: dict[str, tuple[tuple[tuple[int, ...], ...], ...]] = {
    "uneven": (((0, 1),), ((2,),)),
    "two micro-batches": (((0,), (1, 0)), ((2,), (1,))),
}
CASES = [(name, "influencer") for name in STEPS] + [("uneven", "first_pass"), ("uneven", "hungarian")]


@cache
def _room(index: int) -> SceneBatch:
    """A small room in float64; the last one has no instances."""
    scene = make_room(0, index, num_points=2500 + 500 * index)
    scene = scene.with_(superpoint=over_segment(scene.xyz, scene.rgb))
    if index == NUM_ROOMS - 1:
        scene = scene.with_(instance=np.zeros_like(scene.instance))
    batch = make_batch([scene], voxel_size=0.25, features=("rgb", "xyz"), instance_classes=range(13))
    return SceneBatch(**tree_map_only(torch.Tensor, lambda t: t.double() if t.is_floating_point() else t, vars(batch)))


def _step(processes: DistributedContext, criterion: str, batches: list[SceneBatch], fault: bool = False) -> Answer:
    """Gradients, running statistics and record of one step with these micro-batches."""
    torch.manual_seed(0)
    options = QueryDecoderOptions(width=16, num_heads=2, num_layers=2, ffn_width=16, num_queries=12)
    unet = SparseUNet(6, SparseUNetOptions((8, 8, 8), blocks_per_level=1, checkpointing=True))
    model = InfluencerFormer(unet, QueryDecoder(8, 13, options)).double()
    if processes.world > 1:
        synchronize(model, processes.sum)
    if fault:
        model.unet.up[0].register_forward_pre_hook(Mock(side_effect=torch.OutOfMemoryError("CUDA out of memory.")))
    records: list[Answer] = []
    parts = model, CRITERIA[criterion](sum_counts=processes.sum), torch.optim.SGD(model.parameters(), lr=0.0), batches
    options = TrainOptions(steps=1, accumulate=len(batches)), OptimizerOptions(lr=0.0, clip_norm=0.0)
    scaler = grad_scaler(torch.device("cpu"), "float32")
    train(*parts, *options, state=TrainState(), scaler=scaler, processes=processes, log=records.append)
    tensors = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    # Batch norms also count their calls, which nothing reads.
    tensors |= {name: b for name, b in model.named_buffers() if b.is_floating_point()}
    numbers = {name: value for name, value in records[0].items() if "seconds" not in name}
    return {name: value.numpy().copy() for name, value in tensors.items()} | numbers


def _out_of_memory_in_one(processes: DistributedContext) -> str:
    """What ends each of two processes when memory runs out in the second one."""
    try:
        _step(processes, "influencer", [_room(processes.rank)], fault=processes.rank == 1)
    except (ValueError, RuntimeError) as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


def _process(rank: int, port: int, queue: multiprocessing.Queue) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes = join_processes()
    batches = {name: [collate([_room(i) for i in rooms]) for rooms in STEPS[name][rank]] for name in STEPS}
    answer = {
        "sum": processes.sum(torch.tensor([1.0, processes.rank])).tolist(),
        "shard": list(processes.shard(NUM_ROOMS)),
        "steps": {(name, criterion): _step(processes, criterion, batches[name]) for name, criterion in CASES},
        "out of memory": _out_of_memory_in_one(processes),
    }
    queue.put((rank, answer))


@pytest.fixture(scope="module")
def answers() -> list[Answer]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    workers = [context.Process(target=_process, args=(rank, port, queue)) for rank in range(2)]
    for worker in workers:
        worker.start()
    answers = dict(queue.get(timeout=300) for _ in workers)
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    return [answers[0], answers[1]]


def test_rooms_are_shared_and_out_of_memory_ends_both(answers: list[Answer]) -> None:
    assert [answer["shard"] for answer in answers] == [[0, 2], [1]]
    assert [answer["sum"] for answer in answers] == [[2.0, 1.0]] * 2
    first, second = (answer["out of memory"] for answer in answers)
    assert second.startswith(f"ValueError: process 1: out of memory on {_room(1).names[0]}; crop the rooms")
    assert first.startswith("RuntimeError: ")
    assert "Connection closed by peer" in first


@pytest.mark.parametrize(("name", "criterion"), CASES)
def test_two_processes_train_as_one(answers: list[Answer], name: str, criterion: str) -> None:
    batches = [collate([_room(i) for rooms in micro_batch for i in rooms]) for micro_batch in zip(*STEPS[name])]
    expected = _step(SINGLE_PROCESS, criterion, batches)
    for answer in answers:
        found = answer["steps"][name, criterion]
        assert set(found) == set(expected)
        for key, value in expected.items():
            np.testing.assert_allclose(found[key], value, rtol=0, atol=1e-6, err_msg=key)
