"""The checkpoints of a run's folder: last.pt, best.pt and the newest of step_N.pt."""

from pathlib import Path
from typing import Any

from pcseg.training.checkpoint import CheckpointError, load_checkpoint

LAST = "last.pt"
BEST = "best.pt"


def step_name(step: int) -> str:
    """Name of the checkpoint of a step, as step_0000500.pt."""
    return f"step_{step:07d}.pt"


def read_checkpoint(path: Path, device: str) -> dict[str, Any]:
    """What a run continues from.

    Raises:
        CheckpointError: missing or damaged; names the newest whole checkpoint beside it and how to continue from that.
    """
    try:
        return load_checkpoint(path, device)
    except CheckpointError as error:
        if (other := _newest_whole(path)) is not None:
            advice = f"{other.name} is whole: continue from it with --resume --from {other.name}"
        elif path.exists():
            advice = "no other checkpoint is whole: train anew with another --run"
        else:
            advice = "nothing to continue from: start without --resume"
        raise CheckpointError(f"{error}; {advice}") from None


def remove_old_checkpoints(folder: Path, step: int, num_kept: int) -> None:
    """Keep the newest of step_N.pt.

    Args:
        folder: of the run.
        step: last step that is done; files of later steps are of before a resume from an earlier one, and go too.
        num_kept: how many stay.
    """
    files = {int(path.stem.removeprefix("step_")): path for path in folder.glob("step_*.pt")}
    newest = sorted((number for number in files if number <= step), reverse=True)[:num_kept]
    for number in files.keys() - set(newest):
        files[number].unlink()


def remove_unfinished_files(folder: Path) -> None:
    """What a process left that was killed while it wrote."""
    for path in folder.glob(".*.tmp"):
        path.unlink()


def _newest_whole(damaged: Path) -> Path | None:
    for path in sorted(damaged.parent.glob("step_*.pt"), reverse=True):
        try:
            if path != damaged:
                load_checkpoint(path)
                return path
        except CheckpointError:
            continue  # the one before it may be whole
    return None
