"""A trained model with what it needs to read any scan."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float32, Int32, Int64
from tqdm import tqdm

from pcseg.data.dataset import make_batch
from pcseg.data.preprocess import SuperpointOptions
from pcseg.inference.cluster import cluster
from pcseg.inference.filters import keep, matrix_nms, without_overlap
from pcseg.inference.merge import Part, merge_parts
from pcseg.inference.tiles import Tile, TileGrid, group_rows, tile_grid
from pcseg.inference.to_instances import semantic_probabilities, to_instances
from pcseg.inference.views import VIEWS, ViewSet, turned
from pcseg.labels import ClassSet
from pcseg.models.influencerformer import InfluencerFormer
from pcseg.structures import Instances, Scene

# Of objects of two views to be one. Views see all of an object and agree better than tiles, whose sight is cut.
_VIEW_IOU = 0.65


@dataclass(frozen=True)
class Segmenter:
    """Scenes in, objects out.

    Args:
        model: the network.
        classes: what its class indices mean.
        voxel_size: metres.
        features: names of the point features the model takes.
        mask_activation: what the model was trained with.
        cluster_radius: of the model's embeddings; None for a model of queries.
        superpoints: how they are made where a scene has none.
        top_k: how many objects a room, or each tile of a large scan, gives at most.
        min_points: smaller objects are dropped.
        score_threshold: objects that score less are dropped.
        use_iou_head: multiply scores with the predicted IoU.
        tile_above: a scan that is longer than this along any axis, in metres, is predicted in tiles.
        tile_size: edge of a tile in metres; about that of the rooms the model was trained on is best.
        tile_overlap: what neighbouring tiles share at least, in metres.
        views: test-time augmentation: "one" predicts the scan as it is, "flips" also its three mirror images,
            "flips_rotations" also each of the four turned by 90 degrees.
        matrix_nms: scores of objects that overlap better ones of their class fall.
        non_overlapping: each superpoint belongs to the best of its objects only.
    """

    model: InfluencerFormer
    classes: ClassSet
    voxel_size: float
    features: Sequence[str]
    mask_activation: str = "softmax"
    cluster_radius: float | None = None
    superpoints: SuperpointOptions = field(default_factory=SuperpointOptions)
    top_k: int = 200
    min_points: int = 100
    score_threshold: float = 0.0
    use_iou_head: bool = False
    tile_above: float = 10.0
    tile_size: float = 5.0
    tile_overlap: float = 2.0
    views: ViewSet = "one"
    matrix_nms: bool = False
    non_overlapping: bool = False

    def predict(self, scene: Scene) -> Instances:
        """Objects of a scene, best first; superpoints are made where the scene has none."""
        return self.predict_all(scene)[0]

    def predict_all(self, scene: Scene) -> tuple[Instances, Int32[np.ndarray, "P"], Scene]:
        """Objects, the class of every point, and the scene with the superpoints that were used.

        A scan larger than a tile never is in memory as voxels or features; what grows with the scan are its points,
        with some 50 bytes each, and the masks over superpoints.

        Raises:
            ValueError: the scene has no points, or lacks a feature that the model takes.
        """
        if len(scene) == 0:
            raise ValueError(f"scene {scene.name} has no points")
        grid = tile_grid(scene.xyz, self.tile_size, self.tile_overlap)
        if len(grid) == 1 or (grid.extent <= self.tile_above).all():
            scene = self.superpoints.apply(scene)
            instances, semantic = self._predict_piece(scene)
        else:
            scene = self._with_superpoints(scene)
            instances, semantic = self._predict_tiles(scene, grid)
        if self.matrix_nms:
            instances = matrix_nms(instances)
        if self.non_overlapping:
            instances = without_overlap(instances)
        instances = keep(instances, min_points=self.min_points, score_threshold=self.score_threshold)
        assert scene.superpoint is not None
        return instances, semantic.argmax(1).astype(np.int32)[scene.superpoint], scene

    @torch.no_grad()
    def _predict_view(self, scene: Scene) -> tuple[Instances, Float32[np.ndarray, "S C"]]:
        """The one place where outputs of the model become objects."""
        batch = make_batch(
            [scene.with_(semantic=None, instance=None)],
            voxel_size=self.voxel_size,
            features=self.features,
            instance_classes=self.classes.instance_classes,
        )
        device = next(self.model.parameters()).device
        self.model.eval()
        outputs = self.model(batch.to(device))
        if self.cluster_radius is not None:
            outputs = cluster(outputs, radius=self.cluster_radius, max_clusters=self.top_k)
        instances = to_instances(
            outputs,
            scene,
            mask_activation=self.mask_activation,
            top_k=self.top_k,
            min_points=self.min_points,
            use_iou_head=self.use_iou_head,
            classes=self.classes.instance_classes,
        )
        return instances, semantic_probabilities(outputs)

    def _predict_piece(self, scene: Scene) -> tuple[Instances, Float32[np.ndarray, "S C"]]:
        """Objects and classes of superpoints of a room or tile, from all views of it."""
        found = [self._predict_view(turned(scene, matrix)) for matrix in VIEWS[self.views]]
        if len(found) == 1:
            return found[0]
        assert scene.superpoint is not None
        columns = np.arange(scene.num_superpoints)
        parts = [Part(columns, np.ones(len(columns), bool), instances) for instances, _ in found]
        semantic = np.mean([probability for _, probability in found], axis=0)
        return merge_parts(parts, scene.superpoint, len(columns), min_iou=_VIEW_IOU), semantic

    def _predict_tiles(self, scene: Scene, grid: TileGrid) -> tuple[Instances, Float32[np.ndarray, "S C"]]:
        """Objects and classes of superpoints of a large scan, tile by tile."""
        assert scene.superpoint is not None
        num = scene.num_superpoints
        points = group_rows(scene.superpoint)
        semantic = np.zeros((num, len(self.classes)), np.float32)
        parts = []
        for tile in tqdm(grid.tiles(_centers(scene)), desc=scene.name, unit="tile", leave=False, disable=None):
            instances, probability = self._predict_piece(_cut(scene, tile, points))
            semantic[tile.columns[tile.owned]] = probability[tile.owned]
            parts.append(Part(tile.columns, tile.owned, instances))
        return merge_parts(parts, scene.superpoint, num, score_threshold=self.score_threshold), semantic

    def _with_superpoints(self, scene: Scene) -> Scene:
        """The scan with superpoints; those of points are made tile by tile, each tile with as many as a room."""
        if scene.superpoint is not None or scene.faces is not None:
            return self.superpoints.apply(scene)
        superpoint = np.empty(len(scene), np.int32)
        num = 0
        for rows in tile_grid(scene.xyz, self.tile_size, 0.0).cells(scene.xyz):
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
    return Scene(
        scene.name,
        scene.xyz[rows],
        None if scene.rgb is None else scene.rgb[rows],
        None if scene.normal is None else scene.normal[rows],
        superpoint=np.searchsorted(tile.columns, scene.superpoint[rows]).astype(np.int32),
    )
