"""One training run in its folder: start or resume, train, save, evaluate."""

import copy
import functools
import logging
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.optim import AdamW

from pcseg import build, config_reader
from pcseg import config as cfg
from pcseg.classes import ClassSet, class_set
from pcseg.data.dataset import collate
from pcseg.data.preprocess import superpoints_of
from pcseg.data.sampler import ResumableSampler
from pcseg.data.store import absent_classes
from pcseg.files import atomic_open, atomic_write, drop_records_after
from pcseg.inference.segmenter import Segmenter
from pcseg.metrics.coco import CocoScores
from pcseg.metrics.scores import Evaluation
from pcseg.models.voxel_batch_norm import synchronize
from pcseg.structures import Batch
from pcseg.training import checkpoint, loop, reproducible
from pcseg.training.checkpoint import BEST, LAST, CheckpointError
from pcseg.training.distributed import SINGLE_PROCESS, DistributedContext
from pcseg.training.evaluate import evaluate
from pcseg.training.loading import load_batches, reraise_worker_errors
from pcseg.training.optimizer import WeightAverage, adamw
from pcseg.training.run_logger import EVALUATIONS, METRICS, RunLogger, TensorBoardWriter, WandbWriter, Writer

logger = logging.getLogger(__name__)

# What a resumed run may change, because the weights do not depend on it; data is compared by its own hash.
FREE_KEYS = {
    *("data.root", "model.unet.checkpointing", "train.steps", "train.num_workers", "train.max_skipped"),
    *("train.checkpoint_every", "train.log_every", "train.evaluate_every", "train.keep_checkpoints"),
    *("train.tensorboard", "train.wandb"),
}
NUM_PICTURES = 3  # held-out rooms that are drawn at every evaluation


