"""Measures of the field, each equal to its own script; the names of _MODULES are imported on first use."""

from importlib import import_module
from typing import Any

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
