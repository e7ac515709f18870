"""What people see of a run while it trains: a line in the terminal, metrics.jsonl, curves and pictures."""

import math
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from tqdm import tqdm

from pcseg.files import append_record, drop_records_after
from pcseg.metrics.scores import Evaluation, Scores
from pcseg.training.writers import Writer
from pcseg.viz.figures import precision_recall_chart, to_image

METRICS = "metrics.jsonl"
EVALUATIONS = "evaluations.jsonl"
LINE = "train {percentage:3.0f}%|{bar:20}| {n_fmt}/{total_fmt}{postfix}"
SMOOTHING = 0.95  # share of the old value that stays, of what the line shows


class RunLogger:
    """Takes the record of every training step and every evaluation, and shows and keeps them.

    Args:
        folder: of the run, where metrics.jsonl and evaluations.jsonl are written.
        num_steps: of the whole run.
        step: last step that is done.
        device: whose memory is shown.
        writers: where curves and pictures go besides.
    """

    def __init__(
        self, folder: Path, *, num_steps: int, step: int, device: torch.device, writers: Sequence[Writer] = ()
    ) -> None:
        self.folder, self.num_steps, self.device, self.writers = folder, num_steps, device, list(writers)
        self._smooth: dict[str, float] = {}
        # tqdm draws, but does not measure: it reads the wall clock, which may be set back.
        self._bar = tqdm(total=num_steps, initial=step, bar_format=LINE)
        self._pause = 1.0 if sys.stderr.isatty() else 30.0  # seconds between two lines
        self._shown = -math.inf

    def step(self, record: dict[str, Any]) -> None:
        """Take the record of a training step.

        Args:
            record: step, lr, grad_norm, loss, the single losses, rooms, seconds, loading_seconds, skipped.

        Raises:
            OSError: metrics.jsonl cannot be written.
        """
        times = {key: max(record[key], 0.0) for key in ("seconds", "loading_seconds")}  # a clock may jump
        append_record(self.folder / METRICS, {**record, **times})
        shown = {k: v for k, v in record.items() if k.startswith("loss") and not k[-1].isdigit()}
        smoothed: dict[str, float] = {**shown, "rooms": record["rooms"], "duration": sum(times.values())}
        for key, value in smoothed.items():
            if math.isfinite(value):
                old = self._smooth.get(key, value)
                self._smooth[key] = SMOOTHING * old + (1 - SMOOTHING) * value
        memory = used_memory(self.device)
        values = {**shown, "lr": record["lr"], "grad_norm": record["grad_norm"], "memory_gib": memory}
        if (speed := self._speed()) is not None:
            values["rooms_per_second"] = speed
        self._write_scalars(record["step"], {f"train/{key}": value for key, value in values.items()})
        self._show(record["step"], [*shown], record["lr"], memory)

    def evaluation(self, step: int, result: Evaluation, scores: Scores, pictures: Mapping[str, Image.Image]) -> None:
        """Take an evaluation; one of the same step that is there already is replaced.

        Args:
            step: after which it was done.
            result: what was measured.
            scores: of the held-out rooms, for the curves.
            pictures: of some of them, by name.

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
        curves = to_image(precision_recall_chart(scores))
        for name, picture in [*pictures.items(), ("precision and recall", curves)]:
            for writer in self.writers:
                writer.picture(step, f"val/{name}", picture)

    def close(self) -> None:
        """End the line and the writers."""
        self._bar.refresh()
        self._bar.close()
        for writer in self.writers:
            writer.close()

    def _write_scalars(self, step: int, values: Mapping[str, float]) -> None:
        finite = {key: float(value) for key, value in values.items() if math.isfinite(value)}
        for writer in self.writers:
            writer.scalars(step, finite)

    def _speed(self) -> float | None:
        """Rooms per second, smoothed: where losses are read rarely, the times of many steps stand at one of them."""
        return self._smooth["rooms"] / self._smooth["duration"] if self._smooth["duration"] > 0 else None

    def _show(self, step: int, losses: Sequence[str], rate: float, memory: float) -> None:
        self._bar.n = step
        speed = self._speed()
        parts = [f"{_clock((self.num_steps - step) * self._smooth['duration'])} left"]
        parts += ["? rooms/s" if speed is None else f"{speed:.1f} rooms/s", f"{memory:.1f} GiB", f"lr {rate:.1e}"]
        parts += [f"{key.removeprefix('loss_')} {self._smooth.get(key, math.nan):.3f}" for key in losses]
        self._bar.postfix = ", ".join(parts)
        now = time.monotonic()
        if not 0 <= now - self._shown < self._pause or step == self.num_steps:
            self._shown = now
            self._bar.refresh()


def used_memory(device: torch.device) -> float:
    """Most memory that the run has taken so far, GiB: of the GPU where it trains on one, otherwise of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    if sys.platform == "win32":
        return math.nan
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2 ** (30 if sys.platform == "darwin" else 20)  # bytes there, KiB on Linux


def _clock(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"
