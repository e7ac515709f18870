"""Quality of superpoints: best possible mean IoU by number of superpoints, with and without color.

tools/superpoint_quality.py [--real SCAN...] [--rooms N] [--json FILE]
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer

from pcseg.cli import run_tool
from pcseg.commands.results import claim
from pcseg.data.scan_fields import keep_points
from pcseg.data.scan_files import read_scan
from pcseg.files import write_json
from pcseg.ops.overlap import overlap_table
from pcseg.ops.superpoints import over_segment, over_segment_voxels
from pcseg.structures import Scene
from pcseg.synthetic import make_room

NUMBERS = (500, 1000, 2000, 4000)
NOISE = 0.008


def _with_noise(scene: Scene, rng: np.random.Generator) -> Scene:
    return scene.with_(xyz=(scene.xyz + rng.normal(0, NOISE, scene.xyz.shape)).astype(np.float32))


def _thinned(scene: Scene, rng: np.random.Generator) -> Scene:
    """Thins one end of the room to a tenth of its density."""
    x = scene.xyz[:, 0]
    return keep_points(scene, rng.random(len(scene)) < 0.1 + 0.9 * (x - x.min()) / np.ptp(x))


def synthetic_sets(num_rooms: int) -> dict[str, list[Scene]]:
    """Sparse, dense, noisy and unevenly dense rooms."""
    rng = np.random.default_rng(0)
    sparse = [make_room(1, index, num_points=60_000) for index in range(num_rooms)]
    dense = [make_room(1, index, num_points=600_000) for index in range(num_rooms)]
    return {
        "synthetic, 60k points": sparse,
        "synthetic, 60k, 8 mm noise": [_with_noise(room, rng) for room in sparse],
        "synthetic, 600k points": dense,
        "synthetic, 600k, 8 mm noise": [_with_noise(room, rng) for room in dense],
        "synthetic, 600k, density 1 to 10": [_thinned(room, rng) for room in dense],
    }


def oracle_miou(superpoint: Integer[np.ndarray, "P"], instance: Integer[np.ndarray, "P"]) -> float:
    """Mean IoU that the superpoints allow: each goes to the instance with most of its points.

    Instance 0 is none, which takes part in the vote but not in the mean.

    Returns:
        Mean over the instances, 0..1; NaN if there are none.
    """
    owner = overlap_table(superpoint, instance).majority(int(superpoint.max(initial=-1)) + 1)
    table = overlap_table(owner[superpoint], instance)
    found = (table.a == table.b) & (table.b != 0)
    num_instances = np.count_nonzero(np.unique(table.b))
    return float(table.iou()[found].sum() / num_instances) if num_instances else float("nan")


def measure(rooms: list[Scene], make: Callable[[Scene], np.ndarray]) -> dict[str, float]:
    """Means over rooms: best possible mean IoU, number of superpoints, CPU seconds per million points.

    Args:
        rooms: rooms with instances.
        make: function from a room to superpoint ids, int (P,).
    """
    scores, numbers, seconds = [], [], 0.0
    for room in rooms:
        start = time.process_time()
        superpoint = make(room)
        seconds += time.process_time() - start
        assert room.instance is not None
        scores.append(oracle_miou(superpoint, room.instance))
        numbers.append(int(superpoint.max()) + 1)
    points = sum(len(room) for room in rooms)
    return {
        "oracle_miou": float(np.mean(scores)),
        "superpoints": float(np.mean(numbers)),
        "cpu_s_per_million": seconds / points * 1e6,
    }


def methods(colored: bool) -> dict[str, Callable[[Scene], np.ndarray]]:
    """Compared methods: several numbers of superpoints, with and without color, and coarse voxels."""
    found: dict[str, Callable[[Scene], np.ndarray]] = {}
    for color in (True, False) if colored else (False,):
        for number in NUMBERS:
            found[f"at most {number}{', color' if color else ', no color'}"] = lambda room, n=number, c=color: (
                over_segment(room.xyz, room.rgb if c else None, max_superpoints=n)
            )
    found["voxels of 0.2 m"] = lambda room: over_segment_voxels(room.xyz)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Print the best possible mean IoU of superpoints as a Markdown table.")
    parser.add_argument("--real", type=Path, nargs="+", default=[], help="labeled scans, or folders of scans")
    parser.add_argument(
        "--first-instance", type=int, choices=[0, 1], default=1, help="first valid instance id (default: 1)"
    )
    parser.add_argument("--rooms", type=int, default=2, help="number of synthetic rooms of each kind (default: 2)")
    parser.add_argument("--json", type=Path, help="also write the results as JSON")
    args = parser.parse_args()

    written = claim(args.json)
    sets = synthetic_sets(args.rooms) if args.rooms else {}
    for path in args.real:
        files = sorted(path.glob("*.npz")) if path.is_dir() else [path]
        rooms = [read_scan(file, first_instance=args.first_instance) for file in files]
        lacking = [file for file, room in zip(files, rooms) if room.instance is None]
        if lacking or not rooms:
            raise ValueError(f"{lacking[0] if lacking else path}: expected scans with instances")
        sets[f"{path.stem} ({len(rooms)})"] = rooms
    warm = make_room(0, 0, num_points=2000)
    over_segment(warm.xyz, warm.rgb)  # compiles the kernels
    result: dict[str, Any] = {}
    print("| rooms | superpoints | number | best possible mIoU | CPU s for 1M points |\n|---|---|---|---|---|")
    for name, rooms in sets.items():
        for method, make in methods(rooms[0].rgb is not None).items():
            row = measure(rooms, make)
            result.setdefault(name, {})[method] = row
            cells = f"{row['superpoints']:.0f} | {row['oracle_miou']:.3f} | {row['cpu_s_per_million']:.1f}"
            print(f"| {name} | {method} | {cells} |", flush=True)
    if args.json:
        write_json(args.json, result)
    written()


if __name__ == "__main__":
    run_tool(main)
