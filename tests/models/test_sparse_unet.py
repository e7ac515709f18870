import jaxtyping
import numpy as np
import pytest
import torch

from pcseg.kernels.conv import HAS_BF16
from pcseg.models.sparse_unet import SparseUNet, SparseUNetOptions
from pcseg.models.voxel_batch_norm import RUNNING_WEIGHT, VoxelBatchNorm, adapt, mix
from tests.conftest import refuses
from tests.ops.conftest import random_coords


def _unet(in_channels: int, channels: tuple[int, ...], **options: object) -> SparseUNet:
    return SparseUNet(in_channels, SparseUNetOptions(channels, **options))


@pytest.mark.parametrize("channels", [(8,), (8, 12), (16, 32, 48, 64)])
def test_shapes_and_gradients(rng: np.random.Generator, channels: tuple[int, ...]) -> None:
    coords, features = random_coords(rng, 500), torch.randn(500, 6, requires_grad=True)
    model = _unet(6, channels)
    out = model(coords, features, 2)
    assert out.shape == (500, channels[0])
    assert model.out_channels == channels[0]
    out.square().sum().backward()
    assert features.grad.isfinite().all()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


def test_size_and_bad_input(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    model = SparseUNet(6, SparseUNetOptions())
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(11e6, rel=0.05)
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as it is outside of tests
    coords, model = random_coords(rng, 400, 1), _unet(3, (8,))
    refuses("voxel_features has 399 rows, voxel_coords has 400", model, coords, torch.zeros(399, 3), 1)
    refuses(r"must be int32 \(V, 4\): batch, x, y, z; got torch.int64", model, coords.long(), torch.zeros(400, 3), 1)
    for channels, blocks_per_level in (((), 2), ((8,), 0)):
        refuses("must be at least 1", _unet, 3, channels, blocks_per_level=blocks_per_level)


def test_order_of_voxels_and_other_rooms_do_not_matter(rng: np.random.Generator) -> None:
    coords, features = random_coords(rng, 800), torch.randn(800, 3)
    model, order = _unet(3, (16, 32, 48)), torch.from_numpy(rng.permutation(800))
    out = model(coords, features, 2)  # and statistics for the norms
    assert torch.equal(model(coords[order], features[order], 2), out[order])
    both = model.eval()(coords, features, 2)
    for room in (0, 1):
        rows = coords[:, 0] == room
        alone = model(coords[rows] * torch.tensor([0, 1, 1, 1], dtype=torch.int32), features[rows], 1)
        torch.testing.assert_close(both[rows], alone, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        assert model._adds_in_place(features)
        torch.testing.assert_close(model(coords, features, 2), both, rtol=1e-4, atol=1e-5)
        model.halves = HAS_BF16
        torch.testing.assert_close(model(coords, features, 2), both, rtol=0.02, atol=0.02)
        model.halves = False
        adapt(model, on=True)
        adapted = model(coords, features, 2)
        model.load_state_dict({name: value * 1.1 for name, value in model.state_dict().items()})
        changed = model(coords, features, 2)
    torch.testing.assert_close(model(coords, features, 2), changed, rtol=1e-4, atol=1e-5)
    assert not any(torch.allclose(adapted, other) for other in (changed, both))


def test_adapted_norms_count_voxels() -> None:
    norm, x = VoxelBatchNorm(3).eval(), torch.randn(RUNNING_WEIGHT, 3) * 4 + 2
    adapt(norm, on=True)
    mean, variance = x.mean(0) / 2, (x.var(0) + 1) / 2  # as many voxels as the running statistics count for
    torch.testing.assert_close(norm(x), (x - mean) / (variance + norm.eps).sqrt())
    assert torch.equal(norm(x[:1]), VoxelBatchNorm(3).eval()(x[:1]))
    assert norm(x.bfloat16()).dtype == torch.bfloat16
    assert not norm.running_mean.any()


def test_mixed_norms_take_a_random_share_of_the_running_statistics(rng: np.random.Generator) -> None:
    norm, x = VoxelBatchNorm(3, momentum=0.1), torch.randn(500, 3) * 4 + 2
    mix(norm)
    shares = []
    for _ in range(20):
        out = norm(x)
        # Which share explains the output?
        mean, variance = norm.running_mean, norm.running_var
        own_variance, own_mean = torch.var_mean(x, 0, correction=0)
        for share in torch.linspace(0, 1, 2001):
            expected = (x - mean.lerp(own_mean, share)) / (variance.lerp(own_variance, share) + norm.eps).sqrt()
            if torch.allclose(out, expected, atol=5e-3):
                shares.append(float(share))
                break
    assert len(shares) == 20
    assert min(shares) < 0.3 < 0.7 < max(shares)
    own_variance, own_mean = torch.var_mean(x, 0)
    torch.testing.assert_close(norm.running_mean, own_mean * (1 - 0.98**20))
    assert norm(x[:1]).shape == (1, 3)
    coords, features = random_coords(rng, 300), torch.randn(300, 3)
    results = []
    for checkpointing in (False, True):  # a recomputed block takes the same share
        torch.manual_seed(1)
        model = _unet(3, (8, 16), mixed_norms=True, checkpointing=checkpointing)
        model(coords, features, 2).square().sum().backward()
        results.append([p.grad for p in model.parameters()] + list(model.buffers()))
    for plain, saving in zip(*results, strict=True):
        torch.testing.assert_close(plain, saving)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("num_voxels", [0, 1, 2])
def test_hardly_any_voxels(training: bool, num_voxels: int) -> None:
    coords = torch.tensor([[0, 3, 4, 5], [0, 4, 4, 5]], dtype=torch.int32)[:num_voxels]
    model = _unet(3, (8, 8, 8)).train(training)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    out = model(coords, torch.randn(num_voxels, 3), 1)
    assert out.shape == (num_voxels, 8)
    assert out.isfinite().all()
    out.sum().backward()
    if num_voxels < 2:  # their statistics would be none
        assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_checkpointing_changes_nothing_and_autocast_little(rng: np.random.Generator) -> None:
    coords, features = random_coords(rng, 400, 1), torch.randn(400, 3)
    plain, saving = _unet(3, (8, 16)), _unet(3, (8, 16), checkpointing=True)
    saving.load_state_dict(plain.state_dict())
    for model in (plain, saving):
        model(coords, features, 1).square().sum().backward()
    grads = [[p.grad for p in model.parameters()] for model in (plain, saving)]
    torch.testing.assert_close(*grads, rtol=0, atol=0)
    torch.testing.assert_close(saving.state_dict(), plain.state_dict(), rtol=0, atol=0)
    model = _unet(3, (8, 16))
    exact = model(coords, features, 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = model(coords, features, 1)
    torch.testing.assert_close(out.float(), exact, rtol=0.05, atol=0.05)
    out.float().sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
