"""The whole pipeline on small rooms: train, resume, test, predict, and common mistakes."""

import json
import subprocess
import sys
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


def _records(folder: Path) -> list[dict[str, float]]:
    """Results of the steps, without times."""
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in record.items() if "seconds" not in k} for record in records]


def test_training_leaves_everything_in_its_folder(run: Path) -> None:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert all(np.isfinite(line["loss"]) for line in lines)
    assert {p.name for p in run.iterdir()} >= {"config.yaml", "versions.json", "last.pt", "step_0000003.pt"}
    numbers = json.loads((run / "ap.json").read_text())
    assert set(numbers) >= {"ap", "ap50", "ap25", "classes", "s3dis", "semantic", "panoptic"}
    assert set(numbers["classes"]["chair"]) == {"ap", "ap50", "ap25"}


def test_resumed_run_equals_an_uninterrupted_one(config_file: Path, run: Path) -> None:
    stopped = config_file.parent / "stopped"
    stopped.mkdir()
    for name in ("config.yaml", "metrics.jsonl"):
        (stopped / name).write_bytes((run / name).read_bytes())
    (stopped / "last.pt").write_bytes((run / "step_0000003.pt").read_bytes())
    done = _tool("train", config_file, "--run", stopped, "--device", "cpu", "--resume")
    assert done.returncode == 0, done.stderr
    whole, resumed = _weights(run / "last.pt"), _weights(stopped / "last.pt")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert _records(stopped) == _records(run)


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


def test_loaded_model_predicts_the_same_twice(run: Path) -> None:
    segmenter = load_model(run / "last.pt")
    assert segmenter.superpoints == SUPERPOINTS, "the settings of the training rooms"
    scene = make_room(5, 1, num_points=6000)
    first, second = segmenter.predict(scene), segmenter.predict(scene)
    np.testing.assert_array_equal(first.masks.toarray(), second.masks.toarray())
    np.testing.assert_array_equal(first.scores, second.scores)


def _refused(done: subprocess.CompletedProcess[str], *texts: str) -> None:
    assert done.returncode == 2, done.stdout + done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert "Traceback" not in done.stderr
    for text in texts:
        assert text in lines[0]


def test_misspelt_key(config_file: Path) -> None:
    _refused(
        _tool("train", config_file, "train.stesp=3"),
        str(config_file),
        "unknown key 'train.stesp'; did you mean 'steps'?",
    )


def test_checkpoint_of_another_model(config_file: Path, run: Path) -> None:
    done = _tool("test", config_file, run / "last.pt", "model.decoder.width=32")
    _refused(done, "last.pt", "incompatible model", "has shape", "expected")


def test_checkpoint_that_is_none(config_file: Path) -> None:
    _refused(_tool("test", config_file, config_file), str(config_file), "not a checkpoint, or damaged")


def test_folder_that_holds_a_run(config_file: Path, run: Path) -> None:
    _refused(_tool("train", config_file, "--run", run), "already holds a run", "--resume")


def test_no_rooms(config_file: Path) -> None:
    _refused(_tool("train", config_file, "data.train=[Area_9_*]", "--run", config_file.parent / "none"), "Area_9_*")


def test_scan_without_the_color_the_model_wants(config_file: Path, run: Path) -> None:
    path = config_file.parent / "gray.npz"
    np.savez(path, xyz=make_room(5, 0, num_points=6000).xyz)
    _refused(_tool("predict", run / "last.pt", path, "--out", config_file.parent / "gray"), "has no rgb")


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
    _refused(
        _tool("train", config_file, "train.init=nowhere.pt", "--run", config_file.parent / "x"), "nowhere.pt", "no such"
    )
