"""One training run in its folder: start or resume, train, save, evaluate."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from pcseg import build
from pcseg import config as cfg
from pcseg.classes import class_set
from pcseg.data.preprocess import superpoints_of
from pcseg.data.sampler import ResumableSampler
from pcseg.files import atomic_write, drop_records_after
from pcseg.inference.segmenter import Segmenter
from pcseg.metrics.scores import Scores
from pcseg.models.voxel_batch_norm import synchronize
from pcseg.structures import SceneBatch
from pcseg.training.checkpoint import (
    BEST,
    LAST,
    CheckpointError,
    load_checkpoint,
    load_matching_weights,
    load_weights,
    prediction_weights,
    read_last_checkpoint,
    remove_old_checkpoints,
    remove_unfinished_files,
    save_checkpoint,
    step_name,
)
from pcseg.training.distributed import SINGLE_PROCESS, DistributedContext
from pcseg.training.evaluate import Evaluation, score_and_draw
from pcseg.training.loading import load_batches, reraise_worker_errors
from pcseg.training.loop import TooManySkippedError, TrainState, grad_scaler, save_batches, train
from pcseg.training.optimizer import WeightAverage, adamw
from pcseg.training.reproducible import (
    check_data,
    data_record,
    random_states,
    seed_everything,
    set_random_states,
    use_deterministic_algorithms,
    versions,
    warn_of_other_versions,
    write_record,
)
from pcseg.training.run_logger import EVALUATIONS, METRICS, RunLogger
from pcseg.training.writers import TensorBoardWriter, WandbWriter, Writer

# What a resumed run may change, because the weights do not depend on it; data is compared by its own hash.
FREE_KEYS = (
    "data.root",
    "model.unet.checkpointing",
    "train.num_workers",
    "train.max_skipped",
    "train.checkpoint_every",
    "train.log_every",
    "train.evaluate_every",
    "train.keep_checkpoints",
    "train.tensorboard",
    "train.wandb",
)
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
        ConfigError: checkpoints or evaluations between the steps at which losses are read.
    """

    def __init__(
        self, config: cfg.Config, folder: Path, device: torch.device, processes: DistributedContext = SINGLE_PROCESS
    ) -> None:
        self.config, self.folder, self.device, self.processes = config, folder, device, processes
        for key in ("checkpoint_every", "evaluate_every"):
            if getattr(config.train, key) % config.train.log_every:
                raise cfg.ConfigError(
                    f"train.{key} is {getattr(config.train, key)}; expected a multiple of train.log_every, which is "
                    f"{config.train.log_every}"
                )
        if config.train.deterministic:
            use_deterministic_algorithms()
        seed_everything(config.train.seed)
        self.classes = class_set(config.data.classes)
        self.model = build.build_model(config, self.classes).to(device)
        self.criterion = build.build_criterion(config, check_values=False, sum_counts=processes.sum)
        if processes.world > 1:
            synchronize(self.model, processes.sum)
        self.optimizer = adamw(self.model, config.optimizer)
        self.scaler = grad_scaler(device, config.train.precision)
        self.average = WeightAverage(self.model, config.train.ema_decay) if config.train.ema_decay else None
        self.state = TrainState()
        self.logger: RunLogger | None = None
        self.rooms = build.build_dataset(config, config.data.train, augmented=True)
        self.superpoints = superpoints_of(self.rooms.rooms)
        self.held_out = build.build_dataset(config, config.data.val, augmented=False) if config.data.val else None

    def start(self) -> None:
        """Load the weights of ``train.init``, make the folder and write the resolved config.

        Raises:
            CheckpointError: ``train.init`` is missing, damaged, or of another kind of model.
            ValueError: the folder already holds a run.
        """
        if any(self.folder.glob("*.pt")):
            raise ValueError(f"{self.folder} already holds a run; continue it with --resume or choose another --run")
        if self.config.train.init:
            self._load_initial_weights(Path(self.config.train.init))
        self.processes.wait_for_all()
        if not self.processes.is_first:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in (METRICS, EVALUATIONS):
            (self.folder / name).unlink(missing_ok=True)
        remove_unfinished_files(self.folder)
        atomic_write(self.folder / "config.yaml", cfg.dumps(self.config))
        write_record(self.folder / "versions.json", versions())
        write_record(self.folder / "data.json", self._data_record())

    def resume(self, name: str = LAST) -> None:
        """Continue from a checkpoint as if the run had not been interrupted.

        Args:
            name: file name of the checkpoint in the run's folder.

        Raises:
            CheckpointError: the checkpoint is missing, damaged, or of another config; names the newest good one.
            ValueError: the rooms are not those that the run began with.
        """
        path = self.folder / name
        content = read_last_checkpoint(path, str(self.device))
        self._check_config(content["config"], path)
        check_data(self.folder / "data.json", self._data_record())
        load_weights(self.model, content["model"], path)
        self.optimizer.load_state_dict(content["optimizer"])
        self.scaler.load_state_dict(content["scaler"])
        if self.average is not None:
            self.average.load_state_dict(content["ema"])
        self.state = TrainState(**content["state"])
        set_random_states(content["random"], self.device)
        self.processes.wait_for_all()  # from here on files change, which others may still read
        if not self.processes.is_first:
            return
        warn_of_other_versions(self.folder / "versions.json")
        remove_unfinished_files(self.folder)
        for log in (METRICS, EVALUATIONS):
            drop_records_after(self.folder / log, self.state.step)

    def train(self) -> Evaluation | None:
        """Train to the end; returns the scores of the held-out rooms, None without such rooms.

        Raises:
            TooManySkippedError: more than ``train.max_skipped`` consecutive steps were skipped; the batch is saved.
            ValueError: a damaged room, or memory ran out in one of several processes.
            ChildProcessError: a loader process died.
        """
        if self.processes.is_first:
            self.logger = self._open_logger()
        # Loader processes need cores of their own: threads that wait for each other's cores cost half the speed.
        torch.set_num_threads(max(1, torch.get_num_threads() - self.config.train.num_workers))
        try:
            with reraise_worker_errors():
                self.train_on(self._loader())
            self.save(LAST)
            if self.processes.is_first:  # a process that was killed may have left one too many
                remove_old_checkpoints(self.folder, self.state.step, self.config.train.keep_checkpoints)
            return None if self.held_out is None else self._evaluate_and_log()
        except TooManySkippedError as error:
            path = self.folder / "bad_batch" / f"process_{self.processes.rank}.pt"
            save_batches(path, error.batches)
            raise TooManySkippedError(f"{error}; the batch is in {path}", error.batches) from None
        finally:
            if self.logger:
                self.logger.close()

    def train_on(self, batches: Iterable[SceneBatch]) -> None:
        """Train on these batches, ``train.accumulate`` per step, until they or ``train.steps`` end."""
        train(
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
            log=self.logger.step if self.logger else None,
            after_log=self._after_log,
        )

    def evaluate(self) -> Evaluation | None:
        """Score the current weights on the held-out rooms; None without such rooms."""
        return None if self.held_out is None else self._score([])[0].compute()

    def save(self, name: str) -> None:
        """Write a checkpoint that training and prediction can both start from."""
        if self.processes.is_first:
            save_checkpoint(
                self.folder / name,
                config=cfg.dumps(self.config),
                classes=self.classes.to_dict(),
                superpoints=asdict(self.superpoints) if self.superpoints else None,
                model=self.model.state_dict(),
                optimizer=self.optimizer.state_dict(),
                scaler=self.scaler.state_dict(),
                state=asdict(self.state),
                random=random_states(self.device),
                **({"ema": self.average.state_dict()} if self.average is not None else {}),
            )

    def _load_initial_weights(self, path: Path) -> None:
        fresh = load_matching_weights(self.model, prediction_weights(load_checkpoint(path)), path)
        if self.average is not None:
            self.average = WeightAverage(self.model, self.average.decay)
        if self.processes.is_first:
            others = f"; of another shape, and therefore fresh: {', '.join(fresh)}" if fresh else ""
            print(f"starts from the weights of {path}{others}")

    def _loader(self) -> Iterator[SceneBatch]:
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
        return load_batches(self.rooms, sampler, options.num_workers)

    def _open_logger(self) -> RunLogger:
        options, step = self.config.train, self.state.step
        writers: list[Writer] = []
        if options.tensorboard:
            writers.append(TensorBoardWriter(self.folder / "tensorboard", step))
        if options.wandb:
            writers.append(WandbWriter(options.wandb, self.folder, asdict(self.config)))
        return RunLogger(self.folder, num_steps=options.steps, step=step, device=self.device, writers=writers)

    def _after_log(self) -> None:
        options, step = self.config.train, self.state.step
        if step == options.steps:
            return  # the end of training saves and evaluates
        if options.evaluate_every and step % options.evaluate_every == 0 and self.held_out:
            self._evaluate_and_log()
        if step % options.checkpoint_every == 0 and self.processes.is_first:
            self.save(LAST)
            self.save(step_name(step))
            remove_old_checkpoints(self.folder, step, options.keep_checkpoints)

    def _evaluate_and_log(self) -> Evaluation:
        """Score the held-out rooms, log the scores, and save weights that are the best so far."""
        assert self.held_out is not None
        names = [room.name for room in self.held_out.rooms]
        fixed = np.linspace(0, len(names) - 1, NUM_PICTURES).round().astype(int)
        with_pictures = self.config.train.tensorboard or self.config.train.wandb
        scores, pictures = self._score([names[i] for i in fixed] if with_pictures else [])
        result = scores.compute()
        if self.logger:
            self.logger.evaluation(self.state.step, result, scores, pictures)
        if self.config.train.evaluate_every and result.ap.ap > self.state.best_ap:
            self.state.best_ap = float(result.ap.ap)
            self.save(BEST)
        return result

    def _score(self, drawn: Sequence[str]) -> tuple[Scores, dict[str, Image.Image]]:
        """The scores of the held-out rooms, and pictures of some of them."""
        assert self.held_out is not None
        model = self.model
        if self.average is not None:
            model = build.build_model(self.config, self.classes).to(self.device)
            model.load_state_dict(self.average.weights)
        data = self.config.data
        segmenter = Segmenter(model, self.classes, data.voxel_size, data.features, self.config.inference)
        return score_and_draw(segmenter, self.held_out, drawn, self.processes)

    def _data_record(self) -> dict[str, Any]:
        return data_record(self.rooms.rooms, [] if self.held_out is None else self.held_out.rooms)

    def _check_config(self, text: str, path: Path) -> None:
        try:
            before = cfg.loads(text)
        except cfg.ConfigError as error:
            raise CheckpointError(f"{path}: its config is of another version of pcseg: {error}") from None
        changed = {key: what for key, what in cfg.differences(before, self.config).items() if key not in FREE_KEYS}
        if changed:
            raise CheckpointError(
                f"{path}: written with another config: {'; '.join(changed.values())}; "
                f"{self.folder / 'config.yaml'} has the one it needs"
            )
