"""Measures of the field, each equal to its own script; the names are loaded on first use."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_MODULES = {
    "InstanceAP": "instance_ap",
    "Scores": "scores",
    "average_precision": "instance_ap",
    "evaluate_folders": "benchmark_evaluation",
    "panoptic_quality": "points",
    "s3dis_protocols": "s3dis",
    "semantic_iou": "points",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"pcseg.metrics.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'pcseg.metrics' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
