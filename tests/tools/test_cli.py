"""The command `pcseg`: light help, doors in tools/, completion, shipped configs, and what the built wheel has."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from pcseg import cli
from tests.tools.commands import ROOT, tool

LIGHT = """
import sys
from pcseg.cli import make_parsers
make_parsers()
print([name for name in ("torch", "numpy", "scipy", "numba", "joblib", "yaml", "tqdm") if name in sys.modules])
"""
COMPLETIONS = {"pcseg pre": "predict", "pcseg prepare sca": "scannet", "pcseg train --auto": "--auto-resume"}


def _python(*words: object, folder: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    command = [sys.executable, *map(str, words)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_help_is_light_and_complete(capsys: pytest.CaptureFixture[str]) -> None:
    done = _python("-c", LIGHT)
    assert done.stdout == "[]\n", done.stderr
    for words, text in (("", "Find the objects of scans."), ("prepare --help", "scannet"), ("--version", "pcseg ")):
        with pytest.raises(SystemExit) as leave:
            cli.main(words.split())
        assert leave.value.code == 0
        assert text in capsys.readouterr().out
    for name, parser in cli.make_parsers().items():
        assert parser.format_help().startswith(f"usage: pcseg {name}".rstrip())


USAGE = ["predit", "prepare", "prepare kitti", "train", "predict a --treshold 1", "predict --views 2 a.ply", "test a"]


@pytest.mark.parametrize("words", USAGE)
def test_bad_usage(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leave:
        cli.main(words.split())
    assert leave.value.code == 2
    error = capsys.readouterr().err
    assert re.fullmatch(r"error: .*\n", error)
    assert re.search(r"; see pcseg.* --help$", error) or words == "train"


def test_an_axis_that_looks_like_an_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["predict", "absent.ply", "--up", "-y"])
    assert capsys.readouterr().err == "error: absent.ply: no such file\n"


def test_doors() -> None:
    """Every script in tools/ that is the same as a command calls it."""
    doors = {}
    for path in (ROOT / "tools").glob("*.py"):
        if found := re.search(r'"""The same as `pcseg (.*)`\."""', path.read_text()):
            doors[found[1]] = path
    assert set(doors) == set(cli.COMMANDS)
    for name, path in doors.items():
        status, out, _ = tool(path.stem, "--help")
        assert (status, out.split("\n")[0].startswith(f"usage: pcseg {name} ")) == (0, True)


def test_from_any_folder_and_before_torch(tmp_path: Path) -> None:
    done = _python("-m", "pcseg", "predict", "absent.ply", folder=tmp_path)
    assert (done.returncode, done.stderr) == (2, "error: absent.ply: no such file\n")
    config = tmp_path / "mine.yaml"
    config.write_text("base: synthetic.yaml\ndata: {root: 2024}  # Räume\n", encoding="utf-8")
    (tmp_path / "synthetic.yaml").write_text((ROOT / "configs" / "synthetic.yaml").read_text(encoding="utf-8"))
    program = "import sys, pcseg.cli\ntry: pcseg.cli.main()\nfinally: print('torch' in sys.modules)"
    done = _python("-c", program, "train", config, folder=tmp_path, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert "data.root is 2024, but there is no such folder" in done.stderr
    assert (done.returncode, done.stdout) == (2, "False\n")
    if sys.platform.startswith("linux"):
        done = _python("-c", program.replace("torch", "numpy"), "show", config, DISPLAY="", WAYLAND_DISPLAY="")
        assert done.stderr.startswith("error: there is no display to open a window on")
        assert (done.returncode, done.stdout) == (2, "False\n")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("argcomplete")
    cli.main(["--print-completion", shell])
    assert "_ARGCOMPLETE" in capsys.readouterr().out


@pytest.mark.parametrize(("line", "word"), COMPLETIONS.items())
def test_completion(tmp_path: Path, line: str, word: str) -> None:
    pytest.importorskip("argcomplete")
    found = tmp_path / "words"
    variables = {"COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE_STDOUT_FILENAME": str(found)}
    _python("-m", "pcseg", _ARGCOMPLETE="1", _ARGCOMPLETE_IFS="\n", **variables)
    assert word in [text.strip() for text in found.read_text().split("\n")]


def test_the_wheel_is_complete_and_found_beside_a_folder_of_its_name(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    done = _python("-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path, HATCH_BUILD_NO_HOOKS="true")
    assert done.returncode == 0, done.stderr
    wheel = tmp_path / "site"
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as archive:
        archive.extractall(wheel)
    there = {path.relative_to(wheel).as_posix() for path in wheel.rglob("*") if path.is_file()}
    files = subprocess.run(["git", "ls-files", "pcseg"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert there >= {*files.split(), *(f"pcseg/configs/{path.name}" for path in (ROOT / "configs").iterdir())}
    assert {"pcseg/py.typed", "pcseg/weights/general.safetensors", "pcseg/class_sets/s3dis.yaml"} <= there
    assert {path.split("/")[0].split("-")[0] for path in there} == {"pcseg"}
    # As in the folder that holds a clone: the installed package wins, and finds its own configs.
    (tmp_path / "pcseg" / "docs").mkdir(parents=True)
    program = "import pcseg; from pcseg.config_files import find_config; print(find_config('s3dis'), pcseg.__version__)"
    done = _python("-c", program, folder=tmp_path, PYTHONPATH=str(wheel))
    assert done.stdout.startswith(f"{wheel}/pcseg/configs/s3dis.yaml "), done.stderr
