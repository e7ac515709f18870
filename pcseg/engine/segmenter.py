"""A trained model with what it needs to read any scan."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int32

from pcseg.data.dataset import make_batch
from pcseg.data.preprocess import SuperpointOptions
from pcseg.inference.to_instances import semantic_of_points, to_instances
from pcseg.labels import ClassSet
from pcseg.models.influencerformer import InfluencerFormer
from pcseg.structures import Instances, Scene


@dataclass(frozen=True)
class Segmenter:
    """Scenes in, objects out.

    Args:
        model: the network.
        classes: what its class indices mean.
        voxel_size: metres.
        features: names of the point features the model takes.
        mask_activation: what the model was trained with.
        top_k: how many objects a room gives at most.
        min_points: smaller objects are dropped.
        score_threshold: objects that score less are dropped.
        use_iou_head: multiply scores with the predicted IoU.
    """

    model: InfluencerFormer
    classes: ClassSet
    voxel_size: float
    features: Sequence[str]
    mask_activation: str = "softmax"
    top_k: int = 200
    min_points: int = 100
    score_threshold: float = 0.0
    use_iou_head: bool = False

    def predict(self, scene: Scene) -> Instances:
        """Objects of a scene, best first; superpoints are made where the scene has none."""
        return self.predict_all(scene)[0]

    @torch.no_grad()
    def predict_all(self, scene: Scene) -> tuple[Instances, Int32[np.ndarray, "P"], Scene]:
        """Objects, the class of every point, and the scene with the superpoints that were used."""
        scene = SuperpointOptions().apply(scene)
        batch = make_batch(
            [scene.with_(semantic=None, instance=None)],
            voxel_size=self.voxel_size,
            features=self.features,
            instance_classes=self.classes.instance_classes,
        )
        device = next(self.model.parameters()).device
        self.model.eval()
        outputs = self.model(batch.to(device))
        instances = to_instances(
            outputs,
            scene,
            mask_activation=self.mask_activation,
            top_k=self.top_k,
            min_points=self.min_points,
            score_threshold=self.score_threshold,
            use_iou_head=self.use_iou_head,
            classes=self.classes.instance_classes,
        )
        return instances, semantic_of_points(outputs, scene), scene
