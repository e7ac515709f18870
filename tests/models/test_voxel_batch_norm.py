"""The batch norm of several processes; test_distributed compares two real processes with one."""

import pytest
import torch

from pcseg.models.voxel_batch_norm import VoxelBatchNorm, synchronize


@pytest.mark.parametrize("num_voxels", [2, 7])
def test_same_voxels_in_two_processes(num_voxels: int) -> None:
    """Two processes with the same voxels: twice the sums, and half of the gradients each."""
    plain, shared = torch.nn.BatchNorm1d(3).double(), VoxelBatchNorm(3).double()
    synchronize(shared, lambda values: 2 * values)
    voxels = torch.randn(num_voxels, 3, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(num_voxels, 3, dtype=torch.float64)
    found, expected = shared(voxels), plain(torch.cat([voxels, voxels]))
    torch.testing.assert_close(torch.cat([found, found]), expected)
    torch.testing.assert_close(shared.state_dict(), plain.state_dict())
    found_grads = torch.autograd.grad((found * weights).sum(), (voxels, shared.weight, shared.bias))
    expected_loss = (expected * torch.cat([weights, weights])).sum() / 2
    expected_grads = torch.autograd.grad(expected_loss, (voxels, plain.weight, plain.bias))
    torch.testing.assert_close(found_grads, expected_grads)
