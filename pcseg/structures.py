"""The records that travel between the parts of pcseg, and the one legend of their shapes.

Letters used in every shape of this package:

    P  points of one room          V  voxels of a batch        E  pairs (voxel, superpoint) that share points
    S  superpoints (of one room, or of all rooms of a batch one after another)
    B  rooms in a batch            M  queries                  K  ground-truth instances of one room
    C  classes                     F  faces of a mesh          N  tokens of a mask: superpoints, points or pixels

Coordinates are meters with z up, colors 0..255. Class labels are indices into a `pcseg.classes.ClassSet`.

Types of tensors stand in quotes: what knows rooms as points alone, preprocessing above all, does without torch, which
takes longer to import than everything else.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
from jaxtyping import Bool, Float, Float32, Int32, Int64, Integer, UInt8
from scipy.sparse import csr_array
from typing_extensions import NotRequired, TypedDict

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Scene:
    """One room or scan, as points.

    Args:
        name: what the room is called in files and messages, e.g. ``Area_5_office_1``.
        xyz: coordinates in meters, z up.
        rgb: color of each point, or None where the scan has none.
        normal: unit normals, or None.
        semantic: class index of each point, -1 where it is not labeled; None where the scan has no labels.
        instance: 0 for no instance, ids from 1; None where the scan has no labels.
        superpoint: superpoint of each point, 0..S-1 without gaps; None before over-segmentation.
        faces: triangles of a mesh, as point indices; None for a point cloud.

    Raises:
        ValueError: arrays of different lengths, or coordinates that are not finite.
    """

    name: str
    xyz: Float32[np.ndarray, "P 3"]
    rgb: UInt8[np.ndarray, "P 3"] | None = None
    normal: Float32[np.ndarray, "P 3"] | None = None
    semantic: Int32[np.ndarray, "P"] | None = None
    instance: Int32[np.ndarray, "P"] | None = None
    superpoint: Int32[np.ndarray, "P"] | None = None
    faces: Int32[np.ndarray, "F 3"] | None = None

    def __post_init__(self) -> None:
        for key in ("rgb", "normal", "semantic", "instance", "superpoint"):
            value = getattr(self, key)
            if value is not None and len(value) != len(self.xyz):
                raise ValueError(f"scene {self.name}: {key} has {len(value)} rows, xyz has {len(self.xyz)}")
        if not np.isfinite(self.xyz).all():
            row = int(np.flatnonzero(~np.isfinite(self.xyz).all(axis=1))[0])
            raise ValueError(f"scene {self.name}: point {row} has a coordinate that is not finite: {self.xyz[row]}")

    def __len__(self) -> int:
        return len(self.xyz)

    @property
    def num_superpoints(self) -> int:
        """S, or 0 where the scene has no superpoints yet."""
        return 0 if self.superpoint is None or len(self) == 0 else int(self.superpoint.max()) + 1

    def with_(self, **changes: object) -> "Scene":
        """A copy with some fields replaced."""
        return replace(self, **changes)  # type: ignore[arg-type]


# How mask logits become probabilities: each query alone, or all queries and an empty choice of logit 0 together.
MaskActivation = Literal["sigmoid", "softmax"]


class Targets(TypedDict):
    """Ground truth of one room, as the criteria take it (the calling convention of Mask2Former's SetCriterion).

    labels: class of each instance.
    instance_labels: for each superpoint 1..K for the instance it belongs to, 0 for background, -1 for ignored.
    point_counts: how many points each superpoint stands for.
    semantic_labels: class of each superpoint, -1 where it is not labeled.
    centers: mean of the points of each instance in meters, in the frame of the batch's superpoint_xyz.
    """

    labels: "Int64[Tensor, 'K']"
    instance_labels: "Int64[Tensor, 'S']"
    point_counts: NotRequired["Float[Tensor, 'S']"]
    semantic_labels: NotRequired["Int64[Tensor, 'S']"]
    centers: NotRequired["Float[Tensor, 'K 3']"]


class DecoderOutput(TypedDict):
    """What a model gives and a criterion takes; masks are point-first (N, M), as the loss is written.

    pred_logits: class logits, the last column is "no object".
    pred_masks: mask logits, one array per room.
    pred_scores: predicted IoU of each mask, 0..1; only clusters of embeddings have it.
    pred_semantic: class logits of each superpoint, one array per room.
    pred_centers: where each superpoint sees the center of its object, in meters, one array per room.
    query_tokens: superpoint that each query started from, counted from 0 in its room; absent for learned queries.
    aux_outputs: the same for every intermediate layer (deep supervision).
    """

    pred_logits: "Float[Tensor, 'B M C+1']"
    pred_masks: list["Float[Tensor, 'S M']"]
    pred_scores: NotRequired["Float[Tensor, 'B M']"]
    pred_semantic: NotRequired[list["Float[Tensor, 'S C']"]]
    pred_centers: NotRequired[list["Float[Tensor, 'S 3']"]]
    query_tokens: NotRequired["Int64[Tensor, 'B M']"]
    aux_outputs: NotRequired[list["DecoderOutput"]]


class EmbeddingOutput(TypedDict):
    """What a model with two embeddings gives; one array per room, a row per superpoint, D dimensions.

    pred_followers: where each superpoint stands as a follower.
    pred_influencers: where it stands as an influencer; it attracts the followers near this place.
    pred_influence: logit of the IoU between the followers that it attracts and its object.
    pred_semantic, pred_centers: as in `DecoderOutput`.
    """

    pred_followers: list["Float[Tensor, 'S D']"]
    pred_influencers: list["Float[Tensor, 'S D']"]
    pred_influence: list["Float[Tensor, 'S']"]
    pred_semantic: list["Float[Tensor, 'S C']"]
    pred_centers: NotRequired[list["Float[Tensor, 'S 3']"]]


@dataclass(frozen=True)
class SceneBatch:
    """Rooms as sparse voxels and superpoints, ready for the model.

    A voxel may hold points of several superpoints, so pooling runs over pairs: ``pair_voxel[e]`` and
    ``pair_superpoint[e]`` share ``pair_points[e]`` points. Pairs are sorted by superpoint.

    Args:
        voxel_coords: batch index, x, y, z; unique rows; x, y, z >= 0.
        voxel_features: mean of the point features of each voxel.
        pair_voxel: row of voxel_coords.
        pair_superpoint: superpoint index over the whole batch.
        pair_points: number of points of the pair.
        superpoint_xyz: mean coordinates of each superpoint in meters, in the frame of voxel_features.
        superpoint_offsets: room b owns superpoints ``offsets[b]:offsets[b + 1]``; stays on the CPU.
        names: names of the rooms.
        targets: ground truth per room; None for rooms without labels.
    """

    voxel_coords: "Int32[Tensor, 'V 4']"
    voxel_features: "Float[Tensor, 'V features']"
    pair_voxel: "Int64[Tensor, 'E']"
    pair_superpoint: "Int64[Tensor, 'E']"
    pair_points: "Float[Tensor, 'E']"
    superpoint_xyz: "Float[Tensor, 'S 3']"
    superpoint_offsets: "Int64[Tensor, 'offsets']"  # B + 1 of them
    names: list[str]
    targets: list[Targets] | None = field(default=None)

    def __len__(self) -> int:
        return len(self.names)

    def to(self, device: "torch.device | str") -> "SceneBatch":
        """A copy whose tensors, those of the targets included, are on `device`; the host keeps the offsets."""
        from torch import Tensor

        moved = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, Tensor) and f.name != "superpoint_offsets":
                moved[f.name] = value.to(device, non_blocking=True)
        targets = self.targets
        if targets is not None:
            targets = [{k: v.to(device, non_blocking=True) for k, v in t.items()} for t in targets]  # type: ignore[misc]
        return replace(self, targets=targets, **moved)


@dataclass(frozen=True)
class Instances:
    """Predicted objects of one room; masks may overlap, scores are sorted from high to low.

    Args:
        masks: bool (I, S) over superpoints or (I, P) over points, True where the object is. Sparse, for in a large scan
            an object has few of the columns; a numpy array is taken as well and becomes sparse.
        labels: class index of each object.
        scores: confidence of each object, 0..1.
        superpoint: superpoint of each point, where masks are over superpoints; None where they are over points.
    """

    masks: csr_array
    labels: Integer[np.ndarray, "I"]
    scores: Float[np.ndarray, "I"]
    superpoint: Int32[np.ndarray, "P"] | None = None

    def __post_init__(self) -> None:
        if self.masks.ndim != 2 or self.masks.dtype != np.bool_:
            raise ValueError(f"masks must be bool of two dimensions, got {self.masks.dtype} {self.masks.shape}")
        if isinstance(self.masks, np.ndarray):
            rows = [np.flatnonzero(mask) for mask in np.asarray(self.masks)]
            object.__setattr__(self, "masks", mask_rows(rows, self.num_columns))
        if not (self.masks.has_canonical_format and np.all(self.masks.data)):
            raise ValueError("sparse masks must hold each column once, ascending, and True alone; see `mask_rows`")
        num_masks = len(self.masks.indptr) - 1
        if not num_masks == len(self.labels) == len(self.scores):
            raise ValueError(
                f"masks, labels and scores must have one row per object, got {num_masks}, "
                f"{len(self.labels)} and {len(self.scores)}"
            )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_columns(self) -> int:
        """Of the masks: S, or P where they are over points."""
        return cast("tuple[int, int]", self.masks.shape)[1]

    @property
    def num_points(self) -> int:
        """P, the points of the room."""
        return self.num_columns if self.superpoint is None else len(self.superpoint)

    def columns(self, index: int) -> Integer[np.ndarray, "n"]:
        """Columns of the mask of one object, ascending."""
        return self.masks.indices[self.masks.indptr[index] : self.masks.indptr[index + 1]]

    def column_mask(self, index: int) -> Bool[np.ndarray, "columns"]:
        """Mask of one object over the columns."""
        mask = np.zeros(self.num_columns, np.bool_)
        mask[self.columns(index)] = True
        return mask

    def point_mask(self, index: int) -> Bool[np.ndarray, "P"]:
        """Mask of one object over the points."""
        mask = self.column_mask(index)
        return mask if self.superpoint is None else mask[self.superpoint]

    def point_ids(self, threshold: float = 0.0) -> Int32[np.ndarray, "P"]:
        """One id per point without overlap: where masks meet, the higher score wins.

        Args:
            threshold: objects that score less are left out.

        Returns:
            0 where there is no object, otherwise 1 + the row of the object.
        """
        columns = np.zeros(self.num_columns, np.int32)
        for row in np.argsort(self.scores, kind="stable"):
            if self.scores[row] >= threshold:
                columns[self.columns(row)] = row + 1
        return columns if self.superpoint is None else columns[self.superpoint]


def mask_rows(columns: Sequence[Integer[np.ndarray, "n"]], num_columns: int) -> csr_array:
    """Masks, bool and a row for each object, from the columns that each object has, ascending."""
    inside = np.concatenate([np.zeros(0, np.int64), *columns])
    starts = np.cumsum([0, *map(len, columns)])
    return csr_array((np.ones(len(inside), np.bool_), inside, starts), shape=(len(columns), num_columns))
