"""Convolutions on sparse voxels: one set of layers, with spconv on CUDA and code of our own everywhere else.

The weight of every layer is (out, k, k, k, in), as spconv stores it, so that both backends read the same checkpoints.
Its axes 1, 2 and 3 go with x, y and z, the columns 1, 2 and 3 of the coordinates: a layer computes what a dense conv3d
with weight.permute(0, 4, 1, 2, 3) computes on a (batch, in, x, y, z) array with zeros where there is no voxel.
"""

import math
import warnings
from dataclasses import dataclass, replace
from functools import cache
from types import ModuleType
from typing import Any, Literal

import torch
from jaxtyping import Float, Int32
from torch import Tensor, nn
from torch.nn import functional as F

from pcseg.ops.neighbors import KernelMap, SparseGrid
from pcseg.ops.pair_conv import pair_conv

Backend = Literal["auto", "torch", "spconv"]


@dataclass(frozen=True)
class SparseTensor:
    """Features on the voxels of a grid.

    Args:
        features: one row per voxel.
        grid: the voxels; tensors that share a grid share its kernel maps.

    Raises:
        ValueError: the number of rows differs from the number of voxels.
    """

    features: Float[Tensor, "V C"]
    grid: SparseGrid

    def __post_init__(self) -> None:
        if self.features.ndim != 2 or len(self.features) != len(self.grid):
            raise ValueError(f"features must be ({len(self.grid)}, C), got {tuple(self.features.shape)}")

    @property
    def coords(self) -> Int32[Tensor, "V 4"]:
        """Batch index, x, y, z of each row of the features, in voxels of this stride."""
        return self.grid.coords

    @property
    def batch_size(self) -> int:
        return self.grid.batch_size

    @property
    def stride(self) -> int:
        """Size of a voxel in voxels of the full resolution."""
        return self.grid.stride

    def with_features(self, features: Float[Tensor, "V D"]) -> "SparseTensor":
        """Other features on the same voxels."""
        return replace(self, features=features)


