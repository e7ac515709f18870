"""Warnings about scans that look wrong: units, axes, tilt, distance and duplicates of points, missing color."""

import numpy as np
from jaxtyping import Float, Float32

from pcseg.data.mesh_files import large_area
from pcseg.data.scan_fields import MID_GRAY, place_keys
from pcseg.data.scan_frame import FAR, likely_up
from pcseg.ops.voxelize import bounding_box
from pcseg.structures import Scene

_TILTED = 3.0  # degrees
_MANY_DUPLICATES = 0.01  # share of the points; fewer do not matter
_TOO_SPARSE = 10.0  # voxels between points: no object is left
_UNITS = "if that is in millimeters, use scale=0.001 (centimeters 0.01)"
_FAR_OUT = 3.0  # times the size of most points
_FEW_POINTS = 1000
_LONG_EDGE = 0.2  # meters, of triangles whose vertices are no scan of them


def scan_warnings(scene: Scene, voxel_size: float | None = None, *, up_is_known: bool = False) -> list[str]:
    """What looks wrong in a scan: one sentence per finding, with the option of `read_scan` that repairs it.

    Args:
        scene: the scan.
        voxel_size: edge of the model's voxels in meters, for which points can be too far apart; None for no model.
        up_is_known: whether z surely points up, so that surfaces cast no doubt on it.
    """
    if len(scene) == 0:
        return ["It has no points."]
    found = []
    if len(scene) < _FEW_POINTS:
        count = "1 point" if len(scene) == 1 else f"{len(scene)} points"
        found.append(f"It has only {count}: expect no objects. A scan of a room has 50,000 points or more.")
    found += frame_warnings(scene, up_is_known=up_is_known)
    keys = np.sort(place_keys(scene.xyz))
    num_duplicates = int((keys[1:] == keys[:-1]).sum())
    if num_duplicates > _MANY_DUPLICATES * len(scene):
        remedy = "" if scene.faces is not None else "; drop_duplicates=True removes them and may change the result"
        found.append(f"{num_duplicates:,} of {len(scene):,} points are duplicates of another one{remedy}.")
    if voxel_size is not None and (gap := scene.spacing) > voxel_size:
        reason = f"Its points are about {gap:.2g} m apart, the model's voxels {voxel_size:g} m"
        found.append(f"{reason}: expect floors and walls, and few smaller objects (see min_points).")
    corners = np.zeros((0, 3, 3)) if scene.faces is None else scene.xyz[scene.faces[:: len(scene.faces) // 100_000 + 1]]
    if large_area(corners, _LONG_EDGE) > large_area(corners, 0) / 2:
        found.append("Its triangles are large, its points only their corners: save it as .obj to sample its surface.")
    if scene.rgb is None:
        remedy = " If a model needs color, use gray=True." if voxel_size is None else ""
        found.append(f"It has no color: expect fewer objects than with color.{remedy}")
    elif (scene.rgb == scene.rgb[0]).all() and tuple(scene.rgb[0]) != MID_GRAY:
        found.append(f"All of its points have one color, {tuple(scene.rgb[0].tolist())}: that is no better than none.")
    if scene.instance is not None and scene.semantic is not None and (scene.instance == 0).any():
        labels = np.unique(scene.semantic[scene.instance == 0])
        if len(labels) == 1 and labels[0] >= 0 and len(np.unique(scene.semantic)) > 1:
            found.append("All points of instance 0 have one class: if ids start at 0, use first_instance=0.")
    return found


def frame_warnings(scene: Scene, *, up_is_known: bool = False) -> list[str]:
    """What looks wrong in the frame of a scan with points, as in `scan_warnings`: its unit, axes, tilt and distance."""
    low, high = bounding_box(scene.xyz)
    extent = _extent(scene.xyz)
    size, whole = _size(extent), high - low
    found = []
    if extent.max() > 200:
        found.append(f"It measures {size} m: {_UNITS}.")
    elif extent.max() < 0.5:
        found.append(f"It measures {size} m: a room is larger, use the scale that makes it meters.")
    elif whole.max() > max(_FAR_OUT * extent.max(), 50):
        found.append(f"A few points make it {_size(whole)} m large, most need {size} m: crop it, or it takes long.")
    axis, tilt = likely_up(scene.xyz)
    row = np.eye(3)[2] if scene.file is None else np.abs(scene.file.matrix[2, :3])
    turned = row[2] < row[:2].max()  # then the axes are not those of the file
    advice = "try another up=AXIS" if turned else f"if {axis} points up in it, use up={axis!r}"
    tilted = f"tilted by {tilt:.0f} degrees: use level=True"
    if axis != "z" and not up_is_known:
        reason = f"Its largest surfaces lie across {axis[-1]}" if axis != "-z" else "Its floor seems to be on top"
        found.append(f"{reason}: {advice}" + (f"; if not, its floor is {tilted}." if tilt > _TILTED else "."))
    elif tilt > _TILTED:
        found.append(f"Its floor is {tilted}.")
    if np.abs([low, high]).max() > FAR:
        point = ", ".join(f"{value:.0f}" for value in low)
        found.append(f"It is so far from 0 that single precision costs detail: use origin=({point}).")
    return found


def check_spacing(scene: Scene, voxel_size: float) -> None:
    """Refuses a large scan whose points are so far apart that each would be a tile of its own.

    Raises:
        ValueError: the points are ten voxels apart or more.
    """
    # A tile for each of a few points takes seconds.
    if len(scene) > 100 and (gap := scene.spacing) >= _TOO_SPARSE * voxel_size:
        found = f"it measures {_size(_extent(scene.xyz))} m, and its points are about {gap:.2g} m apart"
        raise ValueError(f"scene {scene.name}: {found}, too sparse for voxels of {voxel_size:g} m; {_UNITS}")


def _extent(xyz: Float32[np.ndarray, "P 3"]) -> Float[np.ndarray, "3"]:
    """Size of the scan in meters without strays."""
    return np.ptp(np.percentile(xyz[:: max(1, len(xyz) // 100_000)], [2, 98], axis=0), axis=0)


def _size(extent: Float[np.ndarray, "3"]) -> str:
    return " x ".join(f"{edge:.4g}" for edge in extent)
