from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pcseg import load_model
from pcseg.training.checkpoint import load_checkpoint, prediction_weights
from pcseg.training.weights_file import read_weights, write_weights
from tests.conftest import refuses
from tests.tools.small import fresh_checkpoint

SUPERPOINTS = {"max_superpoints": 50}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("weights")
    checkpoint = fresh_checkpoint(folder / "last.pt", superpoints=SUPERPOINTS)
    content = load_checkpoint(checkpoint)
    write_weights(folder / "mine.safetensors", content, prediction_weights(content), {"license": "MIT"})
    return checkpoint, folder / "mine.safetensors"


def test_the_same_model_in_half_the_bytes(published: tuple[Path, Path]) -> None:
    first, second = load_model(published[0]), load_model(published[1])
    assert second.classes == first.classes
    assert second.superpoints == first.superpoints
    assert second.superpoints.max_superpoints == 50
    for (name, a), b in zip(first.model.state_dict().items(), second.model.state_dict().values(), strict=True):
        assert torch.equal(a.half() if a.is_floating_point() else a, b.half() if b.is_floating_point() else b), name
        assert a.dtype == b.dtype
    assert read_weights(published[1])["notes"]["license"] == "MIT"
    assert published[1].stat().st_size < 0.6 * published[0].stat().st_size


def test_damage_is_noticed(published: tuple[Path, Path], tmp_path: Path) -> None:
    data = published[1].read_bytes()
    path = tmp_path / "a.safetensors"
    for damaged, message in {
        data[:-100]: "not a .safetensors file, or damaged",
        data[:-5] + bytes([data[-5] ^ 1]) + data[-4:]: "damaged: its content does not have the SHA-256",
        data.replace(b"voxel_size: 0.", b"voxel_size: 1."): "damaged: its content does not have the SHA-256",
    }.items():
        assert damaged != data
        path.write_bytes(damaged)
        refuses(message, load_model, path)
    save_file({"a": torch.zeros(3)}, path)
    refuses("found weights of another program", load_model, path)
    with pytest.raises(ValueError, match="a has values that half precision cannot hold"):
        write_weights(path, {"config": "", "classes": {}, "superpoints": None}, {"a": torch.tensor(1e6)}, {})
