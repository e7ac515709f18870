"""The whole pipeline on small rooms: train, resume, test, predict, and common mistakes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pcseg import load_model
from pcseg.files import read_records
from pcseg.ops.superpoints import SuperpointOptions
from pcseg.synthetic import make_room
from pcseg.training.checkpoint import load_checkpoint, prediction_weights
from tests.tools.commands import ROOT, passes, refused
from tests.tools.small import SMALL, write_config

SUPERPOINTS = SuperpointOptions(max_superpoints=1000)
CONFIG_TEXT = """
data: {root: ROOMS, train: ["Area_[12]_*"], val: ["Area_3_*"], voxel_size: 0.15}
model: {unet: {channels: [8, 16]}, decoder: {width: 16}}
augment: [{name: flip}, {name: rotate}]
optimizer: {lr: 1e-3}
train: {steps: 6, batch_size: 2, checkpoint_every: 3, ema_decay: 0.9}
"""


@pytest.fixture(scope="module", params=[SMALL, ROOT / "configs" / "synthetic_embedding.yaml"], ids=lambda p: p.stem)
def config_file(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    folder = tmp_path_factory.mktemp("line")
    return write_config(folder, CONFIG_TEXT, 8000, base=request.param, superpoints=SUPERPOINTS)


@pytest.fixture(scope="module")
def run(config_file: Path) -> Path:
    folder = config_file.parent / "run"
    passes("train", config_file, "--run", folder, "--device", "cpu", "--json", folder / "ap.json")
    return folder


def test_resumed_run_equals_an_uninterrupted_one(run: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("runs/synthetic")
    folder.mkdir(parents=True)
    for name, new in (("step_0000003.pt", "last.pt"), ("config.yaml", "config.yaml")):
        (folder / new).write_bytes((run / name).read_bytes())
    passes("train", "--resume", "--run", folder, "--device", "cpu")
    whole, resumed = (load_checkpoint(each / "last.pt")["model"] for each in (run, folder))
    assert all(torch.equal(whole[name], weights) for name, weights in resumed.items())
    # More steps extend it; other changes are refused. The name of a config means its folder.
    command = ("train", "synthetic", "--resume", "--device", "cpu")
    passes(*command, "train.steps=7")
    assert [record["step"] for record in read_records(folder / "metrics.jsonl")][-1] == 7
    assert "steps: 7" in (folder / "config.yaml").read_text()
    for change, message in (("train.steps=5", "has 7 steps"), ("optimizer.lr=1.0", "optimizer.lr was 0.001, is 1.0")):
        assert message in refused(*command, change)
    assert "no checkpoint to continue from" in refused("train", "--resume", "--run", tmp_path / "none")


def test_published_weights_are_a_mean_of_checkpoints_in_half_precision(run: Path, tmp_path: Path) -> None:
    first, last = (prediction_weights(load_checkpoint(run / name)) for name in ("step_0000003.pt", "last.pt"))
    mix = ("--mix", run / "step_0000003.pt", 0.25)
    passes("publish_weights", run, tmp_path / "a.safetensors", "--license", "MIT", *mix, "train.seed=5")
    found = load_checkpoint(tmp_path / "a.safetensors")
    assert found["notes"]["license"] == "MIT"
    assert "seed: 5" in found["config"]
    for name, value in found["model"].items():
        expected = 0.75 * last[name] + 0.25 * first[name] if value.is_floating_point() else last[name]
        torch.testing.assert_close(value, expected, rtol=1e-3, atol=1e-6)


def test_the_checkpoint_repeats_the_numbers_and_predicts_alone(config_file: Path, run: Path, tmp_path: Path) -> None:
    passes("test", config_file, run / "last.pt", "--device", "cpu", "--json", tmp_path / "ap.json")
    numbers = json.loads((tmp_path / "ap.json").read_text())
    assert numbers == json.loads((run / "ap.json").read_text())
    assert set(numbers) >= {"ap", "ap50", "ap25", "classes", "s3dis", "semantic", "panoptic"}
    assert set(numbers["classes"]["chair"]) == {"ap", "ap50", "ap25"}
    assert np.isfinite([numbers["ap"], *(record["loss"] for record in read_records(run / "metrics.jsonl"))]).all()
    segmenter, scene = load_model(run / "last.pt"), make_room(5, 0, num_points=6000)
    assert segmenter.superpoints == SUPERPOINTS, "those of the training rooms"
    first, second = segmenter.predict(scene), segmenter.predict(scene)
    np.testing.assert_array_equal(first.masks.toarray(), second.masks.toarray())


def test_mistakes(config_file: Path, run: Path, tmp_path: Path) -> None:
    last, nowhere = run / "last.pt", ("--run", tmp_path / "none")
    for arguments, *texts in (
        (("train", config_file, "train.stesp=3"), str(config_file), "'train.stesp'; did you mean 'train.steps'?"),
        (("test", config_file, last, "model.decoder.width=32"), "last.pt: incompatible model: ", "has shape"),
        (("train", config_file, "--run", run), "already holds a run", "--resume"),
        (("train", config_file, "data.train=[Area_9_*]", *nowhere), "Area_9_*"),
        (("train", config_file, "train.init=nowhere.pt", *nowhere), "nowhere.pt: no such"),
    ):
        error = refused(*arguments)
        assert all(text in error for text in texts), error
    for change in ("train.init_share=0.5", "train.keep_absent=true"):
        assert "need train.init, the weights to keep" in refused("train", config_file, change, *nowhere)


def test_starts_from_the_weights_of_another_run(config_file: Path, run: Path, tmp_path: Path) -> None:
    changes = [f"train.init={run / 'last.pt'}", "train.init_share=0.25", "train.steps=1", "data.val=[Area_1_*]"]
    changes += ["train.keep_absent=true", "data.train=[Area_1_*]"]
    _, log = passes("train", config_file, *changes, "data.features=[xyz]", "--run", tmp_path / "run")
    assert f"starts from the weights of {run / 'last.pt'}; of another shape, and therefore fresh: unet." in log
    assert "data.train has these rooms of data.val, so their AP tells nothing: Area_1_" in log
    before = torch.load(run / "last.pt", weights_only=True)["ema"]["weights"]
    content = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    after, mixed, trained = content["ema"]["weights"], prediction_weights(content), content["model"]
    assert sum(before[name].shape != after[name].shape for name in after) == 1
    for name in (name for name in after if after[name].is_floating_point()):
        first = before[name] if before[name].shape == after[name].shape else after[name]
        torch.testing.assert_close(mixed[name], 0.75 * after[name] + 0.25 * first)
        assert "running" in name or (trained[name] - first).abs().max() < 0.02, "not from these weights"
