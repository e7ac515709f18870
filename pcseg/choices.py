"""Values that options can take. It imports nothing slow: command lines know them before numpy and torch load."""

from pathlib import Path
from typing import Literal

# Class sets of pcseg/class_sets, and those of ScanNet with the column of its label table that holds their ids.
CLASS_SETS = ("s3dis", "scannet20", "scannet200", "indoor")
SCANNET_LABEL_COLUMNS = {"scannet20": "nyu40id", "scannet200": "id"}
SCANNET_LABEL_TABLE = "scannetv2-labels.combined.tsv"

# Files of a prediction.
SUFFIXES = (".npz", ".ply", ".instances.csv", ".ids.npy", ".png", ".html")
MaskFormat = Literal["txt", "npz", "json"]  # of the ScanNet benchmark
# Minimum score of objects that are shown. In real scans, three of five objects from this score on are right
# (docs/general_model.md).
DEFAULT_THRESHOLD = 0.2


def check_threshold(value: float | None, name: str = "--threshold") -> None:
    """Raise ValueError for a minimum score outside 0..1; None is the default."""
    if value is not None and not 0 <= value <= 1:
        raise ValueError(f"{name} must be from 0 to 1, got {value}")


# Test-time augmentation: 1, 4 or 8 predictions of each scan, merged.
ViewSet = Literal["one", "flips", "flips_rotations"]
Precision = Literal["float32", "bf16", "fp16"]
AnyPrecision = Literal["auto", Precision]

LAST = "last.pt"  # newest checkpoint of a run


def no_checkpoint(path: Path) -> str:
    """What to say of a checkpoint that is no file."""
    return f"{path}: a folder; give {LAST} in it" if path.is_dir() else f"{path}: no such checkpoint"


# Synthetic rooms and homes.
RAW_FORMATS = ("s3dis", "scannet", "coco")
Sensor = Literal["rgbd", "phone", "tripod", "panorama"]

BENCHMARKS = ("criterion", "metrics", "conv", "train", "voxelize", "superpoints", "loader", "tiles", "network", "cold")
