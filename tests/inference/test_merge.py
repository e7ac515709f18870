import numpy as np
import pytest

from pcseg.classes import S3DIS
from pcseg.inference.merge import Part, merge
from pcseg.inference.tiles import Tile
from pcseg.prediction import Prediction
from pcseg.structures import Scene

Objects = list[tuple[list[int], int, float]]  # the superpoints of the scan that each one has, label, score


def _part(columns: range, core: range, objects: Objects) -> Part:
    """What is predicted for a tile that sees the superpoints `columns` and owns `core`."""
    masks = np.array([np.isin(columns, mask) for mask, _, _ in objects], bool).reshape(len(objects), len(columns))
    labels, scores = np.array([o[1] for o in objects], int), np.array([o[2] for o in objects], np.float32)
    scene, number = Scene.without_xyz("part", len(columns)), np.array(columns, np.int64)
    return Tile(number, np.isin(number, core)), Prediction(scene, masks, labels, scores, classes=S3DIS)


def _merge(parts: list[Part], num: int, **options: float) -> Prediction:
    """The parts of a scan with this many superpoints of ten points."""
    superpoint = np.repeat(np.arange(num), 10).astype(np.int32)
    return merge(parts, Scene.without_xyz("scan", len(superpoint), superpoint=superpoint), S3DIS, **options)


def _check(prediction: Prediction, expected: Objects) -> None:
    assert [prediction.columns(row).tolist() for row in range(len(prediction))] == [mask for mask, _, _ in expected]
    assert prediction.labels.tolist() == [label for _, label, _ in expected]
    np.testing.assert_allclose(prediction.scores, [score for _, _, score in expected], rtol=1e-6)


# A table in two tiles has the mean of its scores, weighted by what each tile saw of it and by its size there.
TABLE = ([4, 5, 6, 7, 8], 3, (4 * 4 * 0.9 + 5 * 5 * 0.7) / (4 * 4 + 5 * 5))
WHOLE = ([3, 4, 5], 3, 3 * 3 * 0.9 / (3 * 3 + 2 * 2))
LEFT: Objects = [([3, 4], 3, 0.9), ([5, 6, 7], 3, 0.8)]
NEIGHBORS: Objects = [([5, 6, 7, 8], 3, 0.8), ([3, 4], 3, (2 * 2 * 0.9 + 1 * 1 * 0.2) / (2 * 2 + 1 * 1))]
CASES: dict[str, tuple[Objects, Objects, Objects]] = {
    "a table cut by the seam is one": ([([4, 5, 6, 7], 3, 0.9)], [([4, 5, 6, 7, 8], 3, 0.7)], [TABLE]),
    "two neighbors stay two": (LEFT, [([4], 3, 0.2), ([5, 6, 7, 8], 3, 0.8)], NEIGHBORS),
    # The other tile saw no such object.
    "other classes are not merged": ([([5, 6], 3, 0.9)], [([5, 6], 4, 0.5)], [([5, 6], 3, 0.45), ([5, 6], 4, 0.25)]),
    # The other tile sees two thirds of it, and finds only one of them, as another class.
    "an object comes from the tile that sees all of it": ([([3, 4, 5], 3, 0.9)], [([5], 7, 0.6)], [WHOLE]),
    "one tile without objects": ([], [([8, 9], 3, 0.7)], [([8, 9], 3, 0.7)]),
    "no objects": ([], [], []),
}


@pytest.mark.parametrize(("left", "right", "expected"), CASES.values(), ids=CASES)
def test_two_tiles(left: Objects, right: Objects, expected: Objects) -> None:
    _check(_merge([_part(range(0, 8), range(0, 6), left), _part(range(4, 12), range(6, 12), right)], 12), expected)


def test_objects_of_different_classes_can_be_one() -> None:
    parts = [_part(range(12), range(12), [([5, 6], label, score)]) for label, score in ((4, 0.5), (3, 0.9), (4, 0.3))]
    _check(_merge(parts, 12, one_class=True), [([5, 6], 3, (0.5 + 0.9 + 0.3) / 3)])


def test_long_objects_are_one_and_touching_ones_two(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [_part(range(i, i + 10), range(i + 2, i + 8), [([*range(i, i + 10)], 1, 0.5)]) for i in range(0, 6 * 20, 6)]
    _check(_merge(parts, 124), [([*range(124)], 1, 0.5)])
    # Two walls of twelve superpoints; both tiles see one of the superpoints.
    left = _part(range(0, 14), range(0, 13), [([*range(1, 13)], 2, 0.9)])
    right = _part(range(12, 26), range(13, 26), [([12, *range(14, 25)], 2, 0.9)])
    assert len(_merge([left, right], 26)) == 2
    monkeypatch.setattr("pcseg.inference.merge._LEAST_SHARED", 0.0)
    assert len(_merge([left, right], 26)) == 1


def test_views_average_and_one_part_keeps_its_objects() -> None:
    views: list[Objects] = [[([0, 1, 2], 0, 0.9), ([4, 5], 1, 0.8)], [([0, 1, 2], 0, 0.6)]]
    views += [[([0, 1, 2, 3], 0, 0.6)], [([0, 1], 0, 0.3)]]
    mean = (3 * 0.9 + 3 * 0.6 + 3 * 0.6 + 2 * 0.3) / 12
    _check(_merge([_part(range(6), range(6), view) for view in views], 6), [([0, 1, 2], 0, mean), ([4, 5], 1, 0.2)])
    objects: Objects = [([2, 3, 5], 1, 0.9), ([3, 5], 2, 0.5), ([0], 0, 0.2)]
    part = _part(range(6), range(6), objects)
    _check(_merge([part], 6), objects)
    _check(_merge([part], 6, score_threshold=0.3), objects[:2])
    _check(_merge([_part(range(6), range(6), [([], 1, 0.9)])], 6), [])
