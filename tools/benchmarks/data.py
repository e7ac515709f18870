"""Speed of the data pipeline: several voxelizers, and the loader in rooms per second."""

import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from torch.utils.data import DataLoader

from pcseg.data.augment import AUGMENTATIONS, compose
from pcseg.data.dataset import RoomDataset, collate
from pcseg.data.sampler import ResumableSampler
from pcseg.ops import voxelize as voxelizer
from pcseg.synthetic import make_room
from tools.benchmarks.measure import median_ms, segmented_room, write_segmented_rooms

VOXEL_SIZE = 0.02
STEP = 0.15  # seconds of computation per room, like a short training step
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


def voxelizers(xyz: np.ndarray) -> tuple[dict[str, Callable[[], int]], dict[str, str]]:
    """Voxelizers to compare, each returning its number of voxels, and the reason for each missing one."""
    points = torch.from_numpy(xyz)
    every: Any = {"return_inverse": True, "return_counts": True}

    def cells() -> np.ndarray:
        return np.floor((xyz - xyz.min(0)) / VOXEL_SIZE).astype(np.int64)

    def by_keys() -> int:
        grid = cells()
        extent = grid.max(0) + 1
        unique, _, _ = np.unique((grid[:, 0] * extent[1] + grid[:, 1]) * extent[2] + grid[:, 2], **every)
        rest, z = np.divmod(unique, extent[2])
        return len(np.stack([*np.divmod(rest, extent[1]), z], axis=1))

    def by_torch() -> int:
        grid = torch.floor((points - points.amin(0)) / VOXEL_SIZE).long()
        return len(torch.unique(grid, dim=0, **every)[0])

    found = {
        "pcseg": lambda: len(voxelizer.voxelize(xyz, VOXEL_SIZE)),
        "np.unique(axis=0)": lambda: len(np.unique(cells(), axis=0, **every)[0]),
        "np.unique of int64 keys": by_keys,
        "torch.unique(dim=0)": by_torch,
    }
    missing = {}
    for name, make in (("spconv PointToVoxel", _spconv), ("Open3D", _open3d)):
        try:
            found[name] = make(xyz)
        except (ImportError, OSError) as error:
            missing[name] = f"not installed ({error})"
    return found, missing


def _spconv(xyz: np.ndarray) -> Callable[[], int]:
    from spconv.pytorch.utils import PointToVoxel

    points = torch.from_numpy(xyz)
    extent = [*xyz.min(0).tolist(), *(xyz.max(0) + VOXEL_SIZE).tolist()]

    def step() -> int:
        # Depends on the room size, so each room needs its own. One point per voxel is the least work.
        voxelizer = PointToVoxel([VOXEL_SIZE] * 3, extent, 3, len(xyz), 1)
        _, coords, counts, inverse = voxelizer.generate_voxel_with_id(points)
        return len(coords) if len(counts) == len(coords) and len(inverse) == len(xyz) else -1

    return step


def _open3d(xyz: np.ndarray) -> Callable[[], int]:
    import open3d

    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(xyz.astype(np.float64)))
    low, high = cloud.get_min_bound(), cloud.get_max_bound()

    def step() -> int:
        thinned, _, lists = cloud.voxel_down_sample_and_trace(VOXEL_SIZE, low, high)
        counts = np.array([len(members) for members in lists])
        inverse = np.empty(len(xyz), np.int32)
        inverse[np.concatenate([np.asarray(members) for members in lists])] = np.repeat(np.arange(len(counts)), counts)
        return len(thinned.points)

    return step


def voxelize(rounds: int, num_points: int = 1_000_000) -> dict[str, Any]:
    """Times the voxelization of a room to 2 cm: coordinates, inverse and counts.

    Args:
        rounds: number of measured rounds, at most 5.
        num_points: number of points of the room.
    """
    room = make_room(1, 0, num_points=num_points)
    xyz = np.ascontiguousarray(room.xyz[np.random.default_rng(0).permutation(len(room))])
    in_order = np.ascontiguousarray(room.xyz)
    result: dict[str, Any] = {}
    for order, cloud in (("as scanned", in_order), ("shuffled", xyz)):
        steps, missing = voxelizers(cloud)
        times = median_ms(steps, min(rounds, 5))
        print(f"{len(cloud):,} points {order} to {VOXEL_SIZE} m")
        for name, ms in sorted(times.items(), key=lambda item: item[1]):
            print(f"  {name:<28}{ms:>9.0f} ms {steps[name]():>10,} voxels", flush=True)
        for name, why in missing.items():
            print(f"  {name:<28}{why}")
        result[order] = {"points": len(cloud), "ms": times, "left_out": missing}
    return result


