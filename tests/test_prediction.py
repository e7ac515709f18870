"""What was predicted for a scene: its parts belong together, and its file survives a round trip."""

import shutil
import sys
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array, issparse

from pcseg.classes import S3DIS, ClassSet, class_set
from pcseg.files import read_npz
from pcseg.prediction import Prediction, is_result, mask_rows
from pcseg.structures import Scene
from tests.conftest import refuses
from tests.scenes import random_scene

ROOM = Scene.without_xyz("room", 3)


def _prediction(masks: list[list[int]], scores: list[float], superpoint: list[int] | None = None) -> Prediction:
    owner = None if superpoint is None else np.array(superpoint, np.int32)
    scene = Scene.without_xyz("room", len(masks[0]) if superpoint is None else len(superpoint))
    labels = np.full(len(masks), S3DIS.index("chair"))
    return Prediction(scene, np.array(masks, bool), labels, np.array(scores), classes=S3DIS, superpoint=owner)


def test_overlaps_go_to_the_higher_score() -> None:
    prediction = _prediction([[1, 1, 0, 0], [0, 1, 1, 0]], [0.5, 0.9])
    assert prediction.point_ids().tolist() == [1, 2, 2, 0]
    assert prediction.point_ids(threshold=0.6).tolist() == [0, 2, 2, 0]
    assert prediction.above(0.6).masks.toarray().tolist() == [[False, True, True, False]]
    for part in (prediction.above(0.6), prediction[1:], prediction.select(np.array([1]))):
        assert ([found.id for found in part], part.point_ids().tolist()) == ([2], [0, 2, 2, 0]), "one id everywhere"
    assert [found.id for found in prediction[::-1]] == [2, 1]
    refuses("index out of range", prediction.__getitem__, 2, error=IndexError)
    for call in (prediction.above, prediction.point_ids):
        refuses("must be from 0 to 1, got 25", call, 25.0)


def test_objects_over_superpoints_one_by_one() -> None:
    prediction = _prediction([[1, 0], [0, 1], [0, 0]], [0.9, 0.5, 0.1], superpoint=[0, 1, 1])
    assert (prediction.num_points, prediction.num_columns) == (3, 2)
    assert prediction.point_ids().tolist() == [1, 2, 2]
    prediction = replace(prediction, scene=Scene("room", np.array([[1, 2, 3], [4, 5, 6], [7, 4, 6]], np.float32)))
    first, second, empty = prediction
    assert repr(first) == "<chair 0.90: 1 point, 0.00 x 0.00 x 0.00 m>"
    assert repr(prediction[-2]) == "<chair 0.50: 2 points, 3.00 x 1.00 x 0.00 m>"
    assert (second.mask.tolist(), second.xyz.tolist()) == ([False, True, True], [[4, 5, 6], [7, 4, 6]])
    assert second.box.tolist() == [[4, 4, 6], [7, 5, 6]]
    assert (empty.num_points, empty.box.tolist()) == (0, [[0, 0, 0], [0, 0, 0]])


@pytest.mark.parametrize("display", [True, False])
def test_shows_a_page_without_a_window(display: bool, monkeypatch: Any, caplog: pytest.LogCaptureFixture) -> None:
    opened: list[Any] = []
    monkeypatch.setattr("pcseg.viz.viewer.has_display", lambda: display)
    monkeypatch.setitem(sys.modules, "open3d", None)
    monkeypatch.setattr("webbrowser.open", lambda url: opened.append(url) or True)
    path = _prediction([[1, 0]], [0.9]).show()
    assert path.read_text().startswith("<!doctype html>")
    assert opened == ([path.as_uri()] if display else [])
    assert (f"open {path}" in caplog.text) != display
    shutil.rmtree(path.parent)
    monkeypatch.setattr("pcseg.viz.viewer.show_scenes", lambda load, threshold: opened.append(load[0]()))
    assert (_prediction([[1, 0]], [0.9]).show(), len(opened[-1])) == (None, 1), "a window, if there is one"


@pytest.mark.parametrize("masks", [{"masks": np.zeros((0, 5), bool)}, {}])
def test_no_objects(masks: dict[str, np.ndarray]) -> None:
    prediction = Prediction(Scene.without_xyz("room", 5), **masks)
    assert (len(prediction), list(prediction), prediction.has_objects) == (0, [], bool(masks))
    assert prediction.point_ids().tolist() == [0] * 5
    assert repr(prediction) == f"<Prediction room: {'0 objects' if masks else 'no objects predicted'}, 5 points>"