class Run:
    """A training run: model, criterion, optimizer, data, and the folder that records it.

    The folder has config.yaml (resolved), versions.json, data.json (hashes of the rooms), metrics.jsonl,
    evaluations.jsonl, last.pt, step_N.pt, and best.pt if there are evaluations during training.

    Args:
        config: resolved config.
        folder: run folder.
        device: device of the model.
        processes: processes that train together; process 0 writes.

    Raises:
        ConfigError: checkpoints or evaluations between the steps at which losses are read, or no weights for
            ``train.init_share`` or ``train.keep_absent``.
    """

    collate = staticmethod(collate)
    unit = "scenes"  # of the progress line

    def __init__(
        self, config: Any, folder: Path, device: torch.device, processes: DistributedContext = SINGLE_PROCESS
    ) -> None:
        self.config: cfg.Config = config  # a subclass may have another schema with criterion, optimizer and train
        self.folder, self.device, self.processes = folder, device, processes
        for key in ("checkpoint_every", "evaluate_every"):
            if (every := getattr(config.train, key)) % config.train.log_every:
                raise cfg.ConfigError(
                    f"train.{key} is {every}; expected a multiple of train.log_every, which is {config.train.log_every}"
                )
        share = config.train.init_share
        if not 0 <= share < 1:
            raise cfg.ConfigError(f"train.init_share is {share}; expected 0 to 1")
        if (share or config.train.keep_absent) and not config.train.init:
            raise cfg.ConfigError("train.init_share and train.keep_absent need train.init, the weights to keep")
        if config.train.deterministic:
            reproducible.use_deterministic_algorithms()
        reproducible.seed_everything(config.train.seed)
        self._build()
        if processes.world > 1:
            synchronize(self.model, processes.sum)
        self.scaler = loop.grad_scaler(device, config.train.precision)
        self.state = loop.TrainState()
        self.logger: RunLogger | None = None

    @functools.cached_property
    def optimizer(self) -> AdamW:
        """Of the present model; so `model` can be replaced before training."""
        return adamw(self.model, self.config.optimizer)

    @functools.cached_property
    def average(self) -> WeightAverage | None:
        """Of the weights of the present model."""
        decay = self.config.train.ema_decay
        return WeightAverage(self.model, decay) if decay else None

    def _build(self) -> None:
        """Classes, model, criterion and data of the config."""
        config = self.config
        self.classes = class_set(config.data.classes)
        self.model: torch.nn.Module = build.build_model(config, self.classes).to(self.device)
        self.rooms = build.build_dataset(config, config.data.train, augmented=True)
        absent = absent_classes(self.rooms.rooms, self.classes) if config.train.keep_absent else []
        if absent and self.processes.is_first:
            names = ", ".join(self.classes.names[index] for index in absent)
            logger.info("no training room has these classes, so they are not trained: %s", names)
        self.criterion = build.build_criterion(config, check_values=False, sum_counts=self.processes.sum, absent=absent)
        self.superpoints = superpoints_of(self.rooms.rooms)
        self.held_out = build.build_dataset(config, config.data.val, augmented=False) if config.data.val else None
        train, held_out = (side["rooms"] for side in self._data_record.values())
        trained = {*train.values()}
        shared = [name for name, checksum in held_out.items() if checksum in trained]
        if shared and self.processes.is_first:
            logger.warning("data.train has these rooms of data.val, so their AP tells nothing: %s", ", ".join(shared))

    def start(self) -> None:
        """Load the weights of ``train.init``, make the folder and write the resolved config.

        Raises:
            CheckpointError: ``train.init`` is missing, damaged, or of another kind of model.
            ValueError: the folder already holds a run.
        """
        if any(self.folder.glob("*.pt")):
            raise ValueError(f"{self.folder} already holds a run; continue it with --resume or choose another --run")
        if self.config.train.init:
            fresh = self._give_initial_weights(self.model)
            if self.processes.is_first:
                others = f"; of another shape, and therefore fresh: {', '.join(fresh)}" if fresh else ""
                logger.info("starts from the weights of %s%s", self.config.train.init, others)
        self.processes.wait_for_all()
        if self.processes.is_first:
            self.folder.mkdir(parents=True, exist_ok=True)
            for name in (METRICS, EVALUATIONS):
                (self.folder / name).unlink(missing_ok=True)
            checkpoint.remove_unfinished_files(self.folder)
            atomic_write(self.folder / "config.yaml", config_reader.to_text(self.config))
            reproducible.write_record(self.folder / "versions.json", reproducible.versions())
            reproducible.write_record(self.folder / "data.json", self._data_record)

    def resume(self, name: str = LAST) -> None:
        """Continue from a checkpoint in the run's folder as if the run had not been interrupted.

        More ``train.steps`` than before extend the run, on the learning rate of the longer one.

        Raises:
            CheckpointError: the checkpoint is missing, damaged, or of another config; names another one.
            ValueError: the rooms are not those that the run began with, or ``train.steps`` are fewer than were made.
        """
        path = self.folder / name
        content = checkpoint.read_last_checkpoint(path, str(self.device))
        self._check_config(content["config"], path)
        if self.config.train.steps < (step := content["state"]["step"]):
            raise ValueError(f"{path} has {step} steps; train.steps is {self.config.train.steps}, give at least {step}")
        reproducible.check_data(self.folder / "data.json", self._data_record)
        checkpoint.load_weights(self.model, content["model"], path)
        self.optimizer.load_state_dict(content["optimizer"])
        self.scaler.load_state_dict(content["scaler"])
        if self.average is not None:
            self.average.load_state_dict(content["ema"])
        self.state = loop.TrainState(**content["state"])
        reproducible.set_random_states(content["random"], self.device)
        self.processes.wait_for_all()  # from here on files change, which others may still read
        if self.processes.is_first:
            reproducible.warn_of_other_versions(self.folder / "versions.json")
            checkpoint.remove_unfinished_files(self.folder)
            atomic_write(self.folder / "config.yaml", config_reader.to_text(self.config))
            for log in (METRICS, EVALUATIONS):
                drop_records_after(self.folder / log, self.state.step)

    def train(self) -> Evaluation | CocoScores | None:
        """Train to the end; returns the scores of the held-out rooms, None without such rooms.

        Raises:
            TooManySkippedError: more than ``train.max_skipped`` consecutive steps were skipped; the batch is saved.
            ValueError: a damaged room, or memory ran out in one of several processes.
            ChildProcessError: a loader process died.
        """
        options, folder, step = self.config.train, self.folder, self.state.step
        if self.processes.is_first:
            writers: list[Writer] = []
            if options.tensorboard:
                writers.append(TensorBoardWriter(folder / "tensorboard", step))
            if options.wandb:
                writers.append(WandbWriter(options.wandb, folder, asdict(self.config)))
            self.logger = RunLogger(
                folder, num_steps=options.steps, step=step, device=self.device, unit=self.unit, writers=writers
            )
        # Loader processes need cores of their own: threads that wait for each other's cores cost half the speed.
        torch.set_num_threads(max(1, torch.get_num_threads() - options.num_workers))
        try:
            with reraise_worker_errors():
                self.train_on(self._loader())
            self.save(LAST)
            if self.processes.is_first:  # a process that was killed may have left one too many
                checkpoint.remove_old_checkpoints(folder, self.state.step, options.keep_checkpoints)
            return None if self.held_out is None else self._evaluate()
        except loop.TooManySkippedError as error:
            path = folder / "bad_batch" / f"process_{self.processes.rank}.pt"
            with atomic_open(path) as file:  # ``SceneBatch(**torch.load(path)[i])`` reads one of them back
                torch.save([asdict(batch) for batch in error.batches], file)
            raise loop.TooManySkippedError(f"{error}; the batch is in {path}", error.batches) from None
        finally:
            if self.logger:
                self.logger.close()

    def train_on(self, batches: Iterable[Batch]) -> None:
        """Train on these batches, ``train.accumulate`` per step, until they or ``train.steps`` end."""
        loop.train(
            self.model,
            self.criterion,
            self.optimizer,
            batches,
            self.config.train,
            self.config.optimizer,
            state=self.state,
            scaler=self.scaler,
            average=self.average,
            processes=self.processes,
            log=self.logger.step if self.logger else lambda record: None,
            after_log=self._after_log,
        )

    def save(self, name: str) -> None:
        """Write a checkpoint that training and prediction can both start from."""
        if self.processes.is_first:
            checkpoint.save_checkpoint(
                self.folder / name,
                config=config_reader.to_text(self.config),
                classes=self.classes.to_dict(),
                superpoints=asdict(self.superpoints) if self.superpoints else None,
                model=self.model.state_dict(),
                optimizer=self.optimizer.state_dict(),
                scaler=self.scaler.state_dict(),
                state=asdict(self.state),
                random=reproducible.random_states(self.device),
                **({"ema": self.average.state_dict()} if self.average is not None else {}),
                **({"mixed": self._evaluated_model().state_dict()} if self.config.train.init_share else {}),
            )

    def _give_initial_weights(self, model: torch.nn.Module) -> list[str]:
        """Load the weights of ``train.init``; returns the names of parameters of another shape, which stay."""
        path = self.config.train.init
        content = checkpoint.load_checkpoint(path)
        classes = ClassSet.from_dict(content["classes"], path), self.classes
        return checkpoint.load_matching_weights(model, checkpoint.prediction_weights(content), Path(path), classes)

    def _loader(self) -> Iterator[Any]:
        """The batches of this process for the remaining steps."""
        options, processes = self.config.train, self.processes
        num_voxels = None
        if options.max_voxels:  # counted by all processes together
            counts = {room: self.rooms.num_voxels(room) for room in processes.shard(len(self.rooms))}
            known = {room: num for part in processes.gather(counts) for room, num in part.items()}
            num_voxels = [known[room] for room in range(len(self.rooms))]
        sampler = ResumableSampler(
            len(self.rooms),
            options.batch_size,
            options.steps,
            seed=options.seed,
            start=self.state.step,
            rank=processes.rank,
            world=processes.world,
            accumulate=options.accumulate,
            num_voxels=num_voxels,
            max_voxels=options.max_voxels,
        )
        return load_batches(self.rooms, sampler, options.num_workers, self.collate)

    def _after_log(self) -> None:
        options, step = self.config.train, self.state.step
        if step == options.steps:
            return  # the end of training saves and evaluates
        if options.evaluate_every and step % options.evaluate_every == 0 and self.held_out:
            self._evaluate()
        if step % options.checkpoint_every == 0 and self.processes.is_first:
            self.save(checkpoint.step_name(step))
            self.save(LAST)  # second: a run that is killed in between repeats this step and writes both
            checkpoint.remove_old_checkpoints(self.folder, step, options.keep_checkpoints)

    def _evaluate(self) -> Evaluation | CocoScores:
        """Score the held-out rooms, log the scores, and save weights that are the best so far."""
        assert self.held_out is not None
        options, data = self.config.train, self.config.data
        names = [room.name for room in self.held_out.rooms]
        fixed = np.linspace(0, len(names) - 1, NUM_PICTURES).round().astype(int)
        drawn = [names[i] for i in fixed] if options.tensorboard or options.wandb else []
        model = self._evaluated_model()
        segmenter = Segmenter(model, self.classes, data.voxel_size, data.features, self.config.inference)
        scores, pictures = evaluate(segmenter, self.held_out, drawn, self.processes)
        result = scores.compute()
        if self.logger:
            self.logger.evaluation(self.state.step, result, scores, pictures)
        if options.evaluate_every and result.ap.ap > self.state.best_ap:
            self.state.best_ap = float(result.ap.ap)
            self.save(BEST)
        return result

    @torch.no_grad()
    def _evaluated_model(self) -> Any:
        """The model to evaluate: with averaged weights if the run has them, mixed with those of its start.

        Source of the mixture: Wortsman et al., Robust Fine-Tuning of Zero-Shot Models, CVPR 2022.
        """
        share = self.config.train.init_share
        if self.average is None and not share:
            return self.model
        model = copy.deepcopy(self.model)
        if self.average is not None:
            model.load_state_dict(self.average.weights)
        if share:
            start = copy.deepcopy(model)  # what the two do not have in common stays as it is
            self._give_initial_weights(start)
            for value, first in zip(model.state_dict().values(), start.state_dict().values(), strict=True):
                if value.is_floating_point():
                    value.lerp_(first, share)
        return model

    @functools.cached_property
    def _data_record(self) -> dict[str, Any]:
        return reproducible.data_record(self.rooms.rooms, [] if self.held_out is None else self.held_out.rooms)

    def _check_config(self, text: str, path: Path) -> None:
        try:
            before = config_reader.from_text(type(self.config), text)
        except cfg.ConfigError as error:
            raise CheckpointError(f"{path}: its config is of another version of pcseg: {error}") from None
        changed = {key: what for key, what in cfg.differences(before, self.config).items() if key not in FREE_KEYS}
        if changed:
            raise CheckpointError(
                f"{path}: written with another config: {'; '.join(changed.values())}; "
                f"{self.folder / 'config.yaml'} has the one it needs"
            )
