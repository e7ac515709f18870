"""Views of a scan for test-time augmentation: the same points mirrored and rotated by right angles."""

from typing import Literal

import numpy as np
from jaxtyping import Float32

from pcseg.structures import Scene

ViewSet = Literal["one", "flips", "flips_rotations"]

_FLIPS = tuple(np.diag([x, y, 1.0]).astype(np.float32) for x in (1, -1) for y in (1, -1))
_QUARTER_TURN = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]], np.float32)

# Each set begins with the scan as it is.
VIEWS: dict[str, tuple[np.ndarray, ...]] = {
    "one": _FLIPS[:1],
    "flips": _FLIPS,
    "flips_rotations": (*_FLIPS, *(flip @ _QUARTER_TURN for flip in _FLIPS)),
}


def transformed(scene: Scene, matrix: Float32[np.ndarray, "3 3"]) -> Scene:
    """The scan after a rotation or reflection; points keep their order, colors and superpoints.

    Args:
        scene: the scan.
        matrix: orthogonal matrix that maps its coordinates.
    """
    normal = None if scene.normal is None else scene.normal @ matrix.T
    return scene.with_(xyz=scene.xyz @ matrix.T, normal=normal)
