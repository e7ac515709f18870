"""Convolutions on sparse voxels: one set of layers, with spconv on CUDA and built-in code everywhere else.

The weight of every layer is (out, k, k, k, in), as spconv stores it, so that both backends read the same checkpoints.
Its axes 1, 2 and 3 go with x, y and z, the columns 1, 2 and 3 of the coordinates. A layer equals a dense conv3d with
weight.permute(0, 4, 1, 2, 3) on a (batch, in, x, y, z) array. The array is zero where there is no voxel.
"""

import logging
import math
import warnings
from dataclasses import dataclass, replace
from functools import cache
from types import ModuleType
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from pcseg.ops.neighbors import KernelMap, SparseGrid
from pcseg.ops.pair_conv import pair_conv

Backend = Literal["auto", "torch", "spconv"]
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SparseTensor:
    """Features on the voxels of a grid.

    Raises:
        ValueError: the number of rows differs from the number of voxels.
    """

    features: Float[Tensor, "V C"]  # one row per voxel
    grid: SparseGrid  # the voxels; tensors that share a grid share its kernel maps

    def __post_init__(self) -> None:
        if self.features.ndim != 2 or len(self.features) != len(self.grid):
            raise ValueError(f"features must be ({len(self.grid)}, C), got {tuple(self.features.shape)}")

    def with_features(self, features: Float[Tensor, "V D"]) -> "SparseTensor":
        """Other features on the same voxels."""
        return replace(self, features=features)


@cache
def _import_spconv() -> ModuleType | None:
    """spconv.pytorch, or None if it is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it uses names that torch has deprecated
        try:
            import spconv.pytorch
        except Exception as error:  # one for another version of torch or CUDA fails in many ways
            if not isinstance(error, ModuleNotFoundError):
                logger.warning("spconv cannot be imported (%s)", error)
            return None
    return spconv.pytorch


@cache
def spconv_on_gpu() -> bool:
    """Whether spconv is installed and convolves on this GPU, found by a trial; the log says why not."""
    if _import_spconv() is None:
        logger.warning("spconv is not installed: convolutions on the GPU run without it (pip install spconv-cu126)")
        return False
    try:
        grid = SparseGrid(torch.zeros((1, 4), dtype=torch.int32, device="cuda"), 1)
        layer = SubmanifoldConv3d(8, 8, backend="spconv").cuda()
        with torch.enable_grad(), torch.autocast("cuda", enabled=False):
            out = layer(SparseTensor(torch.ones(1, 8, device="cuda"), grid)).features
            out.sum().backward()
        torch.cuda.synchronize()
    except Exception as error:
        logger.warning("spconv fails on this GPU: convolutions run without it (%s)", error)
        return False
    return True


def _autocast_dtype(features: Tensor) -> torch.dtype | None:
    """The dtype of autocast on CUDA; None without it, and on the CPU, whose loops are for float32."""
    return torch.get_autocast_dtype("cuda") if features.is_cuda and torch.is_autocast_enabled() else None


def pad_channels(
    features: Float[Tensor, "V I"], weight: Float[Tensor, "O k k k I"]
) -> tuple[Float[Tensor, "V padded_I"], Float[Tensor, "padded_O k k k padded_I"]]:
    """Pads the channels of both with zeros to multiples of 8, which tensor cores need in half precision."""
    num_outputs, num_inputs = len(weight), weight.shape[4]
    more = -num_inputs % 8
    return F.pad(features, (0, more)), F.pad(weight, (0, more, 0, 0, 0, 0, 0, 0, 0, -num_outputs % 8))


class _SparseConv(nn.Module):
    """Parameters, checks, and the choice of the backend."""

    kernel_size = 2
    spconv_name: str
    spconv_options: ClassVar[dict[str, Any]] = {}

    def __init__(self, in_channels: int, out_channels: int, backend: Backend = "auto") -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.backend = in_channels, out_channels, backend
        self.weight = nn.Parameter(torch.empty(out_channels, *[self.kernel_size] * 3, in_channels))
        # By channels and "on CUDA"; in a dict, so that torch does not register them.
        self._spconv_layers: dict[tuple[int, int, bool], Any] = {}
        # As torch's own convolutions start.
        bound = 1 / math.sqrt(in_channels * self.kernel_size**3)
        nn.init.uniform_(self.weight, -bound, bound)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}"

    def _uses_spconv(self, x: SparseTensor) -> bool:
        """Checks the input and chooses the backend."""
        features = x.features
        if features.shape[1] != self.in_channels:
            raise ValueError(f"the layer takes {self.in_channels} channels, the features have {features.shape[1]}")
        if self.backend == "torch" or len(features) == 0:
            return False
        if self.backend == "auto":
            return features.is_cuda and features.dtype != torch.float64 and spconv_on_gpu()
        if _import_spconv() is None:
            raise ValueError("backend 'spconv' is not installed: pip install spconv-cu126, or use backend 'torch'")
        if not features.is_cuda and torch.is_grad_enabled() and (features.requires_grad or self.weight.requires_grad):
            raise ValueError("spconv has no gradients on the CPU: use backend 'torch', or torch.no_grad()")
        return True

    def _by_spconv(self, x: SparseTensor, key: str, extent: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Features and coordinates that spconv's layer of this name gives for voxels in a box of this extent."""
        spconv = _import_spconv()
        assert spconv is not None
        # spconv has no bfloat16.
        dtype = torch.float16 if _autocast_dtype(x.features) == torch.float16 else self.weight.dtype
        given, weight = x.features.to(dtype), self.weight.to(dtype)
        if dtype == torch.float16:
            given, weight = pad_channels(given, weight)
        kind = (weight.shape[4], len(weight), x.features.is_cuda)
        if kind not in self._spconv_layers:
            # Without parameters of its own. On the CPU spconv has only its native algorithm.
            algorithm = None if x.features.is_cuda else spconv.ConvAlgo.Native
            options = {"bias": False, "indice_key": "", "algo": algorithm, **self.spconv_options}
            with torch.device("meta"):
                make = getattr(spconv, self.spconv_name)
                self._spconv_layers[kind] = make(*kind[:2], self.kernel_size, **options)
        layer = self._spconv_layers[kind]
        # spconv has gradients in training mode only, and only then makes what they need of a submanifold map.
        layer.train(torch.is_grad_enabled())
        layer.indice_key = f"{key} {layer.training}" if self.spconv_name == "SubMConv3d" else key
        maps = x.grid.shared.setdefault("spconv maps", {})
        with torch.autocast(x.features.device.type, enabled=False):
            tensor = spconv.SparseConvTensor(
                given.contiguous(), x.grid.coords.contiguous(), list(extent), x.grid.batch_size, indice_dict=maps
            )
            out = torch.func.functional_call(layer, {"weight": weight}, (tensor,))
        maps.update(out.indice_dict)
        return out.features[:, : self.out_channels], out.indices

    def _by_pairs(self, features: Float[Tensor, "V I"], kernel_map: KernelMap) -> Float[Tensor, "W O"]:
        dtype = _autocast_dtype(features) or self.weight.dtype
        return pair_conv(features.to(dtype), self.weight.to(dtype), kernel_map)


