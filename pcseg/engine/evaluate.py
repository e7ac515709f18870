"""Score a model on labelled rooms, one room in memory at a time."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int32
from tqdm import tqdm

from pcseg.engine.segmenter import Segmenter
from pcseg.inference.panoptic import panoptic_prediction
from pcseg.metrics.instance_ap import APResult, InstanceAP
from pcseg.metrics.panoptic_quality import PanopticQuality, PanopticResult
from pcseg.metrics.s3dis_protocols import S3DISProtocols, S3DISResult
from pcseg.metrics.semantic_iou import SemanticIoU, SemanticResult
from pcseg.metrics.table import format_table, to_json
from pcseg.structures import Instances, Scene

OnRoom = Callable[[Scene, Instances, Int32[np.ndarray, "P"]], None]


@dataclass(frozen=True)
class Evaluation:
    """What was measured; the S3DIS protocols only for that dataset's classes."""

    ap: APResult
    semantic: SemanticResult
    panoptic: PanopticResult
    s3dis: S3DISResult | None = None

    def to_json(self) -> dict[str, Any]:
        """Everything as one dict of numbers, null for what is not defined."""
        further = {key: to_json(result) for key, result in self._further().items()}
        return {**to_json(self.ap), **further}

    def to_text(self) -> str:
        """Tables for a terminal."""
        return "\n\n".join([format_table(self.ap), *(format_table(result) for result in self._further().values())])

    def _further(self) -> dict[str, Any]:
        results = {"semantic": self.semantic, "panoptic": self.panoptic, "s3dis": self.s3dis}
        return {key: result for key, result in results.items() if result is not None}


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
        panoptic.add(*panoptic_prediction(instances, semantic, classes), scene.semantic, scene.instance)
        if on_room is not None:
            on_room(scene, instances, semantic)
    return Evaluation(
        ap.compute(), semantic_iou.compute(), panoptic.compute(), None if s3dis is None else s3dis.compute()
    )
