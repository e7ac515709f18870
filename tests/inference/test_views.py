import numpy as np
import pytest

from pcseg.inference.views import VIEWS, transformed
from pcseg.structures import Scene


def test_each_set_begins_with_the_scan_itself_and_repeats_none() -> None:
    for name, count in (("one", 1), ("flips", 4), ("flips_rotations", 8)):
        matrices = VIEWS[name]
        assert len(matrices) == count
        np.testing.assert_array_equal(matrices[0], np.eye(3))
        assert len({matrix.tobytes() for matrix in matrices + 0.0 * np.stack(matrices)}) == count


@pytest.mark.parametrize("matrix", VIEWS["flips_rotations"])
def test_views_keep_lengths_and_heights_to_the_bit(matrix: np.ndarray, rng: np.random.Generator) -> None:
    xyz = rng.normal(size=(50, 3)).astype(np.float32)
    normal = rng.normal(size=(50, 3)).astype(np.float32)
    superpoint = rng.integers(0, 4, 50).astype(np.int32)
    scene = Scene("room", xyz, normal=normal, superpoint=superpoint)
    view = transformed(scene, matrix)
    np.testing.assert_array_equal(view.xyz[:, 2], xyz[:, 2])
    np.testing.assert_array_equal(np.sort(np.abs(view.xyz[:, :2])), np.sort(np.abs(xyz[:, :2])))
    assert view.normal is not None
    np.testing.assert_allclose((view.xyz * view.normal).sum(1), (xyz * normal).sum(1), atol=1e-5)
    np.testing.assert_array_equal(view.superpoint, superpoint)
    np.testing.assert_array_equal(transformed(view, np.ascontiguousarray(matrix.T)).xyz, xyz)
