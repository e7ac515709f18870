"""pcseg plot: a picture of one or several runs; one sentence and status 2 for the rest."""

from pathlib import Path

from PIL import Image

from pcseg.files import append_record
from tests.tools.commands import passes, refused


def _run(folder: Path, num_steps: int, *, timed: bool = True) -> Path:
    folder.mkdir(parents=True)
    for step in range(1, num_steps + 1):
        record = {"step": step, "lr": 1e-3 / step, "grad_norm": 2.0, "loss": 5 / step, "loss_ce": 1 / step}
        times = {"rooms": 2, "seconds": 0.1 * (step % 2), "loading_seconds": 0.0} if timed else {}
        append_record(folder / "metrics.jsonl", {**record, "loss_ce_0": 3.0, **times})
        if timed and step % 10 == 0:
            append_record(folder / "evaluations.jsonl", {"step": step, "ap": 0.01 * step, "ap50": 0.5, "ap25": None})
    return folder


def test_one_run(tmp_path: Path) -> None:
    out = tmp_path / "a.png"
    assert passes("plot", _run(tmp_path / "one", 30), "--out", out) == (f"{out}\n", "")
    with Image.open(out) as image:
        assert image.width > 3 * 400, "three charts side by side"
        assert image.height > 3 * 250, "seven charts in three rows"


def test_several_runs_old_and_torn(tmp_path: Path) -> None:
    first, second = _run(tmp_path / "a" / "run", 30), _run(tmp_path / "b" / "run", 1, timed=False)
    with (first / "metrics.jsonl").open("a") as file:
        file.write('{"step": 31, "lo')
    (second / "evaluations.jsonl").touch()
    assert passes("plot", first, second, "--out", tmp_path / "a.png", "--smoothing", 0)[1] == ""


def test_bad_usage(tmp_path: Path) -> None:
    out = ("--out", tmp_path / "a.png")
    assert "no metrics.jsonl found; expected a run folder" in refused("plot", tmp_path, *out)
    run = _run(tmp_path / "run", 3)
    assert "smoothing must be at least 0 and less than 1, got 1.0" in refused("plot", run, *out, "--smoothing", 1)
    assert not (tmp_path / "a.png").exists()
