"""Scans whose z axis does not point up are turned by what the built-in model finds, or refused."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pcseg import load_model, read_scan
from pcseg.data.scan_frame import may_be_turned, turn_up
from pcseg.inference.segmenter import Segmenter
from pcseg.inference.up_axis import axis_of_file, likely_axes
from pcseg.structures import Scene
from tests.conftest import refuses
from tests.tools.commands import ROOT


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return load_model().with_options(views="one")


def _points(example: Scene, up: str) -> np.ndarray:
    """The example as a file in which this axis points up."""
    return np.hstack([example.xyz @ turn_up(up), example.rgb]).astype(np.float64)


def test_a_turned_scan_stands_upright_and_lies_on_its_file(segmenter: Segmenter, example: Scene) -> None:
    points, said = _points(example, "-y"), list[str]()
    scene = segmenter.read(points, report=said.append)
    np.testing.assert_array_equal(scene.xyz, example.xyz)
    np.testing.assert_array_equal(scene.file.xyz(scene.xyz), points[:, :3])
    done = "Its objects show that -y points up, so it was turned, as up='-y' does"
    assert said == [f"points: {done}. If that is wrong, use up='z'."]
    for options in ({"up": "z"}, {"as_is": True}):
        np.testing.assert_array_equal(segmenter.read(points, report=pytest.fail, **options).xyz, points[:, :3])


def test_upright_scans_stay(segmenter: Segmenter, example: Scene, tmp_path: Path) -> None:
    assert not any(map(may_be_turned, (example.xyz, example.xyz[:500])))
    np.testing.assert_array_equal(segmenter.read(ROOT / "data" / "example_room.ply").xyz, example.xyz)
    assert segmenter.predict(_points(example, "-z")).scene.xyz[:, 2].min() == example.xyz[:, 2].min()


def test_doubt_is_refused(segmenter: Segmenter, example: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    totals = {"x": 12.0, "z": 9.0}

    def found(part: Scene) -> SimpleNamespace:
        """Objects that stand upright as one of the axes of the scan points up."""
        row = np.linalg.lstsq(small.xyz, part.xyz, rcond=None)[0][:, 2]
        score = totals.get("xyz"[int(np.abs(row).argmax())], 0.5) if row.max() > 0.9 else 0.5
        classes = SimpleNamespace(names=["chair", "lamp"])  # lamps do not count
        return SimpleNamespace(scores=np.array([score, 0.2, 99.0]), labels=np.array([0, 0, 1]), classes=classes)

    small = Scene("small", np.random.default_rng(0).random((400, 3)).astype(np.float32) - np.float32(0.5))
    monkeypatch.setattr("pcseg.inference.up_axis.flat_floor", lambda part: part)
    monkeypatch.setattr("pcseg.inference.up_axis.by_first_seen", lambda keys: (np.arange(len(keys)),))
    for score, axes in ((12.0, ["x", "z"]), (10.5, ["z"]), (27.0, ["x"])):
        totals["x"] = score
        assert likely_axes(small, 0.05, found) == axes
    monkeypatch.setattr("pcseg.inference.up_axis.likely_up", lambda xyz: ("-y", 0.0))
    assert likely_axes(small, 0.05, found) == ["-y", "y", "z"]
    totals["z"] = 81.0
    assert likely_axes(small, 0.05, found) == ["z"]
    monkeypatch.setattr("pcseg.inference.segmenter.likely_axes", lambda *args: ["y", "-y", "z"])
    flags = "points: it is not certain which axis points up; .*, the likeliest first: up='y', up='-y', up='z'; "
    refuses(flags, segmenter.read, _points(example, "y"))


def test_surfaces_cast_no_doubt_on_an_axis_that_the_objects_show(segmenter: Segmenter, example: Scene) -> None:
    points = _points(example, "y")
    scene = segmenter.read(points, as_is=True)
    doubt = "Its largest surfaces lie across y: if y points up in it, use up='y'."
    assert doubt in segmenter.warnings(points, scene, as_is=True)
    assert doubt not in segmenter.warnings(points, scene)


def test_axes_of_the_file_are_named(example: Scene) -> None:
    once = read_scan(_points(example, "-y"), up="-y")
    assert [axis_of_file(once, axis) for axis in ("z", "x", "-y")] == ["-y", "x", "-z"]
    assert axis_of_file(example, "-x") == "-x"
