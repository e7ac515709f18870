"""Sparse convolutions, slowly: dense convolutions of a zero-filled grid."""

from torch import Tensor
from torch.nn import functional as F


def to_dense(coords: Tensor, features: Tensor, batch_size: int, size: int) -> Tensor:
    """(batch, channels, size, size, size) with zeros where there is no voxel."""
    b, x, y, z = coords.long().unbind(dim=1)
    dense = features.new_zeros((batch_size, size, size, size, features.shape[1]))
    return dense.index_put((b, x, y, z), features).permute(0, 4, 1, 2, 3)


def from_dense(dense: Tensor, coords: Tensor) -> Tensor:
    """The rows of a dense grid at the voxels."""
    b, x, y, z = coords.long().unbind(dim=1)
    return dense[b, :, x, y, z]


def dense_submanifold(coords: Tensor, features: Tensor, weight: Tensor, batch_size: int, size: int) -> Tensor:
    dense = to_dense(coords, features, batch_size, size)
    return from_dense(F.conv3d(dense, weight.permute(0, 4, 1, 2, 3), padding=1), coords)


def dense_downsample(coords, features, weight, batch_size: int, size: int, coarse_coords: Tensor) -> Tensor:
    dense = to_dense(coords, features, batch_size, size)
    return from_dense(F.conv3d(dense, weight.permute(0, 4, 1, 2, 3), stride=2), coarse_coords)


def dense_upsample(coords, features, weight, batch_size: int, size: int, coarse_coords: Tensor) -> Tensor:
    dense = to_dense(coarse_coords, features, batch_size, size // 2)
    return from_dense(F.conv_transpose3d(dense, weight.permute(4, 0, 1, 2, 3), stride=2), coords)
