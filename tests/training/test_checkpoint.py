"""Checkpoints of training, and files with weights alone."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from pcseg import load_model
from pcseg.classes import S3DIS, ClassSet
from pcseg.training import checkpoint
from pcseg.training.checkpoint import load_checkpoint, load_weights, read_last_checkpoint, save_checkpoint, step_name
from pcseg.training.weights_file import read_weights, write_weights
from tests.conftest import refuses
from tests.tools.small import fresh_checkpoint


def _save(path: Path, **state: Any) -> dict[str, Any]:
    model = nn.Linear(30, 20).state_dict()
    save_checkpoint(path, config="data: {root: a}", classes=S3DIS.to_dict(), model=model, **state)
    return model


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    model = _save(path, step=3, random=[1, (2, 3)])
    content = load_checkpoint(path)
    assert (content["step"], content["random"]) == (3, [1, (2, 3)])
    assert ClassSet.from_dict(content["classes"]) == S3DIS
    other = nn.Linear(30, 20)
    load_weights(other, content["model"], path)
    assert torch.equal(other.weight, model["weight"])
    assert [p.name for p in tmp_path.iterdir()] == ["a.pt"]
    data, values = path.read_bytes(), model["weight"].numpy().tobytes()
    path.write_bytes(data.replace(values, values[:-1] + b"7"))
    refuses("not a checkpoint, or damaged", load_checkpoint, path)


def test_foreign_files_and_weights_of_another_model(tmp_path: Path) -> None:
    path, weights = tmp_path / "a.pt", nn.Linear(3, 2).state_dict()
    refuses("no such checkpoint", load_checkpoint, path)
    refuses("a folder; give last.pt in it", load_checkpoint, tmp_path)
    torch.save({"state_dict": {}}, path)
    refuses("expected a pcseg checkpoint of format 2, found None", load_checkpoint, path)
    refuses(r"weight has shape \(2, 3\), expected \(2, 4\)", load_weights, nn.Linear(4, 2), weights, path)
    refuses("the checkpoint has no bias", load_weights, nn.Linear(3, 2), nn.Linear(3, 2, bias=False).state_dict(), path)
    refuses("unexpected bias in the checkpoint", load_weights, nn.Linear(3, 2, bias=False), weights, path)


def test_newest_remain(tmp_path: Path) -> None:
    for step, num_kept, left in ((40, 2, [30, 40]), (20, 2, [10, 20]), (40, 0, []), (40, 9, [10, 20, 30, 40])):
        for name in ("last.pt", "best.pt", *map(step_name, (10, 20, 30, 40))):
            (tmp_path / name).touch()
        checkpoint.remove_old_checkpoints(tmp_path, step, num_kept)
        assert {path.name for path in tmp_path.iterdir()} == {"last.pt", "best.pt", *map(step_name, left)}


def test_message_names_the_newest_good_one(tmp_path: Path) -> None:
    last = tmp_path / "last.pt"
    refuses("no such checkpoint; nothing to continue from: start without --resume", read_last_checkpoint, last, "cpu")
    last.write_bytes(b"torn")
    refuses(r"damaged .*; no other checkpoint is intact: start again with another", read_last_checkpoint, last, "cpu")
    for step in (1, 2):
        _save(tmp_path / step_name(step))
    (tmp_path / step_name(3)).write_bytes(b"")
    for path in (last, tmp_path / step_name(3)):
        refuses(rf"{path.name}.* --resume --from step_0000002\.pt", read_last_checkpoint, path, "cpu")
    refuses("--from and one of last.pt, step_0000001.pt, .*2.pt", read_last_checkpoint, tmp_path / "step_9.pt", "cpu")
    assert read_last_checkpoint(tmp_path / step_name(2), "cpu")["config"] == "data: {root: a}"


def test_published_weights_are_small_and_damage_is_refused(tmp_path: Path) -> None:
    whole, published = tmp_path / "a.pt", tmp_path / "b.safetensors"
    content = load_checkpoint(fresh_checkpoint(whole, superpoints={"max_superpoints": 50}))
    write_weights(published, content, checkpoint.prediction_weights(content), {"license": "MIT"})
    first, second = load_model(whole), load_model(published)
    assert (second.classes, second.superpoints) == (first.classes, first.superpoints)
    assert second.superpoints.max_superpoints == 50
    for (name, a), b in zip(first.model.state_dict().items(), second.model.state_dict().values(), strict=True):
        assert torch.equal(a.half() if a.is_floating_point() else a, b.half() if b.is_floating_point() else b), name
        assert a.dtype == b.dtype
    assert read_weights(published)["notes"]["license"] == "MIT"
    assert published.stat().st_size < 0.6 * whole.stat().st_size
    data, path = published.read_bytes(), tmp_path / "c.safetensors"
    for torn, message in {
        data[:-100]: "not a .safetensors file, or damaged",
        data[:-5] + bytes([data[-5] ^ 1]) + data[-4:]: "damaged: its content does not have the SHA-256",
        data.replace(b"voxel_size: 0.", b"voxel_size: 1."): "damaged: its content does not have the SHA-256",
    }.items():
        assert torn != data
        path.write_bytes(torn)
        refuses(message, load_model, path)
    save_file({"a": torch.zeros(3)}, path)
    refuses("found weights of another program", load_model, path)
    with pytest.raises(ValueError, match="a has values that half precision cannot hold"):
        write_weights(path, {"config": "", "classes": {}, "superpoints": None}, {"a": torch.tensor(1e6)}, {})
