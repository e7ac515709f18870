"""Which axis of a scan points up, by the objects that a model finds: it finds far more in rooms that stand upright."""

from collections.abc import Callable

import numpy as np

from pcseg.data.floor import flat_floor
from pcseg.data.reader_options import UP_AXES
from pcseg.data.scan_fields import keep_points, place_keys
from pcseg.data.scan_frame import likely_up, turn_up
from pcseg.ops.overlap import by_first_seen
from pcseg.prediction import Prediction
from pcseg.structures import Scene

# Of these, a model finds as many in rooms that lie on their side.
_ANY_WAY_UP = ("lamp", "picture", "window", "other object")
_SIDE = 8.0  # meters of the scan around its middle, which show enough
_LEAST_SCORE = 0.3  # of an object that counts
# An axis is certain if its total score is so many times that of all others, and at least so high. It is possible if its
# total is beyond so many times that of z.
_CERTAIN, _LEAST_TOTAL, _POSSIBLE = 1.5, 2.5, 1.2


def likely_axes(scene: Scene, voxel_size: float, find: Callable[[Scene], Prediction]) -> list[str]:
    """Axes of a scan that may point up, of `UP_AXES`, the likeliest first; a single one is certain, or is z.

    Args:
        scene: the scan in meters.
        voxel_size: edge of the model's voxels in meters; more points in a voxel tell no more.
        find: predicts the objects of a scene, each of them once.
    """
    middle = scene.xyz[np.abs(scene.xyz - np.median(scene.xyz, axis=0)).max(axis=1).argmin()]
    near = np.flatnonzero(np.abs(scene.xyz - middle).max(axis=1) < _SIDE / 2)
    part = keep_points(scene, near[by_first_seen(place_keys(np.floor(scene.xyz[near] / voxel_size)))[0]])
    totals = dict.fromkeys(UP_AXES, 0.0)
    for axis in UP_AXES:
        found = find(flat_floor(part.transformed(turn_up(axis))))
        assert found.classes is not None
        counts = (found.scores > _LEAST_SCORE) & ~np.isin(np.array(found.classes.names)[found.labels], _ANY_WAY_UP)
        totals[axis] = float(found.scores[counts].sum())
    best, second, *_ = sorted(UP_AXES, key=lambda axis: -totals[axis])
    certain = totals[best] >= max(_CERTAIN * totals[second], _LEAST_TOTAL)
    if certain and (best == "z" or likely_up(scene.transformed(turn_up(best)).xyz)[0] == "z"):
        return [best]
    by_surfaces, _ = likely_up(scene.xyz)
    if by_surfaces != "z":
        opposite = UP_AXES[UP_AXES.index(by_surfaces) - 3]
        return list(dict.fromkeys([by_surfaces, opposite, "z"]))
    is_possible = totals[best] > max(_POSSIBLE * totals["z"], _LEAST_TOTAL)
    return list(dict.fromkeys([best, second, "z"])) if is_possible else ["z"]


def axis_of_file(scene: Scene, axis: str) -> str:
    """The axis of the scan's file, of `UP_AXES`, that is nearest to one of the scene."""
    matrix = np.eye(3) if scene.file is None else scene.file.matrix[:3, :3]
    row = turn_up(axis)[2] @ matrix
    nearest = int(np.abs(row).argmax())
    return UP_AXES[nearest + 3 * (row[nearest] < 0)]
