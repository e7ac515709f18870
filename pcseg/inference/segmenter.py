"""A trained model with what it needs to read any scan."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float32, Int32, Int64
from tqdm import tqdm

from pcseg.classes import ClassSet
from pcseg.data.dataset import make_batch
from pcseg.data.preprocess import SuperpointOptions
from pcseg.inference.cluster import cluster
from pcseg.inference.filters import keep, matrix_nms, without_overlap
from pcseg.inference.merge import Part, merge_parts
from pcseg.inference.rooms import split_rooms
from pcseg.inference.tiles import Tile, TileGrid, group_rows, tile_grid
from pcseg.inference.to_instances import semantic_probabilities, to_instances
from pcseg.inference.views import VIEWS, ViewSet, transformed
from pcseg.models.influencerformer import InfluencerFormer
from pcseg.structures import Prediction, Scene

# Of objects of two views to be one. Views see all of an object and agree better than tiles, whose sight is cut.
_VIEW_IOU = 0.65


@dataclass(frozen=True)
class Segmenter:
    """Scenes in, objects out.

    Args:
        model: the network.
        classes: what its class indices mean.
        voxel_size: meters.
        features: names of the point features the model takes.
        mask_activation: what the model was trained with.
        cluster_radius: of the model's embeddings; None for a model of queries.
        superpoints: how they are made where a scene has none.
        num_queries: of a room or tile; 0 for as many as the model was trained with. Others need superpoint queries.
        top_k: how many objects a room, or each tile of a large room, gives at most.
        min_points: smaller objects are dropped.
        score_threshold: objects that score less are dropped.
        iou_power: of the expected IoU in the scores.
        mask_threshold: a mask is where its probability is higher.
        tile_above: a scan that is longer than this along any axis, in meters, is predicted room by room, and those of
            its rooms that are longer in tiles.
        tile_size: edge of a tile in meters; about that of the rooms the model was trained on is best.
        tile_overlap: what neighboring tiles share at least, in meters.
        views: test-time augmentation: "one" predicts the scan as it is, "flips" also its three mirror images,
            "flips_rotations" also each of the four turned by 90 degrees.
        matrix_nms: scores of objects that overlap better ones of their class fall.
        non_overlapping: each superpoint belongs to the best of its objects only.
    """

    model: InfluencerFormer
    classes: ClassSet
    voxel_size: float
    features: Sequence[str]
    mask_activation: str = "sigmoid"
    cluster_radius: float | None = None
    superpoints: SuperpointOptions = field(default_factory=SuperpointOptions)
    num_queries: int = 0
    top_k: int = 200
    min_points: int = 100
    score_threshold: float = 0.0
    iou_power: float = 5.0
    mask_threshold: float = 0.5
    tile_above: float = 10.0
    tile_size: float = 5.0
    tile_overlap: float = 2.0
    views: ViewSet = "one"
    matrix_nms: bool = True
    non_overlapping: bool = False

    def predict(self, scene: Scene) -> Prediction:
        """Objects, best first, and the class of every point; superpoints are made if the scene has none.

        A scan larger than a tile never is in memory as voxels or features; what grows with the scan are its points,
        with some 50 bytes each, and the superpoints of the masks.

        Args:
            scene: a scan or room, with the features that the model takes.

        Returns:
            A prediction whose scene has the superpoints that were used.

        Raises:
            ValueError: the scene has no points, or lacks a feature that the model takes.
        """
        if len(scene) == 0:
            raise ValueError(f"scene {scene.name} has no points")
        grid = tile_grid(scene.xyz, self.tile_size, self.tile_overlap)
        if len(grid) == 1 or (grid.extent <= self.tile_above).all():
            scene = self.superpoints.apply(scene)
            prediction, semantic = self._predict_piece(scene)
        else:
            # Rooms are told apart on the plan of a storey.
            room = split_rooms(scene.xyz) if grid.extent[2] <= self.tile_size else np.zeros(len(scene), np.int32)
            scene = self._with_superpoints(scene, room)
            prediction, semantic = self._predict_tiles(scene, room)
        if self.matrix_nms:
            prediction = matrix_nms(prediction)
        if self.non_overlapping:
            prediction = without_overlap(prediction)
        prediction = keep(prediction, min_points=self.min_points, score_threshold=self.score_threshold)
        assert scene.superpoint is not None
        return replace(prediction, semantic=semantic.argmax(1).astype(np.int32)[scene.superpoint])

    @torch.no_grad()
    def _predict_view(self, scene: Scene) -> tuple[Prediction, Float32[np.ndarray, "S C"]]:
        """The one place where outputs of the model become objects."""
        batch = make_batch(
            [scene.with_(semantic=None, instance=None)],
            voxel_size=self.voxel_size,
            features=self.features,
            instance_classes=self.classes.instance_classes,
        )
        device = next(self.model.parameters()).device
        self.model.eval()
        outputs = self.model(batch.to(device), self.num_queries or None)
        if self.cluster_radius is not None:
            outputs = cluster(outputs, radius=self.cluster_radius, max_clusters=self.top_k)
        prediction = to_instances(
            outputs,
            scene,
            self.classes,
            mask_activation=self.mask_activation,
            top_k=self.top_k,
            min_points=self.min_points,
            iou_power=self.iou_power,
            mask_threshold=self.mask_threshold,
        )
        return prediction, semantic_probabilities(outputs)

    def _predict_piece(self, scene: Scene) -> tuple[Prediction, Float32[np.ndarray, "S C"]]:
        """Objects and classes of superpoints of a room or tile, from all views of it."""
        found = [self._predict_view(transformed(scene, matrix)) for matrix in VIEWS[self.views]]
        if len(found) == 1:
            return found[0]
        assert scene.superpoint is not None
        columns = np.arange(scene.num_superpoints)
        parts = [Part(columns, np.ones(len(columns), bool), prediction) for prediction, _ in found]
        semantic = np.mean([probability for _, probability in found], axis=0)
        return merge_parts(parts, scene, self.classes, min_iou=_VIEW_IOU), semantic

    def _predict_tiles(
        self, scene: Scene, room: Int32[np.ndarray, "P"]
    ) -> tuple[Prediction, Float32[np.ndarray, "S C"]]:
        """Objects and classes of superpoints of a large scan, room by room and tile by tile."""
        assert scene.superpoint is not None
        num = scene.num_superpoints
        points = group_rows(scene.superpoint)
        semantic = np.zeros((num, len(self.classes)), np.float32)
        parts = []
        tiles = self._tiles(scene, room[[rows[0] for rows in points]])
        for tile in tqdm(tiles, desc=scene.name, unit="tile", leave=False, disable=None):
            prediction, probability = self._predict_piece(_cut(scene, tile, points))
            semantic[tile.columns[tile.owned]] = probability[tile.owned]
            parts.append(Part(tile.columns, tile.owned, prediction))
        return merge_parts(parts, scene, self.classes, score_threshold=self.score_threshold), semantic

    def _tiles(self, scene: Scene, room: Int32[np.ndarray, "S"]) -> list[Tile]:
        """The tiles of every room; `room`: that in which a superpoint has its first point."""
        centers = _centers(scene)
        tiles = []
        for columns in group_rows(room):
            grid = self._grid(centers[columns], self.tile_overlap)
            tiles += [Tile(columns[tile.columns], tile.owned) for tile in grid.tiles(centers[columns])]
        return tiles

    def _grid(self, xyz: Float32[np.ndarray, "N 3"], overlap: float) -> TileGrid:
        """One tile for a room that is small enough, otherwise as many as it takes."""
        grid = tile_grid(xyz, self.tile_size, overlap)
        whole = len(grid) > 1 and (grid.extent <= self.tile_above).all()
        return tile_grid(xyz, self.tile_above, 0.0) if whole else grid

    def _with_superpoints(self, scene: Scene, room: Int32[np.ndarray, "P"]) -> Scene:
        """The scan with superpoints; those of points are made room by room, or tile by tile, each with as many."""
        if scene.superpoint is not None or scene.faces is not None:
            return self.superpoints.apply(scene)
        superpoint = np.empty(len(scene), np.int32)
        num = 0
        for inside in group_rows(room):
            xyz = scene.xyz[inside]
            for cell in self._grid(xyz, 0.0).cells(xyz):
                rows = inside[cell]
                piece = Scene(scene.name, scene.xyz[rows], None if scene.rgb is None else scene.rgb[rows])
                piece = self.superpoints.apply(piece)
                assert piece.superpoint is not None
                superpoint[rows] = piece.superpoint + num
                num += piece.num_superpoints
        return scene.with_(superpoint=superpoint)


def _centers(scene: Scene) -> Float32[np.ndarray, "S 3"]:
    """Mean of the points of each superpoint."""
    assert scene.superpoint is not None
    counts = np.bincount(scene.superpoint)
    sums = [np.bincount(scene.superpoint, scene.xyz[:, axis]) for axis in range(3)]
    return (np.stack(sums, axis=1) / counts[:, None]).astype(np.float32)


def _cut(scene: Scene, tile: Tile, points: Sequence[Int64[np.ndarray, "_"]]) -> Scene:
    """The points of a tile, in the order of the scan, with superpoints 0..n-1."""
    assert scene.superpoint is not None
    rows = np.sort(np.concatenate([points[column] for column in tile.columns]))
    number = np.zeros(tile.columns[-1] + 1, np.int32)
    number[tile.columns] = np.arange(len(tile.columns))
    return Scene(
        scene.name,
        scene.xyz[rows],
        None if scene.rgb is None else scene.rgb[rows],
        None if scene.normal is None else scene.normal[rows],
        superpoint=number[scene.superpoint[rows]],
    )
