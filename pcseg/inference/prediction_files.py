"""What a prediction leaves on disk: a result, points for other programs, a table, ids, a picture and a page."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int32, UInt8

from pcseg.classes import ClassSet
from pcseg.files import atomic_open
from pcseg.inference.exports import write_csv, write_ply
from pcseg.inference.result_file import save_result
from pcseg.structures import Instances, Scene
from pcseg.viz.grid import save_png
from pcseg.viz.html import write_page
from pcseg.viz.layers import DEFAULT_THRESHOLD, Layer, input_colors, scene_layers
from pcseg.viz.render import room_picture

SUFFIXES = (".npz", ".ply", ".instances.csv", ".ids.npy", ".png", ".html")


def prediction_targets(scans: Sequence[Path], out: Path, suffixes: Sequence[str] = SUFFIXES) -> list[Path]:
    """Where the files of each scan go: the folder and the scan's name, to which suffixes are added.

    Args:
        scans: files, or folders of processed rooms.
        out: folder.
        suffixes: of the files that will be written.

    Returns:
        One path per scan, all of them different.

    Raises:
        ValueError: two scans have one name, or a file would take the place of a scan.
    """
    owner: dict[Path, Path] = {}
    given = {scan.resolve() for scan in scans}
    for scan in scans:
        name = scan.resolve().name if scan.is_dir() else scan.stem
        target = out / name
        if target in owner:
            raise ValueError(
                f"{scan}: its results would take the place of those of {owner[target]}, which has the same name; "
                f"rename one, or give each a folder of its own"
            )
        for path in (add_suffix(target, suffix) for suffix in suffixes):
            if path.resolve() in given:
                raise ValueError(f"{path}: what is written would take the place of this file; choose another folder")
        owner[target] = scan
    return list(owner)


def add_suffix(target: Path, suffix: str) -> Path:
    """The path with a suffix after the whole of its name, which may have dots of its own."""
    return target.with_name(target.name + suffix)


def write_prediction(
    target: Path,
    scene: Scene,
    instances: Instances,
    semantic: Int32[np.ndarray, "P"],
    classes: ClassSet,
    *,
    threshold: float = DEFAULT_THRESHOLD,
    stage: Callable[[str], None] = lambda text: None,
) -> int:
    """Writes target.npz, .ply, .instances.csv, .ids.npy, .png and .html.

    The .npz and the page hold every object; the others hold those from the threshold on, one id per point.

    Args:
        target: folder and name.
        scene: what was predicted for, with superpoints.
        instances: the objects found.
        semantic: predicted class of each point.
        classes: what class indices mean.
        threshold: objects that score less are left out.
        stage: is told what is being written.

    Returns:
        How many objects bear points.

    Raises:
        ValueError: the parts do not belong together.
        OSError: a file cannot be written.
    """
    stage("files")
    save_result(add_suffix(target, ".npz"), scene, instances, semantic, classes)
    layers = scene_layers(scene, instances, semantic, classes, threshold)
    ids = next(layer.point_numbers() for layer in layers if layer.key == "prediction")
    write_ply(add_suffix(target, ".ply"), scene, (instances, ids), semantic, _paint(scene, layers))
    write_csv(add_suffix(target, ".instances.csv"), scene, instances, ids, classes)
    with atomic_open(add_suffix(target, ".ids.npy")) as file:
        np.save(file, ids)
    stage("picture")
    picture = room_picture(scene, instances, semantic, classes, threshold=threshold, layers=layers)
    save_png(add_suffix(target, ".png"), picture)
    stage("page")
    write_page(add_suffix(target, ".html"), scene, instances, semantic, classes, threshold=threshold, layers=layers)
    return int(np.count_nonzero(np.bincount(ids)[1:]))


def write_painted_ply(
    path: Path,
    scene: Scene,
    instances: Instances | None,
    semantic: Int32[np.ndarray, "P"] | None,
    classes: ClassSet,
    *,
    threshold: float = DEFAULT_THRESHOLD,
) -> None:
    """`write_ply` in the colors of the pictures: objects; where none were predicted classes, or else the scan's own.

    Args:
        path: the file.
        scene: what was predicted for.
        instances: the objects found; None for none predicted.
        semantic: predicted class of each point; None for none predicted.
        classes: what class indices mean.
        threshold: objects that score less are left out.

    Raises:
        ValueError: the parts do not belong together.
        OSError: the file cannot be written.
    """
    layers = scene_layers(scene, instances, semantic, classes, threshold)
    objects = None if instances is None else (instances, instances.point_ids(threshold))
    write_ply(path, scene, objects, semantic, _paint(scene, layers))


def _paint(scene: Scene, layers: Sequence[Layer]) -> UInt8[np.ndarray, "P 3"]:
    by_key = {layer.key: layer for layer in layers}
    layer = by_key.get("prediction") or by_key.get("semantic_prediction")
    return input_colors(scene) if layer is None else layer.point_colors()
