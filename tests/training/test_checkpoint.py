import hashlib
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pcseg.classes import S3DIS, ClassSet
from pcseg.training.checkpoint import CheckpointError, digest, load_checkpoint, load_weights, save_checkpoint


def _save(path: Path, model: nn.Module) -> None:
    save_checkpoint(path, config="data: {root: a}", classes=S3DIS.to_dict(), model=model.state_dict(), step=3)


def test_round_trip(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    _save(tmp_path / "a.pt", model)
    content = load_checkpoint(tmp_path / "a.pt")
    assert content["step"] == 3
    assert ClassSet.from_dict(content["classes"]) == S3DIS
    other = nn.Linear(3, 2)
    load_weights(other, content["model"], tmp_path / "a.pt")
    assert torch.equal(other.weight, model.weight)
    assert [p.name for p in tmp_path.iterdir()] == ["a.pt"]


def test_missing_torn_and_foreign_files(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load_checkpoint(path)
    _save(path, nn.Linear(3, 2))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError, match="not a checkpoint, or damaged"):
        load_checkpoint(path)
    path.write_bytes(b"")
    with pytest.raises(CheckpointError, match="not a checkpoint, or damaged"):
        load_checkpoint(path)
    torch.save({"state_dict": {}}, path)
    with pytest.raises(CheckpointError, match="expected a pcseg checkpoint of format 2, found None"):
        load_checkpoint(path)


def test_changed_weights_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    _save(path, nn.Linear(3, 2))
    content = torch.load(path, weights_only=True)
    content["model"]["weight"][0, 0] += 1
    torch.save(content, path)
    with pytest.raises(CheckpointError, match="digest differs"):
        load_checkpoint(path)


def test_changed_averaged_weights_are_noticed(tmp_path: Path) -> None:
    path, weights = tmp_path / "a.pt", nn.Linear(3, 2).state_dict()
    ema = {"weights": {name: value.clone() for name, value in weights.items()}}
    save_checkpoint(path, config="", classes={}, model=weights, ema=ema)
    content = load_checkpoint(path)
    content["ema"]["weights"]["bias"][0] += 1
    torch.save(content, path)
    with pytest.raises(CheckpointError, match="digest differs"):
        load_checkpoint(path)


def test_weights_of_another_model(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    with pytest.raises(CheckpointError, match=r"weight has shape \(2, 3\), expected \(2, 4\)"):
        load_weights(nn.Linear(4, 2), nn.Linear(3, 2).state_dict(), path)
    with pytest.raises(CheckpointError, match="it lacks bias"):
        load_weights(nn.Linear(3, 2), nn.Linear(3, 2, bias=False).state_dict(), path)
    with pytest.raises(CheckpointError, match="it has bias besides"):
        load_weights(nn.Linear(3, 2, bias=False), nn.Linear(3, 2).state_dict(), path)


def _state() -> dict[str, Any]:
    """Every kind of value that a checkpoint holds."""
    return {
        "optimizer": {"state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.ones(2, 3)}}, "groups": [{"lr": 1e-3}]},
        "state": {"step": 3, "best": -1.0, "name": "a", "none": None, "flag": True},
        "random": [1, (2, 3)],
        "empty": torch.zeros(0),
        "half": torch.ones(3, dtype=torch.bfloat16),
    }


@pytest.mark.parametrize("key", [*_state(), "config", "classes", "versions"])
def test_anything_that_changed_is_noticed(tmp_path: Path, key: str) -> None:
    path = tmp_path / "a.pt"
    save_checkpoint(path, config="a: b", classes={"names": ["a"]}, model={"w": torch.ones(2)}, **_state())
    content = load_checkpoint(path)
    assert content["random"] == [1, (2, 3)]
    if key == "optimizer":
        content[key]["state"][0]["exp_avg"][1, 1] += 1e-6
    elif key == "half":
        content[key] = content[key].float()
    else:
        content[key] = [content[key]]
    torch.save(content, path)
    with pytest.raises(CheckpointError, match="damaged, what it holds is not what was written"):
        load_checkpoint(path)


def test_any_torn_or_flipped_byte_is_noticed_or_harmless(tmp_path: Path, rng: np.random.Generator) -> None:
    path = tmp_path / "a.pt"
    save_checkpoint(path, config="a: b", classes={"names": ["a"]}, model=nn.Linear(30, 20).state_dict(), **_state())
    data, right = path.read_bytes(), load_checkpoint(path)["digest"]
    noticed = 0
    for turn in range(60):
        broken = bytearray(data)
        at = int(rng.integers(len(data)))
        if turn % 2:
            broken = broken[:at]
        else:
            broken[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(broken)
        try:
            content = load_checkpoint(path)
        except CheckpointError:
            noticed += 1
        else:  # between the parts of a zip file there are bytes that mean nothing
            assert content.pop("digest") == right
            assert digest(content) == right
    assert noticed > 40


def test_checkpoint_of_the_first_release_is_read(tmp_path: Path) -> None:
    model = nn.Linear(3, 2).state_dict()
    total = hashlib.sha256()
    for name in sorted(model):
        total.update(f"{name} {tuple(model[name].shape)} {model[name].dtype}".encode() + model[name].numpy().tobytes())
    content = {"pcseg_checkpoint": 1, "config": "", "classes": {}, "model": model, "digest": total.hexdigest()}
    torch.save(content, tmp_path / "a.pt")
    assert torch.equal(load_checkpoint(tmp_path / "a.pt")["model"]["weight"], model["weight"])
    content["model"]["bias"][0] += 1
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="digest differs"):
        load_checkpoint(tmp_path / "a.pt")


def test_full_disk_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    path, small = tmp_path / "a.pt", {"w": torch.ones(2)}
    save_checkpoint(path, config="", classes={}, model=small)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))  # refuses as a full disk does
    try:
        with pytest.raises(OSError, match=r"a.pt: cannot be written: File too large; checkpoints written before are"):
            save_checkpoint(path, config="", classes={}, model={"w": torch.ones(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert torch.equal(load_checkpoint(path)["model"]["w"], torch.ones(2))
    assert [p.name for p in tmp_path.iterdir()] == ["a.pt"]
