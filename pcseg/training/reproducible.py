"""Reproducible runs: seeds and random states, deterministic algorithms, and a record of versions and data."""

import hashlib
import json
import logging
import os
import random
import subprocess
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

import pcseg
from pcseg.data.store import read_manifest
from pcseg.files import atomic_write

logger = logging.getLogger(__name__)


def seed_everything(seed: int) -> None:
    """Seed the global generators of Python, numpy and torch."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - libraries may use the global generator
    torch.manual_seed(seed)


def use_deterministic_algorithms() -> None:
    """Make torch repeat its results bit for bit, at the price of speed; an operation that cannot raises an error.

    Call it before the first work on a GPU; it applies to the whole process.

    Source: https://docs.pytorch.org/docs/stable/notes/randomness.html
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True


def random_states(device: torch.device) -> dict[str, Any]:
    """The states of all global generators, as a checkpoint can hold them; of CUDA's if the device is a GPU."""
    _, numpy_key, *numpy_rest = np.random.get_state()  # noqa: NPY002
    states = {
        "python": random.getstate(),
        "numpy": [np.asarray(numpy_key).tolist(), *numpy_rest],
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_random_states(states: Mapping[str, Any], device: torch.device) -> None:
    """Restore the states that `random_states` returned, perhaps on another device."""
    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers), gauss))
    key, *rest = states["numpy"]
    np.random.set_state(("MT19937", np.array(key, np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(states["torch"].cpu())
    if "cuda" in states and device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"].cpu(), device)


def versions() -> dict[str, str | None]:
    """Versions of the libraries that compute, the commit if pcseg is a checkout, and the machine's cores."""
    describe = ["git", "describe", "--always", "--exclude=*", "--abbrev=40", "--dirty= with changes"]
    try:
        git = subprocess.run(describe, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
        commit = git.stdout.strip() or None
    except FileNotFoundError:  # git is not installed
        commit = None
    return {
        "pcseg": pcseg.__version__,
        "torch": str(torch.__version__),
        **{name: metadata.version(name) for name in ("numpy", "scipy", "numba")},
        "cuda": torch.version.cuda,
        "commit": commit,
        "threads": str(torch.get_num_threads()),
        "cpus": str(os.cpu_count()),
    }


def warn_of_other_versions(path: Path) -> None:
    """Log a warning if a run continues with other versions or threads than in versions.json, which may change its bits.

    Raises:
        ValueError: the file is damaged.
    """
    if not path.is_file():
        return
    before, now = _read_record(path), versions()
    names = [name for name in now if name in before and name != "cpus" and before[name] != now[name]]
    if names:
        changed = ", ".join(f"{name} was {before[name]}, is {now[name]}" for name in names)
        logger.warning("%s: %s: resuming; results may differ bitwise from an uninterrupted run", path, changed)


def data_record(train: Sequence[Path], held_out: Sequence[Path]) -> dict[str, Any]:
    """Which processed rooms a run sees, with the hash of their arrays.

    Returns:
        For "train" and "val": num_rooms, one sha256 over all, and the sha256 of each room by name.

    Raises:
        ValueError: a room is missing or damaged.
    """
    record = {}
    for key, folders in (("train", train), ("val", held_out)):
        rooms = {folder.name: read_manifest(folder).get("sha256") for folder in folders}
        whole = hashlib.sha256(json.dumps(sorted(rooms.items())).encode()).hexdigest()
        record[key] = {"num_rooms": len(rooms), "sha256": whole, "rooms": rooms}
    return record


def check_data(path: Path, record: dict[str, Any]) -> None:
    """Check that a run continues with the `data_record` it began with; data.json is written if it is missing.

    Raises:
        ValueError: a room was added, removed or processed again with other results.
    """
    if not path.is_file():
        write_record(path, record)
        return
    before = _read_record(path)
    for key in ("train", "val"):
        old, new = before[key]["rooms"], record[key]["rooms"]
        changed = sorted(name for name in old.keys() | new.keys() if old.get(name, "") != new.get(name, ""))
        if changed:
            name = changed[0]
            what = "was added" if name not in old else "is missing" if name not in new else "has changed"
            more = f" and {len(changed) - 1} others differ" if len(changed) > 1 else ""
            raise ValueError(
                f"{path}: the {key} rooms are not those that the run began with: {name} {what}{more}; restore the "
                f"data, or start again with another --run"
            )


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write versions.json or data.json."""
    atomic_write(path, json.dumps(record, indent=1) + "\n")


def _read_record(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: damaged ({error}); remove it to continue without comparing") from None
