"""pcseg evaluate: the official script's numbers from files, and a one-line message for each bad input."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from pcseg.classes import S3DIS, SCANNET20
from pcseg.metrics.benchmark_files import write_ground_truth, write_predictions
from tests.metrics.scenes import predict
from tests.metrics.test_instance_ap import EXPECTED, official_scenes
from tests.tools.commands import passes, refused


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two rooms of S3DIS, a ceiling and a chair each; the first is found whole, the second only its chair."""
    pred, gt = tmp_path / "pred", tmp_path / "gt"
    semantic, instance = np.repeat([0, 8], 150), np.repeat([1, 2], 150)
    for name, labels in (("a", [0, 8]), ("b", [8])):
        masks, scores = semantic == np.array(labels)[:, None], np.full(len(labels), 0.9)
        room = predict(masks, labels, scores, semantic, instance, name=name, classes=S3DIS)
        write_predictions(pred, room)
        write_ground_truth(gt, room.scene, S3DIS)
    return pred, gt


@pytest.mark.parametrize(("case", "mask_format"), [("multi_scene", "txt"), ("void", "npz"), ("duplicates", "json")])
def test_equals_the_official_script(tmp_path: Path, case: str, mask_format: str) -> None:
    for room in official_scenes(case):
        write_ground_truth(tmp_path / "gt", room.scene, SCANNET20)
        write_predictions(tmp_path / "pred", room, mask_format=mask_format)
    options = ("--dataset", "scannet", "--json", tmp_path / "out.json", "--csv", tmp_path / "out.csv")
    printed, errors = passes("evaluate", tmp_path / "pred", tmp_path / "gt", *options)
    assert errors == ""
    content, expected = json.loads((tmp_path / "out.json").read_text()), EXPECTED[case]
    wanted = {key: expected[key.upper()] for key in ("ap", "ap50", "ap25")}
    assert {key: content[key] for key in wanted} == pytest.approx(wanted, abs=1e-9)
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    assert [row["class"] for row in rows] == [*expected["classes"], "mean"]
    assert float(rows[-1]["ap"]) == content["ap"]
    assert f"{100 * content['ap']:.1f}" in next(line for line in printed.splitlines() if line.startswith("mean"))


@pytest.mark.parametrize("workers", [1, 2])
def test_s3dis(folders: tuple[Path, Path], tmp_path: Path, workers: int) -> None:
    options = ("--dataset", "s3dis", "--workers", workers, "--json", tmp_path / "out.json")
    printed, errors = passes("evaluate", *folders, *options)
    assert errors == ""
    assert printed.endswith(f"files: {tmp_path / 'out.json'}\n")
    content = json.loads((tmp_path / "out.json").read_text())
    assert [content["classes"][name]["ap50"] for name in ("ceiling", "chair", "door")] == [0.5, 1.0, None]
    assert content["ap"] == content["s3dis"]["mcov"] == 0.75
    assert content["s3dis"]["classes"]["ceiling"]["recall_partition"] == 0.5
    assert "precision_best_f1" in printed


def test_missing_scenes_and_unknown_label_ids(folders: tuple[Path, Path], tmp_path: Path) -> None:
    (folders[0] / "b.txt").unlink()
    command = ("evaluate", *folders, "--dataset", "s3dis", "--json", tmp_path / "out.json")
    assert "has no predictions b.txt" in refused(*command)
    _, errors = passes(*command, "--allow-missing")
    assert errors == "evaluated 1 of 2 scenes; the others have no predictions\n"
    assert json.loads((tmp_path / "out.json").read_text())["ap"] == 1.0
    # An empty file is no missing scene: its objects were not found.
    (folders[0] / "b.txt").write_text("")
    assert passes(*command)[0].endswith("out.json (replaced 1 of an earlier run)\n")
    assert json.loads((tmp_path / "out.json").read_text())["ap"] == 0.5
    path = folders[0] / "a.txt"
    path.write_text(path.read_text().replace(" 1 ", " 40 "))  # passed over, as in the benchmark's script
    assert passes(*command)[1] == "passed over objects of label ids that s3dis does not have: 1, of ids 40\n"
    content = json.loads((tmp_path / "out.json").read_text())
    assert [content["classes"][name]["ap50"] for name in ("ceiling", "chair")] == [0.0, 0.5]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("pred/predicted_masks/a_000.txt", "1\n0\n", "the mask has 2 points, the ground truth of the scene has"),
        ("gt/a.txt", None, "has no ground truth a.txt"),
        ("gt/*.txt", None, "expected one SCENE.txt per scene of ground truth, found none"),
        ("gt", None, "there is no such folder of ground truth"),
    ],
)
def test_bad_input(folders: tuple[Path, Path], tmp_path: Path, file: str, content: str | None, message: str) -> None:
    for path in list(tmp_path.glob(file)):
        if content is None:
            path.rename(tmp_path / f"gone_{path.name}")
        else:
            path.write_text(content)
    assert message in refused("evaluate", *folders, "--dataset", "s3dis", "--json", tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize(
    ("name", "option"),
    [
        *(("evaluate", f"--{kind}") for kind in ("json", "csv", "report")),
        *((name, "--json") for name in ("bench", "prepare s3dis", "prepare scannet", "prepare scans")),
        *((name, "--json") for name in ("aggregate", "check_submission", "compare_metrics", "inference_options")),
        *(("make_gt", "--json"), ("superpoint_quality", "--json"), ("plot", "--out")),
    ],
)
def test_only_own_files_are_replaced(folders: tuple[Path, Path], tmp_path: Path, name: str, option: str) -> None:
    """The same rule for all commands, before their work: what is missing in the inputs is not noticed."""
    (tmp_path / "mine.txt").write_text("mine")
    of_rooms, dataset = ("bench", "compare_metrics", "superpoint_quality"), ("--dataset", "s3dis")
    words = {"plot": (tmp_path,), "check_submission": (tmp_path / "a.zip", *dataset), **dict.fromkeys(of_rooms, ())}
    words |= {"evaluate": (*folders, *dataset), "prepare scans": (*folders, "--classes", "s3dis")}
    for path, message in ((tmp_path / "mine.txt", "exists and is not a result of pcseg"), (folders[0], "a folder; ")):
        assert f"error: {path}: {message}" in refused(name, *words.get(name, folders), option, path)
    assert (tmp_path / "mine.txt").read_text() == "mine"
