"""Score a model on labelled rooms, one room in memory at a time."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int32
from tqdm import tqdm

from pcseg.engine.segmenter import Segmenter
from pcseg.metrics.instance_ap import APResult, InstanceAP
from pcseg.metrics.panoptic_quality import PanopticQuality
from pcseg.metrics.s3dis_protocols import S3DISProtocols
from pcseg.metrics.semantic_iou import SemanticIoU
from pcseg.metrics.table import to_json
from pcseg.structures import Instances, Scene

OnRoom = Callable[[Scene, Instances, Int32[np.ndarray, "P"]], None]


@dataclass(frozen=True)
class Evaluation:
    """What was measured: instance AP, and the further measures as plain numbers under their names."""

    ap: APResult
    further: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Everything as one dict of numbers, null for what is not defined."""
        return {**to_json(self.ap), **self.further}


def evaluate(segmenter: Segmenter, rooms: Iterable[Scene], *, on_room: OnRoom | None = None) -> Evaluation:
    """Predict every room and measure.

    Args:
        segmenter: the model.
        rooms: labelled scenes with superpoints.
        on_room: called with each scene, its objects and the class of its points, to save or draw them.

    Raises:
        ValueError: a room without labels.
    """
    classes = segmenter.classes
    names = list(classes.names)
    ap = InstanceAP(names, min_points=segmenter.min_points, counted_classes=classes.instance_classes)
    s3dis = S3DISProtocols(names) if classes.name == "s3dis" else None
    semantic_iou = SemanticIoU(names)
    panoptic = PanopticQuality(names, stuff=classes.stuff)
    for scene in tqdm(rooms, desc="evaluate", unit="room"):
        if scene.semantic is None or scene.instance is None:
            raise ValueError(f"scene {scene.name} has no labels to compare with")
        instances, semantic, scene = segmenter.predict_all(scene)
        arguments = (scene.name, instances.masks, instances.labels, instances.scores, scene.semantic, scene.instance)
        ap.add(*arguments, superpoint=scene.superpoint)
        if s3dis is not None:
            s3dis.add(*arguments, superpoint=scene.superpoint)
        semantic_iou.add(semantic, scene.semantic)
        panoptic.add(*panoptic_prediction(instances, semantic, classes.stuff, names), scene.semantic, scene.instance)
        if on_room is not None:
            on_room(scene, instances, semantic)
    further: dict[str, Any] = {"semantic": semantic_iou.compute(), "panoptic": panoptic.compute()}
    if s3dis is not None:
        further["s3dis"] = s3dis.compute()
    return Evaluation(ap.compute(), further)
