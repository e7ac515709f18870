"""Instance segmentation of indoor point clouds, without a matcher: scans in, objects out.

>>> import pcseg
>>> prediction = pcseg.predict("data/example_room.ply", views="one")  # or an array (P, 3) or (P, 6), or a list
>>> good = prediction.above(0.5)  # best first
>>> {"floor", "chair", "table"} <= {found.label for found in good}
True
>>> good[0].mask.shape, good[0].box.shape  # also id, label, score, xyz and num_points
((55000,), (2, 3))
>>> prediction.point_ids(threshold=0.5).shape  # one object id per point, 0 for none
(55000,)

`prediction.show()` opens a window or a page, and `prediction.save("room.npz")` writes a file that
`pcseg.Prediction.load` reads. With a model or options of your own:

>>> segmenter = pcseg.load_model("builtin", device="cpu")  # or the checkpoint of a run
>>> segmenter = segmenter.with_options(views="one", min_points=50)
>>> scene = pcseg.read_scan("data/example_room.ply", scale=1.0, up="z")
>>> segmenter.predict(scene)  # doctest: +ELLIPSIS
<Prediction example_room: ... objects, ... with score >= 0.2, 55,000 points>

The losses are in `pcseg.losses`, the measures in `pcseg.metrics`. Names are loaded on first use.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

# Torch's threads wait in a loop. On a busy machine, its default length takes most of the time.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

if TYPE_CHECKING:
    from pcseg import losses, metrics
    from pcseg.data.scan_files import read_scan
    from pcseg.inference.segmenter import Segmenter
    from pcseg.prediction import Prediction
    from pcseg.structures import Scene
    from pcseg.trained import load_model, predict

__version__ = "0.1.0"
__all__ = ["Prediction", "Scene", "Segmenter", "load_model", "losses", "metrics", "predict", "read_scan"]

_MODULES = {
    "Prediction": "pcseg.prediction",
    "Scene": "pcseg.structures",
    "Segmenter": "pcseg.inference.segmenter",
    "load_model": "pcseg.trained",
    "predict": "pcseg.trained",
    "read_scan": "pcseg.data.scan_files",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    if name in __all__:
        return import_module(f"pcseg.{name}")
    raise AttributeError(f"module 'pcseg' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
