"""Time and memory for large scans: synthetic floors of increasing size, predicted in tiles."""

import tempfile
import time
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pcseg import build
from pcseg import config as cfg
from pcseg.benchmarks.measure import in_own_process, medians, peak_mb, print_row
from pcseg.classes import S3DIS
from pcseg.inference.prediction_files import write_prediction
from pcseg.inference.segmenter import Segmenter
from pcseg.prediction import Prediction
from pcseg.structures import Scene
from pcseg.synthetic import make_room

ROOM_POINTS = 100_000
NUM_MODELS = 10
_SPACING = 8.0  # meters from one room to the next


def make_floor(num_points: int, room_points: int = ROOM_POINTS, first: int = 0) -> Scene:
    """Makes a grid of synthetic rooms that repeats NUM_MODELS different ones.

    Args:
        num_points: number of points in total.
        room_points: approximate number of points in each room.
        first: model of the first room, from 0; the next rooms take the next models.
    """
    count = max(1, round(num_points / room_points))
    per_row = int(np.ceil(np.sqrt(count)))
    xyz, rgb = np.empty((num_points, 3), np.float32), np.empty((num_points, 3), np.uint8)
    make = lru_cache(lambda model: make_room(0, model, num_points=room_points))
    for index, rows in enumerate(np.array_split(np.arange(num_points), count)):
        room = make((first + index) % NUM_MODELS)
        assert room.rgb is not None
        chosen = np.resize(np.random.default_rng(index).permutation(len(room)), len(rows))
        corner = np.array([index % per_row * _SPACING, index // per_row * _SPACING, 0], np.float32)
        xyz[rows] = room.xyz[chosen] - room.xyz.min(axis=0) + corner
        rgb[rows] = room.rgb[chosen]
    return Scene("floor", xyz, rgb)


def predict_floor(num_points: int, room_points: int = ROOM_POINTS) -> dict[str, float]:
    """CPU seconds and peak memory of this process for a floor; call it in a fresh process.

    Rooms differ in their cost: the mean counts, over as many floors as show each room once.
    """
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = cfg.load("demo")  # the many masks of random weights make merging costly
    segmenter = Segmenter(build.build_model(config, S3DIS), S3DIS, config.data.voxel_size, config.data.features)
    segmenter.predict(make_floor(20_000, 20_000))  # compiles
    before, found = peak_mb(), []
    for first in range(0, NUM_MODELS, max(1, round(num_points / room_points))):
        scene = make_floor(num_points, room_points, first)
        start = time.process_time()  # excludes other programs
        prediction = segmenter.predict(scene)
        found.append((time.process_time() - start, prediction.num_columns, len(prediction)))
    seconds, superpoints, objects = np.mean(found, axis=0).tolist()
    # The kernel rounds the counters of threads: the peak that it gives can fall by some hundred kB.
    peak = {"peak_mb": max(before, peak_mb()), "peak_mb_before": before}
    return {"seconds": seconds, **peak, "superpoints": superpoints, "objects": objects, **_writing(prediction)}


def _writing(prediction: Prediction) -> dict[str, float]:
    """CPU seconds for the files, the picture and the page."""
    spent: dict[str, float] = {"files": 0.0, "picture": 0.0, "page": 0.0}
    marks: list[tuple[str, float]] = []

    def mark(text: str) -> None:
        name = text.split()[-1]
        marks.append((name if name in spent else "files", time.process_time()))

    with tempfile.TemporaryDirectory() as folder:
        write_prediction(Path(folder) / "floor", prediction, threshold=0.0, stage=mark)
        mark("end")
    for (name, start), (_, end) in pairwise(marks):
        spent[name] += end - start
    return {f"seconds_{name}": seconds for name, seconds in spent.items()}


def tiles(rounds: int, sizes: tuple[int, ...] = (100_000, 1_000_000, 20_000_000)) -> dict[str, Any]:
    """Measures the complete prediction of floors, each in a fresh process: medians of up to 3 rounds."""
    result: dict[str, Any] = {}
    for num_points in sizes:
        found = medians([in_own_process(predict_floor, num_points) for _ in range(min(rounds, 3))])
        result[str(num_points)] = found
        print_row(f"{num_points:,} points", found)
    return result
