"""One training run in its folder: start or resume, save, evaluate."""

import json
import os
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from pcseg import build
from pcseg import config as cfg
from pcseg.data.dataset import VisitSampler, collate
from pcseg.engine.checkpoint import CheckpointError, load_checkpoint, load_weights, save_checkpoint
from pcseg.engine.evaluate import Evaluation, evaluate
from pcseg.engine.schedule import make_scheduler
from pcseg.engine.trainer import TrainState, WeightAverage, seed_everything, train
from pcseg.files import write_whole
from pcseg.labels import class_set

LAST = "last.pt"
BEST = "best.pt"


class Run:
    """A run of a recipe: model, criterion, optimizer, data, and where all of it is kept.

    The folder holds config.yaml (resolved), metrics.jsonl (one line a step), last.pt, best.pt and step_N.pt.

    Args:
        config: the recipe.
        folder: of the run.
        device: where the model trains.
    """

    def __init__(self, config: cfg.Config, folder: Path, device: torch.device) -> None:
        self.config, self.folder, self.device = config, folder, device
        seed_everything(config.train.seed)
        self.classes = class_set(config.data.classes)
        self.model = build.build_model(config, self.classes).to(device)
        self.criterion = build.build_criterion(config)
        optimizer = config.optimizer
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=optimizer.lr, weight_decay=optimizer.weight_decay
        )
        self.scheduler = make_scheduler(self.optimizer, optimizer.schedule, config.train.steps, optimizer.warmup)
        self.ema = WeightAverage(self.model, config.train.ema_decay) if config.train.ema_decay else None
        self.state = TrainState()
        self.rooms = build.build_dataset(config, config.data.train, augmented=True)
        self.held_out = build.build_dataset(config, config.data.val, augmented=False) if config.data.val else None

    def start(self) -> None:
        """Make the folder and write the resolved recipe.

        Raises:
            ValueError: the folder already holds a run.
        """
        if (self.folder / LAST).exists():
            raise ValueError(f"{self.folder} already holds a run; continue it with --resume or choose another --run")
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "metrics.jsonl").unlink(missing_ok=True)
        (self.folder / "config.yaml").write_text(cfg.dumps(self.config))
        (self.folder / "versions.json").write_text(json.dumps(_versions(), indent=1) + "\n")

    def resume(self) -> None:
        """Continue from last.pt as if nothing had happened.

        Raises:
            CheckpointError: there is no checkpoint, it is damaged, or of another recipe.
        """
        path = self.folder / LAST
        content = load_checkpoint(path, str(self.device))
        if content["config"] != cfg.dumps(self.config):
            raise CheckpointError(
                f"{path}: written with another recipe; {self.folder / 'config.yaml'} has the one it needs"
            )
        load_weights(self.model, content["model"], path)
        self.optimizer.load_state_dict(content["optimizer"])
        self.scheduler.load_state_dict(content["scheduler"])
        if self.ema is not None:
            self.ema.load_state_dict(content["ema"])
        self.state = TrainState(**content["state"])
        torch.set_rng_state(content["torch_rng"].cpu())
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(content["cuda_rng"].cpu())
        _keep_lines(self.folder / "metrics.jsonl", self.state.step)

    def train(self) -> None:
        """Train to the end of the recipe."""
        settings = self.config.train
        # Loader processes need cores of their own: threads that wait for each other's cores cost half the speed.
        torch.set_num_threads(max(1, torch.get_num_threads() - settings.num_workers))
        train(
            self.model,
            self.criterion,
            self._loader(),
            self.optimizer,
            self.scheduler,
            self.state,
            num_steps=settings.steps,
            clip_norm=self.config.optimizer.clip_norm,
            deep_supervision=self.config.criterion.weights.aux_layers,
            ema=self.ema,
            log=self.folder / "metrics.jsonl",
            after_step=self._after_step,
        )
        self.save(LAST)

    def evaluate(self) -> Evaluation | None:
        """Score the present weights on the held-out rooms; None without such rooms."""
        if self.held_out is None:
            return None
        model = self.model
        if self.ema is not None:
            model = build.build_model(self.config, self.classes).to(self.device)
            model.load_state_dict(self.ema.weights)
        segmenter = build.build_segmenter(self.config, model, self.classes)
        return evaluate(segmenter, (self.held_out.scene(i) for i in range(len(self.held_out))))

    def save(self, name: str) -> None:
        """Write a checkpoint that training and prediction can both start from."""
        extra: dict[str, Any] = {}
        if self.ema is not None:
            extra["ema"] = self.ema.state_dict()
        if self.device.type == "cuda":
            extra["cuda_rng"] = torch.cuda.get_rng_state()
        save_checkpoint(
            self.folder / name,
            config=cfg.dumps(self.config),
            classes=self.classes.to_dict(),
            model=self.model.state_dict(),
            optimizer=self.optimizer.state_dict(),
            scheduler=self.scheduler.state_dict(),
            state=asdict(self.state),
            torch_rng=torch.get_rng_state(),
            **extra,
        )

    def _loader(self) -> DataLoader:
        settings = self.config.train
        sampler = VisitSampler(
            len(self.rooms), settings.batch_size, settings.steps, seed=settings.seed, start=self.state.step
        )
        return DataLoader(
            self.rooms,
            batch_sampler=sampler,
            collate_fn=collate,
            num_workers=settings.num_workers,
            persistent_workers=settings.num_workers > 0,
        )

    def _after_step(self, state: TrainState) -> None:
        settings = self.config.train
        last = state.step == settings.steps
        if settings.evaluate_every and state.step % settings.evaluate_every == 0 and not last:
            result = self.evaluate()
            if result is not None:
                _append(self.folder / "evaluations.jsonl", {"step": state.step, **result.to_json()})
                if result.ap.ap > state.best_ap:
                    state.best_ap = float(result.ap.ap)
                    self.save(BEST)
        if state.step % settings.checkpoint_every == 0 and not last:
            self.save(LAST)
            self.save(f"step_{state.step:07d}.pt")
            for old in sorted(self.folder.glob("step_*.pt"))[: -settings.keep_checkpoints or None]:
                old.unlink()


def _keep_lines(path: Path, steps: int) -> None:
    """Drop the log of steps that came after the checkpoint; they are about to be done again."""
    if path.exists():
        kept = [line for line in path.read_text().splitlines(keepends=True) if json.loads(line)["step"] <= steps]
        write_whole(path, "".join(kept))


def _append(path: Path, record: dict[str, Any]) -> None:
    with path.open("a") as file:
        file.write(json.dumps(record) + "\n")


def _versions() -> dict[str, str | None]:
    import numpy
    import scipy

    import pcseg

    here = Path(__file__).parent
    commit = subprocess.run(["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "pcseg": pcseg.__version__,
        "torch": str(torch.__version__),
        "numpy": numpy.__version__,
        "scipy": scipy.__version__,
        "commit": commit.stdout.strip() or None,
        "threads": str(torch.get_num_threads()),
        "cpus": str(os.cpu_count()),
    }
