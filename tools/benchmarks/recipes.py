"""What the recipes of the large datasets need: memory and processor time of a step on one room, on the CPU."""

import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from pcseg import config as cfg
from pcseg.data.store import Source, write_room
from pcseg.models.influencerformer import count_parameters
from pcseg.ops.superpoints import over_segment
from pcseg.run import Run
from pcseg.synthetic import make_room
from tools.benchmarks.timing import forget_peak, in_own_process, resident_mb

CONFIGS = Path(__file__).resolve().parent.parent.parent / "configs"
# Points of a room as scanned: an average room of S3DIS; the most that the recipe of ScanNet takes, about twice its
# average.
POINTS = {"s3dis": 1_000_000, "scannet": 250_000}


def recipes(rounds: int, points: Mapping[str, int] = POINTS, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """One step of configs/s3dis.yaml and configs/scannet.yaml on a synthetic room, float32, one thread.

    Args:
        rounds: not used, as one step says all.
        points: of the room, for each recipe.
        overrides: changes of the recipes.
    """
    result = {}
    for name, num_points in points.items():
        with tempfile.TemporaryDirectory() as folder:
            for seed, size in enumerate((3000, num_points)):
                room = make_room(1, seed, num_points=size).with_(name=f"room_{seed}")
                segmented = room.with_(superpoint=over_segment(room.xyz, room.rgb))
                write_room(Path(folder), segmented, "s3dis", Source("", ""))
            own = [f"data.root={folder}", 'data.train=["*"]', "data.val=[]", "data.classes=s3dis"]
            result[name] = in_own_process(_measure, CONFIGS / f"{name}.yaml", [*own, *overrides])
        found = result[name]
        print(
            f"{name}: {found['voxels']:,} voxels, {found['superpoints']:,} superpoints; {found['peak_mb']:.0f} MB a "
            f"room, {found['weights_mb']:.0f} MB for weights, gradients and optimizer; {found['cpu_seconds']:.1f} "
            "processor seconds",
            flush=True,
        )
    return result


def _measure(path: Path, overrides: list[str]) -> dict[str, float]:
    torch.set_num_threads(1)
    run = Run(cfg.load(path, overrides), Path("unused"), torch.device("cpu"))
    run.stepper.model.train()
    small, batch = (run.rooms[(0,), room] for room in range(2))
    run.stepper.step([small])  # compiles, and makes the state of the optimizer
    forget_peak()
    before, start = resident_mb("VmRSS"), time.process_time()
    run.stepper.step([batch])
    return {
        "voxels": len(batch.voxel_coords),
        "superpoints": len(batch.superpoint_xyz),
        "cpu_seconds": time.process_time() - start,
        "peak_mb": resident_mb("VmHWM") - before,
        "weights_mb": 16 * count_parameters(run.model) / 2**20,  # four float32 numbers a parameter
    }
