"""pcseg: instance segmentation of indoor point clouds, without a matcher."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pcseg.build import load_model
    from pcseg.data.scan_files import read_scan
    from pcseg.inference.segmenter import Segmenter
    from pcseg.prediction import Prediction
    from pcseg.structures import Scene

__version__ = "0.1.0"

# Loaded on first use, so that importing a part does not import the whole.
_PUBLIC = {
    "read_scan": "pcseg.data.scan_files",
    "load_model": "pcseg.build",
    "Scene": "pcseg.structures",
    "Prediction": "pcseg.prediction",
    "Segmenter": "pcseg.inference.segmenter",
}

__all__ = ["Prediction", "Scene", "Segmenter", "load_model", "read_scan"]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'pcseg' has no attribute {name!r}")
