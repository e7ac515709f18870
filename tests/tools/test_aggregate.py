"""Results of rooms are combined for any room names."""

import json
from pathlib import Path

import numpy as np
import pytest

from pcseg.classes import S3DIS
from pcseg.metrics.room_results import save_room
from pcseg.metrics.scores import Scores
from pcseg.synthetic import make_room
from pcseg.synthetic.predictions import simulate_predictions
from tests.tools.commands import passes


@pytest.mark.parametrize(
    ("names", "areas"),
    [
        (("Area_1_office_1", "Area_5_hallway_2"), {"Area_1", "Area_5"}),
        (("kitchen", "attic"), None),
        (("Area_1_office_1", "kitchen"), None),
    ],
)
def test_rooms_of_two_folders(tmp_path: Path, names: tuple[str, str], areas: set[str] | None) -> None:
    scores = Scores(S3DIS)
    for index, name in enumerate(names):
        scene = make_room(0, index, num_points=3000).with_(name=name)
        scores.add(simulate_predictions(scene, S3DIS, np.random.default_rng(index)))
        save_room(tmp_path / str(index), name, scores)
    files = [tmp_path / f"c.{suffix}" for suffix in ("json", "csv", "html")]
    options = ("--json", files[0], "--csv", files[1], "--report", files[2])
    printed, _ = passes("aggregate", tmp_path / "0", tmp_path / "1", *options)
    assert printed.startswith("2 rooms together\n")
    assert ("\nmean of areas" in printed) == bool(areas)
    found = json.loads(files[0].read_text())
    assert found["s3dis"]["mcov"] > 0
    if areas is None:
        assert not {"areas", "mean_of_areas"} & set(found)
    else:
        assert set(found["areas"]) == areas
        values = [area["mcov"] for area in found["areas"].values()]
        assert found["mean_of_areas"]["mcov"] == pytest.approx(sum(values) / 2)
    assert all(path.stat().st_size > 100 for path in files)
