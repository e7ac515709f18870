"""From a recipe to what training needs besides model and criterion: optimizer, rate, loader, and who watches."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
from torch import nn

from pcseg import build
from pcseg import config as cfg
from pcseg.data.dataset import RoomDataset
from pcseg.data.sampler import ResumableSampler
from pcseg.structures import SceneBatch
from pcseg.training.distributed import SINGLE_PROCESS, DistributedContext
from pcseg.training.loading import load_batches
from pcseg.training.optimizer import adamw, learning_rate
from pcseg.training.run_logger import RunLogger
from pcseg.training.stepper import Stepper
from pcseg.training.writers import TensorBoardWriter, WandbWriter, Writer


def build_stepper(config: cfg.Config, model: nn.Module, processes: DistributedContext = SINGLE_PROCESS) -> Stepper:
    """Criterion and optimizer around a model, on the model's device."""
    return Stepper(
        model,
        build.build_criterion(config),
        adamw(model, config.optimizer),
        clip_norm=config.optimizer.clip_norm,
        precision=config.train.precision,
        processes=processes,
    )


def build_rate(config: cfg.Config) -> Callable[[int], float]:
    """The learning rate of each step, counted from 0."""
    return partial(learning_rate, num_steps=config.train.steps, options=config.optimizer)


def build_loader(
    config: cfg.Config, rooms: RoomDataset, start: int = 0, processes: DistributedContext = SINGLE_PROCESS
) -> Iterator[SceneBatch]:
    """The batches of this process, `train.accumulate` of them for each step.

    Args:
        config: the recipe.
        rooms: to train on.
        start: steps that are done.
        processes: that share the rooms of each step; all of them must call this.
    """
    settings = config.train
    sampler = ResumableSampler(
        len(rooms),
        settings.batch_size,
        settings.steps,
        seed=settings.seed,
        start=start,
        rank=processes.rank,
        world=processes.world,
        parts=settings.accumulate,
        num_voxels=_num_voxels(rooms, processes) if settings.max_voxels else None,
        max_voxels=settings.max_voxels,
    )
    return load_batches(rooms, sampler, settings.num_workers)


def build_watch(config: cfg.Config, folder: Path, step: int, device: torch.device) -> RunLogger:
    """Who shows and keeps the numbers of a run.

    Args:
        config: the recipe.
        folder: of the run.
        step: last step that is done.
        device: whose memory is shown.

    Raises:
        ValueError: a package that the recipe asks for is not installed.
    """
    writers: list[Writer] = []
    if config.train.tensorboard:
        writers.append(TensorBoardWriter(folder / "tensorboard", step))
    if config.train.wandb:
        writers.append(WandbWriter(config.train.wandb, folder, asdict(config)))
    return RunLogger(folder, num_steps=config.train.steps, step=step, device=device, writers=writers)


def _num_voxels(rooms: RoomDataset, processes: DistributedContext) -> list[int]:
    """Voxels of each room, counted by all processes together."""
    num_voxels: dict[int, int] = {}
    share = processes.shard(len(rooms))
    for part in processes.gather({room: rooms.num_voxels(room) for room in share}):
        num_voxels |= part
    return [num_voxels[room] for room in range(len(rooms))]
