"""Rooms in the raw layout of S3DIS."""

from pathlib import Path

import numpy as np

from pcseg.classes import S3DIS
from pcseg.kernels.ray_casting import format_rows
from pcseg.structures import Scene
from pcseg.synthetic.folders import fresh_folder


def s3dis_folder(name: str, folder: Path | str) -> Path:
    """Where a room named `Area_N_kind_i` is put.

    Raises:
        ValueError: the name is not of this kind.
    """
    parts = name.split("_", 2)
    if len(parts) != 3 or parts[0] != "Area":
        raise ValueError(f"scene {name!r} must be named like Area_1_office_1 to be written as S3DIS")
    return Path(folder) / f"Area_{parts[1]}" / parts[2]


def write_s3dis(scene: Scene, folder: Path | str) -> Path:
    """Writes a room as S3DIS is released: one text file of all points, and one per instance.

    Args:
        scene: a room named `Area_N_kind_i` with colors, S3DIS classes and instances; every point has an instance.
        folder: where `Area_N` is put.

    Returns:
        The folder of the room, `Area_N/kind_i`.

    Raises:
        ValueError: the scene lacks colors or labels, its name or labels are not of this kind, or the room is there.
    """
    if scene.rgb is None or scene.semantic is None or scene.instance is None:
        raise ValueError(f"scene {scene.name} must have rgb, semantic and instance to be written as S3DIS")
    if len(scene) and (scene.instance.min() < 1 or scene.semantic.min() < 0):
        raise ValueError(f"scene {scene.name}: every point must have a class and an instance to be written as S3DIS")
    target = s3dis_folder(scene.name, folder)
    order = np.argsort(scene.instance, kind="stable")
    text, end = format_rows(np.rint(scene.xyz[order] * 1000.0).astype(np.int64), scene.rgb[order])
    ids, first = np.unique(scene.instance[order], return_index=True)
    starts = np.concatenate([np.zeros(1, np.int64), end])[np.append(first, len(order))]
    numbers: dict[str, int] = {}
    with fresh_folder(target) as temporary:
        (temporary / "Annotations").mkdir()
        for k in range(len(ids)):
            name = S3DIS.names[int(scene.semantic[order[first[k]]])]
            numbers[name] = numbers.get(name, 0) + 1
            content = text[starts[k] : starts[k + 1]].tobytes()
            (temporary / "Annotations" / f"{name}_{numbers[name]}.txt").write_bytes(content)
        (temporary / f"{target.name}.txt").write_bytes(text.tobytes())
    return target