class SubmanifoldConv3d(_SparseConv):
    """3x3x3 convolution whose outputs are where its inputs are.

    Args:
        in_channels: number of input channels.
        out_channels: number of output channels.
        backend: "torch", "spconv", or "auto": spconv if features are on CUDA and `spconv_on_gpu`.

    Raises:
        ValueError: in forward: features that do not fit, or spconv is not installed.

    Source: Graham et al., 3D Semantic Segmentation with Submanifold Sparse Convolutional Networks, CVPR 2018.
    """

    kernel_size = 3
    spconv_name = "SubMConv3d"

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Features of the same voxels."""
        if self._uses_spconv(x):
            features, _ = self._by_spconv(x, f"submanifold {x.grid.stride}", x.grid.extent)
        else:
            features = self._by_pairs(x.features, x.grid.submanifold)
        return x.with_features(features)


class DownsampleConv3d(_SparseConv):
    """Convolution with kernel 2 and stride 2: a coarse voxel wherever there is a fine one."""

    spconv_name = "SparseConv3d"
    spconv_options: ClassVar[dict[str, Any]] = {"stride": 2}

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Features of the voxels of twice the size."""
        if not self._uses_spconv(x):
            grid, kernel_map = x.grid.coarser
            return SparseTensor(self._by_pairs(x.features, kernel_map), grid)
        # spconv leaves out the last voxel of an odd extent.
        even = tuple(n + n % 2 for n in x.grid.extent)
        features, coords = self._by_spconv(x, f"downsample {x.grid.stride}", even)
        # spconv orders the coarse voxels in its own way, so it has a grid of its own.
        grid = SparseGrid(coords, x.grid.batch_size, finer=x.grid)
        return SparseTensor(features, x.grid.shared.setdefault(f"spconv grid {grid.stride}", grid))


class UpsampleConv3d(_SparseConv):
    """Inverse of a DownsampleConv3d: kernel 2, back to the voxels that were downsampled."""

    spconv_name = "SparseInverseConv3d"

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Features of the voxels of half the size.

        Raises:
            ValueError: x does not come from a DownsampleConv3d of the same backend.
        """
        finer = x.grid.finer
        if finer is None:
            raise ValueError("UpsampleConv3d takes the output of a DownsampleConv3d, this tensor is at full resolution")
        uses_spconv = self._uses_spconv(x)
        if (x.grid is x.grid.shared.get(f"spconv grid {x.grid.stride}")) != uses_spconv:
            raise ValueError("UpsampleConv3d and the DownsampleConv3d before it must use the same backend")
        if uses_spconv:
            features, _ = self._by_spconv(x, f"downsample {finer.stride}", x.grid.extent)
        else:
            features = self._by_pairs(x.features, finer.coarser[1].transposed())
        return SparseTensor(features, finer)