@pytest.mark.parametrize("superpoint", [None, np.array([0, 1, 2, 2, 3], np.int32)])
def test_remains_of_covered_objects_are_not_shown(superpoint: np.ndarray | None) -> None:
    masks = np.array([[1, 1, 1, 1, 0], [0, 0, 1, 1, 1], [0, 0, 0, 1, 1]], bool)
    masks = masks if superpoint is None else masks[:, [0, 1, 2, 4]]
    scores = np.array([0.9, 0.8, 0.7])
    given = Prediction(Scene.without_xyz("a", 5), masks, np.zeros(3, int), scores, None, S3DIS, superpoint)
    strict = replace(given, min_points=2)
    assert strict.point_ids().tolist() == [1, 1, 1, 1, 0]
    assert strict.point_ids(min_points=0).tolist() == given.point_ids().tolist() == [1, 1, 1, 1, 2]
    assert [found.mask.tolist() for found in strict.above(0.0)] == [[True] * 4 + [False]]
    assert [found.num_points for found in given.above(0.75)] == [4, 1]
    for ids in (replace(given, min_points=3).point_ids(0.75), strict.point_ids(0.85)):
        assert ids.tolist() == [1, 1, 1, 1, 0]


def test_masks_become_sparse_and_may_be_given_so() -> None:
    dense = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 1]], bool)
    rows = mask_rows([np.array([0, 2]), np.zeros(0, np.int64), np.array([1, 2])], 3)
    for masks in (dense, rows, csr_array(dense)):
        prediction = replace(_prediction(dense.tolist(), [0.9, 0.8, 0.7]), masks=masks)
        np.testing.assert_array_equal(prediction.masks.toarray(), dense)
        assert (len(prediction), prediction.num_columns) == (3, 3)
        assert [prediction.columns(row).tolist() for row in range(3)] == [[0, 2], [], [1, 2]]
        np.testing.assert_array_equal([prediction.point_mask(row) for row in range(3)], dense)
    assert mask_rows([], 5).shape == (0, 5)


def _sparse(data: list[bool], columns: list[int]) -> csr_array:
    return csr_array((np.array(data), np.array(columns), np.array([0, 2])), shape=(1, 3))


def test_parts_that_do_not_belong_together() -> None:
    kinds = np.ones((1, 3)), np.ones(3, bool), [[True] * 3]
    sparse = ([True, False], [0, 2]), ([True, True], [2, 0]), ([True, True], [1, 1])
    for changes, message in (
        *(({"masks": masks}, "masks must be bool of two dimensions") for masks in kinds),
        *(({"masks": _sparse(*parts)}, "each column once, ascending, and only True") for parts in sparse),
        ({"scores": np.ones(2)}, "one row per object, got 1, 1 and 2"),
        ({"semantic": np.zeros(3, np.int64)}, "semantic must be an array of int32, got int64"),
        ({"labels": np.zeros(1)}, "labels must be an array of integer, got float64"),
        ({"scores": np.array([np.nan])}, "the score of object 0 is nan, not a finite number"),
        ({"ids": np.array([0], np.int32)}, r"ids must be 1 different numbers from 1, got \[0\]"),
        ({"labels": np.array([13])}, "labels of objects must be class indices from 0 to 12 of s3dis, got 13 to 13"),
        ({"labels": np.array([-1])}, "labels of objects must be class indices from 0"),
        ({"classes": None}, "it has class labels .labels of objects., so the class set must be given"),
        ({"semantic": np.zeros(2, np.int32)}, r"predicted semantic must have shape \(3,\), got \(2,\)"),
        ({"semantic": np.full(3, 13, np.int32)}, "predicted semantic must be class indices from -1 to 12"),
        ({"superpoint": np.zeros(2, np.int32)}, "masks are for 2 points, the scene has 3"),
        ({"superpoint": np.full(3, 3, np.int32)}, "superpoints run from 3 to 3, the masks have 3 columns; .*=None"),
        ({"superpoint": np.zeros(3, np.int32)}, "superpoints run from 0 to 0, the masks have 3 columns"),
        ({"scene": Scene.without_xyz("room", 4)}, "masks are for 3 points, the scene has 4"),
        ({"scene": ROOM.with_(semantic=np.full(3, -2, np.int32))}, "semantic must be class indices from -1 to 12"),
        ({"scene": ROOM.with_(instance=np.full(3, -1, np.int32))}, "instance must be 0 for none or an id from 1"),
    ):
        refuses(f"scene room: .*{message}", replace, _prediction([[1, 0, 1]], [0.5]), **changes)


def _random(rng: np.random.Generator, columns: int, count: int) -> Prediction:
    """Objects over the 50 points of a scene that has everything, or over its 10 superpoints."""
    scene = random_scene("Büro «1» </script>", 50).with_(faces=rng.integers(0, 50, (9, 3)).astype(np.int32))
    masks, labels = rng.random((count, columns)) > 0.5, rng.integers(0, 13, count)
    scores, semantic = rng.random(count, np.float32), rng.integers(-1, 13, 50).astype(np.int32)
    return Prediction(scene, masks, labels, scores, semantic, S3DIS, scene.superpoint if columns == 10 else None)


def _assert_same(found: object, expected: object) -> None:
    for key in found.__dataclass_fields__:
        x, y = (part.toarray() if issparse(part) else part for part in (getattr(found, key), getattr(expected, key)))
        if is_dataclass(x):
            _assert_same(x, y)
        elif isinstance(x, np.ndarray):
            np.testing.assert_array_equal(x, y, err_msg=key, strict=True)
        else:
            assert x == y, key


