"""The config small.yaml, and checkpoints of untrained models."""

from pathlib import Path
from typing import Any

import torch

from pcseg import config as cfg
from pcseg.build import build_model
from pcseg.classes import class_set
from pcseg.training.checkpoint import save_checkpoint

SMALL = Path(__file__).with_name("small.yaml")


def fresh_checkpoint(path: Path, *overrides: str, superpoints: dict[str, Any] | None = None) -> Path:
    """Writes a checkpoint of small.yaml with overrides."""
    config = cfg.load(SMALL, overrides)
    classes = class_set(config.data.classes)
    torch.manual_seed(0)
    weights = build_model(config, classes).state_dict()
    save_checkpoint(path, config=cfg.dumps(config), classes=classes.to_dict(), model=weights, superpoints=superpoints)
    return path
