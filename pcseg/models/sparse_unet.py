"""A U-Net of residual blocks on sparse voxels."""

import itertools
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Float, Int32
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as run_checkpointed

from pcseg.models.voxel_batch_norm import VoxelBatchNorm, mix, recomputing
from pcseg.ops.neighbors import KernelMap, SparseGrid, voxel_order
from pcseg.ops.pair_conv import add_pair_conv, has_whole_tiles, pack_weight
from pcseg.ops.sparse_conv import DownsampleConv3d, SparseTensor, SubmanifoldConv3d, UpsampleConv3d


class NormReLU(nn.Sequential):
    """Batch norm over voxels, then ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__(VoxelBatchNorm(channels, eps=1e-4, momentum=0.1))

    def forward(self, input: Float[Tensor, "V C"]) -> Float[Tensor, "V C"]:
        (norm,) = self
        return cast(VoxelBatchNorm, norm).relu(input)


class ResidualBlock(nn.Module):
    """Twice norm, ReLU, 3x3x3 convolution, added to the input (through a linear layer where the width changes)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        same = in_channels == out_channels
        self.skip = nn.Identity() if same else nn.Linear(in_channels, out_channels, bias=False)
        self.norm1 = NormReLU(in_channels)
        self.conv1 = SubmanifoldConv3d(in_channels, out_channels)
        self.norm2 = NormReLU(out_channels)
        self.conv2 = SubmanifoldConv3d(out_channels, out_channels)

    def forward(self, x: SparseTensor) -> SparseTensor:
        y = self.conv1(x.with_features(self.norm1(x.features)))
        y = self.conv2(y.with_features(self.norm2(y.features)))
        return y.with_features(y.features + self.skip(x.features))


@dataclass(frozen=True)
class SparseUNetOptions:
    """Options of `SparseUNet`; ``model.unet`` of a config."""

    channels: tuple[int, ...] = (32, 64, 96, 128, 160)  # width of each level, from full resolution down
    blocks_per_level: int = 2  # residual blocks before each downsampling, and after each upsampling
    checkpointing: bool = False  # recompute blocks in the backward pass: less memory, more time
    mixed_norms: bool = False  # train for scans whose statistics differ, see `pcseg.models.voxel_batch_norm.mix`