@pytest.mark.parametrize("columns", [10, 50])
@pytest.mark.parametrize("count", [0, 1, 5])
def test_round_trip(tmp_path: Path, rng: np.random.Generator, columns: int, count: int) -> None:
    prediction, path = _random(rng, columns, count)[::-1], tmp_path / "room.npz"  # also the ids
    prediction.save(path)
    _assert_same(Prediction.load(path), prediction)
    assert is_result(path)
    assert [p.name for p in tmp_path.iterdir()] == ["room.npz"], "no temporary file is left"


def test_absent_parts_classes_and_packed_masks(tmp_path: Path, rng: np.random.Generator) -> None:
    bare, empty = Scene("bare", np.zeros((3, 3), np.float32)), Scene.without_xyz("empty", 0)
    mine = {"name": "mine", "names": ["chair", "wall", "lamp"], "ids": [4, 2, 9], "stuff": ["wall"]}
    mine |= {"instance_names": ["lamp", "chair"], "groups": {"small": ["lamp"], "none": []}, "s3dis_protocols": True}
    bares = [Prediction(bare, classes=classes) for classes in (None, S3DIS, ClassSet.from_dict(mine))]
    for given in (*bares, Prediction(empty, semantic=np.zeros(0, np.int32))):
        given.save(tmp_path / "a.npz")
        result = Prediction.load(tmp_path / "a.npz")
        assert not result.has_objects
        _assert_same(result, given)
    refuses(r"a\.ply: a prediction is saved as \.npz; .*export a\.npz --ply DIR", bares[0].save, tmp_path / "a.ply")
    masks, scene = rng.random((100, 8000)) > 0.5, Scene.without_xyz("big", 8000)
    Prediction(scene, masks, np.zeros(100, int), np.ones(100), classes=S3DIS).save(tmp_path / "a.npz")
    assert (tmp_path / "a.npz").stat().st_size < 8000 * (100 / 8 + 12) + 10_000, "bits, and coordinates as they are"


def test_refuses_damaged_entries(tmp_path: Path, rng: np.random.Generator) -> None:
    path = tmp_path / "room.npz"
    refuses("No such file", Prediction.load, path, error=OSError)
    for changes, message in (
        ({"format": np.array("other")}, "not a pcseg result"),
        ({"version": np.array(99)}, "result version 99"),
        ({"xyz": None}, "no entry 'xyz'"),
        ({"xyz": np.zeros((50, 3))}, "entry 'xyz' must be float32, found float64"),
        ({"xyz": np.full((50, 3), np.nan, np.float32)}, "not finite"),
        ({"labels": None}, "no entry 'labels'"),
        ({"labels": np.array([99, 1])}, "class indices from 0 to 12"),
        ({"mask_bits": np.zeros((2, 9), np.uint8)}, "do not fit the packed bits"),
        ({"class_ids": np.arange(3)}, "expected ids as 13 different whole numbers"),
        ({"semantic": np.full(50, 13, np.int32)}, "semantic must be class indices from -1 to 12"),
    ):
        _random(rng, 10, 2).save(path)
        np.savez(path, **{key: value for key, value in (read_npz(path) | changes).items() if value is not None})
        refuses(message, Prediction.load, path)
    np.savez(path, points=np.zeros(3))
    refuses("not a pcseg result", Prediction.load, path)
    assert not is_result(path)


def test_classes_of_another_set() -> None:
    indoor, scannet = class_set("indoor"), class_set("scannet20")
    labels, semantic = np.array([indoor.index("pillow"), indoor.index("shower")]), np.array([-1, 0, 2], np.int32)
    scene = Scene.without_xyz("room", 3)
    given = Prediction(scene, np.eye(2, 3, dtype=bool), labels, np.array([0.9, 0.8]), semantic, indoor)
    found = given.in_classes(scannet, scene.with_(semantic=np.array([3, -1, 4], np.int32)))
    assert [(o.label, o.score, o.mask.tolist()) for o in found] == [("shower curtain", 0.8, [False, True, False])]
    assert found.semantic.tolist() == [-1, 0, -1]  # no ceiling
    assert found.scene.semantic.tolist() == [3, -1, 4]


def test_table_in_notebooks(monkeypatch: pytest.MonkeyPatch) -> None:
    given = _prediction([[1, 0, 0], [0, 1, 0], [0, 0, 1]], [0.5, 0.9, 0.1])
    given = replace(given, scene=given.scene.with_(name="<a>"))
    page = given._repr_html_()
    assert "&lt;a&gt;: 3 objects" in page
    assert page.count("<tr>") == 3, "the heading, and the objects that are shown, the best first"
    assert page.index("<td>2</td><td>chair</td><td>0.90</td>") < page.index("0.50"), "ids are those of the files"
    monkeypatch.setattr(sys.modules["pcseg.prediction"], "_MAX_ROWS", 1)
    assert "and 1 more" in given._repr_html_()
    assert "<table>" not in Prediction(given.scene)._repr_html_()
