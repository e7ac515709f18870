"""A trained model with what it needs to predict any scan."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from threading import Lock
from typing import Any, get_args, overload
from weakref import WeakKeyDictionary

import numpy as np
import torch
from jaxtyping import Float32, Int32, Int64
from scipy.sparse import csr_array

from pcseg.choices import DEFAULT_THRESHOLD
from pcseg.choices import ViewSet as ViewSet
from pcseg.classes import ClassSet, class_set
from pcseg.data.dataset import check_features, make_batch
from pcseg.data.floor import flat_floor
from pcseg.data.reader_options import READER_OPTIONS
from pcseg.data.scan_checks import check_spacing, scan_warnings
from pcseg.data.scan_fields import Report, keep_points, report_to_log
from pcseg.data.scan_files import read_scan
from pcseg.data.scan_frame import may_be_turned
from pcseg.data.store import MANIFEST
from pcseg.files import first_of
from pcseg.inference.decode import UNSURE, DecodeOptions, decode
from pcseg.inference.filters import keep, matrix_nms, trust_large, without_overlap
from pcseg.inference.merge import merge
from pcseg.inference.pieces import split_pieces, superpoint_areas, superpoint_cells, superpoint_links
from pcseg.inference.rooms import split_rooms
from pcseg.inference.surfaces import with_surfaces
from pcseg.inference.tiles import Tile, TileGrid, tile_grid
from pcseg.inference.up_axis import axis_of_file, likely_axes
from pcseg.models.influencerformer import InfluencerFormer
from pcseg.models.sparse_unet import multiply_halves
from pcseg.models.voxel_batch_norm import adapt
from pcseg.ops.device import pick_device
from pcseg.ops.overlap import group_means
from pcseg.ops.precision import AnyPrecision, autocast, halves_on_cpu
from pcseg.ops.segment import group_rows
from pcseg.ops.superpoints import SuperpointOptions
from pcseg.parallel import progress_bar
from pcseg.prediction import NO_IDS, Prediction
from pcseg.structures import Scene

# Test-time augmentation: the same points mirrored and rotated by right angles. Each set begins with the scan as it is.
_FLIPS = tuple(np.diag([x, y, 1.0]).astype(np.float32) for x in (1, -1) for y in (1, -1))
_QUARTER_TURN = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]], np.float32)
VIEWS: dict[str, tuple[np.ndarray, ...]] = {
    "one": _FLIPS[:1],
    "flips": _FLIPS,
    "flips_rotations": (*_FLIPS, *(flip @ _QUARTER_TURN for flip in _FLIPS)),
}
# Least IoU of two objects to merge them from two views. Higher than for tiles, which may truncate objects.
_VIEW_IOU = 0.65

_LOCKS = WeakKeyDictionary[torch.nn.Module, Lock]()  # copies with other options share a network and change its modes

# What can be predicted: a file, points (P, 3) of x y z or (P, 6) of x y z r g b, or a scene.
Scan = Scene | Path | str | np.ndarray | torch.Tensor
Scans = list[Any] | tuple[Any, ...]
Stage = Callable[[str], None]
Found = tuple[Prediction, Float32[np.ndarray, "S C"]]  # objects, and class probabilities of superpoints


@dataclass(frozen=True)
class SegmenterOptions(DecodeOptions):
    """Options of `Segmenter`; also the ``inference`` section of a config."""

    num_queries: int = 0  # most superpoint queries of a room or tile; 0 uses the number in training
    score_threshold: float = 0.0  # least score of an object
    shown_above: float = DEFAULT_THRESHOLD  # least score of objects in pictures, tables and files for other programs
    tile_above: float = 10.0  # meters; a longer scan is predicted room by room, longer rooms in tiles; .inf: never
    tile_size: float = 5.0  # edge of a tile in meters; best about the size of the rooms in training
    tile_overlap: float = 2.0  # least overlap of neighboring tiles in meters
    flat_floor: bool = False  # predict a copy of the scan whose floor is made level and flat
    adapt_norm: bool = False  # batch norms take their statistics from the scan; helps where it differs from training
    # float32, bf16, fp16; auto is bf16 for the convolutions of AMD CPUs that multiply it, float32 elsewhere
    precision: AnyPrecision = "auto"
    views: ViewSet = "one"  # test-time augmentation: 1, 4 or 8 predictions of each room, merged
    split_pieces: bool = False  # make an object of each connected piece of a mask
    whole_area: float = 0.0  # square meters; objects with a smaller surface get lower scores
    surfaces: bool = False  # also objects of the classes that are stuff: floors, ceilings, each plane of the walls
    matrix_nms: bool = True  # lower the scores of objects that overlap better ones of their class
    non_overlapping: bool = False  # leave each superpoint to the best of its objects


@dataclass(frozen=True, eq=False)
class Segmenter:
    """Scans in, predictions out.

    The network is in evaluation mode, so that calling it directly leaves its batch statistics as they are.

    Args:
        model: the network.
        classes: classes that the model predicts.
        voxel_size: edge of a voxel in meters.
        features: names of the point features that the model takes.
        options: options of prediction.
        superpoints: options for the superpoints of scenes that have none.

    >>> from pcseg import load_model
    >>> segmenter = load_model().to("cpu").with_options(views="one")
    >>> segmenter, segmenter.model.training
    (<Segmenter of 31 classes (indoor) on cpu>, False)
    >>> points = np.random.default_rng(0).random((500, 6))  # x y z in meters, and colors
    >>> [prediction.num_points for prediction in segmenter.predict([points, points[:100]])]
    [500, 100]
    """

    model: InfluencerFormer
    classes: ClassSet
    voxel_size: float
    features: Sequence[str]
    options: SegmenterOptions = field(default_factory=SegmenterOptions)
    superpoints: SuperpointOptions = field(default_factory=SuperpointOptions)

    def __post_init__(self) -> None:
        self.model.eval()

    def __repr__(self) -> str:
        return f"<Segmenter of {len(self.classes)} classes ({self.classes.name}) on {self.device}>"

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.model.parameters()).device

    def to(self, device: str | torch.device) -> "Segmenter":
        """Moves the network to a device, such as "cuda:1", and returns this segmenter; copies share the network.

        Raises:
            ValueError: no such device.
        """
        self.model.to(pick_device(device))
        return self

    def with_options(self, **changes: Any) -> "Segmenter":
        """A copy with some of the `SegmenterOptions` replaced, such as ``views="flips"``."""
        known = [option.name for option in fields(SegmenterOptions)]
        for unknown in sorted(changes.keys() - {*known}):
            near = get_close_matches(unknown, {*known, *READER_OPTIONS, "threshold", "fast"} - {unknown}, n=2)
            hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
            raise TypeError(f"no option {unknown}; {hint}")
        if (views := changes.get("views", "one")) not in VIEWS:
            raise ValueError(f"views must be one of {', '.join(VIEWS)}, got {views!r}")
        if (precision := changes.get("precision", "auto")) not in get_args(AnyPrecision):
            raise ValueError(f"precision must be one of {', '.join(get_args(AnyPrecision))}, got {precision!r}")
        return replace(self, options=replace(self.options, **changes))

    @overload
    def predict(
        self, scan: Scan, classes: ClassSet | str | None = None, *, stage: Stage | None = None, **reading: Any
    ) -> Prediction: ...

    @overload
    def predict(
        self, scan: Scans, classes: ClassSet | str | None = None, *, stage: Stage | None = None, **reading: Any
    ) -> list[Prediction]: ...

    def predict(
        self, scan: Any, classes: ClassSet | str | None = None, *, stage: Stage | None = None, **reading: Any
    ) -> Prediction | list[Prediction]:
        """Predicts the objects, best first, and the class of every point.

        Memory is used for the points, about 50 bytes each, and for the voxels and features of one tile at a time.

        Args:
            scan: a scan, or a list of scans, each of them one of these. A file, or the folder of a processed room;
                its labels are ignored. An array or tensor (P, 3) of x y z or (P, 6) of x y z r g b. Or a `Scene`.
                All scans of a list are read and checked before the first one is predicted.
            classes: class set of the result and of the scene's labels, or its name; by default the model's own.
            stage: called with the name of each step, such as "network, tile 3 of 40"; None shows a bar of the tiles
                in a terminal.
            **reading: options of `read_scan` for files and arrays: units, axes and colors.

        Returns:
            A prediction whose scene has the superpoints that were used; a list of them for a list.

        Raises:
            FileNotFoundError: the file of a single scan does not exist.
            ValueError: a scan cannot be read, has no points, or lacks a feature that the model takes, or its classes
                are unknown. For a list, each reason is given once, with the first five scans that have it.
            TypeError: no such option.
        """
        if unknown := reading.keys() - set(READER_OPTIONS):
            others = "with_options(...) sets those of prediction, and Prediction.above(...) a threshold"
            raise TypeError(f"predict has no option {', '.join(sorted(unknown))}; {others}")
        classes = self.classes if classes is None else class_set(classes)
        if isinstance(scan, list | tuple):
            scenes, errors = [], defaultdict[str, list[str]](list)  # names by reason
            for one in scan:
                try:
                    scenes.append(self._read(one, classes, reading))
                except (ValueError, OSError) as error:
                    _, name, reason = str(error).rpartition(f"{one}: ")
                    errors[reason] += [str(one)] if name else []
            if errors:
                found = f"{len(scan) - len(scenes)} of {len(scan)} scans cannot be predicted"
                why = (f"{first_of(names)}: {reason}" if names else reason for reason, names in errors.items())
                raise ValueError(f"{found}: {'; '.join(why)}")
            return [self._predict_scene(scene, classes, stage) for scene in scenes]
        return self._predict_scene(self._read(scan, classes, reading), classes, stage)

    def _predict_scene(self, scene: Scene, classes: ClassSet, stage: Stage | None) -> Prediction:
        """`predict` for a scene that `_read` has checked."""
        if classes != self.classes:
            prediction = self._predict_scene(scene.with_(semantic=None, instance=None), self.classes, stage)
            return prediction.in_classes(classes, scene.with_(superpoint=prediction.superpoint))
        options, say = self.options, stage or (lambda text: None)
        original = scene
        if options.flat_floor:
            say("floor")
            scene = flat_floor(scene)
        say("superpoints")
        if not self._is_large(scene):
            scene = self.superpoints.apply(scene)
            say("network")
            prediction, semantic = self._predict_views(scene)
        else:
            # The plan of one storey shows its rooms.
            one_storey = np.ptp(scene.xyz[:, 2]) <= options.tile_size
            room = split_rooms(scene.xyz) if one_storey else np.zeros(len(scene), np.int32)
            scene = self._with_superpoints(scene, room, say)
            prediction, semantic = self._predict_tiles(scene, room, stage)
        say("objects")
        assert scene.superpoint is not None
        objects = self._filtered(scene, prediction, semantic)
        original = original.with_(superpoint=scene.superpoint)
        of_points = semantic.argmax(1).astype(np.int32)[scene.superpoint]
        return replace(objects, scene=original, semantic=of_points, min_points=options.min_points, ids=NO_IDS)

    def read(
        self,
        scan: Path | str | np.ndarray,
        *,
        report: Report = report_to_log,
        stage: Stage | None = None,
        **reading: Any,
    ) -> Scene:
        """Reads a scan without labels, by `read_scan`, and turns it if its objects show that another axis points up.

        Where surfaces leave open that z does, the model predicts a part of the scan with each of the axes up. Rooms
        that stand upright have far more objects. `up`, or as_is=True, switches this off.

        Args:
            scan: as for `read_scan`.
            report: called with a sentence for each decision; by default a warning in the log ``pcseg``.
            stage: called with the name of a step that takes long.
            **reading: options of `read_scan`.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the scan cannot be read or lacks a feature that the model takes, or it is not certain which
                axis points up.
        """
        said: list[str] = []
        # A processed room has labels in any case.
        scene = read_scan(scan, labels=False, report=said.append, **reading).with_(semantic=None, instance=None)
        self._check(scene)
        path, axes = None if isinstance(scan, np.ndarray) else Path(scan), ["z"]
        if _axis_is_open(scan, scene, reading):
            if stage is not None:
                stage("which axis is up")
            named = self.with_options(class_power=1.0)  # objects of unsure class say little about the axis

            def find(part: Scene) -> Prediction:
                return matrix_nms(named._predict_one(self.superpoints.apply(part))[0])

            axes = likely_axes(scene, self.voxel_size, find)
        if axes == ["z"]:
            for text in said:
                report(text)
            return scene
        names, title = [axis_of_file(scene, axis) for axis in axes], scene.name if path is None else path.name
        if len(names) > 1:
            likely = ", ".join(f"up={name!r}" for name in names)
            found = f"{title}: it is not certain which axis points up"
            raise ValueError(f"{found}; use one of these, the likeliest first: {likely}; pcseg show draws the scan")
        done = f"Its objects show that {names[0]} points up, so it was turned, as up={names[0]!r} does"
        report(f"{title}: {done}. If that is wrong, use up={axis_of_file(scene, 'z')!r}.")
        reading["up"] = names[0]
        scale = 1.0 if scene.file is None else float(np.linalg.norm(scene.file.matrix[2, :3]))
        if not np.isclose(scale, 1):  # the unit was certain with any axis up
            reading["scale"] = scale
            for text in said:
                report(text)
        return read_scan(scan, labels=False, report=report, **reading)

    def warnings(self, scan: Path | str | np.ndarray, scene: Scene, **reading: Any) -> list[str]:
        """What looks wrong in the scene that `read` gave: `scan_warnings` without doubts about an axis that it checked.

        Args:
            scan: what was read.
            scene: the scene.
            **reading: the options that it was read with.
        """
        return scan_warnings(scene, self.voxel_size, up_is_known=_axis_is_open(scan, scene, reading))

    def _read(self, scan: object, classes: ClassSet, reading: dict[str, Any]) -> Scene:
        """The scan, checked, so that the model can predict it; files have no labels, scenes those of the classes."""
        if isinstance(scan, torch.Tensor):
            scan = scan.numpy(force=True)
        if isinstance(scan, Scene):
            if reading:
                raise ValueError(f"scene {scan.name} was read already: {', '.join(reading)} is for files and arrays")
            scene = scan
            if scene.semantic is not None and scene.semantic.max(initial=-1) >= len(classes):
                found = f"its labels reach {scene.semantic.max()}, those of {classes.name} end at {len(classes) - 1}"
                remedy = "give the class set of its labels as classes, or take with_(semantic=None, instance=None)"
                raise ValueError(f"scene {scene.name}: {found}; {remedy}")
        elif not isinstance(scan, Path | str | np.ndarray):
            expected = "a path, an array (P, 3) or (P, 6), a Scene, or a list of these"
            raise ValueError(f"expected {expected}, got {type(scan).__name__}")
        elif not isinstance(scan, np.ndarray) and Path(scan).is_dir() and not (Path(scan) / MANIFEST).exists():
            raise ValueError(f"{scan}: a folder, not a scan; give a list of the files in it")
        else:
            scene = self.read(scan, **reading)
            for warning in self.warnings(scan, scene, **reading):
                report_to_log(f"{scene.name}: {warning}")
        if len(scene) == 0:
            raise ValueError(f"scene {scene.name} has no points")
        self._check(scene)
        ids = scene.superpoint
        if ids is not None and (ids.min() < 0 or ids.max() >= len(ids) or not np.bincount(ids).all()):
            expected = f"scene {scene.name}: expected superpoints 0..S-1 without gaps, got {ids.min()}..{ids.max()}"
            raise ValueError(f"{expected}; number them with np.unique(superpoint, return_inverse=True)[1]")
        return scene

    def _check(self, scene: Scene) -> None:
        """Refuses a scene that lacks a feature, or is too sparse for tiles, before any warning says the same."""
        check_features(scene, self.features)
        if self._is_large(scene):
            check_spacing(scene, self.voxel_size)

    def _is_large(self, scene: Scene) -> bool:
        """Whether a scan is predicted room by room and in tiles."""
        return len(self._grid(scene.xyz, self.options.tile_overlap)) > 1

    def _filtered(self, scene: Scene, prediction: Prediction, semantic: Float32[np.ndarray, "S C"]) -> Prediction:
        """The objects of a whole scan after everything that needs no network."""
        options = self.options
        cells = superpoint_cells(scene) if options.split_pieces or options.surfaces or options.whole_area else None
        links = superpoint_links(cells) if cells and (options.split_pieces or options.surfaces) else csr_array((0, 0))
        if options.split_pieces:
            prediction = split_pieces(prediction, links, min_points=options.min_points)
        if options.matrix_nms:
            renames = options.unsure_below > 0 and UNSURE in self.classes.names
            prediction = matrix_nms(prediction, unnamed=self.classes.index(UNSURE) if renames else None)
        if options.non_overlapping:
            prediction = without_overlap(prediction)
        prediction = keep(prediction, min_points=options.min_points, score_threshold=options.score_threshold)
        if cells and options.whole_area:
            prediction = trust_large(prediction, superpoint_areas(cells), options.whole_area)
        if options.surfaces:
            prediction = with_surfaces(
                prediction, semantic, links, min_points=options.min_points, shown_above=options.shown_above
            )
        return prediction

    @torch.no_grad()
    def _predict_one(self, scene: Scene) -> Found:
        """One pass of the model over a room or tile."""
        batch = make_batch(
            [scene.with_(semantic=None, instance=None)],
            voxel_size=self.voxel_size,
            features=self.features,
            instance_classes=self.classes.instance_classes,
        )
        precision = self.options.precision
        with _LOCKS.setdefault(self.model, Lock()):
            self.model.eval()
            adapt(self.model, self.options.adapt_norm)
            if self.device.type == "cpu":
                multiply_halves(self.model, halves_on_cpu(precision))
                precision = "auto"
            with nullcontext() if precision == "auto" else autocast(self.device, precision):
                outputs = self.model(batch.to(self.device), self.options.num_queries or None)
        return decode(outputs, scene, self.classes, self.model.decoder.options, self.options)

    def _predict_views(self, scene: Scene) -> Found:
        """A room or tile, from all of its views."""
        found = [self._predict_one(scene.transformed(matrix)) for matrix in VIEWS[self.options.views]]
        if len(found) == 1:
            return found[0]
        columns = np.arange(scene.num_superpoints)
        whole = Tile(columns, np.ones(len(columns), bool))
        parts = [(whole, prediction) for prediction, _ in found]
        semantic = np.mean([probability for _, probability in found], axis=0)
        return merge(parts, scene, self.classes, min_iou=_VIEW_IOU, one_class=self.options.one_class), semantic

    def _predict_tiles(self, scene: Scene, room: Int32[np.ndarray, "P"], stage: Stage | None) -> Found:
        """A large scan, room by room and tile by tile."""
        assert scene.superpoint is not None
        points = group_rows(scene.superpoint)
        semantic = np.zeros((len(points), len(self.classes)), np.float32)
        parts = []
        tiles = self._tiles(scene, room[[rows[0] for rows in points]])
        bar = progress_bar(tiles, desc=scene.name, unit="tile", leave=False, disable=True if stage else None)
        for number, tile in enumerate(bar, 1):
            if stage is not None:
                stage(f"network, tile {number} of {len(tiles)}")
            prediction, probability = self._predict_views(_cut(scene, tile, points))
            semantic[tile.columns[tile.owned]] = probability[tile.owned]
            parts.append((tile, prediction))
        if stage is not None:
            stage("merging tiles")
        options = self.options
        merged = merge(parts, scene, self.classes, score_threshold=options.score_threshold, one_class=options.one_class)
        return merged, semantic

    def _tiles(self, scene: Scene, room: Int32[np.ndarray, "S"]) -> list[Tile]:
        """The tiles of every room; a superpoint belongs to the room of its first point."""
        assert scene.superpoint is not None
        centers = group_means(scene.xyz, scene.superpoint, scene.num_superpoints).astype(np.float32)
        tiles = []
        for columns in group_rows(room):
            grid = self._grid(centers[columns], self.options.tile_overlap)
            tiles += [Tile(columns[tile.columns], tile.owned) for tile in grid.tiles(centers[columns])]
        return tiles

    def _grid(self, xyz: Float32[np.ndarray, "N 3"], overlap: float) -> TileGrid:
        """The tiles of a scan or a room: one if it is small enough."""
        grid = tile_grid(xyz, self.options.tile_size, overlap)
        is_small = (grid.extent <= self.options.tile_above).all()
        return replace(grid, shape=np.ones(3, np.int64)) if is_small else grid

    def _with_superpoints(self, scene: Scene, room: Int32[np.ndarray, "P"], say: Stage) -> Scene:
        """A large scan with superpoints; points are merged tile by tile, at most `max_superpoints` in each."""
        if scene.superpoint is not None or scene.faces is not None:
            return self.superpoints.apply(scene)
        superpoint = np.empty(len(scene), np.int32)
        num = 0
        rooms = group_rows(room)
        for number, inside in enumerate(rooms, 1):
            xyz = scene.xyz[inside]
            cells = self._grid(xyz, 0.0).cells(xyz)
            for place, cell in enumerate(cells, 1):
                say(f"superpoints, room {number} of {len(rooms)}, part {place} of {len(cells)}")
                rows = inside[cell]
                piece = self.superpoints.apply(keep_points(scene, rows))
                assert piece.superpoint is not None
                superpoint[rows] = piece.superpoint + num
                num += piece.num_superpoints
        return scene.with_(superpoint=superpoint)


def _cut(scene: Scene, tile: Tile, points: Sequence[Int64[np.ndarray, "_"]]) -> Scene:
    """The points of a tile, in the order of the scan, with superpoints 0..n-1."""
    part = keep_points(scene, np.sort(np.concatenate([points[column] for column in tile.columns])))
    assert part.superpoint is not None
    return part.with_(superpoint=np.searchsorted(tile.columns, part.superpoint).astype(np.int32))


def _axis_is_open(scan: Path | str | np.ndarray, scene: Scene, reading: dict[str, Any]) -> bool:
    """Whether objects decide which axis of a scan points up: not for a processed room, nor where an option does."""
    is_room = not isinstance(scan, np.ndarray) and Path(scan).is_dir()
    return not is_room and not reading.get("up") and not reading.get("as_is") and may_be_turned(scene.xyz)