@cache
def _import_spconv() -> ModuleType | None:
    """spconv.pytorch, or None where it is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it uses names that torch has deprecated
        try:
            import spconv.pytorch
        except ImportError:
            return None
    return spconv.pytorch


def _autocast_dtype(features: Tensor) -> torch.dtype | None:
    """What autocast asks for on CUDA; None without it, and on the CPU, whose loops are for float32."""
    if not features.is_cuda or not torch.is_autocast_enabled():
        return None
    if hasattr(torch, "get_autocast_dtype"):
        return torch.get_autocast_dtype("cuda")
    return torch.get_autocast_gpu_dtype()  # torch before 2.4


def pad_channels(
    features: Float[Tensor, "V I"], weight: Float[Tensor, "O k k k I"]
) -> tuple[Float[Tensor, "V padded_I"], Float[Tensor, "padded_O k k k padded_I"]]:
    """Both with zeros behind their channels, up to multiples of 8: what tensor cores take in half precision."""
    num_outputs, num_inputs = len(weight), weight.shape[4]
    more = -num_inputs % 8
    return F.pad(features, (0, more)), F.pad(weight, (0, more, 0, 0, 0, 0, 0, 0, 0, -num_outputs % 8))


class _SparseConv(nn.Module):
    """What the layers share: parameters, checks, and the choice of the backend."""

    spconv_name: str

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, bias: bool, backend: Backend) -> None:
        super().__init__()
        if backend not in ("auto", "torch", "spconv"):
            raise ValueError(f"backend must be 'auto', 'torch' or 'spconv', got {backend!r}")
        self.in_channels, self.out_channels, self.kernel_size = in_channels, out_channels, kernel_size
        self.backend = backend
        self.weight = nn.Parameter(torch.empty(out_channels, kernel_size, kernel_size, kernel_size, in_channels))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self._spconv_layers: dict[
            tuple[int, int, bool], Any
        ] = {}  # by channels and "on CUDA"; in a dict, so that torch does not see them
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform within 1 / sqrt(fan-in), as torch's own convolutions start."""
        bound = 1 / math.sqrt(self.in_channels * self.kernel_size**3)
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, bias={self.bias is not None}"

    def _uses_spconv(self, x: SparseTensor) -> bool:
        """Checks the input, and chooses the backend."""
        features = x.features
        if features.shape[1] != self.in_channels:
            raise ValueError(f"the layer takes {self.in_channels} channels, the features have {features.shape[1]}")
        if not features.is_floating_point():
            raise ValueError(f"features must be floating point, got {features.dtype}")
        if self.backend == "torch" or len(features) == 0:
            return False
        if self.backend == "auto":
            return features.is_cuda and features.dtype != torch.float64 and _import_spconv() is not None
        if _import_spconv() is None:
            raise ValueError("backend 'spconv' is not installed: pip install spconv-cu126, or use backend 'torch'")
        if not features.is_cuda and torch.is_grad_enabled() and (features.requires_grad or self.weight.requires_grad):
            raise ValueError("spconv has no gradients on the CPU: use backend 'torch', or torch.no_grad()")
        return True

    def _spconv(self, x: SparseTensor, key: str, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Features and coordinates that spconv's layer of this name gives for voxels in a box of this shape."""
        spconv = _import_spconv()
        assert spconv is not None
        # spconv has no bfloat16.
        dtype = torch.float16 if _autocast_dtype(x.features) == torch.float16 else self.weight.dtype
        given, weight = x.features.to(dtype), self.weight.to(dtype)
        if dtype == torch.float16:
            given, weight = pad_channels(given, weight)
        kind = (weight.shape[4], len(weight), x.features.is_cuda)
        if kind not in self._spconv_layers:
            self._spconv_layers[kind] = self._make_spconv_layer(spconv, *kind)
        layer = self._spconv_layers[kind]
        # spconv has gradients in training mode only, and only then makes what they need of a submanifold map.
        layer.train(torch.is_grad_enabled())
        layer.indice_key = f"{key} {layer.training}" if self.spconv_name == "SubMConv3d" else key
        maps = x.grid.shared.setdefault("spconv maps", {})
        with torch.autocast(x.features.device.type, enabled=False):
            tensor = spconv.SparseConvTensor(
                given.contiguous(), x.coords.contiguous(), list(shape), x.batch_size, indice_dict=maps
            )
            out = torch.func.functional_call(layer, {"weight": weight}, (tensor,))
        maps.update(out.indice_dict)
        return out.features[:, : self.out_channels], out.indices

    def _by_pairs(self, features: Float[Tensor, "V I"], kernel_map: KernelMap) -> Float[Tensor, "W O"]:
        dtype = _autocast_dtype(features) or self.weight.dtype
        return pair_conv(features.to(dtype), self.weight.to(dtype), kernel_map)

    def _make_spconv_layer(self, spconv: ModuleType, in_channels: int, out_channels: int, on_cuda: bool) -> nn.Module:
        """A layer of spconv without parameters of its own; on the CPU it has only its native algorithm."""
        options: dict[str, object] = {
            "bias": False,
            "indice_key": "",
            "algo": None if on_cuda else spconv.ConvAlgo.Native,
        }
        if self.spconv_name == "SparseConv3d":
            options["stride"] = 2
        with torch.device("meta"):
            return getattr(spconv, self.spconv_name)(in_channels, out_channels, self.kernel_size, **options)

    def _finish(self, features: Tensor, grid: SparseGrid) -> SparseTensor:
        return SparseTensor(features if self.bias is None else features + self.bias, grid)


class SubmanifoldConv3d(_SparseConv):
    """Convolution whose outputs are where its inputs are.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: odd.
        bias: whether a learnt bias is added.
        backend: "torch", "spconv", or "auto": spconv where features are on CUDA and it is installed.

    Raises:
        ValueError: kernel_size is even; in forward: features that do not fit, or spconv asked for and not there.

    Source:
        Graham et al., 3D Semantic Segmentation with Submanifold Sparse Convolutional Networks, CVPR 2018.
    """

    spconv_name = "SubMConv3d"

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int = 3, bias: bool = False, backend: Backend = "auto"
    ) -> None:
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size of a submanifold convolution must be odd, got {kernel_size}")
        super().__init__(in_channels, out_channels, kernel_size, bias, backend)

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Features of the same voxels."""
        if self._uses_spconv(x):
            features, _ = self._spconv(x, f"submanifold {x.stride} {self.kernel_size}", x.grid.extent)
        else:
            features = self._by_pairs(x.features, x.grid.submanifold(self.kernel_size))
        return self._finish(features, x.grid)


class DownsampleConv3d(_SparseConv):
    """Convolution with kernel 2 and stride 2: a coarse voxel wherever there is a fine one.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        bias: whether a learnt bias is added.
        backend: "torch", "spconv" or "auto", as in SubmanifoldConv3d; the same for all layers of a network.
    """

    spconv_name = "SparseConv3d"

    def __init__(self, in_channels: int, out_channels: int, bias: bool = False, backend: Backend = "auto") -> None:
        super().__init__(in_channels, out_channels, 2, bias, backend)

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Features of the voxels of twice the size."""
        if not self._uses_spconv(x):
            grid, kernel_map = x.grid.coarser()
            return self._finish(self._by_pairs(x.features, kernel_map), grid)
        # spconv leaves out the last voxel of an odd extent.
        even = tuple(n + n % 2 for n in x.grid.extent)
        features, coords = self._spconv(x, f"downsample {x.stride}", even)
        # spconv orders the coarse voxels in its own way, so they are a grid of its own.
        grid = x.grid.shared.setdefault(f"spconv grid {2 * x.stride}", SparseGrid(coords, x.batch_size, finer=x.grid))
        return self._finish(features, grid)


class UpsampleConv3d(_SparseConv):
    """Inverse of a DownsampleConv3d: kernel 2, back to the voxels that were downsampled.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        bias: whether a learnt bias is added.
        backend: "torch", "spconv" or "auto", as in SubmanifoldConv3d; the same for all layers of a network.
    """

    spconv_name = "SparseInverseConv3d"

    def __init__(self, in_channels: int, out_channels: int, bias: bool = False, backend: Backend = "auto") -> None:
        super().__init__(in_channels, out_channels, 2, bias, backend)

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Features of the voxels of half the size.

        Raises:
            ValueError: x does not come from a DownsampleConv3d of the same backend.
        """
        finer = x.grid.finer
        if finer is None:
            raise ValueError("UpsampleConv3d takes what a DownsampleConv3d gave, this tensor is at full resolution")
        uses_spconv = self._uses_spconv(x)
        if (x.grid is x.grid.shared.get(f"spconv grid {x.stride}")) != uses_spconv:
            raise ValueError(
                "UpsampleConv3d and the DownsampleConv3d before it use different backends: give both the same"
            )
        if uses_spconv:
            features, _ = self._spconv(x, f"downsample {finer.stride}", x.grid.extent)
        else:
            kernel_map = finer.coarser()[1].transposed()
            features = self._by_pairs(x.features, kernel_map)
        return self._finish(features, finer)
