"""Views of synthetic rooms in COCO's format: a benchmark for instance segmentation of images."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Int32, UInt8
from PIL import Image
from pycocotools import mask as coco_mask
from scipy.spatial import KDTree

from pcseg.classes import S3DIS
from pcseg.files import atomic_write
from pcseg.structures import Scene
from pcseg.viz.grid import save_png
from pcseg.viz.raster import SUPERSAMPLING, Splats, View, bounding_box, look, rasterize

SIZE = 160  # pixels along each side
NUM_VIEWS = 5  # of each room
_LEAST = 20  # pixels; instances with fewer in a view are left out
_SURFACES = [S3DIS.index(name) for name in ("ceiling", "floor", "wall")]


def write_views(scene: Scene, out: Path, index: int, rng: np.random.Generator) -> None:
    """Write views of a room as PNG, and its part of the JSON.

    Args:
        scene: room with colors, S3DIS classes and instances.
        out: folder of the benchmark; every fifth room goes to its folder val, the others to train.
        index: number of the room.
        rng: random numbers for the cameras.
    """
    assert scene.semantic is not None
    assert scene.instance is not None
    images, annotations = [], []
    class_of = dict(zip(scene.instance.tolist(), scene.semantic.tolist()))
    for number, (image, ids) in enumerate(room_views(scene, rng)):
        image_id, name = index * NUM_VIEWS + number, f"{scene.name}_{number}.png"
        save_png(out / split_of(index) / name, Image.fromarray(image))
        images.append({"id": image_id, "file_name": name, "height": SIZE, "width": SIZE})
        for instance, count in zip(*np.unique(ids[ids > 0], return_counts=True)):
            if count < _LEAST:
                continue
            mask = coco_mask.encode(np.asfortranarray(ids == instance, np.uint8))
            entry = {"image_id": image_id, "category_id": class_of[int(instance)] + 1, "iscrowd": 0, "area": int(count)}
            entry["segmentation"] = {"size": [SIZE, SIZE], "counts": mask["counts"].decode()}  # type: ignore[union-attr]
            annotations.append({**entry, "bbox": coco_mask.toBbox(mask).tolist()})
    atomic_write(room_file(out, index), json.dumps({"images": images, "annotations": annotations}))


def room_views(
    scene: Scene, rng: np.random.Generator
) -> Iterator[tuple[UInt8[np.ndarray, "H W 3"], Int32[np.ndarray, "H W"]]]:
    """Images from inside of a room at the height of eyes, and the instance of each pixel, 0 for none.

    Args:
        scene: room with colors, classes and instances.
        rng: random numbers for the cameras, which stand free and look at an object.
    """
    assert scene.rgb is not None
    assert scene.semantic is not None
    assert scene.instance is not None
    xyz, splats = scene.xyz, Splats.of_points(scene.xyz)
    low, high = bounding_box(xyz)
    height = xyz[:, 2] - low[2]
    blocking = KDTree(xyz[(height > 0.3) & (height < 1.9)][:, :2])
    floor = KDTree(xyz[scene.semantic == S3DIS.index("floor")][:, :2])
    objects = np.flatnonzero(~np.isin(scene.semantic, _SURFACES))
    for _ in range(NUM_VIEWS):
        spots = rng.uniform(low[:2], high[:2], (60, 2))
        free = blocking.query(spots)[0] - (floor.query(spots)[0] > 0.4)  # outside of the plan there is no floor
        spot = spots[rng.choice(np.argsort(free)[-6:])]
        eye = np.array([*spot, low[2] + rng.uniform(1.3, 1.7)])
        # Any object is as likely, however many points it has; objects at the feet of the camera are out of view.
        away = objects[np.hypot(*(xyz[objects, :2] - spot).T) > 1.0]
        target = (low + high) / 2
        if len(away):
            target = xyz[rng.choice(away[scene.instance[away] == rng.choice(np.unique(scene.instance[away]))])]
        back = (eye - target) / np.linalg.norm(eye - target)
        azimuth = np.rad2deg(np.arctan2(back[1], back[0])) + rng.uniform(-15, 15)
        elevation = np.clip(np.rad2deg(np.arcsin(back[2])), -10, 30)
        view = View(eye, look(float(azimuth), float(elevation)), fov=65.0)
        raster = rasterize(xyz, view, width=SIZE, height=SIZE, splats=splats)
        point = raster.index[::SUPERSAMPLING, ::SUPERSAMPLING]
        yield raster.paint(scene.rgb), np.where(point < 0, 0, scene.instance[point]).astype(np.int32)


def split_of(index: int) -> str:
    """Every fifth room is for validation."""
    return "val" if index % 5 == 4 else "train"


def room_file(out: Path, index: int) -> Path:
    """The part of the JSON that one room has."""
    return out / "rooms" / f"{index:05d}.json"


def join_rooms(out: Path, num_rooms: int) -> None:
    """Write the instances JSON of both splits.

    Args:
        out: folder of the benchmark.
        num_rooms: number of rooms, all of them written.
    """
    categories = [{"id": index + 1, "name": name} for index, name in enumerate(S3DIS.names)]
    for split in ("train", "val"):
        parts = [json.loads(room_file(out, i).read_text()) for i in range(num_rooms) if split_of(i) == split]
        images, annotations = ([each for part in parts for each in part[key]] for key in ("images", "annotations"))
        annotations = [{"id": number, **each} for number, each in enumerate(annotations, start=1)]
        content = {"images": images, "annotations": annotations, "categories": categories}
        atomic_write(out / "annotations" / f"instances_{split}.json", json.dumps(content))
