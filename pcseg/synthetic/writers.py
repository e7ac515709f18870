"""Rooms in the raw layouts of S3DIS and ScanNet."""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from pcseg.classes import S3DIS
from pcseg.files import atomic_write
from pcseg.structures import Scene
from pcseg.synthetic.scannet_classes import label_table

_VERTEX = np.dtype([("xyz", "<f4", 3), ("rgba", "u1", 4)])
_FACE = np.dtype([("num", "u1"), ("vertices", "<i4", 3)])


@contextmanager
def _fresh_folder(target: Path) -> Iterator[Path]:
    """A temporary folder that is renamed to `target` after the block, and removed if the block raises."""
    if target.exists():
        raise ValueError(f"{target} exists already; remove it or write to another folder")
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    temporary.mkdir(parents=True)
    try:
        yield temporary
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def s3dis_folder(name: str, folder: Path | str) -> Path:
    """Folder of a room.

    Args:
        name: name of the room, `Area_N_kind_i`.
        folder: folder with `Area_N`.

    Raises:
        ValueError: the name has another form.
    """
    parts = name.split("_", 2)
    if len(parts) != 3 or parts[0] != "Area":
        raise ValueError(f"scene {name!r} must be named like Area_1_office_1 to be written as S3DIS")
    return Path(folder) / f"Area_{parts[1]}" / parts[2]


def write_s3dis(scene: Scene, folder: Path | str) -> Path:
    """Writes a room as S3DIS is released: one text file of all points, and one per instance.

    Args:
        scene: a room named `Area_N_kind_i` with colors, S3DIS classes and instances; every point has an instance.
        folder: folder for `Area_N`.

    Returns:
        The folder of the room, `Area_N/kind_i`.

    Raises:
        ValueError: the scene lacks colors or labels, its name has another form, or the room exists already.
    """
    if scene.rgb is None or scene.semantic is None or scene.instance is None:
        raise ValueError(f"scene {scene.name} must have rgb, semantic and instance to be written as S3DIS")
    if len(scene) and (scene.instance.min() < 1 or scene.semantic.min() < 0):
        raise ValueError(f"scene {scene.name}: every point must have a class and an instance to be written as S3DIS")
    target = s3dis_folder(scene.name, folder)
    order = np.argsort(scene.instance, kind="stable")
    millimeters = np.rint(scene.xyz[order] * 1000.0).astype(np.int64)
    columns = [*(millimeters / 1000).T.tolist(), *scene.rgb[order].T.tolist()]
    rows = [f"{x:.3f} {y:.3f} {z:.3f} {r} {g} {b}\n" for x, y, z, r, g, b in zip(*columns)]
    ids, first = np.unique(scene.instance[order], return_index=True)
    ends = [*first[1:], len(rows)]
    numbers: dict[str, int] = {}
    with _fresh_folder(target) as temporary:
        (temporary / "Annotations").mkdir()
        for k in range(len(ids)):
            name = S3DIS.names[int(scene.semantic[order[first[k]]])]
            numbers[name] = numbers.get(name, 0) + 1
            (temporary / "Annotations" / f"{name}_{numbers[name]}.txt").write_text(
                "".join(rows[first[k] : ends[k]]), encoding="utf-8"
            )
        (temporary / f"{target.name}.txt").write_text("".join(rows), encoding="utf-8")
    return target


def write_scannet(
    scene: Scene, folder: Path | str, categories: Sequence[str], *, alignment: Float64[np.ndarray, "4 4"] | None = None
) -> Path:
    """Writes a mesh room as ScanNet is released: mesh, segments, aggregation and axis alignment.

    Args:
        scene: a mesh with colors, segments (as superpoints) and instances 1..K, in the aligned frame.
        folder: folder for `scans/<name>`.
        categories: raw category of each instance.
        alignment: transform from the frame of the written mesh to the frame of the scene; None is the identity.

    Returns:
        The folder of the scan.

    Raises:
        ValueError: the scene lacks something, or the scan exists already.
    """
    if scene.rgb is None or scene.faces is None or scene.instance is None or scene.superpoint is None:
        raise ValueError(f"scene {scene.name} must have rgb, faces, instance and superpoint to be written as ScanNet")
    name = scene.name
    alignment = np.eye(4) if alignment is None else alignment
    back = np.linalg.inv(alignment)
    xyz = scene.xyz.astype(np.float64) @ back[:3, :3].T + back[:3, 3]
    stem = f"{name}_vh_clean_2"
    segments_file = f"{stem}.0.010000.segs.json"
    segments = {
        "params": {"kThresh": "0.0001", "segMinVerts": "20", "minPoints": "750", "maxPoints": "30000"},
        "sceneId": name,
        "segIndices": scene.superpoint.tolist(),
    }
    pairs = np.unique(np.stack([scene.instance, scene.superpoint], axis=1), axis=0)
    groups = [
        {"id": k, "objectId": k, "segments": pairs[pairs[:, 0] == k + 1, 1].tolist(), "label": label}
        for k, label in enumerate(categories)
    ]
    aggregation = {
        "sceneId": f"scannet.{name}",
        "appId": "Aggregator.v2",
        "segGroups": groups,
        "segmentsFile": f"scannet.{segments_file}",
    }
    numbers = " ".join(f"{value:.6f}" for value in alignment.reshape(-1))
    target = Path(folder) / "scans" / name
    with _fresh_folder(target) as temporary:
        (temporary / f"{stem}.ply").write_bytes(_ply(xyz, scene))
        (temporary / segments_file).write_text(json.dumps(segments), encoding="utf-8")
        (temporary / f"{name}.aggregation.json").write_text(json.dumps(aggregation), encoding="utf-8")
        (temporary / f"{name}.txt").write_text(f"axisAlignment = {numbers} \nsceneType = Office\n", encoding="utf-8")
    return target


def _ply(xyz: Float64[np.ndarray, "P 3"], scene: Scene) -> bytes:
    assert scene.rgb is not None
    assert scene.faces is not None
    vertices = np.zeros(len(xyz), _VERTEX)
    vertices["xyz"] = xyz
    vertices["rgba"][:, :3] = scene.rgb
    vertices["rgba"][:, 3] = 255
    faces = np.zeros(len(scene.faces), _FACE)
    faces["num"] = 3
    faces["vertices"] = scene.faces
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(vertices)}"]
    header += [f"property float {axis}" for axis in "xyz"]
    header += [f"property uchar {channel}" for channel in ("red", "green", "blue", "alpha")]
    header += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header", ""]
    return "\n".join(header).encode() + vertices.tobytes() + faces.tobytes()


def write_scannet_lists(folder: Path | str, num_rooms: int) -> None:
    """Writes the table of labels, and the lists of training and validation scans (every fifth).

    Args:
        folder: folder with `scans`.
        num_rooms: number of scans.
    """
    folder = Path(folder)
    (folder / "splits").mkdir(exist_ok=True)
    atomic_write(folder / "scannetv2-labels.combined.tsv", label_table())
    for split in ("train", "val"):
        names = [f"scene{index:04d}_00\n" for index in range(num_rooms) if (index % 5 == 4) == (split == "val")]
        atomic_write(folder / "splits" / f"scannetv2_{split}.txt", "".join(names))