class SparseUNet(nn.Module):
    """U-Net on sparse voxels: each level halves the resolution, skip connections join by concatenation.

    In training, a level with a single voxel has no batch statistics; its norm uses the running ones.

    Raises:
        ValueError: no level, or a width or a number of blocks below 1.

    Source: Sun et al., Superpoint Transformer for 3D Scene Instance Segmentation, AAAI 2023 (32 to 160 channels, 2
    blocks); Graham et al., Submanifold Sparse Convolutional Networks, CVPR 2018.
    """

    halves = False  # whether `_predict` multiplies bfloat16 in convolutions; set by `multiply_halves`

    def __init__(self, in_channels: int, options: SparseUNetOptions) -> None:
        super().__init__()
        channels, blocks_per_level = options.channels, options.blocks_per_level
        if not channels or min(*channels, in_channels, blocks_per_level) < 1:
            found = f"got {in_channels}, {channels} and {blocks_per_level}"
            raise ValueError(f"in_channels, channels and blocks_per_level must be at least 1, {found}")
        self.in_channels, self.out_channels, self.checkpointing = in_channels, channels[0], options.checkpointing

        def blocks(first: int, width: int) -> nn.ModuleList:
            widths = [first] + [width] * blocks_per_level
            return nn.ModuleList(itertools.starmap(ResidualBlock, itertools.pairwise(widths)))

        self.stem = SubmanifoldConv3d(in_channels, channels[0])
        self.encoder = nn.ModuleList(blocks(c, c) for c in channels)
        steps = list(itertools.pairwise(channels))
        self.down_norm = nn.ModuleList(NormReLU(fine) for fine, _ in steps)
        self.down = nn.ModuleList(DownsampleConv3d(fine, coarse) for fine, coarse in steps)
        self.up_norm = nn.ModuleList(NormReLU(coarse) for _, coarse in steps)
        self.up = nn.ModuleList(UpsampleConv3d(coarse, fine) for fine, coarse in steps)
        self.decoder = nn.ModuleList(blocks(2 * fine, fine) for fine, _ in steps)
        self.head = NormReLU(channels[0])
        self._packed: dict[nn.Module, tuple[Any, Tensor, Tensor]] = {}  # see `_pack`
        if options.mixed_norms:
            mix(self)

    def _run_blocks(self, blocks: nn.Module, x: SparseTensor) -> SparseTensor:
        for block in blocks:  # type: ignore[attr-defined]
            if self.checkpointing and self.training and torch.is_grad_enabled():
                x = run_checkpointed(
                    block, x, use_reentrant=False, context_fn=lambda block=block: (nullcontext(), recomputing(block))
                )
            else:
                x = block(x)
        return x

    def forward(
        self, voxel_coords: Int32[Tensor, "V 4"], voxel_features: Float[Tensor, "V F"], batch_size: int
    ) -> Float[Tensor, "V C"]:
        """Features of each voxel, in the order of the input.

        Args:
            voxel_coords: batch index, x, y, z of each voxel; unique rows, none negative.
            voxel_features: F input features of each voxel.
            batch_size: number of rooms in the batch; batch indices are less.

        Returns:
            out_channels features per voxel, after a norm and a ReLU.

        Raises:
            ValueError: coordinates that are negative, repeated or outside the batch, or features that do not fit.
        """
        if len(voxel_features) != len(voxel_coords):
            raise ValueError(f"voxel_features has {len(voxel_features)} rows, voxel_coords has {len(voxel_coords)}")
        # Sorted voxels have their neighbors near in memory; it also makes the result independent of the order given.
        order = voxel_order(voxel_coords, batch_size)
        if order is not None:
            voxel_coords, voxel_features = voxel_coords[order], voxel_features[order]
        grid = SparseGrid(voxel_coords, batch_size, checked=True)
        if self._adds_in_place(voxel_features):
            features = self._predict(voxel_features, grid)
        else:
            features = self._levels(SparseTensor(voxel_features, grid))
        return features if order is None else features[order.argsort()]

    def _levels(self, x: SparseTensor) -> Float[Tensor, "V C"]:
        x = self.stem(x)
        skips: list[SparseTensor] = []
        for level, blocks in enumerate(self.encoder):
            if level:
                skips.append(x)
                x = self.down[level - 1](x.with_features(self.down_norm[level - 1](x.features)))
            x = self._run_blocks(blocks, x)
        for level in reversed(range(len(skips))):
            up = self.up[level](x.with_features(self.up_norm[level](x.features)))
            x = up.with_features(torch.cat([skips[level].features, up.features], dim=1))
            x = self._run_blocks(self.decoder[level], x)
        return self.head(x.features)

    def _adds_in_place(self, features: Tensor) -> bool:
        """Whether `_predict` takes these features."""
        if self.training or torch.is_grad_enabled() or features.device.type != "cpu":
            return False
        is_float32 = features.dtype == self.stem.weight.dtype == torch.float32
        return is_float32 and all(has_whole_tiles(blocks[0].conv2.out_channels) for blocks in self.encoder)  # type: ignore[index]

    def _pack(self, layer: Any) -> Tensor:
        """The weight of a layer for `add_pair_conv`, packed again only if it has changed."""
        weight, dtype = layer.weight.detach(), torch.bfloat16 if self.halves else torch.float32
        state = (weight.data_ptr(), weight._version, dtype)
        if layer not in self._packed or self._packed[layer][0] != state:
            self._packed[layer] = (state, pack_weight(weight, dtype), weight)  # a weight that is held keeps its address
        return self._packed[layer][1]

    @torch.autocast("cpu", enabled=False)
    def _predict(self, features: Float[Tensor, "V F"], grid: SparseGrid) -> Float[Tensor, "V C"]:
        """The same as `_levels` in evaluation mode on the CPU, in less time and memory.

        Each convolution adds to the features of its block in place, and does the norm and ReLU that follow it.
        """

        def convolve(source: Tensor, layer: Any, kernel_map: KernelMap, x: Tensor, after: Any, out: Tensor) -> None:
            """Adds to x, and writes the norm and ReLU that follow to out."""
            norm = after[0]
            if not norm.adapts:
                add_pair_conv(source, self._pack(layer), kernel_map, x, norm.scale_and_shift(x), out)
                return
            add_pair_conv(source, self._pack(layer), kernel_map, x)
            scale, shift = norm.scale_and_shift(x[:-1])
            torch.addcmul(shift, x, scale, out=out).relu_()

        def run_blocks(blocks: Any, grid: SparseGrid, x: Tensor, active: Tensor, after: nn.Module) -> Tensor:
            """Changes x, given norm and ReLU of it; returns those that follow the blocks."""
            kernel_map, sums = grid.submanifold, torch.empty_like(x)
            inner = torch.empty_like(x, dtype=dtype) if self.halves else sums
            for block, following in zip(blocks, [*(block.norm1 for block in blocks[1:]), after]):
                convolve(active, block.conv1, kernel_map, sums.zero_(), block.norm2, inner)
                active = active if active.shape == x.shape else torch.empty_like(x, dtype=dtype)
                convolve(inner, block.conv2, kernel_map, x, following, active)
            return active

        net: Any = self  # the types of the modules in its lists are known here
        dtype = torch.bfloat16 if self.halves else torch.float32
        active, kernel_map, last = features.to(dtype), grid.submanifold, len(net.down)
        skips: list[tuple[SparseGrid, Tensor]] = []
        for level, (layer, blocks) in enumerate(zip([net.stem, *net.down], net.encoder)):
            if level:
                grid, kernel_map = grid.coarser
            x = features.new_zeros((len(grid) + 1, layer.out_channels))
            source, active = active, torch.empty_like(x, dtype=dtype)
            convolve(source, layer, kernel_map, x, blocks[0].norm1, active)
            after = net.down_norm[level] if level < last else net.up_norm[-1] if last else net.head
            active = run_blocks(blocks, grid, x, active, after)
            skips.append((grid, x))
        skips.pop()
        for level in reversed(range(last)):
            (grid, skip), blocks = skips.pop(), net.decoder[level]
            up = torch.zeros_like(skip)
            add_pair_conv(active, self._pack(net.up[level]), grid.coarser[1].transposed(), up)
            both = torch.cat([skip, up], dim=1)
            del up
            x = torch.mm(both, blocks[0].skip.weight.T, out=skip)
            scale, shift = blocks[0].norm1[0].scale_and_shift(both[:-1])
            active = torch.addcmul(shift, both, scale, out=both).relu_().to(dtype)
            del both
            active = run_blocks(blocks, grid, x, active, net.up_norm[level - 1] if level else net.head)
        return active[:-1].float()


def multiply_halves(model: nn.Module, on: bool) -> None:
    """Make the convolutions of a model multiply bfloat16 in evaluation without gradients; needs `HAS_BF16`."""
    for module in model.modules():
        if isinstance(module, SparseUNet):
            module.halves = on
