"""The whole pipeline on small rooms: train, resume, test, predict, and common mistakes."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from pcseg import load_model
from pcseg.data.store import Source, write_room
from pcseg.inference.prediction_files import SUFFIXES
from pcseg.ops.superpoints import SuperpointOptions
from pcseg.synthetic import make_room
from tests.tools.small_model import SMALL

ROOT = Path(__file__).resolve().parent.parent.parent
SUPERPOINTS = SuperpointOptions(max_superpoints=1000)
CONFIG_TEXT = f"""
base: {SMALL}
data: {{root: ROOMS, train: ["Area_[12]_*"], val: ["Area_3_*"]}}
augment: [{{name: flip}}, {{name: rotate}}]
optimizer: {{lr: 1e-3}}
train: {{steps: 6, batch_size: 2, checkpoint_every: 3, ema_decay: 0.9}}
"""


def _tool(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools" / f"{name}.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


@pytest.fixture(scope="module")
def config_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("line")
    for index in range(3):
        scene = SUPERPOINTS.apply(make_room(0, index, num_points=8000))
        write_room(folder / "rooms", scene, "s3dis", Source("made", "0"), superpoints=asdict(SUPERPOINTS))
    path = folder / "small.yaml"
    path.write_text(CONFIG_TEXT.replace("ROOMS", str(folder / "rooms")))
    return path


@pytest.fixture(scope="module")
def run(config_file: Path) -> Path:
    folder = config_file.parent / "run"
    done = _tool("train", config_file, "--run", folder, "--device", "cpu", "--json", folder / "ap.json")
    assert done.returncode == 0, done.stderr
    return folder


def _weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["model"]


def test_training_leaves_everything_in_its_folder(run: Path) -> None:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert all(np.isfinite(line["loss"]) for line in lines)
    assert {p.name for p in run.iterdir()} >= {"config.yaml", "versions.json", "last.pt", "step_0000003.pt"}
    numbers = json.loads((run / "ap.json").read_text())
    assert set(numbers) >= {"ap", "ap50", "ap25", "classes", "s3dis", "semantic", "panoptic"}
    assert set(numbers["classes"]["chair"]) == {"ap", "ap50", "ap25"}


def test_testing_repeats_the_numbers_and_exports(config_file: Path, run: Path) -> None:
    out = config_file.parent / "tested"
    outputs = ("--json", out / "ap.json", "--export", out / "files", "--results", out / "results")
    done = _tool("test", config_file, run / "last.pt", *outputs)
    assert done.returncode == 0, done.stderr
    assert json.loads((out / "ap.json").read_text()) == json.loads((run / "ap.json").read_text())
    assert len(list((out / "results").glob("*.npz"))) == 1
    assert len(list((out / "files").glob("Area_3_*.txt"))) == 1


def test_prediction_of_a_file_without_labels(config_file: Path, run: Path) -> None:
    scene = make_room(5, 0, num_points=6000)
    path = config_file.parent / "mine.npz"
    np.savez(path, xyz=scene.xyz, rgb=scene.rgb)
    done = _tool("predict", run / "last.pt", path, "--out", config_file.parent / "predicted")
    assert done.returncode == 0, done.stderr
    assert {p.name for p in (config_file.parent / "predicted").iterdir()} == {f"mine{suffix}" for suffix in SUFFIXES}
    assert load_model(run / "last.pt").superpoints == SUPERPOINTS, "those of the training rooms"


def test_mistakes(tool: Callable[..., tuple[int, str, str]], config_file: Path, run: Path, tmp_path: Path) -> None:
    """Each ends with a one-line message."""
    np.savez(tmp_path / "gray.npz", xyz=make_room(5, 0, num_points=6000).xyz)
    last, nowhere = run / "last.pt", ("--run", tmp_path / "none")
    for arguments, *texts in (
        (("train", config_file, "train.stesp=3"), str(config_file), "unknown key 'train.stesp'; did you mean 'steps'?"),
        (("test", config_file, last, "model.decoder.width=32"), "last.pt: incompatible model: ", "has shape"),
        (("test", config_file, config_file), f"{config_file}: not a checkpoint, or damaged"),
        (("train", config_file, "--run", run), "already holds a run", "--resume"),
        (("train", config_file, "data.train=[Area_9_*]", *nowhere), "Area_9_*"),
        (("train", config_file, "train.init=nowhere.pt", *nowhere), "nowhere.pt: no such"),
        (("predict", last, tmp_path / "gray.npz", "--out", tmp_path / "gray"), "has no rgb"),
    ):
        status, _, errors = tool(*arguments)
        lines = [line for line in errors.splitlines() if line.startswith("error: ")]
        assert (status, len(lines)) == (2, 1), errors
        assert all(text in lines[0] for text in texts), errors


def test_starts_from_the_weights_of_another_run(config_file: Path, run: Path) -> None:
    folder = config_file.parent / "from_another"
    changes = [f"train.init={run / 'last.pt'}", "optimizer.lr=0.0", "train.steps=1", "data.val=[]"]
    done = _tool("train", config_file, *changes, "data.features=[xyz]", "--run", folder)
    assert done.returncode == 0, done.stderr
    assert f"starts from the weights of {run / 'last.pt'}; of another shape, and therefore fresh: unet." in done.stdout
    before = torch.load(run / "last.pt", weights_only=True)["ema"]["weights"]
    after = _weights(folder / "last.pt")
    same = [n for n in after if before[n].shape == after[n].shape and "running" not in n and "num_batches" not in n]
    assert len(same) > 40
    for name in same:
        torch.testing.assert_close(after[name], before[name], rtol=0, atol=0)
