"""pcseg test and its files: exports, reports, combined rooms, several processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pcseg.classes import S3DIS
from pcseg.metrics.room_results import save_room
from pcseg.metrics.scores import Scores
from pcseg.prediction import Prediction
from pcseg.synthetic import make_room
from pcseg.synthetic.predictions import simulate_predictions
from tests.tools.commands import ROOT, passes, refused, tool
from tests.tools.small import fresh_checkpoint, write_config


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A config file, two labeled rooms and one without labels, and a checkpoint of an untrained model."""
    folder = tmp_path_factory.mktemp("test")
    text = 'data: {root: ROOMS, val: ["Area_*"]}\ninference: {top_k: 8}\n'
    return write_config(folder, text, 4000, unlabeled=(1,)), fresh_checkpoint(folder / "last.pt")


def test_rooms_without_labels(trained: tuple[Path, Path], tmp_path: Path) -> None:
    """They can be exported, but neither scored nor written as ground truth."""
    assert "Area_2_conferenceRoom_1: it has no ground truth" in refused("test", *trained, "--device", "cpu")
    assert "--mask-format is for --export" in refused("test", *trained, "--mask-format", "npz")
    assert "no room has labels" in refused("make_gt", trained[0].parent / "rooms", tmp_path / "gt", "Area_2_*")


def test_files(trained: tuple[Path, Path], tmp_path: Path) -> None:
    """Exported predictions score the same from files and room by room."""
    out = tmp_path / "out"
    options = ["--device", "cpu", "--export", out, "--mask-format", "npz"]
    options += ["--json", tmp_path / "a.json", "--csv", tmp_path / "a.csv", "--report", tmp_path / "a.html"]
    printed, _ = passes("test", *trained, *options)
    assert "1 of 3 rooms have no labels" in printed
    assert "valid; 3 rooms" in printed
    assert printed.endswith("Area_1_office_1.txt and 2 more\n")
    content = json.loads((tmp_path / "a.json").read_text())
    assert {"ap", "semantic", "panoptic", "s3dis", "outcomes", "thresholds", "coco_thresholds"} <= set(content)
    assert (tmp_path / "a.csv").read_text().startswith("class,ap,ap50,ap25,")
    assert (tmp_path / "a.html").read_text().count("<img ") == 2
    labeled = {"Area_1_office_1", "Area_3_office_1"}
    assert {path.stem for path in out.glob("*.txt")} == {*labeled, "Area_2_conferenceRoom_1"}
    assert {path.stem for path in (out / "rooms").iterdir()} == labeled

    rooms = trained[0].parent / "rooms"
    printed, errors = passes("make_gt", rooms, tmp_path / "gt", "--json", tmp_path / "g.json")
    assert printed == f"{tmp_path / 'gt'}: 2 rooms\nfiles: {tmp_path / 'g.json'}\n"
    assert "1 rooms have no labels and were left out: Area_2_conferenceRoom_1" in errors
    (out / "Area_2_conferenceRoom_1.txt").unlink()  # there is no ground truth for it
    more = ["--json", tmp_path / "b.json", "--rooms", tmp_path / "rooms", "--report", tmp_path / "b.html"]
    passes("evaluate", out, tmp_path / "gt", "--dataset", "s3dis", *more)
    from_files = json.loads((tmp_path / "b.json").read_text())
    for key in ("ap", "ap50", "ap25", "classes", "s3dis", "coco_thresholds", "outcomes"):
        assert from_files[key] == content[key]
    for rooms in (out / "rooms", tmp_path / "rooms"):
        passes("aggregate", rooms, "--json", tmp_path / "c.json")
        assert json.loads((tmp_path / "c.json").read_text())["s3dis"] == content["s3dis"]

    check = ("check_submission", out / "submission.zip", "--dataset", "s3dis")
    passes(*check, "--json", tmp_path / "d.json")
    assert json.loads((tmp_path / "d.json").read_text())["num_scenes"] == 3
    (tmp_path / "scenes.txt").write_text("Area_1_office_1\n")
    assert "is not one of the scenes to submit" in refused(*check, "--scenes", tmp_path / "scenes.txt")
    (out / "Area_3_office_1.txt").write_text("mine")
    assert "Area_3_office_1.txt: exists and is not a result of pcseg" in refused("test", *trained, *options)


