"""Speed of sparse convolution on the CPU, compared with the native code of spconv."""

import warnings
from typing import Any

import numpy as np
import torch

from pcseg.benchmarks.measure import VOXEL_SIZE, Step, median_times, print_row
from pcseg.ops.neighbors import SparseGrid, submanifold_map, voxel_order
from pcseg.ops.pair_conv import pair_conv
from pcseg.ops.voxelize import voxelize
from pcseg.synthetic import make_room

CHANNELS = (32, 96)


def room_coords(num_points: int) -> torch.Tensor:
    """Voxels of a room in U-Net order, int32 (V, 4); 300,000 points give about 150,000 voxels."""
    cells = voxelize(make_room(1, 2, num_points=num_points).xyz, VOXEL_SIZE).coords
    coords = torch.from_numpy(np.pad(cells, ((0, 0), (1, 0))))
    order = voxel_order(coords, 1)
    return coords if order is None else coords[order].contiguous()


class _Spconv:
    """The native algorithm of spconv, without its layers, whose backward requires CUDA even for CPU tensors.

    Raises:
        ImportError: spconv is not installed.
    """

    def __init__(self, coords: torch.Tensor) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # spconv uses deprecated torch names
            import spconv.pytorch as spconv
            from spconv.pytorch import ops

        self.ops, self.algorithm, self.coords = ops, spconv.ConvAlgo.Native, coords
        self.extent = [n + 1 for n in coords[:, 1:].amax(dim=0).tolist()]
        self.pairs, self.counts = self.find_pairs()

    def find_pairs(self) -> tuple[torch.Tensor, torch.Tensor]:
        ones = [1, 1, 1]
        _, pairs, counts = self.ops.get_indice_pairs(
            self.coords, 1, self.extent, self.algorithm, [3, 3, 3], ones, ones, ones, [0, 0, 0], subm=True
        )
        return pairs, counts

    def forward(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return self.ops.indice_conv(x, weight, self.pairs, self.counts, len(x), subm=True, algo=self.algorithm)

    def backward(self, x: torch.Tensor, weight: torch.Tensor, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.ops.indice_conv_backward(x, weight, grad, self.pairs, self.counts, subm=True, algo=self.algorithm)


def conv(rounds: int, num_points: int = 300_000) -> dict[str, Any]:
    """Times a 3x3x3 submanifold convolution on the 2 cm voxels of a room, float32: pairs, forward, backward."""
    coords = room_coords(num_points)
    kernel_map = SparseGrid(coords, 1).submanifold
    num_pairs = len(kernel_map.in_index)
    result: dict[str, Any] = {"voxels": len(coords), "pairs": num_pairs}
    print(f"{len(coords):,} voxels, {num_pairs / len(coords):.1f} pairs each")
    try:
        spconv = _Spconv(coords)
    except ImportError as error:
        spconv = None
        print(f"spconv is not installed ({error})")
    before = torch.get_num_threads()
    try:
        for num_threads in sorted({1, torch.multiprocessing.cpu_count()}):
            torch.set_num_threads(num_threads)
            rows: dict[str, dict[str, Step]] = {"pairs": {"pcseg": lambda: submanifold_map(coords, 1)}}
            if spconv is not None:
                rows["pairs"]["spconv"] = spconv.find_pairs
            for channels in CHANNELS:
                rows |= _steps(channels, kernel_map, spconv)
            for name, steps in rows.items():
                title = f"{num_threads} thread{'s' * (num_threads > 1)}, {name}"
                result[title] = median_times(steps, rounds)
                for candidate, found in result[title].items():
                    print_row(f"{title}: {candidate}", found)
    finally:
        torch.set_num_threads(before)
    return result


def _steps(channels: int, kernel_map: Any, spconv: _Spconv | None) -> dict[str, dict[str, Step]]:
    """Forward and backward steps of both libraries, after a check that their results agree."""
    generator = torch.Generator().manual_seed(0)
    x, grad = (torch.randn(kernel_map.num_in, channels, generator=generator) for _ in range(2))
    weight = torch.randn(channels, 3, 3, 3, channels, generator=generator) / (27 * channels) ** 0.5
    inputs = (x.clone().requires_grad_(), weight.clone().requires_grad_())
    out = pair_conv(*inputs, kernel_map)

    def forward() -> torch.Tensor:
        with torch.no_grad():
            return pair_conv(x, weight, kernel_map)

    def backward() -> tuple[torch.Tensor, ...]:
        return torch.autograd.grad(out, inputs, grad, retain_graph=True)

    steps: dict[str, dict[str, Step]] = {"forward": {"pcseg": forward}, "backward": {"pcseg": backward}}
    if spconv is not None:
        theirs = (spconv.forward(x, weight), *spconv.backward(x, weight, grad))
        for a, b in zip((forward(), *backward()), theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 * float(b.abs().max()))
        steps["forward"]["spconv"] = lambda: spconv.forward(x, weight)
        steps["backward"]["spconv"] = lambda: spconv.backward(x, weight, grad)
    return {f"{channels} channels, {name}": pair for name, pair in steps.items()}
