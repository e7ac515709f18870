"""The command line that makes synthetic rooms."""

from pathlib import Path

import pytest

from tests.tools.commands import passes, refused


def test_makes_rooms(tmp_path: Path) -> None:
    options = ("--format", "s3dis", "--rooms", 2, "--seed", 1, "--points", 2000, "--workers", 1)
    _, progress = passes("synth", tmp_path, *options)
    assert (tmp_path / "Area_1" / "office_1" / "office_1.txt").is_file()
    assert (tmp_path / "Area_2" / "conferenceRoom_1" / "Annotations" / "floor_1.txt").is_file()
    assert "2/2" in progress


@pytest.mark.parametrize("option", ["--rooms 0", "--points 10", "--seed -4", "--workers 0", "--format kitti"])
def test_bad_options_are_named(option: str, tmp_path: Path) -> None:
    name = option.split()[0].removeprefix("--")
    assert name in refused("synth", tmp_path / "raw", "--format", "s3dis", *option.split())
    assert not (tmp_path / "raw").exists()
