"""The prediction for one scene: objects and the class of each point, saved in one file.

`pcseg.structures` explains the letters of the shapes.
"""

import html
import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast, overload

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int32, Integer
from scipy.sparse import csr_array

from pcseg.choices import DEFAULT_THRESHOLD, check_threshold
from pcseg.classes import NO_CLASSES, ClassSet
from pcseg.files import atomic_write, npz_bytes, read_npz
from pcseg.structures import SCENE_ARRAYS, ScanFile, Scene

_MAX_ROWS = 20  # objects in the table of a notebook
NO_IDS = np.zeros(0, np.int32)  # as `ids` of a `Prediction`: its objects are numbered again


@dataclass(frozen=True, eq=False, repr=False)
class PredictedObject:
    """One object of a `Prediction`; the size in its repr is that of its box.

    Args:
        id: its id in `Prediction.point_ids`, tables, pictures and files.
        label: name of its class.
        score: its score, 0..1.
        mask: True at the points of the object.
        xyz: its points in meters.

    >>> PredictedObject(3, "chair", 0.93, np.array([True, True]), np.array([[0, 0, 0], [0.5, 0.6, 1]], np.float32))
    <chair 0.93: 2 points, 0.50 x 0.60 x 1.00 m>
    """

    id: int
    label: str
    score: float
    mask: Bool[np.ndarray, "P"]
    xyz: Float32[np.ndarray, "n 3"]

    @property
    def num_points(self) -> int:
        """Number of points of the object."""
        return len(self.xyz)

    @property
    def box(self) -> Float32[np.ndarray, "2 3"]:
        """Least and greatest corner of the axis-aligned box around its points, in meters; zeros without points."""
        xyz = self.xyz if len(self.xyz) else np.zeros((1, 3), np.float32)
        return np.stack([xyz.min(axis=0), xyz.max(axis=0)])

    def __repr__(self) -> str:
        return f"<{self.label} {self.score:.2f}: {counted(self.num_points, 'point')}, {size_text(*self.box)} m>"


