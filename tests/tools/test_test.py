"""tools/test.py and its files: exports, reports, combined rooms, several processes."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pcseg.data.store import Source, write_room
from pcseg.ops.superpoints import over_segment
from pcseg.synthetic import make_room
from tests.tools.small_model import SMALL, fresh_checkpoint

ROOT = Path(__file__).resolve().parent.parent.parent
Tool = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A config file, two labeled rooms and one without labels, and a checkpoint of an untrained model."""
    folder = tmp_path_factory.mktemp("test")
    for index in range(3):
        scene = make_room(0, index, num_points=4000)
        scene = scene.with_(superpoint=over_segment(scene.xyz, scene.rgb))
        if index == 1:
            scene = scene.with_(semantic=None, instance=None)
        write_room(folder / "rooms", scene, "s3dis", Source("made", "0"))
    config_file = folder / "small.yaml"
    config_file.write_text(
        f'base: {SMALL}\ndata: {{root: {folder / "rooms"}, val: ["Area_*"]}}\ninference: {{top_k: 8}}\n'
    )
    return config_file, fresh_checkpoint(folder / "last.pt")


def test_rooms_without_labels_are_refused_unless_exported(tool: Tool, trained: tuple[Path, Path]) -> None:
    status, _, errors = tool("test", *trained, "--device", "cpu")
    assert status == 2
    assert "Area_2_conferenceRoom_1 has no labels" in errors


def test_files(tool: Tool, trained: tuple[Path, Path], tmp_path: Path) -> None:
    """Exported predictions score the same from files and room by room."""
    out = tmp_path / "out"
    options = ["--device", "cpu", "--export", out, "--mask-format", "npz"]
    options += ["--json", tmp_path / "a.json", "--csv", tmp_path / "a.csv", "--report", tmp_path / "a.html"]
    status, printed, errors = tool("test", *trained, *options)
    assert status == 0, errors
    assert "1 of 3 rooms have no labels" in printed
    assert "valid; 3 scenes" in printed
    content = json.loads((tmp_path / "a.json").read_text())
    assert {"ap", "semantic", "panoptic", "s3dis", "outcomes", "thresholds", "coco_thresholds"} <= set(content)
    assert (tmp_path / "a.csv").read_text().startswith("class,ap,ap50,ap25,")
    assert (tmp_path / "a.html").read_text().count("<img ") == 2
    assert {path.stem for path in out.glob("*.txt")} == {
        "Area_1_office_1",
        "Area_2_conferenceRoom_1",
        "Area_3_office_1",
    }
    assert {path.stem for path in (out / "rooms").iterdir()} == {"Area_1_office_1", "Area_3_office_1"}

    status, printed, errors = tool(
        "make_gt", trained[0].parent / "rooms", tmp_path / "gt", "--json", tmp_path / "g.json"
    )
    assert (status, printed) == (0, f"{tmp_path / 'gt'}: 2 rooms\n")
    assert "1 rooms have no labels and were left out: Area_2_conferenceRoom_1" in errors
    (out / "Area_2_conferenceRoom_1.txt").unlink()  # there is no ground truth for it
    more = ["--json", tmp_path / "b.json", "--rooms", tmp_path / "rooms", "--report", tmp_path / "b.html"]
    status, _, errors = tool("evaluate", out, tmp_path / "gt", "--dataset", "s3dis", *more)
    assert status == 0, errors
    from_files = json.loads((tmp_path / "b.json").read_text())
    for key in ("ap", "ap50", "ap25", "classes", "s3dis", "coco_thresholds", "outcomes"):
        assert from_files[key] == content[key]

    for rooms in (out / "rooms", tmp_path / "rooms"):
        status, printed, errors = tool("aggregate", rooms, "--json", tmp_path / "c.json", "--csv", tmp_path / "c.csv")
        assert status == 0, errors
        together = json.loads((tmp_path / "c.json").read_text())
        assert together["s3dis"] == content["s3dis"]
        assert set(together["areas"]) == {"Area_1", "Area_3"}
        values = [area["mcov"] for area in together["areas"].values()]
        assert together["mean_of_areas"]["mcov"] == pytest.approx(sum(values) / 2)
        assert "mean of areas" in printed

    zipped = out / "submission.zip"
    status, printed, _ = tool("check_submission", zipped, "--dataset", "s3dis", "--json", tmp_path / "d.json")
    assert status == 0
    assert json.loads((tmp_path / "d.json").read_text())["num_scenes"] == 3
    (tmp_path / "scenes.txt").write_text("Area_1_office_1\n")
    status, _, errors = tool("check_submission", zipped, "--dataset", "s3dis", "--scenes", tmp_path / "scenes.txt")
    assert status == 2
    assert "is not one of the scenes to submit" in errors


def test_several_processes(tool: Tool, trained: tuple[Path, Path], tmp_path: Path) -> None:
    """Each room is scored once, and the numbers equal one process."""
    options = ["--device", "cpu", "--results", tmp_path / "results"]
    # One thread, as torchrun's processes have: the scores of fresh weights lie so near that rounding counts.
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        status, _, errors = tool("test", *trained, *options, "--json", tmp_path / "one.json")
    finally:
        torch.set_num_threads(num_threads)
    assert status == 0, errors
    status, _, errors = tool("test", *trained, *options, "--json", tmp_path / "loky.json", "--workers", 2)
    assert status == 0, errors
    assert json.loads((tmp_path / "loky.json").read_text()) == json.loads((tmp_path / "one.json").read_text())
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += [str(ROOT / "tools" / "test.py"), *map(str, [*trained, *options, "--export", tmp_path / "out"])]
    command += ["--json", str(tmp_path / "two.json"), "--report", str(tmp_path / "two.html")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600, env=environment)
    assert done.returncode == 0, done.stderr[-4000:]
    assert json.loads((tmp_path / "two.json").read_text()) == json.loads((tmp_path / "one.json").read_text())
    assert done.stdout.count("valid; 3 scenes") == 1
    assert (tmp_path / "two.html").read_text().count("<img ") == 2


def test_no_ground_truth_to_write(tool: Tool, trained: tuple[Path, Path], tmp_path: Path) -> None:
    status, _, errors = tool("make_gt", trained[0].parent / "rooms", tmp_path / "gt", "Area_2_*")
    assert status == 2
    assert "no room has labels" in errors


def test_compare_metrics(tool: Tool, tmp_path: Path) -> None:
    options = ["--rooms", 2, "--points", 3000, "--json", tmp_path / "a.json", "--csv", tmp_path / "a.csv"]
    status, printed, errors = tool("compare_metrics", *options, "--export", tmp_path / "out")
    assert status == 0, errors
    readings = json.loads((tmp_path / "a.json").read_text())["readings"]
    assert len(printed.splitlines()) == len(readings) + 1
    assert len((tmp_path / "a.csv").read_text().splitlines()) == len(readings) + 1
    # The same through files, by another tool.
    files = [tmp_path / "out" / "pred", tmp_path / "out" / "gt"]
    status, _, errors = tool("evaluate", *files, "--dataset", "s3dis", "--json", tmp_path / "b.json")
    assert status == 0, errors
    content = json.loads((tmp_path / "b.json").read_text())
    ours = {reading["measure"]: reading["value"] for reading in readings if reading["is_base"]}
    assert ours["AP"] == content["ap"]
    assert ours["mCov"] == content["s3dis"]["mcov"]
    assert tool("compare_metrics", "--rooms", 0)[0] == 2
