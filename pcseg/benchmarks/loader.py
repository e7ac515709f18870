"""Speed of loading rooms: the parts of one room, and rooms per second by the number of workers."""

import multiprocessing
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from pcseg.benchmarks.measure import VOXEL_SIZE, Step, median_ms, print_row, segmented_room, write_segmented_rooms
from pcseg.data.augment import compose
from pcseg.data.dataset import DataOptions, RoomDataset
from pcseg.data.sampler import ResumableSampler
from pcseg.training.loading import load_batches

# Augmentations of ScanNet's config.
STEPS = [
    ("crop_points", {"max_points": 250_000}),
    ("flip", {}),
    ("rotate", {}),
    ("scale", {}),
    ("elastic", {"granularity": 0.12, "magnitude": 0.8, "probability": 1.0}),
    ("color_shift", {}),
    ("color_contrast", {}),
]


def loader(rounds: int, num_points: int = 150_000) -> dict[str, Any]:
    """Measures rooms per second of the loader by number of workers, and the time per loading step."""
    scene = segmented_room(0, num_points)
    steps: dict[str, Step] = {}
    for name, options in (*STEPS, ("jitter", {}), ("drop_points", {}), ("crop_cuboid", {})):
        augment = compose([(name, options)])
        steps[name] = lambda augment=augment: augment(scene, np.random.default_rng(0))
    with tempfile.TemporaryDirectory() as folder:
        write_segmented_rooms(Path(folder), [num_points] * 4)
        options = DataOptions(Path(folder), voxel_size=VOXEL_SIZE)
        plain = RoomDataset(options)
        steps["read, voxelize, targets"] = lambda: plain[(0,), 0]
        times = median_ms(steps, min(rounds, 5))
        for name, ms in times.items():
            print_row(name, {"ms": ms})
        elastic = times["elastic"] / (times["read, voxelize, targets"] + sum(times[name] for name, _ in STEPS))
        print(f"elastic distortion: {elastic:.0%} of the loading time")
        dataset = RoomDataset(options, augment=compose(STEPS))
        speed = {}
        for workers in [0, *(n for n in (1, 2, 4, 8, 16) if n <= joblib.cpu_count())]:
            speed[str(workers)] = row = _loader_speed(dataset, workers, num_rooms=8 * rounds)
            print_row(f"{workers} workers", row)
    return {"points": len(scene), "ms": times, "elastic_share": elastic, "loader": speed}


def _loader_speed(dataset: RoomDataset, workers: int, num_rooms: int) -> dict[str, float]:
    """Rooms per second, and CPU time per room of all processes, in steady state.

    Each worker is a process with one thread; 0 loads in this process. A warm-up starts and compiles the workers.
    """
    warm = 4 + 4 * workers
    # Extra rooms keep the workers busy until the last measured room.
    sampler = ResumableSampler(len(dataset), 1, warm + num_rooms + 4 * workers, seed=0)
    batches = load_batches(dataset, sampler, workers)
    for _ in range(warm):
        next(batches)
    start, cpu = time.perf_counter(), _cpu_seconds()
    for _ in range(num_rooms):
        next(batches)
    seconds, cpu = time.perf_counter() - start, _cpu_seconds() - cpu
    return {"rooms_per_second": num_rooms / seconds, "cpu_ms_per_room": 1000 * cpu / num_rooms}


def _cpu_seconds() -> float:
    """User and system time of this process and, if /proc exists, of its children."""
    stats = [Path(f"/proc/{child.pid}/stat") for child in multiprocessing.active_children()]
    fields = [path.read_text().rpartition(")")[2].split()[11:13] for path in stats if path.is_file()]
    return time.process_time() + sum(int(ticks) for pair in fields for ticks in pair) / os.sysconf("SC_CLK_TCK")