@dataclass(frozen=True, eq=False, repr=False)
class Prediction:
    """Everything that was predicted for one scene: objects, whose masks may overlap, and the class of every point.

    Iterating or indexing gives objects as `PredictedObject`, and a slice gives a prediction with these objects. An
    object of a model has 1 + its row as id, and keeps it in slices, `select`, `above`, pictures and all files. Both
    parts may be absent: then there is only a scene to show.

    Args:
        scene: the scan, with its ground truth if it has one.
        masks: bool (I, S) over superpoints or (I, P) over points, True inside the object. A dense array becomes
            sparse, because an object of a large scan has few of the columns. Without masks no objects were predicted.
        labels: class index of each object.
        scores: score of each object, finite; models of pcseg give 0..1 and the best object first.
        semantic: predicted class index of each point, -1 for none; None if only objects were predicted.
        classes: the classes that all labels index; None if nothing has a label.
        superpoint: column of `masks` that each point belongs to; None for masks over points.
        min_points: objects to which better ones leave fewer points are not shown, see `point_ids`.
        ids: id of each object, different and from 1; by default 1 + its row.

    Raises:
        ValueError: the parts do not belong together.

    >>> classes = ClassSet.from_dict({"name": "mine", "names": ["chair"]})
    >>> scene, masks = Scene.without_xyz("room", 3), np.array([[True, True, False], [False, True, True]])
    >>> prediction = Prediction(scene, masks, np.array([0, 0]), np.array([0.9, 0.5]), classes=classes)
    >>> prediction
    <Prediction room: 2 objects, 2 with score >= 0.2, 3 points>
    >>> [(found.label, found.score, found.num_points) for found in prediction]
    [('chair', 0.9, 2), ('chair', 0.5, 2)]
    >>> prediction.above(0.8)[0]
    <chair 0.90: 2 points, 0.00 x 0.00 x 0.00 m>
    >>> prediction.point_ids().tolist(), prediction[1:].point_ids().tolist(), prediction[1].id
    ([1, 1, 2], [0, 2, 2], 2)
    """

    scene: Scene
    masks: csr_array = field(default_factory=lambda: mask_rows([], 0))
    labels: Integer[np.ndarray, "I"] = field(default_factory=lambda: np.zeros(0, np.int64))
    scores: Float[np.ndarray, "I"] = field(default_factory=lambda: np.zeros(0, np.float32))
    semantic: Int32[np.ndarray, "P"] | None = None
    classes: ClassSet | None = None
    superpoint: Int32[np.ndarray, "P"] | None = None
    min_points: int = 0
    ids: Int32[np.ndarray, "_"] = field(default_factory=lambda: NO_IDS)

    def __post_init__(self) -> None:
        name, num_points = f"scene {self.scene.name}", len(self.scene)
        if getattr(self.masks, "ndim", 0) != 2 or self.masks.dtype != np.bool_:
            is_array = isinstance(self.masks, np.ndarray | csr_array)
            found = f"{self.masks.dtype} {self.masks.shape}" if is_array else type(self.masks).__name__
            raise ValueError(f"{name}: masks must be bool of two dimensions, got {found}")
        if isinstance(self.masks, np.ndarray):
            rows = [np.flatnonzero(mask) for mask in np.asarray(self.masks)]
            object.__setattr__(self, "masks", mask_rows(rows, self.num_columns))
        if not (self.masks.has_canonical_format and np.all(self.masks.data)):
            raise ValueError(f"{name}: sparse masks must hold each column once, ascending, and only True")
        kinds = {"labels": np.integer, "scores": np.floating, "semantic": np.int32, "superpoint": np.int32}
        for key, kind in kinds.items():
            value = getattr(self, key)
            if value is not None and not (isinstance(value, np.ndarray) and np.issubdtype(value.dtype, kind)):
                found = value.dtype if isinstance(value, np.ndarray) else type(value).__name__
                raise ValueError(f"{name}: {key} must be an array of {kind.__name__}, got {found}")
        num_masks = len(self.masks.indptr) - 1
        if not num_masks == len(self.labels) == len(self.scores):
            found = f"{num_masks}, {len(self.labels)} and {len(self.scores)}"
            raise ValueError(f"{name}: masks, labels and scores must have one row per object, got {found}")
        ids = self.ids if len(self.ids) else np.arange(1, num_masks + 1)
        object.__setattr__(self, "ids", np.asarray(ids, np.int32))
        if len(self.ids) != num_masks or len(np.unique(self.ids)) != num_masks or self.ids.min(initial=1) < 1:
            raise ValueError(f"{name}: ids must be {num_masks} different numbers from 1, got {self.ids[:9].tolist()}")
        num_covered = self.num_columns if self.superpoint is None else len(self.superpoint)
        if self.has_objects and num_covered != num_points:
            raise ValueError(f"{name}: masks are for {num_covered} points, the scene has {num_points}")
        owner = self.superpoint
        if owner is not None and len(owner) and not 0 <= owner.min() <= owner.max() == self.num_columns - 1:
            found = f"superpoints run from {owner.min()} to {owner.max()}, the masks have {self.num_columns} columns"
            raise ValueError(f"{name}: {found}; masks over points need superpoint=None")
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
        where = f"scene {self.scene.name}"
        if self.classes is None:
            raise ValueError(f"{where}: it has class labels ({key}), so the class set must be given")
        if not least <= indices.min() <= indices.max() < len(self.classes):
            expected = f"class indices from {least} to {len(self.classes) - 1} of {self.classes.name}"
            raise ValueError(f"{where}: {key} must be {expected}, got {indices.min()} to {indices.max()}")

    def __repr__(self) -> str:
        objects = counted(len(self), "object") if self.has_objects else "no objects predicted"
        if len(self):
            objects += f", {len(self.above(DEFAULT_THRESHOLD))} with score >= {DEFAULT_THRESHOLD}"
        return f"<Prediction {self.scene.name}: {objects}, {counted(self.num_points, 'point')}>"

    def __len__(self) -> int:
        return len(self.labels)

    @overload
    def __getitem__(self, index: int) -> PredictedObject: ...

    @overload
    def __getitem__(self, index: slice) -> "Prediction": ...

    def __getitem__(self, index: int | slice) -> "PredictedObject | Prediction":
        if isinstance(index, slice):
            return self.select(np.arange(len(self))[index])
        row = range(len(self))[index]
        mask = self.point_mask(row)
        assert self.classes is not None  # objects have labels
        label, score = self.classes.names[self.labels[row]], float(self.scores[row])
        return PredictedObject(int(self.ids[row]), label, score, mask, self.scene.xyz[mask])

    def __iter__(self) -> Iterator[PredictedObject]:
        return (self[row] for row in range(len(self)))

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

    @property
    def column_points(self) -> Float64[np.ndarray, "columns"]:
        """Number of points of each column of the masks."""
        if self.superpoint is None:
            return np.ones(self.num_columns)
        return np.bincount(self.superpoint, minlength=self.num_columns).astype(np.float64)

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

    def point_ids(self, threshold: float = 0.0, *, min_points: int | None = None) -> Int32[np.ndarray, "P"]:
        """The id of the object of each point, as files, tables and pictures have it.

        Where masks overlap, the higher score wins, and of equal scores the later object. An object to which better ones
        leave fewer than `min_points` points is left out; the next object there gets them.

        Args:
            threshold: objects that score less are left out.
            min_points: least number of points; by default that of this prediction.

        Returns:
            0 where there is no object.

        Raises:
            ValueError: a threshold outside 0..1.
        """
        check_threshold(threshold, "threshold")
        return np.append(np.int32(0), self.ids)[self.point_rows(threshold, min_points=min_points)]

    def point_rows(self, threshold: float = 0.0, *, min_points: int | None = None) -> Int32[np.ndarray, "P"]:
        """As `point_ids`, with 1 + the row of the object instead of its id.

        Args:
            threshold: objects that score less are left out.
            min_points: least number of points; by default that of this prediction.
        """
        columns = self._column_rows(threshold, self.min_points if min_points is None else min_points)
        return columns if self.superpoint is None else columns[self.superpoint]

    def _column_rows(self, threshold: float, min_points: int) -> Int32[np.ndarray, "columns"]:
        if not self.has_objects:
            return np.zeros(self.num_points, np.int32)
        sizes = self.column_points
        columns = np.zeros(self.num_columns, np.int32)
        for row in np.argsort(self.scores, kind="stable")[::-1]:
            free = self.columns(row)[columns[self.columns(row)] == 0]
            if self.scores[row] >= threshold and sizes[free].sum() >= min_points:
                columns[free] = row + 1
        return columns

    def point_labels(self, threshold: float = 0.0) -> Int32[np.ndarray, "P"]:
        """The class index of the object of each point, or the predicted class of the point where there is no object.

        Args:
            threshold: objects that score less are left out.

        Returns:
            -1 where neither was predicted. With `point_ids`, these are labels to correct and train on.
        """
        return self.row_labels(self.point_rows(threshold))

    def row_labels(self, rows: Int32[np.ndarray, "P"]) -> Int32[np.ndarray, "P"]:
        """As `point_labels`, from what `point_rows` gives."""
        other = np.full(len(rows), -1, np.int32) if self.semantic is None else self.semantic
        return np.where(rows > 0, np.append(-1, self.labels)[rows], other).astype(np.int32)

    def select(self, rows: Integer[np.ndarray, "n"]) -> "Prediction":
        """A prediction with some of the objects, which keep their ids, in the order of `rows`."""
        parts = {"masks": self.masks[rows], "labels": self.labels[rows], "scores": self.scores[rows]}
        return replace(self, **parts, ids=self.ids[rows])

    def above(self, score: float) -> "Prediction":
        """A prediction with the objects that score at least so much, as `point_ids`, tables and pictures have them.

        Each point belongs to its best object, so masks do not overlap. Iterate over the prediction itself for the whole
        masks, and for the many objects with low scores that models also give.

        Raises:
            ValueError: a score outside 0..1.
        """
        check_threshold(score, "score")
        if not self.has_objects:
            return self
        rows, parts = masks_of_ids(self._column_rows(score, self.min_points))
        return replace(self.select(rows - 1), masks=parts)

    def in_classes(self, classes: ClassSet, scene: Scene) -> "Prediction":
        """The prediction in the classes of another set, such as a benchmark's.

        Args:
            classes: the other set; objects of classes without a counterpart there are left out.
            scene: the same scan, with labels of the other set, if it has any.

        Raises:
            ValueError: no mapping is known, see `ClassSet.mapping_to`.
        """
        assert self.classes is not None
        index = self.classes.mapping_to(classes)
        found = self.select(np.flatnonzero(index[self.labels] >= 0))
        semantic = None if self.semantic is None else np.where(self.semantic < 0, -1, index[self.semantic])
        return replace(found, scene=scene, labels=index[found.labels], semantic=semantic, classes=classes)

    def _repr_html_(self) -> str:
        """A table of the best objects, for notebooks."""
        best = self.above(DEFAULT_THRESHOLD)
        rows = [("id", "class", "score", "size in meters", "points")]
        for found in best.select(np.argsort(-best.scores, kind="stable")[:_MAX_ROWS]):
            size, num_points = size_text(*found.box), f"{found.num_points:,}"
            rows.append((str(found.id), found.label, f"{found.score:.2f}", size, num_points))
        cells = ("".join(f"<td>{html.escape(text)}</td>" for text in row) for row in rows)
        more = f"<p>and {len(best) - _MAX_ROWS} more with a score of {DEFAULT_THRESHOLD} or above</p>"
        table = f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>" if len(best) else ""
        return f"<p>{html.escape(repr(self))}</p>{table}{more if len(best) > _MAX_ROWS else ''}"

    def show(self, threshold: float = DEFAULT_THRESHOLD) -> Path | None:
        """Shows the scan and its objects in a window, or on a web page where Open3D or a display is missing.

        Args:
            threshold: lowest score of shown objects.

        Returns:
            None after the window was closed; the temporary .html file that the browser opens, or that you can open
            where there is no browser.

        Raises:
            ValueError: the scene has no points.
        """
        from pcseg.viz.show import show  # the one import upward: docs/design.md

        return show(self, threshold)

    def save(self, path: Path | str) -> None:
        """Writes scene and prediction to one compressed .npz, atomically, that `load` reads without any other file.

        Raises:
            ValueError: the name does not end with .npz.
            OSError: the file cannot be written.
        """
        if Path(path).suffix != ".npz":
            remedy = f"from that, `pcseg export {Path(path).stem}.npz --ply DIR` writes .ply, and --csv or --las others"
            raise ValueError(f"{path}: a prediction is saved as .npz; {remedy}")
        classes = self.classes or NO_CLASSES
        arrays: dict[str, np.ndarray] = {
            "format": np.array(RESULT_FORMAT),
            "version": np.array(RESULT_VERSION),
            "name": np.array(self.scene.name),
            "class_set": np.array(classes.name),
            "class_names": np.array(classes.names, np.str_),
            "class_ids": np.array(classes.ids, np.int64),
            "class_colors": np.array(classes.colors, np.uint8),
            "class_stuff": classes.is_stuff,
            "class_instances": np.array(classes.instance_classes, np.int64),
            "class_groups": np.array(json.dumps(classes.to_dict()["groups"])),
            "class_s3dis_protocols": np.array(classes.s3dis_protocols),
        }
        arrays |= {key: value for key in SCENE_ARRAYS if (value := getattr(self.scene, key)) is not None}
        if self.scene.file is not None:
            arrays |= {f"file_{key}": value for key, value in vars(self.scene.file).items()}
        if self.has_objects:
            bits = [np.packbits(self.column_mask(row)) for row in range(len(self))]  # eight columns a byte
            arrays["mask_shape"] = np.array([len(self), self.num_columns], np.int64)
            arrays["mask_bits"] = np.array(bits, np.uint8).reshape(len(self), (self.num_columns + 7) // 8)
            arrays["labels"] = np.asarray(self.labels, np.int64)
            arrays["scores"] = self.scores if self.scores.dtype == np.float64 else np.asarray(self.scores, np.float32)
            arrays["min_points"] = np.array(self.min_points)
            arrays["object_ids"] = self.ids
            if self.superpoint is not None:
                arrays["mask_superpoint"] = self.superpoint
        if self.semantic is not None:
            arrays["predicted_semantic"] = self.semantic
        atomic_write(path, npz_bytes(arrays))

    @classmethod
    def load(cls, path: Path | str) -> "Prediction":
        """Reads a result file of `save`, pcseg predict or pcseg test.

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
            present = [key for key in SCENE_ARRAYS if key in arrays or key == "xyz"]
            columns: dict[str, Any] = {key: _entry(arrays, key, SCENE_ARRAYS[key][0]) for key in present}
            scene = Scene(str(_entry(arrays, "name")), **columns, file=_file_of(arrays))
            semantic = _entry(arrays, "predicted_semantic", np.int32) if "predicted_semantic" in arrays else None
            least = int(arrays.get("min_points", 0))
            return cls(scene, semantic=semantic, classes=_classes_of(arrays), **_objects_of(arrays), min_points=least)
        except (TypeError, IndexError, ValueError) as error:
            raise ValueError(f"{path}: damaged result file: {error}") from error


def counted(num: int, noun: str) -> str:
    """A number and its noun: "1 room", "2 rooms"."""
    return f"{num:,} {noun}{'' if num == 1 else 's'}"


def size_text(low: Sequence[float], high: Sequence[float], *, width: int = 0) -> str:
    """Edge lengths of a box, as tables and messages have them.

    Args:
        low: least coordinates of the box in meters.
        high: greatest coordinates of the box in meters.
        width: least number of characters of each length.

    >>> size_text([0, 0, 0], [0.5, 0.625, 12], width=5)
    ' 0.50 x  0.62 x 12.00'
    """
    return " x ".join(f"{float(b) - float(a):{width}.2f}" for a, b in zip(low, high))


def masks_of_ids(ids: Int32[np.ndarray, "N"]) -> tuple[Int32[np.ndarray, "n"], csr_array]:
    """The ids above 0 that occur, ascending, and the mask of each over the columns that have it."""
    columns = np.flatnonzero(ids > 0)
    found, row = np.unique(ids[columns], return_inverse=True)
    return found, csr_array((np.ones(len(columns), np.bool_), (row, columns)), shape=(len(found), len(ids)))


def mask_rows(columns: Sequence[Integer[np.ndarray, "n"]], num_columns: int) -> csr_array:
    """Masks of objects as a sparse bool array, from the ascending columns of each object."""
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


def _entry(arrays: dict[str, np.ndarray], key: str, dtype: type | None = None) -> np.ndarray:
    if key not in arrays:
        raise ValueError(f"no entry {key!r}")
    value = arrays[key]
    if dtype is not None and value.dtype != dtype:
        raise ValueError(f"entry {key!r} must be {np.dtype(dtype).name}, found {value.dtype}")
    return value


def _file_of(arrays: dict[str, np.ndarray]) -> ScanFile | None:
    if "file_matrix" not in arrays:
        return None
    rows, places = (_entry(arrays, f"file_{key}", np.int32) for key in ("rows", "places"))
    return ScanFile(rows, places, _entry(arrays, "file_matrix", np.float64))


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
        "groups": json.loads(str(_entry(arrays, "class_groups"))),
        "s3dis_protocols": bool(_entry(arrays, "class_s3dis_protocols", np.bool_)),
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
        **({"ids": _entry(arrays, "object_ids", np.int32)} if "object_ids" in arrays else {}),
    }
