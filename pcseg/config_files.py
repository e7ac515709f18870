"""The configs that come with pcseg, found by name, and checks of a config before torch is imported."""

from collections.abc import Sequence
from pathlib import Path

from pcseg.choices import no_checkpoint
from pcseg.config_reader import ConfigError, read_tree, shipped_configs


def find_config(path: Path | str) -> Path:
    """The file itself if it exists, else the shipped config of this name, with or without ``configs/`` and ``.yaml``.

    Raises:
        ConfigError: neither a file nor the name of a shipped config.

    >>> find_config("configs/synthetic.yaml").stem == find_config("synthetic").stem == "synthetic"
    True
    """
    path = Path(path)
    if path.suffix in (".pt", ".safetensors"):
        raise ConfigError(f"{path}: a model, not a config; the config comes first")
    if path.is_file():
        return path
    shipped = shipped_configs()
    name = path.name.removesuffix(".yaml")
    if name not in shipped or str(path.parent) not in (".", "configs"):
        if (path / "config.yaml").is_file():
            raise ConfigError(f"{path}: a folder; give config.yaml in it")
        raise ConfigError(f"{path}: no such config; give a .yaml file, or one of {', '.join(shipped)}")
    return shipped[name]


def check_data_root(path: Path, overrides: Sequence[str]) -> None:
    """Checks that the folder of rooms or images exists; the schema, whose modules import torch, checks the rest.

    Raises:
        ConfigError: there is no such folder, or the file or an override cannot be read.
    """
    tree = read_tree(path, overrides)
    data, command = tree.get("data"), "synth --format coco" if tree.get("kind") == "images" else "prepare"
    root = data.get("root") if isinstance(data, dict) else None
    if isinstance(root, (str, int)) and not Path(str(root)).is_dir():
        raise ConfigError(f"{path}: data.root is {root}, but there is no such folder; write it with pcseg {command}")


def check_checkpoint(path: Path) -> None:
    """Checks that a checkpoint exists, or that it is "builtin": the weights that come with pcseg.

    Raises:
        ValueError: there is no such file.
    """
    if str(path) != "builtin" and not path.is_file():
        raise ValueError(no_checkpoint(path))
