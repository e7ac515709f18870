"""A run that is killed at any moment continues bit for bit as if uninterrupted."""

import json
import random
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._pytree import tree_flatten

from pcseg.files import read_records
from pcseg.training.checkpoint import load_checkpoint
from tests.tools.training_process import Training, write_config


@pytest.fixture(scope="module")
def config_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_config(tmp_path_factory.mktemp("resume"))


@pytest.fixture(scope="module")
def whole(config_file: Path) -> Path:
    folder = config_file.parent / "whole"
    Training(config_file, folder, "train.keep_checkpoints=8").succeed()
    return folder


def _content(folder: Path, name: str) -> dict[str, Any]:
    """Content of a checkpoint, without times and without options that a resumed run may change."""
    content = load_checkpoint(folder / name)
    del content["state"]["seconds"], content["config"]
    return content


def _losses(folder: Path) -> list[dict[str, Any]]:
    records, times = read_records(folder / "metrics.jsonl"), ("seconds", "loading_seconds")
    return [{key: value for key, value in record.items() if key not in times} for record in records]


def _assert_equal(folder: Path, whole: Path) -> None:
    for name in ("last.pt", "best.pt"):
        assert _same(_content(folder, name), _content(whole, name)), name
    assert _losses(folder) == _losses(whole)
    assert (folder / "evaluations.jsonl").read_text() == (whole / "evaluations.jsonl").read_text()


def _same(found: Any, expected: Any) -> bool:
    """Whether two checkpoints hold the same, to the bit."""
    (values, form), (others, other_form) = tree_flatten(found), tree_flatten(expected)
    equal = (torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in zip(values, others))
    return form == other_form and all(equal)


def test_files_of_a_run(whole: Path) -> None:
    assert [line["step"] for line in _losses(whole)] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [record["step"] for record in read_records(whole / "evaluations.jsonl")] == [3, 6, 8]
    wanted = {"pcseg", "torch", "numpy", "numba", "commit", "cpus"}
    assert wanted <= set(json.loads((whole / "versions.json").read_text()))
    data = json.loads((whole / "data.json").read_text())
    assert list(data["train"]["rooms"]) == ["Area_1_office_1", "Area_2_conferenceRoom_1"]
    assert len(data["val"]["rooms"]["Area_3_office_1"]) == len(data["val"]["sha256"]) == 64
    assert len(list(whole.glob("step_*.pt"))) == 7


def test_killed_at_any_moment(config_file: Path, whole: Path) -> None:
    """Kills -9: while a checkpoint is written, and whenever chance wants."""
    folder, chance, killed = config_file.parent / "killed", random.Random(0), {"writing": 0, "any": 0}
    training = Training(config_file, folder)
    while sum(killed.values()) < 6:
        kind = "writing" if killed["writing"] <= killed["any"] else "any"
        pause = chance.uniform(0, 0.3)
        before = _num_lines(folder)
        while training.process.is_alive():
            if kind == "writing" and any(folder.glob(".*.pt.*.tmp")):
                break
            if kind == "any" and _num_lines(folder) > before:
                time.sleep(pause)
                break
            time.sleep(0.0005)
        if not training.process.is_alive():
            break
        training.process.kill()
        training.process.join()
        killed[kind] += 1
        training = Training(config_file, folder, "--auto-resume")
    training.succeed()
    assert killed["writing"] >= 2
    assert killed["any"] >= 1
    _assert_equal(folder, whole)
    assert not list(folder.glob(".*")), "nothing unfinished is left"
    assert sorted(path.name for path in folder.glob("step_*.pt")) == ["step_0000006.pt", "step_0000007.pt"]


def _num_lines(folder: Path) -> int:
    log = folder / "metrics.jsonl"
    return log.read_bytes().count(b"\n") if log.exists() else 0


def test_full_disk(config_file: Path, whole: Path) -> None:
    """The run ends with one sentence; what was saved before is whole, and is where it goes on."""
    folder = _stopped(config_file.parent / "full", whole)
    size = (folder / "last.pt").stat().st_size
    error = Training(config_file, folder, "--resume", file_size_limit=size // 2).fail()
    assert "cannot be written: File too large" in error
    assert load_checkpoint(folder / "last.pt")["state"]["step"] == 3
    Training(config_file, folder, "--resume").succeed()
    _assert_equal(folder, whole)


def _stopped(folder: Path, whole: Path) -> Path:
    """The run folder of a run killed some time after step 3: the logs go further, and the last line is incomplete."""
    shutil.copytree(whole, folder)
    shutil.copy(folder / "step_0000003.pt", folder / "last.pt")
    for path in folder.glob("step_*.pt"):
        if path.name > "step_0000003.pt":
            path.unlink()
    lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_text("".join(lines[:5]) + lines[5][:20])
    return folder


def test_torn_checkpoint_and_the_one_before(config_file: Path, whole: Path) -> None:
    folder = _stopped(config_file.parent / "torn", whole)
    for name in ("last.pt", "step_0000003.pt"):
        (folder / name).write_bytes((folder / name).read_bytes()[:5000])
    error = Training(config_file, folder, "--resume").fail()
    assert "last.pt: not a checkpoint, or damaged" in error
    assert "step_0000002.pt is intact: continue from it with --resume --from step_0000002.pt" in error
    Training(config_file, folder, "--resume", "--from", "step_0000002.pt").succeed()
    _assert_equal(folder, whole)
