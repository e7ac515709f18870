"""Further destinations of a run's curves and pictures: TensorBoard, and Weights & Biases."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image

from pcseg.files import atomic_write


class TensorBoardWriter:
    """Event files for ``tensorboard --logdir``.

    Args:
        folder: folder of the event files.
        step: last finished step; events of later steps, from before a resume, are hidden.

    Raises:
        ValueError: tensorboard is not installed.
    """

    def __init__(self, folder: Path, step: int) -> None:
        _import("tensorboard", "train.tensorboard=true")
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=step + 1)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Write finite numbers of a step, by name."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def picture(self, step: int, name: str, image: Image.Image) -> None:
        """Write a picture of a step."""
        self._writer.add_image(name, np.asarray(image), step, dataformats="HWC")
        self._writer.flush()

    def close(self) -> None:
        """Finish the files."""
        self._writer.close()


class WandbWriter:
    """A run of Weights & Biases; a resumed run continues under the same id.

    Args:
        project: name of the project there.
        folder: run folder; its name is the name of the run there.
        config: config as nested dicts.

    Raises:
        ValueError: wandb is not installed or does not start, for example because nobody is logged in.
    """

    def __init__(self, project: str, folder: Path, config: Mapping[str, Any]) -> None:
        self._wandb = _import("wandb", f"train.wandb={project}")
        known = folder / "wandb_id.txt"
        run_id = known.read_text().strip() if known.is_file() else None
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
        """Write finite numbers of a step, by name."""
        self._run.log(dict(values), step=step)

    def picture(self, step: int, name: str, image: Image.Image) -> None:
        """Write a picture of a step."""
        self._run.log({name: self._wandb.Image(image)}, step=step)

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()


Writer = TensorBoardWriter | WandbWriter


def _import(package: str, key: str) -> ModuleType:
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise ValueError(f"{key} needs {package}, which is not installed; run: pip install {package}") from None
