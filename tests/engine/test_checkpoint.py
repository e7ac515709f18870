from pathlib import Path

import pytest
import torch
from torch import nn

from pcseg.engine.checkpoint import CheckpointError, load_checkpoint, load_weights, save_checkpoint
from pcseg.labels import S3DIS, ClassSet


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
    with pytest.raises(CheckpointError, match="expected a pcseg checkpoint of format 1, found None"):
        load_checkpoint(path)


def test_changed_weights_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    _save(path, nn.Linear(3, 2))
    content = torch.load(path, weights_only=True)
    content["model"]["weight"][0, 0] += 1
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
