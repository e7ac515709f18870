"""The metrics of a run: a line in the terminal, metrics.jsonl, evaluations.jsonl, TensorBoard, and Weights & Biases."""

import importlib
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from pcseg.files import append_record, atomic_write, drop_records_after
from pcseg.metrics.scores import Evaluation, Scores
from pcseg.parallel import progress_bar
from pcseg.viz.figures import precision_recall_chart, to_image

METRICS = "metrics.jsonl"
EVALUATIONS = "evaluations.jsonl"
LINE = "train {percentage:3.0f}%|{bar:20}| {n_fmt}/{total_fmt}{postfix}"
SMOOTHING = 0.95  # weight of earlier steps in the numbers of the line


class TensorBoardWriter:
    """Event files for ``tensorboard --logdir``.

    Events after the last finished step, from before a resume, are hidden.

    Raises:
        ValueError: tensorboard is not installed.
    """

    def __init__(self, folder: Path, step: int) -> None:
        _import("tensorboard", "train.tensorboard=true")
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=step + 1)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def pictures(self, step: int, images: Mapping[str, Image.Image]) -> None:
        for name, image in images.items():
            self._writer.add_image(name, np.asarray(image), step, dataformats="HWC")
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class WandbWriter:
    """A run of Weights & Biases, named after the run folder; a resumed run continues under the same id.

    Raises:
        ValueError: wandb is not installed or does not start, for example because nobody is logged in.
    """

    def __init__(self, project: str, folder: Path, config: Mapping[str, Any]) -> None:
        self._wandb = _import("wandb", f"train.wandb={project}")
        known = folder / "wandb_id.txt"
        run_id = known.read_text(encoding="utf-8").strip() if known.is_file() else None
        try:
            self._run = self._wandb.init(
                project=project, name=folder.name, dir=str(folder), config=dict(config), id=run_id, resume="allow"
            )
        except self._wandb.Error as error:
            raise ValueError(
                f"train.wandb={project}: Weights & Biases does not start: {error} To train without it, set "
                "WANDB_MODE=offline, and send the run later with wandb sync"
            ) from None
        atomic_write(known, f"{self._run.id}\n")

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def pictures(self, step: int, images: Mapping[str, Image.Image]) -> None:
        self._run.log({name: self._wandb.Image(image) for name, image in images.items()}, step=step)

    def close(self) -> None:
        self._run.finish()


Writer = TensorBoardWriter | WandbWriter


def _import(package: str, key: str) -> ModuleType:
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise ValueError(f"{key} needs {package}, which is not installed; run: pip install {package}") from None


class RunLogger:
    """Logs the metrics of a run to metrics.jsonl and evaluations.jsonl of its folder, and to further writers."""

    def __init__(
        self,
        folder: Path,
        *,
        num_steps: int,
        step: int,
        device: torch.device,
        unit: str = "scenes",
        writers: Sequence[Writer] = (),
    ) -> None:
        self.folder, self.num_steps, self.device, self.writers = folder, num_steps, device, list(writers)
        self._smooth: dict[str, float] = {}
        self._bar = progress_bar(total=num_steps, initial=step, bar_format=LINE, mininterval=1.0, miniters=1, unit=unit)

    def step(self, record: dict[str, Any]) -> None:
        """Log a record of `loop.train`.

        Raises:
            OSError: metrics.jsonl cannot be written.
        """
        append_record(self.folder / METRICS, record)
        losses = {name: value for name, value in record.items() if name.startswith("loss") and not name[-1].isdigit()}
        numbers: dict[str, float] = {**losses, "rooms": record["rooms"]}
        numbers["time"] = record["seconds"] + record["loading_seconds"]
        for name, value in numbers.items():
            if math.isfinite(value):
                self._smooth[name] = SMOOTHING * self._smooth.get(name, value) + (1 - SMOOTHING) * value
        # Smoothed, because one record holds the time of many steps where losses are read rarely.
        speed = self._smooth["rooms"] / max(self._smooth["time"], 1e-9)
        memory = used_memory(self.device)
        curves = {**losses, "lr": record["lr"], "grad_norm": record["grad_norm"]}
        curves |= {"memory_gib": memory, "rooms_per_second": speed}
        self._write_scalars(record["step"], {f"train/{name}": value for name, value in curves.items()})
        remaining = tqdm.format_interval((self.num_steps - record["step"]) * self._smooth["time"])
        parts = [f"{remaining} left", f"{speed:.1f} {self._bar.unit}/s", f"{memory:.1f} GiB", f"lr {record['lr']:.1e}"]
        parts += [f"{name.removeprefix('loss_')} {self._smooth.get(name, math.nan):.3f}" for name in losses]
        self._bar.set_postfix_str(", ".join(parts), refresh=False)
        self._bar.update(record["step"] - self._bar.n)

    def evaluation(self, step: int, result: Evaluation, scores: Scores, pictures: Mapping[str, Image.Image]) -> None:
        """Log an evaluation and pictures of some of its rooms; it replaces an earlier one of the same step.

        Args:
            step: number of training steps before the evaluation.
            result: measures of all evaluated rooms.
            scores: scores that the result is computed from, for the chart of precision and recall.
            pictures: pictures by name of room, for the writers.

        Raises:
            OSError: evaluations.jsonl cannot be written.
        """
        path = self.folder / EVALUATIONS
        drop_records_after(path, step - 1)
        append_record(path, {"step": step, **result.to_json()})
        if not self.writers:
            return
        values = {f"val/{key}": value for key, value in result.ap.mean.items()}
        values |= {"val/miou": result.semantic.mean["miou"], "val/pq": result.panoptic.mean["pq"]}
        for name, row in result.ap.per_class.items():
            values |= {f"{key}_of_class/{name}": value for key, value in row.items()}
        self._write_scalars(step, values)
        images = {**pictures, "precision and recall": to_image(precision_recall_chart(scores))}
        for writer in self.writers:
            writer.pictures(step, {f"val/{name}": image for name, image in images.items()})

    def close(self) -> None:
        """End the line and the writers."""
        self._bar.close()
        for writer in self.writers:
            writer.close()

    def _write_scalars(self, step: int, values: Mapping[str, float]) -> None:
        finite = {name: float(value) for name, value in values.items() if math.isfinite(value)}
        for writer in self.writers:
            writer.scalars(step, finite)


def used_memory(device: torch.device) -> float:
    """Peak memory so far in GiB: of the GPU if the run trains on one, otherwise of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    if sys.platform == "win32":
        return math.nan
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2 ** (30 if sys.platform == "darwin" else 20)  # bytes on macOS, KiB on Linux
