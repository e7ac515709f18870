"""Where curves and pictures of a run go besides its own folder: TensorBoard and Weights & Biases."""

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
        folder: of the event files.
        step: last step that is done; what an interrupted run wrote of later ones is hidden.

    Raises:
        ValueError: tensorboard is not installed.
    """

    def __init__(self, folder: Path, step: int) -> None:
        _find("tensorboard", "train.tensorboard=true")
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=step + 1)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Finite numbers of a step."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def picture(self, step: int, name: str, image: Image.Image) -> None:
        """A picture of a step."""
        self._writer.add_image(name, np.asarray(image), step, dataformats="HWC")
        self._writer.flush()

    def close(self) -> None:
        """Nothing comes after this."""
        self._writer.close()


class WandbWriter:
    """A run of Weights & Biases; one that is resumed goes on under the same id.

    Args:
        project: name of the project there.
        folder: of the run; its name becomes the name of the run there.
        config: the recipe as nested dicts.

    Raises:
        ValueError: wandb is not installed, or does not start, as where nobody is logged in.
    """

    def __init__(self, project: str, folder: Path, config: Mapping[str, Any]) -> None:
        self._wandb = _find("wandb", f"train.wandb={project}")
        known = folder / "wandb_id.txt"
        run_id = known.read_text().strip() if known.is_file() else None
        try:
            self._run = self._wandb.init(
                project=project, name=folder.name, dir=str(folder), config=dict(config), id=run_id, resume="allow"
            )
        except self._wandb.Error as error:
            raise ValueError(
                f"train.wandb={project}: Weights & Biases does not start: {error} Without it set WANDB_MODE=offline, "
                "and send the run later with wandb sync"
            ) from None
        atomic_write(known, f"{self._run.id}\n")

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Finite numbers of a step."""
        self._run.log(dict(values), step=step)

    def picture(self, step: int, name: str, image: Image.Image) -> None:
        """A picture of a step."""
        self._run.log({name: self._wandb.Image(image)}, step=step)

    def close(self) -> None:
        """Nothing comes after this."""
        self._run.finish()


Writer = TensorBoardWriter | WandbWriter


def _find(package: str, key: str) -> ModuleType:
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise ValueError(f"{key} needs {package}, which is not installed; run: pip install {package}") from None
