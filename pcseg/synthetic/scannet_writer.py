"""Mesh rooms in the raw layout of ScanNet."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from pcseg.files import atomic_write
from pcseg.structures import Scene
from pcseg.synthetic.folders import fresh_folder
from pcseg.synthetic.scannet_classes import label_table

_VERTEX = np.dtype([("xyz", "<f4", 3), ("rgba", "u1", 4)])
_FACE = np.dtype([("num", "u1"), ("vertices", "<i4", 3)])


def write_scannet(
    scene: Scene, folder: Path | str, categories: Sequence[str], *, alignment: Float64[np.ndarray, "4 4"] | None = None
) -> Path:
    """Writes a mesh room as ScanNet is released: mesh, segments, aggregation and axis alignment.

    Args:
        scene: a mesh with colors, segments (as superpoints) and instances 1..K, in the aligned frame.
        folder: where `scans/<name>` is put.
        categories: raw category of each instance.
        alignment: takes the frame of the written mesh to that of the scene; None where they are the same.

    Returns:
        The folder of the scan.

    Raises:
        ValueError: the scene lacks something, or the scan is there already.
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
    with fresh_folder(target) as temporary:
        (temporary / f"{stem}.ply").write_bytes(_ply(xyz, scene))
        (temporary / segments_file).write_text(json.dumps(segments))
        (temporary / f"{name}.aggregation.json").write_text(json.dumps(aggregation))
        (temporary / f"{name}.txt").write_text(f"axisAlignment = {numbers} \nsceneType = Office\n")
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
    """Writes the table of labels, and the lists of training and validation scans (every fifth)."""
    folder = Path(folder)
    (folder / "splits").mkdir(exist_ok=True)
    names = [f"scene{index:04d}_00" for index in range(num_rooms)]
    atomic_write(folder / "scannetv2-labels.combined.tsv", label_table())
    for split, chosen in (("train", 0), ("val", 1)):
        rows = [name for index, name in enumerate(names) if (index % 5 == 4) == bool(chosen)]
        text = "".join(f"{name}\n" for name in rows)
        atomic_write(folder / "splits" / f"scannetv2_{split}.txt", text)
