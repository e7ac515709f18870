"""Measures of the field, each equal to its own script."""

from pcseg.metrics.benchmark_evaluation import evaluate_folders
from pcseg.metrics.instance_ap import InstanceAP, average_precision
from pcseg.metrics.points import panoptic_quality, semantic_iou
from pcseg.metrics.s3dis import s3dis_protocols
from pcseg.metrics.scores import Scores

__all__ = [
    "InstanceAP",
    "Scores",
    "average_precision",
    "evaluate_folders",
    "panoptic_quality",
    "s3dis_protocols",
    "semantic_iou",
]
