"""The files of a prediction: a result, points for other programs, a table, ids, a picture and a page."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from pcseg.files import atomic_open
from pcseg.inference.exports import write_csv, write_ply
from pcseg.prediction import Prediction
from pcseg.viz.grid import save_png
from pcseg.viz.html import write_page
from pcseg.viz.layers import DEFAULT_THRESHOLD, input_colors, scene_layers
from pcseg.viz.render import room_picture

SUFFIXES = (".npz", ".ply", ".instances.csv", ".ids.npy", ".png", ".html")


def prediction_targets(scans: Sequence[Path], out: Path, suffixes: Sequence[str] = SUFFIXES) -> list[Path]:
    """Where the files of each scan go: the folder and the name of the scan, without a suffix.

    Args:
        scans: files, or folders of processed rooms.
        out: folder of the results.
        suffixes: suffixes of the files that will be written.

    Returns:
        One path per scan, all of them different.

    Raises:
        ValueError: two scans have one name, or a file would overwrite a scan.
    """
    owner: dict[Path, Path] = {}
    given = {scan.resolve() for scan in scans}
    for scan in scans:
        target = out / (scan.resolve().name if scan.is_dir() else scan.stem)
        if target in owner:
            raise ValueError(
                f"{scan}: its results would overwrite those of {owner[target]}, which has the same name; rename one, "
                "or give each its own folder"
            )
        for path in (add_suffix(target, suffix) for suffix in suffixes):
            if path.resolve() in given:
                raise ValueError(f"{path}: would overwrite the input file; choose another folder")
        owner[target] = scan
    return list(owner)


def add_suffix(target: Path, suffix: str) -> Path:
    """The path with a suffix after its whole name, which may contain dots.

    Args:
        target: folder and name.
        suffix: suffix with its dot.

    >>> add_suffix(Path("out/scan.v2"), ".npz").name
    'scan.v2.npz'
    """
    return target.with_name(target.name + suffix)


def write_prediction(
    target: Path,
    prediction: Prediction,
    *,
    threshold: float = DEFAULT_THRESHOLD,
    stage: Callable[[str], None] = lambda text: None,
) -> int:
    """Writes all files of a prediction: the target's name with each of SUFFIXES.

    The .npz and the page hold every object; the others hold those from the threshold on, one id per point.

    Args:
        target: folder and name.
        prediction: a scene with its objects.
        threshold: objects that score less are left out.
        stage: called with the name of each step.

    Returns:
        Number of objects that some point belongs to.

    Raises:
        ValueError: no objects were predicted, or the scene has no points.
        OSError: a file cannot be written.
    """
    stage("files")
    prediction.save(add_suffix(target, ".npz"))
    write_painted_ply(add_suffix(target, ".ply"), prediction, threshold=threshold)
    write_csv(add_suffix(target, ".instances.csv"), prediction, threshold)
    ids = prediction.point_ids(threshold)
    with atomic_open(add_suffix(target, ".ids.npy")) as file:
        np.save(file, ids)
    stage("picture")
    save_png(add_suffix(target, ".png"), room_picture(prediction, threshold=threshold))
    stage("page")
    write_page(add_suffix(target, ".html"), prediction, threshold=threshold)
    return int(np.count_nonzero(np.bincount(ids)[1:]))


def write_painted_ply(path: Path, prediction: Prediction, *, threshold: float = DEFAULT_THRESHOLD) -> None:
    """`write_ply` in the colors of the pictures: objects, or else predicted classes, or else the scan's own.

    Args:
        path: the file.
        prediction: a scene and what was predicted for it.
        threshold: objects that score less are left out.

    Raises:
        ValueError: the scene has no points.
        OSError: the file cannot be written.
    """
    by_key = {layer.key: layer for layer in scene_layers(prediction, threshold)}
    layer = by_key.get("prediction") or by_key.get("semantic_prediction")
    colors = input_colors(prediction.scene) if layer is None else layer.point_colors()
    write_ply(path, prediction, colors, threshold)
