"""Memory and CPU time of a training step on one room, for the S3DIS and ScanNet configs."""

import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from pcseg import config as cfg
from pcseg.models.influencerformer import count_parameters
from pcseg.run import Run
from tools.benchmarks.measure import forget_peak, in_own_process, resident_mb, write_segmented_rooms

CONFIGS = Path(__file__).resolve().parent.parent.parent / "configs"
# An average S3DIS room; the ScanNet config crops to this size, about twice the average room.
POINTS = {"s3dis": 1_000_000, "scannet": 250_000}


def recipes(rounds: int, points: Mapping[str, int] = POINTS, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Measures one step of configs/s3dis.yaml and configs/scannet.yaml on a synthetic room, float32, one thread.

    Args:
        rounds: unused, because one step is enough.
        points: number of points of the room, by config name.
        overrides: config overrides, as key=value.
    """
    result = {}
    for name, num_points in points.items():
        with tempfile.TemporaryDirectory() as folder:
            write_segmented_rooms(Path(folder), (3000, num_points))
            own = [f"data.root={folder}", 'data.train=["*"]', "data.val=[]", "data.classes=s3dis"]
            result[name] = in_own_process(_measure, CONFIGS / f"{name}.yaml", [*own, *overrides])
        found = result[name]
        print(
            f"{name}: {found['voxels']:,} voxels, {found['superpoints']:,} superpoints; {found['peak_mb']:.0f} MB per "
            f"room, {found['weights_mb']:.0f} MB for weights, gradients and optimizer; {found['cpu_seconds']:.1f} "
            "CPU seconds",
            flush=True,
        )
    return result


def _measure(path: Path, overrides: list[str]) -> dict[str, float]:
    torch.set_num_threads(1)
    run = Run(cfg.load(path, overrides), Path("unused"), torch.device("cpu"))
    small, batch = (run.rooms[(0,), room] for room in range(2))
    run.train_on([small])  # compiles and creates the optimizer state
    forget_peak()
    before, start = resident_mb("VmRSS"), time.process_time()
    run.train_on([batch])
    return {
        "voxels": len(batch.voxel_coords),
        "superpoints": len(batch.superpoint_xyz),
        "cpu_seconds": time.process_time() - start,
        "peak_mb": resident_mb("VmHWM") - before,
        "weights_mb": 16 * count_parameters(run.model) / 2**20,  # four float32 values per parameter
    }