def loader(rounds: int, num_points: int = 150_000) -> dict[str, Any]:
    """Measures rooms per second of the loader by number of workers, and the time per loading step.

    Args:
        rounds: number of measured rounds.
        num_points: number of points of each room.
    """
    scene = segmented_room(0, num_points)
    steps: dict[str, Callable[[], Any]] = {}
    for name, options in (*STEPS, ("jitter", {}), ("drop_points", {}), ("crop_cuboid", {})):
        step = AUGMENTATIONS[name]
        steps[name] = lambda step=step, options=options: step(scene, np.random.default_rng(0), **options)
    with tempfile.TemporaryDirectory() as folder:
        paths = write_segmented_rooms(Path(folder), [num_points] * 4)
        options = {"voxel_size": VOXEL_SIZE, "features": ("rgb", "xyz"), "instance_classes": tuple(range(13))}
        plain = RoomDataset(paths, **options)
        steps["read, voxelize, targets"] = lambda: plain[(0,), 0]
        times = median_ms(steps, min(rounds, 5))
        print(f"one room of {len(scene):,} points, ms: " + ", ".join(f"{k} {v:.1f}" for k, v in times.items()))
        elastic = times["elastic"] / (times["read, voxelize, targets"] + sum(times[name] for name, _ in STEPS))
        print(f"elastic distortion: {elastic:.0%} of the loading time")
        dataset = RoomDataset(paths, **options, augment=compose(STEPS))
        speed = {}
        for workers in [0, *(n for n in (1, 2, 4, 8, 16) if n <= joblib.cpu_count())]:
            speed[str(workers)] = row = loader_speed(dataset, workers, num_rooms=8 * rounds)
            row["ms_waited"] = loader_speed(dataset, workers, num_rooms=4 * rounds, step=STEP)["ms_waited"]
            print(
                f"  {workers:>2} workers {row['rooms_per_second']:>8.1f} rooms per second, "
                f"{row['cpu_ms_per_room']:>6.1f} CPU ms per room; a step of {1000 * STEP:.0f} ms waits "
                f"{row['ms_waited']:>6.1f} ms for its room",
                flush=True,
            )
    return {"points": len(scene), "ms": times, "elastic_share": elastic, "loader": speed}


def loader_speed(dataset: RoomDataset, workers: int, num_rooms: int, step: float = 0.0) -> dict[str, float]:
    """Rooms per second, CPU time per room of all processes, and wait per room in steady state.

    Args:
        dataset: rooms to load.
        workers: number of single-threaded loader processes; 0 loads in this process.
        num_rooms: number of measured rooms, after a warm-up that starts and compiles the workers.
        step: seconds of computation after each room, included in the CPU time.
    """
    warm = 4 + 4 * workers
    # Extra rooms keep the workers busy until the last measured room.
    sampler = ResumableSampler(len(dataset), 1, warm + num_rooms + 4 * workers, seed=0)
    loader = DataLoader(dataset, batch_sampler=sampler, collate_fn=collate, num_workers=workers)
    batches = iter(loader)
    for _ in range(warm):
        next(batches)
    start, cpu, waited = time.perf_counter(), _cpu_seconds(), 0.0
    for _ in range(num_rooms):
        asked = time.perf_counter()
        next(batches)
        waited += time.perf_counter() - asked
        _compute(step)
    seconds, cpu = time.perf_counter() - start, _cpu_seconds() - cpu
    return {
        "rooms_per_second": num_rooms / seconds,
        "cpu_ms_per_room": 1000 * cpu / num_rooms,
        "ms_waited": 1000 * waited / num_rooms,
    }


def _compute(seconds: float) -> None:
    """Computes for a number of seconds."""
    matrix = torch.ones(256, 256)
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        torch.mm(matrix, matrix)


def _cpu_seconds() -> float:
    """User and system time of this process and, if /proc exists, of its children."""
    ticks = 0
    for child in multiprocessing.active_children():
        stat = Path(f"/proc/{child.pid}/stat")
        if stat.is_file():
            ticks += sum(int(number) for number in stat.read_text().rpartition(")")[2].split()[11:13])
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")
