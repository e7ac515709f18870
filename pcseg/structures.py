"""The records on the way from a scene to a model's output, and the legend of all shapes; `Prediction` comes last.

Letters used in every shape of this package:

    P  points of one room          V  voxels of a batch        E  pairs (voxel, superpoint) that share points
    S  superpoints (of one room, or of all rooms of a batch one after another)
    B  rooms in a batch            M  queries                  K  ground-truth instances of one room
    C  classes                     F  faces of a mesh          N  tokens of a mask: superpoints, points or pixels
    I  predicted objects

Coordinates are meters with z up, colors 0..255. Class labels are indices into a `pcseg.classes.ClassSet`.

Types of tensors are in quotes, so that code without tensors, such as preprocessing, need not import torch, which takes
longer than all other imports.
"""

import functools
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int32, Int64, Integer, UInt8
from typing_extensions import NotRequired, TypedDict

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_SPACING_POINTS = 200_000  # as many points show how far apart all are
# The arrays of a scene: dtype, shape of a row, and both for messages.
SCENE_ARRAYS = {
    "xyz": (np.float32, (3,), "float32 (P, 3) in meters"),
    "rgb": (np.uint8, (3,), "uint8 (P, 3), 0..255"),
    "normal": (np.float32, (3,), "float32 (P, 3)"),
    **dict.fromkeys(("semantic", "instance", "superpoint"), (np.int32, (), "int32 (P,)")),
    "faces": (np.int32, (3,), "int32 (F, 3)"),
}


