"""Processed rooms to batches: features, voxels, targets."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch.utils.data import Dataset

from pcseg.classes import ClassSet, class_set
from pcseg.data.augment import Composition, middle_of_floor
from pcseg.data.scan_fields import MID_GRAY
from pcseg.data.store import check_classes, list_rooms, read_room
from pcseg.ops.overlap import group_means, object_ids, overlap_table, unique_ids
from pcseg.ops.voxelize import pair_superpoints, voxel_mean, voxelize
from pcseg.structures import Scene, SceneBatch, Targets

# Number of channels of each feature.
FEATURES: dict[str, int] = {"rgb": 3, "rgb_or_gray": 3, "xyz": 3, "normal": 3, "height": 1}
_REMEDIES = {"rgb": "use gray=True, which finds less,", "normal": "take a file of the scan that has nx, ny, nz,"}


def num_channels(features: Sequence[str]) -> int:
    """Number of input channels of these features, names out of `FEATURES`.

    Raises:
        ValueError: an unknown name.

    >>> num_channels(["rgb", "height"])
    4
    """
    if unknown := [name for name in features if name not in FEATURES]:
        raise ValueError(f"data.features has {unknown[0]!r}; known: {', '.join(FEATURES)}")
    return sum(FEATURES[name] for name in features)


@dataclass(frozen=True)
class DataOptions:
    """Which rooms, and how they become voxels; ``data`` of a config."""

    root: Path  # folder of processed rooms
    classes: str = "s3dis"  # class set, see pcseg/classes.py
    train: tuple[str, ...] = ("*",)  # globs of room names, "!glob" excludes, or a .txt file with one name a line
    val: tuple[str, ...] = ()
    voxel_size: float = 0.05  # meters
    features: tuple[str, ...] = ("rgb", "xyz")  # names out of `FEATURES`


@dataclass(eq=False)
class RoomDataset(Dataset):
    """Rooms of a store as single-room batches, as in ``RoomDataset(DataOptions(Path("rooms")))``.

    The key of an item is (seed, room), and its augmentation depends on nothing else. With a number as key, the room is
    not augmented.

    Raises:
        ValueError: no room matches, or one was processed with other classes.
    """

    options: DataOptions
    patterns: Sequence[str] = ("*",)  # which rooms of the store, as for `pcseg.data.store.list_rooms`
    augment: Composition | None = None  # augmentation of each room; a mix takes the second room from here
    rooms: list[Path] = field(init=False)  # folders of the rooms
    classes: ClassSet = field(init=False)

    def __post_init__(self) -> None:
        self.classes = class_set(self.options.classes)
        self.rooms = list_rooms(self.options.root, self.patterns)
        check_classes(self.rooms, self.classes)

    def __len__(self) -> int:
        return len(self.rooms)

    def scene(self, room: int) -> Scene:
        """The stored room, not augmented."""
        return read_room(self.rooms[room])

    def num_voxels(self, room: int) -> int:
        """Voxels of the stored room, not augmented."""
        return len(voxelize(self.scene(room).xyz, self.options.voxel_size).coords)

    def __getitem__(self, key: tuple[tuple[int, ...], int] | int) -> SceneBatch:
        seed, room = key if isinstance(key, tuple) else (None, int(key))
        scene = self.scene(room)
        if self.augment is not None and seed is not None:
            rng = np.random.default_rng(seed)
            scene = self.augment(scene, rng, lambda rng: self.scene(int(rng.integers(len(self)))))
        return _one_room(scene, self.options.voxel_size, self.options.features, self.classes.instance_classes)


def make_batch(
    scenes: Sequence[Scene], *, voxel_size: float, features: Sequence[str], instance_classes: Sequence[int]
) -> SceneBatch:
    """Voxelizes rooms and puts them into one batch, with targets if they are labeled.

    Args:
        scenes: rooms with superpoints, each with at least one point.
        voxel_size: edge of a voxel in meters.
        features: names out of `FEATURES`.
        instance_classes: class indices whose instances become targets.

    Raises:
        ValueError: a scene without points or superpoints, or without a requested feature.
    """
    return collate([_one_room(s, voxel_size, features, instance_classes) for s in scenes])


def collate(parts: Sequence[SceneBatch]) -> SceneBatch:
    """Concatenates batches."""
    if len(parts) == 1:
        return parts[0]
    voxels = np.cumsum([0, *(len(p.voxel_coords) for p in parts)])
    rooms = np.cumsum([0, *(len(p) for p in parts)])
    superpoints = np.cumsum([0, *(len(p.superpoint_xyz) for p in parts)])
    coords = [p.voxel_coords + torch.tensor([room, 0, 0, 0]).int() for p, room in zip(parts, rooms.tolist())]
    offsets = [p.superpoint_offsets[1:] + int(s) for p, s in zip(parts, superpoints)]
    labeled = all(p.targets is not None for p in parts)
    return SceneBatch(
        voxel_coords=torch.cat(coords),
        voxel_features=torch.cat([p.voxel_features for p in parts]),
        pair_voxel=torch.cat([p.pair_voxel + int(v) for p, v in zip(parts, voxels)]),
        pair_superpoint=torch.cat([p.pair_superpoint + int(s) for p, s in zip(parts, superpoints)]),
        pair_points=torch.cat([p.pair_points for p in parts]),
        superpoint_xyz=torch.cat([p.superpoint_xyz for p in parts]),
        superpoint_offsets=torch.cat([parts[0].superpoint_offsets[:1], *offsets]),
        names=[name for p in parts for name in p.names],
        targets=[t for p in parts for t in p.targets or ()] if labeled else None,
    )


def point_features(scene: Scene, center: Float32[np.ndarray, "3"], names: Sequence[str]) -> Float32[np.ndarray, "P C"]:
    """Input features of each point: colors in -1..1, height, xyz, and unit normals.

    "rgb_or_gray" is mid-gray for a scene without color. "xyz" is in meters from `center`. "height" is about -1..1 and
    starts at the 1st percentile of z, near the floor even if some points lie under it.

    Args:
        scene: the room.
        center: middle of its floor, in meters.
        names: names out of `FEATURES`.

    Raises:
        ValueError: an unknown name, or the scene has no color or normal to give.
    """
    check_features(scene, names)
    columns = []
    for name in names:
        if name == "xyz":
            columns.append(scene.xyz - center)
        elif name == "height":
            columns.append((scene.xyz[:, 2:] - np.quantile(scene.xyz[:, 2], 0.01)) / 1.5 - 1)
        elif name == "normal":
            columns.append(scene.normal)
        else:
            rgb = np.full_like(scene.xyz, MID_GRAY) if scene.rgb is None else scene.rgb.astype(np.float32)
            columns.append(rgb / 127.5 - 1)
    return np.concatenate(columns, axis=1).astype(np.float32)


def check_features(scene: Scene, features: Sequence[str]) -> None:
    """Checks that a scene has what a model takes, before any work is done on it.

    Raises:
        ValueError: an unknown name, or the scene has no color or no normals; the message says how to go on.
    """
    num_channels(features)
    for name in features:
        if name in _REMEDIES and getattr(scene, name) is None:
            others = ",".join(feature for feature in features if feature != name) or "xyz"
            raise ValueError(
                f"scene {scene.name} has no {name}, but the model takes {', '.join(features)}; {_REMEDIES[name]} or "
                f"train a model that needs none: data.features=[{others}]"
            )


def make_targets(
    scene: Scene,
    superpoint: Int64[np.ndarray, "P"],
    num_superpoints: int,
    instance_classes: Sequence[int],
    center: Float32[np.ndarray, "3"],
) -> Targets:
    """Ground truth over superpoints, by the majority of their points.

    An instance is a pair of instance id and class. Superpoints whose majority is unlabeled are ignored (-1); classes
    without instances become background. An instance that wins no superpoint is left out.

    Args:
        scene: labeled room.
        superpoint: superpoint of each point.
        num_superpoints: number of superpoints.
        instance_classes: class indices whose instances become targets.
        center: origin of the batch's coordinates, from which centers of instances are measured, in meters.
    """
    assert scene.semantic is not None
    assert scene.instance is not None
    counted = np.isin(scene.semantic, list(instance_classes))
    instance = object_ids(scene.semantic, np.where(counted, scene.instance, 0))
    semantic = overlap_table(superpoint, scene.semantic).majority(num_superpoints, empty=-1)
    winner = overlap_table(superpoint, instance).majority(num_superpoints)
    ids, renumbered = (part[1:] for part in np.unique(np.append(0, winner), return_inverse=True))
    inside = instance > 0
    num_ids = int(instance.max(initial=0)) + 1
    labels = overlap_table(instance[inside], scene.semantic[inside]).majority(num_ids)[ids]
    return {
        "labels": torch.from_numpy(labels),
        "instance_labels": torch.from_numpy(np.where((semantic < 0) & (winner == 0), -1, renumbered)),
        "point_counts": torch.from_numpy(np.bincount(superpoint, minlength=num_superpoints).astype(np.float32)),
        "semantic_labels": torch.from_numpy(semantic),
        "centers": torch.from_numpy(group_means(scene.xyz - center, instance, num_ids)[ids].astype(np.float32)),
    }


def _one_room(scene: Scene, voxel_size: float, features: Sequence[str], classes: Sequence[int]) -> SceneBatch:
    if len(scene) == 0:
        raise ValueError(f"scene {scene.name} has no points")
    if scene.superpoint is None:
        raise ValueError(f"scene {scene.name} has no superpoints; preprocess it first")
    # Cropping may have emptied superpoints; the batch counts only those that are left.
    ids, superpoint, _ = unique_ids(scene.superpoint)
    num_superpoints = len(ids)
    grid = voxelize(scene.xyz, voxel_size)
    center = middle_of_floor(scene.xyz)
    pair_voxel, pair_superpoint, pair_points = pair_superpoints(grid.point_to_voxel, superpoint)
    superpoint_xyz = group_means(scene.xyz - center, superpoint, num_superpoints)
    labeled = scene.semantic is not None and scene.instance is not None
    return SceneBatch(
        voxel_coords=torch.from_numpy(np.pad(grid.coords, ((0, 0), (1, 0)))),  # this is room 0
        voxel_features=torch.from_numpy(voxel_mean(point_features(scene, center, features), grid)),
        pair_voxel=torch.from_numpy(pair_voxel.astype(np.int64)),
        pair_superpoint=torch.from_numpy(pair_superpoint.astype(np.int64)),
        pair_points=torch.from_numpy(pair_points.astype(np.float32)),
        superpoint_xyz=torch.from_numpy(superpoint_xyz.astype(np.float32)),
        superpoint_offsets=torch.tensor([0, num_superpoints]),
        names=[scene.name],
        targets=[make_targets(scene, superpoint, num_superpoints, classes, center)] if labeled else None,
    )
