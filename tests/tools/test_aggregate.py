"""Results of rooms are combined for any room names."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pcseg.classes import S3DIS
from pcseg.metrics.room_results import save_room
from pcseg.metrics.scores import Scores
from pcseg.synthetic import make_room
from pcseg.synthetic.predictions import simulate_predictions

Tool = Callable[..., tuple[int, str, str]]


def _rooms(folder: Path, *names: str) -> Path:
    scores = Scores(S3DIS)
    for index, name in enumerate(names):
        scene = make_room(0, index, num_points=3000).with_(name=name)
        scores.add(simulate_predictions(scene, S3DIS, np.random.default_rng(index)))
        save_room(folder, name, scores)
    return folder


def test_rooms_of_areas(tool: Tool, tmp_path: Path) -> None:
    first, second = _rooms(tmp_path / "a", "Area_1_office_1"), _rooms(tmp_path / "b", "Area_5_hallway_2")
    status, printed, errors = tool("aggregate", first, second, "--json", tmp_path / "c.json")
    assert status == 0, errors
    found = json.loads((tmp_path / "c.json").read_text())
    assert set(found["areas"]) == {"Area_1", "Area_5"}
    values = [area["mcov"] for area in found["areas"].values()]
    assert found["mean_of_areas"]["mcov"] == pytest.approx(sum(values) / 2)
    assert printed.startswith("2 rooms together\n")
    assert "\nmean of areas" in printed


@pytest.mark.parametrize("names", [("kitchen", "attic"), ("Area_1_office_1", "kitchen")])
def test_rooms_of_any_name(tool: Tool, tmp_path: Path, names: tuple[str, ...]) -> None:
    rooms, files = _rooms(tmp_path / "rooms", *names), [tmp_path / "c.csv", tmp_path / "c.html"]
    options = ["--json", tmp_path / "c.json", "--csv", files[0], "--report", files[1]]
    status, printed, errors = tool("aggregate", rooms, *options)
    assert status == 0, errors
    found = json.loads((tmp_path / "c.json").read_text())
    assert found["s3dis"]["mcov"] > 0
    assert not {"areas", "mean_of_areas"} & set(found)
    assert printed.startswith("2 rooms together\n")
    assert "mean of areas" not in printed
    assert all(path.stat().st_size > 100 for path in files)
