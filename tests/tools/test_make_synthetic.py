"""The command line that makes synthetic rooms."""

from pathlib import Path

import pytest

from pcseg.cli import run_tool
from tools.make_synthetic import main


def test_makes_rooms(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "raw"
    arguments = [str(out), "--format", "s3dis", "--rooms", "2", "--seed", "1", "--points", "2000", "--workers", "1"]
    main(arguments)
    assert (out / "Area_1" / "office_1" / "office_1.txt").is_file()
    assert (out / "Area_2" / "conferenceRoom_1" / "Annotations" / "floor_1.txt").is_file()
    assert "2/2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("extra", "message"),
    [("--rooms 0", "rooms"), ("--points 10", "points"), ("--seed -4", "seed"), ("--workers 0", "workers")],
)
def test_bad_input_is_status_2_with_one_sentence(
    extra: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        run_tool(lambda: main([str(tmp_path / "raw"), "--format", "s3dis", *extra.split()]))
    assert stop.value.code == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last
    assert not (tmp_path / "raw").exists()


def test_unknown_format_is_status_2(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stop:
        main([str(tmp_path), "--format", "kitti"])
    assert stop.value.code == 2
