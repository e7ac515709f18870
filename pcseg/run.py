"""One training run in its folder: start or resume, save, evaluate."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from pcseg import build
from pcseg import config as cfg
from pcseg.build_training import build_loader, build_rate, build_stepper, build_watch
from pcseg.classes import class_set
from pcseg.data.preprocess import superpoints_of
from pcseg.files import atomic_write, drop_records_after
from pcseg.metrics.scores import Scores
from pcseg.training.checkpoint import (
    CheckpointError,
    load_checkpoint,
    load_matching_weights,
    load_weights,
    prediction_weights,
    save_checkpoint,
)
from pcseg.training.distributed import SINGLE_PROCESS, DistributedContext
from pcseg.training.evaluate import Evaluation, score_and_draw
from pcseg.training.loading import reraise_worker_errors
from pcseg.training.optimizer import WeightAverage
from pcseg.training.reproducible import (
    check_data,
    data_record,
    random_states,
    set_random_states,
    use_deterministic_algorithms,
    versions,
    warn_of_other_versions,
    write_record,
)
from pcseg.training.run_folder import (
    BEST,
    LAST,
    read_checkpoint,
    remove_old_checkpoints,
    remove_unfinished_files,
    step_name,
)
from pcseg.training.run_logger import EVALUATIONS, METRICS
from pcseg.training.trainer import NotFiniteError, TrainState, save_batch, seed_everything, train

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
    """A run of a recipe: model, criterion, optimizer, data, and where all of it is kept.

    The folder holds config.yaml (resolved), versions.json, data.json (hashes of the rooms), metrics.jsonl (one line a
    step), evaluations.jsonl, last.pt, step_N.pt, and best.pt where evaluations choose it.

    Args:
        config: the recipe.
        folder: of the run.
        device: where the model trains.
        processes: that train together; all do the same, and the first one writes.

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
        self.stepper = build_stepper(config, self.model, processes)
        self.ema = WeightAverage(self.model, config.train.ema_decay) if config.train.ema_decay else None
        self.state = TrainState()
        self.rooms = build.build_dataset(config, config.data.train, augmented=True)
        self.superpoints = superpoints_of(self.rooms.rooms)
        self.held_out = build.build_dataset(config, config.data.val, augmented=False) if config.data.val else None

    def start(self) -> None:
        """Take the weights of ``train.init``, make the folder and write the resolved recipe.

        Raises:
            CheckpointError: ``train.init`` is missing, damaged, or of another kind of model.
            ValueError: the folder already holds a run.
        """
        if any(self.folder.glob("*.pt")):
            raise ValueError(f"{self.folder} already holds a run; continue it with --resume or choose another --run")
        if self.config.train.init:
            self._start_from(Path(self.config.train.init))
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

    def _start_from(self, path: Path) -> None:
        fresh = load_matching_weights(self.model, prediction_weights(load_checkpoint(path)), path)
        if self.ema is not None:
            self.ema = WeightAverage(self.model, self.ema.decay)
        if self.processes.is_first:
            kept = f"; of another shape, and therefore fresh: {', '.join(fresh)}" if fresh else ""
            print(f"starts from the weights of {path}{kept}")

    def resume(self, name: str = LAST) -> None:
        """Continue from a checkpoint as if nothing had happened.

        Args:
            name: of the checkpoint, a file in the run's folder.

        Raises:
            CheckpointError: there is no checkpoint, it is damaged, or of another recipe; names the one before it.
            ValueError: the rooms are not those that the run began with.
        """
        path = self.folder / name
        content = read_checkpoint(path, str(self.device))
        self._check_recipe(content["config"], path)
        check_data(self.folder / "data.json", self._data_record())
        load_weights(self.model, content["model"], path)
        self.stepper.load_state_dict(content)
        if self.ema is not None:
            self.ema.load_state_dict(content["ema"])
        content["state"].pop("averages", None)  # of the line in the terminal, in pcseg 0.1
        self.state = TrainState(**content["state"])
        old = {"torch": content.get("torch_rng"), "cuda": content.get("cuda_rng")}  # as pcseg 0.1 wrote them
        set_random_states(content.get("random", old), self.device)
        self.processes.wait_for_all()  # from here on files change, which others may still read
        if not self.processes.is_first:
            return
        warn_of_other_versions(self.folder / "versions.json")
        remove_unfinished_files(self.folder)
        for log in (METRICS, EVALUATIONS):
            drop_records_after(self.folder / log, self.state.step)

    def train(self) -> Evaluation | None:
        """Train to the end of the recipe; gives the scores of the held-out rooms, None without such rooms."""
        first = self.processes.is_first
        self.watch = build_watch(self.config, self.folder, self.state.step, self.device) if first else None
        try:
            with reraise_worker_errors():
                self._train()
            self.save(LAST)
            if first:  # a process that was killed may have left one too many
                remove_old_checkpoints(self.folder, self.state.step, self.config.train.keep_checkpoints)
            return None if self.held_out is None else self._evaluate_and_keep()
        finally:
            if self.watch:
                self.watch.close()

    def _train(self) -> None:
        settings = self.config.train
        # Loader processes need cores of their own: threads that wait for each other's cores cost half the speed.
        torch.set_num_threads(max(1, torch.get_num_threads() - settings.num_workers))
        try:
            train(
                self.stepper,
                build_loader(self.config, self.rooms, self.state.step, self.processes),
                self.state,
                num_steps=settings.steps,
                rate=build_rate(self.config),
                accumulate=settings.accumulate,
                ema=self.ema,
                max_skipped=settings.max_skipped,
                log_every=settings.log_every,
                log=self.watch.step if self.watch else None,
                after_read=self._after_step,
            )
        except NotFiniteError as error:
            path = self.folder / "bad_batch" / f"process_{self.processes.rank}.pt"
            save_batch(path, error.parts)
            raise NotFiniteError(f"{error}; the batch is in {path}", error.parts) from None

    def evaluate(self) -> Evaluation | None:
        """Score the present weights on the held-out rooms; None without such rooms."""
        return None if self.held_out is None else self._score([])[0].compute()

    def _score(self, drawn: Sequence[str]) -> tuple[Scores, dict[str, Image.Image]]:
        """Scores of the held-out rooms, and pictures of some of them."""
        assert self.held_out is not None
        model = self.model
        if self.ema is not None:
            model = build.build_model(self.config, self.classes).to(self.device)
            model.load_state_dict(self.ema.weights)
        segmenter = build.build_segmenter(self.config, model, self.classes)
        return score_and_draw(segmenter, self.held_out, drawn, self.processes)

    def _evaluate_and_keep(self) -> Evaluation:
        """Score the held-out rooms, show the numbers, and keep weights that are the best so far."""
        assert self.held_out is not None
        names = [room.name for room in self.held_out.rooms]
        fixed = np.linspace(0, len(names) - 1, NUM_PICTURES).round().astype(int)
        with_pictures = self.config.train.tensorboard or self.config.train.wandb
        scores, pictures = self._score([names[i] for i in fixed] if with_pictures else [])
        result = scores.compute()
        if self.watch:
            self.watch.evaluation(self.state.step, result, scores, pictures)
        if self.config.train.evaluate_every and result.ap.ap > self.state.best_ap:
            self.state.best_ap = float(result.ap.ap)
            self.save(BEST)
        return result

    def save(self, name: str) -> None:
        """Write a checkpoint that training and prediction can both start from."""
        if not self.processes.is_first:
            return
        extra: dict[str, Any] = {}
        if self.ema is not None:
            extra["ema"] = self.ema.state_dict()
        save_checkpoint(
            self.folder / name,
            config=cfg.dumps(self.config),
            classes=self.classes.to_dict(),
            superpoints=asdict(self.superpoints) if self.superpoints else None,
            model=self.model.state_dict(),
            **self.stepper.state_dict(),
            state=asdict(self.state),
            random=random_states(self.device),
            **extra,
        )

    def _data_record(self) -> dict[str, Any]:
        return data_record(self.rooms.rooms, [] if self.held_out is None else self.held_out.rooms)

    def _check_recipe(self, text: str, path: Path) -> None:
        try:
            before = cfg.loads(text)
        except cfg.ConfigError as error:
            raise CheckpointError(f"{path}: its recipe is of another version of pcseg: {error}") from None
        changed = {key: what for key, what in cfg.differences(before, self.config).items() if key not in FREE_KEYS}
        if changed:
            raise CheckpointError(
                f"{path}: written with another recipe: {'; '.join(changed.values())}; "
                f"{self.folder / 'config.yaml'} has the one it needs"
            )

    def _after_step(self, state: TrainState) -> None:
        settings = self.config.train
        last = state.step == settings.steps
        if settings.evaluate_every and state.step % settings.evaluate_every == 0 and not last and self.held_out:
            self._evaluate_and_keep()
        if state.step % settings.checkpoint_every == 0 and not last and self.processes.is_first:
            self.save(LAST)
            self.save(step_name(state.step))
            remove_old_checkpoints(self.folder, state.step, settings.keep_checkpoints)