def test_a_model_of_other_classes(trained: tuple[Path, Path], tmp_path: Path) -> None:
    """It is scored in the classes of the rooms, if there is a mapping."""
    indoor = fresh_checkpoint(tmp_path / "indoor.pt", "data.classes=indoor", "inference.min_points=10")
    labeled = "data.val=[Area_1_*,Area_3_*]"
    _, notes = passes("test", trained[0], indoor, labeled, "--results", tmp_path, "--json", tmp_path / "a.json")
    assert "predicts classes indoor, which are mapped to s3dis" in notes
    found = Prediction.load(tmp_path / "Area_1_office_1.npz")
    assert found.classes == S3DIS
    assert found.scene.semantic is not None
    assert "does not know" not in notes
    passes("test", trained[0], "builtin", labeled)
    other = fresh_checkpoint(tmp_path / "other.pt", "data.classes=scannet20")
    assert "no mapping from classes scannet20 to s3dis" in refused("test", trained[0], other, labeled)


def test_several_processes(trained: tuple[Path, Path], tmp_path: Path, set_threads) -> None:
    """Each room is scored once, and the numbers equal one process."""
    options = [*trained, "--device", "cpu", "--results", tmp_path / "results"]
    # One thread, as torchrun's processes have: the scores of fresh weights lie so near that rounding counts.
    set_threads(1)
    passes("test", *options, "--json", tmp_path / "one.json")
    passes("test", *options, "--json", tmp_path / "loky.json", "--workers", 2)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += [str(ROOT / "tools" / "test.py"), *map(str, [*options, "--export", tmp_path / "out"])]
    command += ["--json", str(tmp_path / "two.json"), "--report", str(tmp_path / "two.html")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600, env=environment)
    assert done.returncode == 0, done.stderr[-4000:]
    one, loky, two = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("one", "loky", "two"))
    assert one == loky == two
    assert done.stdout.count("valid; 3 rooms") == 1
    assert (tmp_path / "two.html").read_text().count("<img ") == 2


def test_compare_metrics(tmp_path: Path) -> None:
    options = ["--rooms", 2, "--points", 3000, "--json", tmp_path / "a.json", "--csv", tmp_path / "a.csv"]
    printed, _ = passes("compare_metrics", *options, "--export", tmp_path / "out")
    readings = json.loads((tmp_path / "a.json").read_text())["readings"]
    assert len(printed.splitlines()) == 1 + len((tmp_path / "a.csv").read_text().splitlines()) == 2 + len(readings)
    # The same through files, by another tool.
    files = [tmp_path / "out" / "pred", tmp_path / "out" / "gt"]
    passes("evaluate", *files, "--dataset", "s3dis", "--json", tmp_path / "b.json")
    content = json.loads((tmp_path / "b.json").read_text())
    ours = {reading["measure"]: reading["value"] for reading in readings if reading["is_base"]}
    assert (ours["AP"], ours["mCov"]) == (content["ap"], content["s3dis"]["mcov"])
    assert tool("compare_metrics", "--rooms", 0)[0] == 2


def test_results_of_rooms_in_two_folders(tmp_path: Path) -> None:
    scores = Scores(S3DIS)
    for index, name in enumerate(("Area_1_office_1", "Area_5_hallway_2", "kitchen")):
        scene = make_room(0, index, num_points=3000).with_(name=name)
        scores.add(simulate_predictions(scene, S3DIS, np.random.default_rng(index)))
        save_room(tmp_path / str(index), name, scores)
    files = [tmp_path / f"c.{suffix}" for suffix in ("json", "csv", "html")]
    options = ("--json", files[0], "--csv", files[1], "--report", files[2])
    printed, _ = passes("aggregate", tmp_path / "0", tmp_path / "2", *options)
    assert "\nmean of areas" not in printed, "a kitchen is in no area"
    assert not {"areas", "mean_of_areas"} & set(json.loads(files[0].read_text()))
    printed, _ = passes("aggregate", tmp_path / "0", tmp_path / "1", *options)
    assert printed.startswith("2 rooms together\n")
    assert "\nmean of areas" in printed
    found = json.loads(files[0].read_text())
    first, second = (found["areas"].pop(name)["mcov"] for name in ("Area_1", "Area_5"))
    assert found["mean_of_areas"]["mcov"] == pytest.approx((first + second) / 2) != 0
    assert not found["areas"]
    assert all(path.stat().st_size > 100 for path in files)