@dataclass(frozen=True, eq=False)
class ScanFile:
    """Where the points of a scene lie in the file that it was read from, which may hold F other points too."""

    rows: Int32[np.ndarray, "P"]  # row of each point of the scene in the file
    # Point of the scene at the place of each point of the file, -1 where the file's coordinates are not finite.
    places: Int32[np.ndarray, "F"]
    matrix: Float64[np.ndarray, "4 4"]  # takes coordinates of the file to those of the scene

    def labels(self, labels: Integer[np.ndarray, "P"]) -> Integer[np.ndarray, "F"]:
        """Labels for the points of the file, -1 for those that the scene does not have."""
        found = np.full(len(self.places), -1, labels.dtype)
        found[self.rows] = labels
        return found

    @property
    def is_left_out(self) -> Bool[np.ndarray, "F"]:
        """Whether the scene does not have a point of the file: it is not finite, or a duplicate."""
        return self.labels(self.rows) < 0

    def normals(self, normal: Float[np.ndarray, "n 3"]) -> Float32[np.ndarray, "n 3"]:
        """Unit normals of the scene in the frame of the file."""
        rotation = self.matrix[:3, :3] / np.cbrt(np.linalg.det(self.matrix[:3, :3]))
        return (normal @ rotation).astype(np.float32)

    def xyz(self, xyz: Float[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 3"]:
        """Coordinates of the scene in the frame and the units of the file."""
        inverse = np.linalg.inv(self.matrix)
        return xyz @ inverse[:3, :3].T + inverse[:3, 3]


@dataclass(frozen=True, eq=False, repr=False)
class Scene:
    """One room or scan, as points.

    Args:
        name: name in files and messages, e.g. ``Area_5_office_1``.
        xyz: coordinates in meters, z up.
        rgb: color of each point; None if the scan has none.
        normal: unit normals; None if the scan has none.
        semantic: class index of each point, -1 for unlabeled points; None if the scan has no labels.
        instance: instance of each point, 0 for none, ids from 1; None if the scan has no labels.
        superpoint: superpoint of each point, 0..S-1 without gaps; None before over-segmentation.
        faces: triangles of a mesh, as point indices; None for a point cloud.
        file: where its points lie in the file; None if the scene has all of its points, as they are there.

    Raises:
        ValueError: a name that is no text, arrays of different lengths, of another dtype or shape, or coordinates that
            are not finite.

    >>> scene = Scene("room", np.zeros((4, 3), np.float32), rgb=np.full((4, 3), 127, np.uint8))
    >>> scene
    <Scene room: 4 points, xyz, rgb>
    >>> len(scene), scene.with_(rgb=None).rgb
    (4, None)
    """

    name: str
    xyz: Float32[np.ndarray, "P 3"]
    rgb: UInt8[np.ndarray, "P 3"] | None = None
    normal: Float32[np.ndarray, "P 3"] | None = None
    semantic: Int32[np.ndarray, "P"] | None = None
    instance: Int32[np.ndarray, "P"] | None = None
    superpoint: Int32[np.ndarray, "P"] | None = None
    faces: Int32[np.ndarray, "F 3"] | None = None
    file: ScanFile | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise ValueError(f"expected Scene(name, xyz, ...), got {type(self.name).__name__} as name")
        for key in ("rgb", "normal", "semantic", "instance", "superpoint"):
            value = getattr(self, key)
            if value is not None and len(value) != len(self.xyz):
                raise ValueError(f"scene {self.name}: {key} has {len(value)} rows, xyz has {len(self.xyz)}")
        if self.file is not None and len(self.file.rows) != len(self.xyz):
            raise ValueError(f"scene {self.name}: file has {len(self.file.rows)} rows, xyz has {len(self.xyz)}")
        for key, (dtype, row, expected) in SCENE_ARRAYS.items():
            value = getattr(self, key)
            if value is not None and (getattr(value, "dtype", None) != dtype or value.shape[1:] != row):
                found = f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
                function = "pcseg.data.scan_fields.color_to_uint8" if key == "rgb" else f"np.{dtype.__name__}"
                raise ValueError(
                    f"scene {self.name}: {key} must be {expected}, got {found}; convert it with {function}"
                )
        if not np.isfinite(self.xyz).all():
            row = int(np.flatnonzero(~np.isfinite(self.xyz).all(axis=1))[0])
            raise ValueError(f"scene {self.name}: point {row} has a coordinate that is not finite: {self.xyz[row]}")

    @classmethod
    def without_xyz(cls, name: str, num_points: int, **labels: Any) -> "Scene":
        """A scene without coordinates: all points are at the origin and take no memory.

        Args:
            name: name of the scene.
            num_points: number of points.
            **labels: other fields, such as ``instance``.
        """
        return cls(name, np.broadcast_to(np.zeros(3, np.float32), (num_points, 3)), **labels)

    def __len__(self) -> int:
        return len(self.xyz)

    def __repr__(self) -> str:
        present = [f.name for f in fields(self)[1:] if getattr(self, f.name) is not None]
        return f"<Scene {self.name}: {len(self):,} points, {', '.join(present)}>"

    @property
    def num_superpoints(self) -> int:
        """S, or 0 if the scene has no superpoints yet."""
        return 0 if self.superpoint is None or len(self) == 0 else int(self.superpoint.max()) + 1

    @functools.cached_property
    def spacing(self) -> float:
        """Median distance of a point to the nearest other one, in the middle along x; 0 for fewer than two points."""
        from scipy.spatial import KDTree  # takes long to import

        share = min(1.0, _SPACING_POINTS / max(1, len(self)))
        low, high = np.quantile(self.xyz[:, 0], [0.5 - share / 2, 0.5 + share / 2]) if len(self) else (0.0, 0.0)
        some = self.xyz[(self.xyz[:, 0] >= low) & (self.xyz[:, 0] <= high)]
        if len(some) < 2:
            return 0.0
        gaps, _ = KDTree(some, balanced_tree=False).query(some[:: max(1, len(some) // 2000)], k=2)
        return float(np.median(gaps[:, 1]))

    def transformed(self, matrix: Float[np.ndarray, "3 3"]) -> "Scene":
        """The scene after a rotation or reflection by an orthogonal matrix; points keep their order."""
        matrix = matrix.astype(np.float32)
        normal = None if self.normal is None else self.normal @ matrix.T
        return self.with_(xyz=self.xyz @ matrix.T, normal=normal)

    def with_(self, **changes: object) -> "Scene":
        """A copy with some fields replaced."""
        return replace(self, **changes)  # type: ignore[arg-type]


# Mask logits become probabilities for each query alone, or for all queries and an empty choice of logit 0 together.
MaskActivation = Literal["sigmoid", "softmax"]


class Targets(TypedDict):
    """Ground truth of one room for the criteria (the calling convention of Mask2Former's SetCriterion)."""

    labels: "Int64[Tensor, 'K']"  # class of each instance
    instance_labels: "Int64[Tensor, 'S']"  # instance of each superpoint, 1..K, 0 for background, -1 for ignored
    point_counts: NotRequired["Float[Tensor, 'S']"]  # number of points of each superpoint
    semantic_labels: NotRequired["Int64[Tensor, 'S']"]  # class of each superpoint, -1 for unlabeled ones
    centers: NotRequired["Float[Tensor, 'K 3']"]  # mean of each instance in meters, in the frame of superpoint_xyz


class DecoderOutput(TypedDict):
    """Output of a model of queries; lists have one array per room, masks are point-first, as the loss is written."""

    pred_logits: "Float[Tensor, 'B M C+1']"  # class logits, the last column is "no object"
    pred_masks: list["Float[Tensor, 'S M']"]  # mask logits
    pred_semantic: NotRequired[list["Float[Tensor, 'S C']"]]  # class logits of each superpoint
    pred_centers: NotRequired[list["Float[Tensor, 'S 3']"]]  # center of the object of each superpoint in meters
    # Superpoint that each query started from, counted from 0 in its room; absent for learned queries.
    query_tokens: NotRequired["Int64[Tensor, 'B M']"]
    aux_outputs: NotRequired[list["DecoderOutput"]]  # the same for every intermediate layer (deep supervision)


class EmbeddingOutput(TypedDict):
    """Output of a model of two embeddings; one array per room, a row per superpoint, D dimensions."""

    pred_followers: list["Float[Tensor, 'S D']"]  # embedding of each superpoint as a follower
    pred_influencers: list["Float[Tensor, 'S D']"]  # and as an influencer, which attracts the followers near this place
    pred_influence: list["Float[Tensor, 'S']"]  # logit of the IoU between the followers it attracts and its object
    pred_semantic: list["Float[Tensor, 'S C']"]  # as in `DecoderOutput`
    pred_centers: NotRequired[list["Float[Tensor, 'S 3']"]]  # as in `DecoderOutput`


@dataclass(frozen=True, eq=False)
class SceneBatch:
    """Rooms as sparse voxels and superpoints, ready for the model.

    A voxel may hold points of several superpoints, so pooling runs over pairs: ``pair_voxel[e]`` and
    ``pair_superpoint[e]`` share ``pair_points[e]`` points. Pairs are sorted by superpoint.
    """

    voxel_coords: "Int32[Tensor, 'V 4']"  # batch index, x, y, z; unique rows; x, y, z >= 0
    voxel_features: "Float[Tensor, 'V features']"  # mean of the point features of each voxel
    pair_voxel: "Int64[Tensor, 'E']"  # row of voxel_coords
    pair_superpoint: "Int64[Tensor, 'E']"  # superpoint index over the whole batch
    pair_points: "Float[Tensor, 'E']"  # number of points of the pair
    superpoint_xyz: "Float[Tensor, 'S 3']"  # mean of each superpoint in meters, in the frame of voxel_features
    # Room b owns superpoints offsets[b]:offsets[b + 1]; there are B + 1 of them, and they stay on the CPU.
    superpoint_offsets: "Int64[Tensor, 'offsets']"
    names: list[str]  # of the rooms
    targets: list[Targets] | None = None  # ground truth per room; None for rooms without labels

    def __len__(self) -> int:
        return len(self.names)

    def to(self, device: "torch.device | str") -> "SceneBatch":
        """A copy with all tensors, including the targets, on `device`; only the offsets stay on the CPU."""
        tensors = {f.name for f in fields(self)} - {"superpoint_offsets", "names", "targets"}
        moved = {name: getattr(self, name).to(device, non_blocking=True) for name in tensors}
        targets = self.targets
        if targets is not None:
            targets = [{k: v.to(device, non_blocking=True) for k, v in t.items()} for t in targets]  # type: ignore[misc]
        return replace(self, targets=targets, **moved)


@dataclass(frozen=True, eq=False)
class ImageBatch:
    """Images of one size, ready for the model; their pixels are the tokens of a mask."""

    pixels: "UInt8[Tensor, 'B 3 H W']"
    names: list[str]  # of the image files
    # Each has labels (K,), masks (K, h, w), and ignored (h, w), True at pixels that do not count.
    targets: "list[dict[str, Tensor]]"

    def __len__(self) -> int:
        return len(self.names)

    def to(self, device: "torch.device | str") -> "ImageBatch":
        """A copy with all tensors on `device`."""
        targets = [{key: value.to(device, non_blocking=True) for key, value in each.items()} for each in self.targets]
        return replace(self, pixels=self.pixels.to(device, non_blocking=True), targets=targets)


Batch = SceneBatch | ImageBatch
