"""Small rooms, the config small.yaml for them, and checkpoints of untrained models."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from pcseg import config as cfg
from pcseg.build import build_model
from pcseg.classes import class_set
from pcseg.config_reader import to_text
from pcseg.data.store import Source, write_room
from pcseg.ops.superpoints import SuperpointOptions
from pcseg.synthetic import make_room
from pcseg.training.checkpoint import save_checkpoint

SMALL = Path(__file__).with_name("small.yaml")
DEFAULT = SuperpointOptions()


def write_rooms(folder: Path, num_points: int, superpoints: SuperpointOptions = DEFAULT, unlabeled: tuple = ()) -> None:
    """Writes Area_1_office_1, Area_2_conferenceRoom_1 and Area_3_office_1, some of them without labels."""
    for index in range(3):
        scene = superpoints.apply(make_room(0, index, num_points=num_points))
        if index in unlabeled:
            scene = scene.with_(semantic=None, instance=None)
        write_room(folder, scene, "s3dis", Source("made", "0"), superpoints=asdict(superpoints))


def write_config(folder: Path, text: str, num_points: int, *, base: Path = SMALL, **options: Any) -> Path:
    """Writes rooms as `write_rooms` does, and a config for them, whose text names their folder as ROOMS."""
    write_rooms(folder / "rooms", num_points, **options)
    path = folder / "small.yaml"
    path.write_text(f"base: {base}\n{text}".replace("ROOMS", str(folder / "rooms")))
    return path


def fresh_checkpoint(path: Path, *overrides: str, superpoints: dict[str, Any] | None = None) -> Path:
    """Writes a checkpoint of small.yaml with overrides."""
    config = cfg.load(SMALL, overrides)
    classes = class_set(config.data.classes)
    torch.manual_seed(0)
    weights = build_model(config, classes).state_dict()
    save_checkpoint(path, config=to_text(config), classes=classes.to_dict(), model=weights, superpoints=superpoints)
    return path
