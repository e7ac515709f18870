"""Time and memory of the network of configs/scannet.yaml on a room: prediction without gradients on the CPU."""

from typing import Any

import torch

from pcseg import build
from pcseg import config as cfg
from pcseg.benchmarks.measure import forget_peak, in_own_process, median_times, peak_mb, print_row, segmented_room
from pcseg.classes import S3DIS
from pcseg.inference.segmenter import Segmenter
from pcseg.kernels.conv import HAS_BF16
from pcseg.models.sparse_unet import multiply_halves
from pcseg.structures import SceneBatch


def network(rounds: int, num_points: int = 285_000, *overrides: str) -> dict[str, Any]:
    """Predicts a room with superpoints by random weights, in a fresh process; overrides change the config."""
    return in_own_process(_network, rounds, num_points, torch.get_num_threads(), overrides)


def _network(rounds: int, num_points: int, num_threads: int, overrides: tuple[str, ...]) -> dict[str, Any]:
    torch.set_num_threads(num_threads)
    torch.manual_seed(0)
    config = cfg.load("scannet", ["data.classes=s3dis", 'data.train=["*"]', "data.val=[]", *overrides])
    segmenter = Segmenter(build.build_model(config, S3DIS), S3DIS, config.data.voxel_size, config.data.features)
    batches: list[SceneBatch] = []
    room = segmented_room(2, num_points)
    with segmenter.model.register_forward_pre_hook(lambda _, args: batches.append(args[0])):
        segmenter.predict(room)  # compiles
    batch, unet = batches[0], segmenter.model.unet
    given = (batch.voxel_coords, batch.voxel_features, 1)
    result: dict[str, Any] = {
        "parameters": sum(p.numel() for p in segmenter.model.parameters()),
        "voxels": len(batch.voxel_coords),
    }
    print(f"{result['voxels']:,} voxels, {result['parameters']:,} parameters")
    memory = {"MB before": forget_peak()}
    segmenter.predict(room)
    memory["MB at the peak"] = peak_mb()

    @torch.no_grad()
    def without_gradients(halves: bool) -> None:
        multiply_halves(unet, halves)
        unet(*given)

    exact = segmenter.with_options(precision="float32")
    calls = {
        "room to objects, float32": lambda: exact.predict(room),
        "U-Net, float32": lambda: without_gradients(False),
        "U-Net, float32, in separate steps": lambda: unet(*given),  # as in training, for gradients
    }
    if HAS_BF16:
        halves = segmenter.with_options(precision="bf16")
        calls |= {
            "room to objects, bfloat16": lambda: halves.predict(room),
            "U-Net, bfloat16": lambda: without_gradients(True),
        }
    rows = {**median_times(calls, rounds), "memory": memory}
    for name, row in rows.items():
        print_row(name, row)
    return {**result, **rows}
