"""The config of two embeddings on small rooms: train, resume, score, load, predict."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pcseg import config as cfg
from pcseg import load_model
from pcseg.data.store import Source, write_room
from pcseg.files import read_records
from pcseg.ops.superpoints import over_segment
from pcseg.run import Run
from pcseg.synthetic import make_room

ROOT = Path(__file__).resolve().parent.parent
SMALL = [
    'data.train=["Area_[12]_*"]',
    'data.val=["Area_3_*"]',
    "data.voxel_size=0.15",
    "model.unet.channels=[8, 16]",
    "model.decoder.width=16",
    "train.steps=4",
    "train.checkpoint_every=2",
    "train.batch_size=2",
    "train.ema_decay=0.9",
]


def _config(folder: Path, *overrides: str) -> cfg.Config:
    return cfg.load(ROOT / "configs" / "synthetic_embedding.yaml", [*SMALL, f"data.root={folder}", *overrides])


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rooms")
    for index in range(3):
        scene = make_room(0, index, num_points=8000)
        write_room(folder, scene.with_(superpoint=over_segment(scene.xyz, scene.rgb)), "s3dis", Source("made", "0"))
    return folder


@pytest.fixture(scope="module")
def run(rooms: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = Run(_config(rooms), tmp_path_factory.mktemp("runs") / "whole", torch.device("cpu"))
    run.start()
    run.train()
    return run


def test_rooms_become_ap(run: Run) -> None:
    (evaluation,) = read_records(run.folder / "evaluations.jsonl")
    assert np.isfinite(evaluation["ap"])


def test_resumed_run_equals_an_uninterrupted_one(run: Run, rooms: Path) -> None:
    stopped = run.folder.parent / "stopped"
    stopped.mkdir()
    (stopped / "last.pt").write_bytes((run.folder / "step_0000002.pt").read_bytes())
    resumed = Run(_config(rooms), stopped, torch.device("cpu"))
    resumed.resume()
    resumed.train()
    whole = run.model.state_dict()
    assert all(torch.equal(whole[name], weights) for name, weights in resumed.model.state_dict().items())


def test_checkpoint_predicts_without_its_config(run: Run) -> None:
    segmenter = load_model(run.folder / "last.pt")
    scene = make_room(5, 1, num_points=6000)
    first, second = segmenter.predict(scene), segmenter.predict(scene)
    np.testing.assert_array_equal(first.masks.toarray(), second.masks.toarray())
    assert (first.masks.sum(0) <= len(segmenter.classes)).all()  # clusters do not overlap, classes of one do
