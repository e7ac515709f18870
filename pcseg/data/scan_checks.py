"""Warnings about scans that look wrong: units, axes, duplicate points, missing color."""

import numpy as np

from pcseg.data.scan_fields import place_keys
from pcseg.data.scan_frame import likely_up
from pcseg.structures import Scene

# Beyond this distance in meters, single precision is coarser than half a millimeter.
_FAR = 8192.0


def scan_warnings(scene: Scene) -> list[str]:
    """What looks wrong in a scan: one sentence per finding, with the option of `read_scan` that repairs it."""
    if len(scene) == 0:
        return ["It has no points."]
    low, high = scene.xyz.min(axis=0), scene.xyz.max(axis=0)
    extent = np.ptp(np.percentile(scene.xyz[:: max(1, len(scene) // 100_000)], [2, 98], axis=0), axis=0)  # no strays
    size = " x ".join(f"{edge:.4g}" for edge in extent)
    found = []
    if extent.max() > 200:
        found.append(f"It measures {size} m: if that is in millimeters, read it with scale=0.001 (centimeters 0.01).")
    elif extent.max() < 0.5:
        found.append(f"It measures {size} m: a room is larger, read it with the scale that makes it meters.")
    axis = likely_up(scene.xyz)
    if axis != "z":
        reason = f"Its largest surfaces lie across {axis[-1]}" if axis != "-z" else "Its floor seems to be on top"
        row = np.eye(3)[2] if scene.file is None else np.abs(scene.file.matrix[2, :3])
        turned = row[2] < row[:2].max()  # then the axes are not those of the file
        advice = "try another --up" if turned else f"if {axis} points up in it, read it with up={axis!r} (--up={axis})"
        found.append(f"{reason}: {advice}.")
    if max(np.abs(low).max(), np.abs(high).max()) > _FAR:
        point = ", ".join(f"{value:.0f}" for value in low)
        found.append(f"It is so far from 0 that single precision costs detail: read it with origin=({point}).")
    keys = np.sort(place_keys(scene.xyz))
    num_duplicates = int((keys[1:] == keys[:-1]).sum())
    if num_duplicates:
        remedy = "" if scene.faces is not None else ": read it with drop_duplicates=True"
        found.append(f"{num_duplicates} of {len(scene)} points are duplicates of another one{remedy}.")
    if scene.rgb is None:
        needs = "other models may need it read with gray=True, or training with data.features=[xyz]"
        found.append(f"It has no color: the built-in model finds less without; {needs}.")
    elif (scene.rgb == scene.rgb[0]).all():
        found.append(f"All of its points have one color, {tuple(scene.rgb[0].tolist())}: that is no better than none.")
    if scene.instance is not None and scene.semantic is not None and (scene.instance == 0).any():
        labels = np.unique(scene.semantic[scene.instance == 0])
        if len(labels) == 1 and labels[0] >= 0 and len(np.unique(scene.semantic)) > 1:
            found.append("All points of instance 0 have one class: if ids start at 0, read it with first_instance=0.")
    return found
