"""The records that carry a scene through pcseg, and the legend of their shapes.

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

import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from jaxtyping import Bool, Float, Float32, Int32, Int64, Integer, UInt8
from scipy.sparse import csr_array
from typing_extensions import NotRequired, TypedDict

from pcseg.classes import ClassSet
from pcseg.files import atomic_write, npz_bytes, read_npz

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
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

    @classmethod
    def without_xyz(cls, name: str, num_points: int, **labels: np.ndarray) -> "Scene":
        """A scene without coordinates: all points are at the origin and take no memory.

        Args:
            name: name of the scene.
            num_points: number of points.
            **labels: other fields, such as ``instance``.
        """
        return cls(name, np.broadcast_to(np.zeros(3, np.float32), (num_points, 3)), **labels)

    def __len__(self) -> int:
        return len(self.xyz)

    @property
    def num_superpoints(self) -> int:
        """S, or 0 if the scene has no superpoints yet."""
        return 0 if self.superpoint is None or len(self) == 0 else int(self.superpoint.max()) + 1

    def with_(self, **changes: object) -> "Scene":
        """A copy with some fields replaced."""
        return replace(self, **changes)  # type: ignore[arg-type]


# Mask logits become probabilities for each query alone, or for all queries and an empty choice of logit 0 together.
MaskActivation = Literal["sigmoid", "softmax"]


class Targets(TypedDict):
    """Ground truth of one room for the criteria (the calling convention of Mask2Former's SetCriterion).

    labels: class of each instance.
    instance_labels: instance of each superpoint, 1..K, 0 for background, -1 for ignored.
    point_counts: number of points of each superpoint.
    semantic_labels: class of each superpoint, -1 for unlabeled ones.
    centers: mean of the points of each instance in meters, in the frame of the batch's superpoint_xyz.
    """

    labels: "Int64[Tensor, 'K']"
    instance_labels: "Int64[Tensor, 'S']"
    point_counts: NotRequired["Float[Tensor, 'S']"]
    semantic_labels: NotRequired["Int64[Tensor, 'S']"]
    centers: NotRequired["Float[Tensor, 'K 3']"]


class DecoderOutput(TypedDict):
    """Output of a model of queries; masks are point-first (N, M), as the loss is written.

    pred_logits: class logits, the last column is "no object".
    pred_masks: mask logits, one array per room.
    pred_semantic: class logits of each superpoint, one array per room.
    pred_centers: predicted center of the object of each superpoint in meters, one array per room.
    query_tokens: superpoint that each query started from, counted from 0 in its room; absent for learned queries.
    aux_outputs: the same for every intermediate layer (deep supervision).
    """

    pred_logits: "Float[Tensor, 'B M C+1']"
    pred_masks: list["Float[Tensor, 'S M']"]
    pred_semantic: NotRequired[list["Float[Tensor, 'S C']"]]
    pred_centers: NotRequired[list["Float[Tensor, 'S 3']"]]
    query_tokens: NotRequired["Int64[Tensor, 'B M']"]
    aux_outputs: NotRequired[list["DecoderOutput"]]


class EmbeddingOutput(TypedDict):
    """Output of a model of two embeddings; one array per room, a row per superpoint, D dimensions.

    pred_followers: embedding of each superpoint as a follower.
    pred_influencers: embedding of each superpoint as an influencer; it attracts the followers near this place.
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
        """A copy with all tensors, also those of the targets, on `device`; only the offsets stay on the CPU."""
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
class PredictedObject:
    """One object of a `Prediction`.

    Args:
        label: name of its class.
        score: its score, 0..1.
        mask: True at the points of the object.
        box: least and greatest corner of the axis-aligned box around its points, in meters; zeros without points.
    """

    label: str
    score: float
    mask: Bool[np.ndarray, "P"]
    box: Float32[np.ndarray, "2 3"]

    @property
    def num_points(self) -> int:
        """Number of points of the object."""
        return int(np.count_nonzero(self.mask))


@dataclass(frozen=True, eq=False, repr=False)
class Prediction:
    """Everything that was predicted for one scene: objects, whose masks may overlap, and the class of every point.

    Iterating gives each object as a `PredictedObject`. Both parts may be absent: then there is only a scene to show.

    Args:
        scene: the scan, with its ground truth if it has one.
        masks: bool (I, S) over superpoints or (I, P) over points, True inside the object. A dense array becomes
            sparse, because an object of a large scan has few of the columns. Without masks no objects were predicted.
        labels: class index of each object.
        scores: score of each object, finite; models of pcseg give 0..1 and the best object first.
        semantic: predicted class index of each point, -1 for none; None if only objects were predicted.
        classes: the classes that all labels index; None if nothing has a label.
        superpoint: column of `masks` that each point belongs to; None for masks over points.

    Raises:
        ValueError: the parts do not belong together.

    >>> classes = ClassSet.from_dict({"name": "mine", "names": ["chair"]})
    >>> scene, masks = Scene.without_xyz("room", 3), np.array([[True, True, False], [False, True, True]])
    >>> prediction = Prediction(scene, masks, np.array([0, 0]), np.array([0.9, 0.5]), classes=classes)
    >>> [(found.label, found.score, found.num_points) for found in prediction]
    [('chair', 0.9, 2), ('chair', 0.5, 2)]
    >>> prediction.point_ids().tolist()
    [1, 1, 2]
    """

    scene: Scene
    masks: csr_array = field(default_factory=lambda: mask_rows([], 0))
    labels: Integer[np.ndarray, "I"] = field(default_factory=lambda: np.zeros(0, np.int64))
    scores: Float[np.ndarray, "I"] = field(default_factory=lambda: np.zeros(0, np.float32))
    semantic: Int32[np.ndarray, "P"] | None = None
    classes: ClassSet | None = None
    superpoint: Int32[np.ndarray, "P"] | None = None

    def __post_init__(self) -> None:
        name, num_points = f"scene {self.scene.name}", len(self.scene)
        if self.masks.ndim != 2 or self.masks.dtype != np.bool_:
            raise ValueError(f"{name}: masks must be bool of two dimensions, got {self.masks.dtype} {self.masks.shape}")
        if isinstance(self.masks, np.ndarray):
            rows = [np.flatnonzero(mask) for mask in np.asarray(self.masks)]
            object.__setattr__(self, "masks", mask_rows(rows, self.num_columns))
        if not (self.masks.has_canonical_format and np.all(self.masks.data)):
            raise ValueError(f"{name}: sparse masks must hold each column once, ascending, and only True")
        num_masks = len(self.masks.indptr) - 1
        if not num_masks == len(self.labels) == len(self.scores):
            raise ValueError(
                f"{name}: masks, labels and scores must have one row per object, got {num_masks}, "
                f"{len(self.labels)} and {len(self.scores)}"
            )
        num_covered = self.num_columns if self.superpoint is None else len(self.superpoint)
        if self.has_objects and num_covered != num_points:
            raise ValueError(f"{name}: masks are for {num_covered} points, the scene has {num_points}")
        owner = self.superpoint
        if owner is not None and len(owner) and not 0 <= owner.min() <= owner.max() < self.num_columns:
            raise ValueError(
                f"{name}: superpoints run from {owner.min()} to {owner.max()}, "
                f"the masks have columns for 0 to {self.num_columns - 1}"
            )
        if not np.isfinite(self.scores).all():
            row = int(np.flatnonzero(~np.isfinite(self.scores))[0])
            raise ValueError(f"{name}: the score of object {row} is {self.scores[row]}, not a finite number")
        if self.semantic is not None and self.semantic.shape != (num_points,):
            raise ValueError(f"{name}: predicted semantic must have shape ({num_points},), got {self.semantic.shape}")
        if self.scene.instance is not None and self.scene.instance.min(initial=0) < 0:
            raise ValueError(f"{name}: instance must be 0 for none or an id from 1, got {self.scene.instance.min()}")
        self._check_classes("semantic", self.scene.semantic, -1)
        self._check_classes("predicted semantic", self.semantic, -1)
        self._check_classes("labels of objects", self.labels, 0)

    def _check_classes(self, key: str, indices: np.ndarray | None, least: int) -> None:
        if indices is None or len(indices) == 0:
            return
        if self.classes is None:
            raise ValueError(f"scene {self.scene.name}: it has class labels ({key}), so the class set must be given")
        if not least <= indices.min() <= indices.max() < len(self.classes):
            raise ValueError(
                f"scene {self.scene.name}: {key} must be class indices from {least} to {len(self.classes) - 1} of "
                f"{self.classes.name}, got {indices.min()} to {indices.max()}"
            )

    def __repr__(self) -> str:
        objects = f"{len(self)} objects" if self.has_objects else "no objects predicted"
        return f"Prediction({self.scene.name!r}, {self.num_points:,} points, {objects})"

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[PredictedObject]:
        for row in range(len(self)):
            mask = self.point_mask(row)
            xyz = self.scene.xyz[mask] if mask.any() else np.zeros((1, 3), np.float32)
            box = np.stack([xyz.min(axis=0), xyz.max(axis=0)])
            assert self.classes is not None  # objects have labels
            yield PredictedObject(self.classes.names[self.labels[row]], float(self.scores[row]), mask, box)

    @property
    def has_objects(self) -> bool:
        """Whether objects were predicted, even if none was found."""
        return self.masks.shape != (0, 0)

    @property
    def num_columns(self) -> int:
        """Number of columns of the masks: S, or P for masks over points."""
        return cast("tuple[int, int]", self.masks.shape)[1]

    @property
    def num_points(self) -> int:
        """P, the number of points of the scene."""
        return len(self.scene)

    def columns(self, index: int) -> Integer[np.ndarray, "n"]:
        """Columns in the mask of one object, ascending."""
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
        """One id per point: where masks overlap, the higher score wins, and of equal scores the later object.

        Args:
            threshold: objects that score less are left out.

        Returns:
            0 where there is no object, otherwise 1 + the row of the object.
        """
        if not self.has_objects:
            return np.zeros(self.num_points, np.int32)
        columns = np.zeros(self.num_columns, np.int32)
        for row in np.argsort(self.scores, kind="stable"):
            if self.scores[row] >= threshold:
                columns[self.columns(row)] = row + 1
        return columns if self.superpoint is None else columns[self.superpoint]

    def select(self, rows: Integer[np.ndarray, "n"]) -> "Prediction":
        """A prediction with some of the objects, in the order of `rows`."""
        return replace(self, masks=self.masks[rows], labels=self.labels[rows], scores=self.scores[rows])

    def save(self, path: Path | str) -> None:
        """Write the scene and its prediction to one compressed .npz that `load` reads without any other file.

        Args:
            path: the file; it is replaced only when the new one is complete.

        Raises:
            OSError: the file cannot be written.
        """
        classes = self.classes or ClassSet("", (), (), (), frozenset(), ())
        arrays: dict[str, np.ndarray] = {
            "format": np.array(RESULT_FORMAT),
            "version": np.array(RESULT_VERSION),
            "name": np.array(self.scene.name),
            "class_set": np.array(classes.name),
            "class_names": np.array(classes.names, np.str_),
            "class_ids": np.array(classes.ids, np.int64),
            "class_colors": np.array(classes.colors, np.uint8),
            "class_stuff": np.array([name in classes.stuff for name in classes.names], np.bool_),
            "class_instances": np.array(classes.instance_classes, np.int64),
        }
        arrays |= {key: value for key in _SCENE_ARRAYS if (value := getattr(self.scene, key)) is not None}
        if self.has_objects:
            bits = np.zeros((len(self), (self.num_columns + 7) // 8), np.uint8)  # eight columns a byte
            for row in range(len(self)):
                bits[row] = np.packbits(self.column_mask(row))
            arrays["mask_shape"] = np.array([len(self), self.num_columns], np.int64)
            arrays["mask_bits"] = bits
            arrays["labels"] = np.asarray(self.labels, np.int64)
            arrays["scores"] = np.asarray(self.scores)
            if self.superpoint is not None:
                arrays["mask_superpoint"] = self.superpoint
        if self.semantic is not None:
            arrays["predicted_semantic"] = self.semantic
        atomic_write(Path(path), npz_bytes(arrays))

    @classmethod
    def load(cls, path: Path | str) -> "Prediction":
        """Read what `save` wrote.

        Args:
            path: a result file, of `save`, tools/predict.py or tools/test.py.

        Raises:
            ValueError: the file is not a result, is damaged, or was written by a newer version.
            OSError: the file cannot be opened.
        """
        arrays = read_npz(Path(path))
        kind, version = arrays.get("format"), arrays.get("version", np.array(-1))
        if kind is None or kind.ndim != 0 or str(kind) != RESULT_FORMAT:
            raise ValueError(f"{path}: not a pcseg result (no entry 'format' with {RESULT_FORMAT!r})")
        if int(version) != RESULT_VERSION:
            raise ValueError(f"{path}: result version {version}, expected {RESULT_VERSION}; read it with a newer pcseg")
        try:
            present = {key: dtype for key, dtype in _SCENE_ARRAYS.items() if key in arrays or key == "xyz"}
            scene = Scene(str(_entry(arrays, "name")), **{key: _entry(arrays, key, present[key]) for key in present})
            semantic = _entry(arrays, "predicted_semantic", np.int32) if "predicted_semantic" in arrays else None
            return cls(scene, semantic=semantic, classes=_classes_of(arrays), **_objects_of(arrays))
        except (TypeError, IndexError, ValueError) as error:
            raise ValueError(f"{path}: damaged result file: {error}") from error


def mask_rows(columns: Sequence[Integer[np.ndarray, "n"]], num_columns: int) -> csr_array:
    """Masks of objects as a sparse bool array.

    Args:
        columns: columns of each object, ascending.
        num_columns: S, or P for masks over points.
    """
    inside = np.concatenate([np.zeros(0, np.int64), *columns])
    starts = np.cumsum([0, *map(len, columns)])
    return csr_array((np.ones(len(inside), np.bool_), inside, starts), shape=(len(columns), num_columns))


def is_result(path: Path) -> bool:
    """Whether a file is an .npz archive with the entries of `Prediction.save`; scans may be .npz files too."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return {"format.npy", "version.npy", "class_names.npy"} <= set(archive.namelist())


RESULT_FORMAT, RESULT_VERSION = "pcseg-result", 1
_SCENE_ARRAYS = {
    **{"xyz": np.float32, "rgb": np.uint8, "normal": np.float32},
    **dict.fromkeys(("semantic", "instance", "superpoint", "faces"), np.int32),
}


def _entry(arrays: dict[str, np.ndarray], key: str, dtype: type | None = None) -> np.ndarray:
    if key not in arrays:
        raise ValueError(f"no entry {key!r}")
    value = arrays[key]
    if dtype is not None and value.dtype != dtype:
        raise ValueError(f"entry {key!r} must be {np.dtype(dtype).name}, found {value.dtype}")
    return value


def _classes_of(arrays: dict[str, np.ndarray]) -> ClassSet | None:
    names = [str(name) for name in _entry(arrays, "class_names")]
    if not names:
        return None
    content = {
        "name": str(_entry(arrays, "class_set")),
        "names": names,
        "ids": _entry(arrays, "class_ids", np.int64).tolist(),
        "colors": _entry(arrays, "class_colors", np.uint8).tolist(),
        "stuff": [name for name, is_stuff in zip(names, _entry(arrays, "class_stuff", np.bool_)) if is_stuff],
        "instance_names": [names[i] for i in _entry(arrays, "class_instances", np.int64)],
    }
    return ClassSet.from_dict(content, "classes")


def _objects_of(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Fields of a `Prediction` for its objects; empty if none were predicted."""
    if "mask_bits" not in arrays:
        return {}
    rows, columns = (int(size) for size in _entry(arrays, "mask_shape", np.int64))
    bits = _entry(arrays, "mask_bits", np.uint8)
    if rows < 0 or columns < 0 or bits.shape != (rows, (columns + 7) // 8):
        raise ValueError(f"masks of shape {(rows, columns)} do not fit the packed bits of shape {bits.shape}")
    scores = _entry(arrays, "scores")
    if scores.dtype not in (np.float32, np.float64):
        raise ValueError(f"entry 'scores' must be float32 or float64, found {scores.dtype}")
    return {
        "masks": mask_rows([np.flatnonzero(np.unpackbits(row, count=columns)) for row in bits], columns),
        "labels": _entry(arrays, "labels", np.int64),
        "scores": scores,
        "superpoint": _entry(arrays, "mask_superpoint", np.int32) if "mask_superpoint" in arrays else None,
    }
