from pathlib import Path

import pytest
import torch

from pcseg.training.checkpoint import CheckpointError, save_checkpoint
from pcseg.training.run_folder import read_checkpoint, remove_old_checkpoints, remove_unfinished_files, step_name


def _save(folder: Path, *names: str) -> None:
    for name in names:
        save_checkpoint(folder / name, config="", classes={}, model={"w": torch.ones(3)})


@pytest.mark.parametrize(
    ("step", "num_kept", "left"), [(40, 2, [30, 40]), (20, 2, [10, 20]), (40, 0, []), (40, 9, [10, 20, 30, 40])]
)
def test_newest_are_kept(tmp_path: Path, step: int, num_kept: int, left: list[int]) -> None:
    for name in ("last.pt", "best.pt", *(step_name(number) for number in (10, 20, 30, 40))):
        (tmp_path / name).touch()
    remove_old_checkpoints(tmp_path, step, num_kept)
    assert {path.name for path in tmp_path.iterdir()} == {"last.pt", "best.pt", *map(step_name, left)}


def test_message_names_the_newest_whole_one(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such checkpoint; nothing to continue from: start without --resume"):
        read_checkpoint(tmp_path / "last.pt", "cpu")
    (tmp_path / "last.pt").write_bytes(b"torn")
    with pytest.raises(
        CheckpointError, match=r"damaged .*; no other checkpoint is whole: train anew with another --run"
    ):
        read_checkpoint(tmp_path / "last.pt", "cpu")
    _save(tmp_path, step_name(1), step_name(2))
    (tmp_path / step_name(3)).write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"continue from it with --resume --from step_0000002\.pt"):
        read_checkpoint(tmp_path / "last.pt", "cpu")
    with pytest.raises(CheckpointError, match=r"step_0000003\.pt.* --from step_0000002\.pt"):
        read_checkpoint(tmp_path / step_name(3), "cpu")
    assert read_checkpoint(tmp_path / step_name(2), "cpu")["config"] == ""


def test_unfinished_files_go(tmp_path: Path) -> None:
    for name in (".last.pt.abc.tmp", ".other", "last.pt"):
        (tmp_path / name).touch()
    remove_unfinished_files(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {".other", "last.pt"}
