import re
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from pcseg.classes import S3DIS, ClassSet
from pcseg.metrics.scores import Scores
from pcseg.synthetic import make_room
from pcseg.synthetic.predictions import ErrorRates, simulate_predictions
from pcseg.viz import report
from pcseg.viz.report import WorstRooms, worst_rooms, write_report
from tests.metrics.scenes import predict
from tests.viz.test_html import Page


def _check(page: str) -> None:
    assert Page(page).open == [], "every element is closed"
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)
    assert not re.search("http|<script|{{", page)
    assert "nan" not in re.sub(r"base64,[^\"]*", "", page)


def test_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "NUM_WORST", 2)
    scores, worst = Scores(S3DIS), WorstRooms(S3DIS)
    for index, missed in enumerate((0.0, 1.0, 0.5)):
        scene, rates = make_room(0, index, num_points=4000), ErrorRates(missed=missed, false=0.0)
        prediction = simulate_predictions(scene, S3DIS, np.random.default_rng(index), rates)
        scores.add(prediction)
        worst.offer(replace(prediction, semantic=scene.semantic))
    names = worst_rooms(scores)
    assert names == ["Area_2_conferenceRoom_1", "Area_3_office_1"]
    with mock.patch.object(report, "room_picture", wraps=report.room_picture) as draw:
        pictures = worst.pictures(scores)
    assert (draw.call_args.kwargs["threshold"], sorted(pictures)) == (0.3, names)
    assert all(picture.startswith(b"\xff\xd8") for picture in pictures.values())
    page = write_report(tmp_path / "new" / "page.html", scores, title="A <title> & more", pictures=pictures).read_text()
    _check(page)
    assert "A &lt;title&gt; &amp; more" in page
    sections = ["Average precision", "What is wrong", "worst rooms", "Precision over recall", "Confusion", "Panoptic"]
    places = [page.index(section) for section in [*sections, "S3DIS: "]]
    assert places == sorted(places), "AP first, then what is wrong and where"
    assert page.index("<details") > places[2], "everything else is folded"
    assert not re.search(r"<th>\w*_\w*</th>|<th>(pq|mcov|ap50)</th>", page), "columns have names in words"
    assert page.count("score at least 0.3; AP counts all.") == page.count("fewer than 100 points") == 1
    assert page.count("<img ") == 2
    assert page.index("Area_2_conferenceRoom_1</h3>") < page.index("Area_3_office_1</h3>")
    first = page[page.index("<td>all classes</td>") :].split("</tr>")[0]
    assert first.count("<td>") == 6
    assert f"<td>{100 * scores.compute().ap.ap:.1f}</td>" in first
    worst = WorstRooms(S3DIS)  # no room without labels or objects is one of them
    worst.offer(replace(prediction, scene=scene.with_(semantic=None, instance=None)))
    worst.offer(replace(prediction, scene=scene.with_(instance=scene.instance * 0)))
    assert worst.pictures(Scores(S3DIS)) == {}


@pytest.mark.parametrize("num_classes", [13, 60])
def test_degenerate_pages(num_classes: int, tmp_path: Path) -> None:
    """No room at all, and a room without predictions; many classes make a list, not a matrix."""
    names = tuple(f"class {i}" for i in range(num_classes))
    classes = ClassSet("many", names, tuple(range(1, num_classes + 1)), ((0, 0, 0),) * num_classes, frozenset(), names)
    scores = Scores(classes)
    _check(write_report(tmp_path / "none.html", scores, title="").read_text())
    instance = np.repeat(np.arange(1, num_classes + 1), 100).astype(np.int32)
    masks = instance[None] == np.arange(1, num_classes + 1)[:, None]
    wrong = np.roll(np.arange(num_classes), 1)
    scores.add(predict(masks, wrong, np.ones(num_classes), instance - 1, instance, classes=classes))
    page = write_report(tmp_path / "page.html", scores, title="").read_text()
    _check(page)
    assert ("predicted class</th>" in page) == (num_classes == 60)
