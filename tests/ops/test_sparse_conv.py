"""Sparse convolutions against dense ones and against loops, forward and backward, on both backends."""

import math
from collections.abc import Callable
from inspect import signature

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pcseg.kernels.conv import HAS_BF16, _round_to_half
from pcseg.ops import sparse_conv
from pcseg.ops.neighbors import SparseGrid
from pcseg.ops.pair_conv import add_pair_conv, pack_weight, pair_conv
from pcseg.ops.sparse_conv import DownsampleConv3d, SparseTensor, SubmanifoldConv3d, UpsampleConv3d
from tests.conftest import refuses
from tests.ops.conftest import random_coords
from tests.reference import conv as slow

SIZE = 10
needs_spconv = pytest.mark.skipif(sparse_conv._import_spconv() is None, reason="spconv is not installed")


def gradients(out: Tensor, *inputs: Tensor) -> list[Tensor]:
    """Gradients of a sum with fixed random weights."""
    generator = torch.Generator().manual_seed(1)
    weights = torch.randn(out.shape, generator=generator, dtype=torch.float64).to(out)
    return list(torch.autograd.grad((out * weights).sum(), inputs))


def assert_same(found: list[Tensor], expected: list[Tensor]) -> None:
    """The same numbers to the precision of their dtype."""
    for a, b in zip(found, expected, strict=True):
        tolerance = 1e-10 if a.dtype == torch.float64 else 2e-5
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance * max(1.0, b.abs().max().item()))


@pytest.mark.parametrize("sizes", [(1, 1), (3, 5), (6, 33), (20, 48), (7, 70), (50, 64)])
@pytest.mark.parametrize("num_voxels", [1, 400, 1900])  # the last fills several spans of blocks
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_submanifold_is_a_dense_convolution(rng, sizes: tuple[int, int], num_voxels: int, dtype: torch.dtype) -> None:
    coords = random_coords(rng, num_voxels)
    layer = SubmanifoldConv3d(*sizes).to(dtype)
    features = torch.randn(num_voxels, sizes[0], dtype=dtype, requires_grad=True)
    out = layer(SparseTensor(features, SparseGrid(coords, 2))).features
    expected = slow.dense_submanifold(coords, features, layer.weight, 2, SIZE)
    inputs = (features, layer.weight)
    assert_same([out, *gradients(out, *inputs)], [expected, *gradients(expected, *inputs)])


@pytest.mark.parametrize("num_voxels", [1, 500, 1900])
def test_down_and_up_are_dense_convolutions(rng: np.random.Generator, num_voxels: int) -> None:
    coords = random_coords(rng, num_voxels)
    down, up = DownsampleConv3d(5, 18).double(), UpsampleConv3d(18, 7).double()
    features = torch.randn(num_voxels, 5, dtype=torch.float64, requires_grad=True)
    x = SparseTensor(features, SparseGrid(coords, 2))
    coarse = down(x)
    assert (coarse.grid.stride, coarse.grid.batch_size) == (2, 2)
    expected_coarse = slow.dense_downsample(coords, features, down.weight, 2, SIZE, coarse.grid.coords)
    assert_same([coarse.features], [expected_coarse])
    fine = up(coarse)
    assert fine.grid is x.grid
    expected = slow.dense_upsample(coords, expected_coarse, up.weight, 2, SIZE, coarse.grid.coords)
    assert_same([fine.features], [expected])
    inputs = (features, down.weight, up.weight)
    assert_same(gradients(fine.features, *inputs), gradients(expected, *inputs))


def test_the_plain_path_agrees_and_padded_channels_change_nothing(rng: np.random.Generator) -> None:
    """bfloat16 takes torch's own operations instead of the compiled loops."""
    grid = SparseGrid(random_coords(rng, 500), 2)
    layer = SubmanifoldConv3d(8, 12)
    features = torch.randn(500, 8)
    out = layer(SparseTensor(features, grid)).features
    half = layer.bfloat16()(SparseTensor(features, grid)).features
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), out, rtol=0.1, atol=0.05)
    half.float().sum().backward()
    assert layer.weight.grad.isfinite().all()
    # Six input channels, as colors and coordinates have, are none that half precision takes.
    grid = SparseGrid(random_coords(rng, 300), 2)
    features, weight = torch.randn(300, 6), torch.randn(12, 3, 3, 3, 6)
    padded_features, padded_weight = sparse_conv.pad_channels(features, weight)
    assert padded_features.shape == (300, 8)
    assert padded_weight.shape == (16, 3, 3, 3, 8)
    out = pair_conv(padded_features, padded_weight, grid.submanifold)
    torch.testing.assert_close(out[:, :12], pair_conv(features, weight, grid.submanifold))
    assert (out[:, 12:] == 0).all()
    again = sparse_conv.pad_channels(padded_features, padded_weight)
    assert again[0].shape == padded_features.shape


def test_bfloat16_rounds_as_torch(rng: np.random.Generator) -> None:
    bits = np.append(rng.integers(0, 0x7F7F0000, 1000), [0, 0x3F808000, 0x3F818000])  # the last two are half way
    values = bits.astype(np.uint32).view(np.float32)
    found = [_round_to_half.py_func(value) for value in values]
    expected = torch.from_numpy(values).bfloat16().view(torch.uint16).tolist()
    assert (found, [_round_to_half(value) for value in values]) == (expected, expected)


@pytest.mark.skipif(not HAS_BF16, reason="this CPU does not multiply bfloat16")
@pytest.mark.parametrize("sizes", [(3, 16), (6, 32), (48, 48), (32, 96)])
@pytest.mark.parametrize("num_voxels", [1, 1900])
def test_bfloat16_products_are_exact_and_sums_float32(rng, sizes: tuple[int, int], num_voxels: int) -> None:
    """Small integers lose nothing in bfloat16; their sums would."""
    coords = random_coords(rng, num_voxels)
    kernel_map = SparseGrid(coords[np.lexsort(coords.numpy().T[::-1])], 2).submanifold
    features, weight = torch.randint(-9, 9, (num_voxels, sizes[0])), torch.randint(-9, 9, (sizes[1], 3, 3, 3, sizes[0]))
    norm = torch.stack([torch.full((sizes[1],), 0.5), torch.ones(sizes[1])])
    out, activated = torch.ones(num_voxels + 1, sizes[1]), torch.empty(num_voxels + 1, sizes[1], dtype=torch.bfloat16)
    add_pair_conv(features.bfloat16(), pack_weight(weight.float(), torch.bfloat16), kernel_map, out, norm, activated)
    expected = 1 + pair_conv(features.float(), weight.float(), kernel_map)
    assert torch.equal(out[:-1], expected)
    assert torch.equal(activated[:-1], (expected * 0.5 + 1).relu().bfloat16())


def test_bit_identical_on_any_number_of_threads(rng: np.random.Generator, set_threads: Callable[[int], None]) -> None:
    coords = random_coords(rng, 1900)
    features = torch.randn(1900, 32, requires_grad=True)
    layer = SubmanifoldConv3d(32, 32)
    results = []
    for num_threads in (1, 2, 2):
        set_threads(num_threads)
        out = layer(SparseTensor(features, SparseGrid(coords, 2))).features
        results.append([out, *gradients(out, features, layer.weight)])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_bad_input_is_named_and_nan_stays_where_it_reaches(rng: np.random.Generator, monkeypatch) -> None:
    coords = torch.tensor([[0, 0, 0, 0], [0, 0, 0, 1], [0, 5, 5, 5]], dtype=torch.int32)
    features = torch.ones(3, 4)
    features[0, 2] = math.nan
    out = SubmanifoldConv3d(4, 6)(SparseTensor(features, SparseGrid(coords, 1))).features
    assert out[:2].isnan().all()
    assert out[2].isfinite().all()
    x = SparseTensor(torch.zeros(5, 3), SparseGrid(random_coords(rng, 5), 2))
    refuses(r"features must be \(5, C\), got \(4, 3\)", SparseTensor, torch.zeros(4, 3), x.grid)
    refuses("the layer takes 8 channels, the features have 3", SubmanifoldConv3d(8, 8), x)
    refuses("this tensor is at full resolution", UpsampleConv3d(3, 3), x)
    monkeypatch.setattr(sparse_conv, "_import_spconv", lambda: None)
    refuses("backend 'spconv' is not installed", SubmanifoldConv3d(3, 3, backend="spconv"), x)
    assert SubmanifoldConv3d(3, 3)(x).features.shape == (5, 3)


class _Network(nn.Module):
    """All kinds of layers, twice over."""

    def __init__(self, backend: sparse_conv.Backend) -> None:
        super().__init__()
        self.stem = SubmanifoldConv3d(6, 16, backend=backend)
        self.down = nn.ModuleList(DownsampleConv3d(16, 16, backend=backend) for _ in range(3))
        self.middle = nn.ModuleList(SubmanifoldConv3d(16, 16, backend=backend) for _ in range(3))
        self.up = nn.ModuleList(UpsampleConv3d(16, 16, backend=backend) for _ in range(3))

    def forward(self, x: SparseTensor) -> SparseTensor:
        levels = [self.stem(x)]
        for down, middle in zip(self.down, self.middle):
            levels.append(middle(down(levels[-1])))
        x = levels.pop()
        for up, skip in zip(self.up, reversed(levels)):
            y = up(x)
            x = y.with_features(y.features + skip.features)
        return x


@needs_spconv
def test_spconv_gives_the_same_on_the_cpu(rng: np.random.Generator) -> None:
    """Odd extents on purpose: spconv leaves out the last voxel of those when asked to downsample them as they are."""
    coords = random_coords(rng, 900)
    coords = coords[(coords[:, 1] < 9) & (coords[:, 2] < 7)]
    features = torch.randn(len(coords), 6)
    ours, theirs = _Network("torch"), _Network("spconv")
    theirs.load_state_dict(ours.state_dict())
    with torch.no_grad():
        expected = ours(SparseTensor(features, SparseGrid(coords, 2)))
        found = theirs(SparseTensor(features, SparseGrid(coords, 2)))
    torch.testing.assert_close(found.features, expected.features, rtol=1e-5, atol=1e-6)
    assert list(theirs.state_dict()) == list(ours.state_dict())


@needs_spconv
@pytest.mark.parametrize("layer", [SubmanifoldConv3d, DownsampleConv3d, UpsampleConv3d])
def test_spconv_takes_what_it_is_given(layer: type) -> None:
    """Names of arguments; on a GPU every call has the same ones."""
    spconv = sparse_conv._import_spconv()
    given = {"bias": False, "indice_key": "", "algo": None, **layer.spconv_options}
    signature(getattr(spconv, layer.spconv_name)).bind(8, 8, 3, **given)
    signature(spconv.SparseConvTensor.__init__).bind(None, None, None, [1, 1, 1], 1, indice_dict={})


def test_why_spconv_does_not_run_on_the_gpu(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    trial = sparse_conv.spconv_on_gpu.__wrapped__  # not the saved result
    monkeypatch.setattr(sparse_conv, "_import_spconv", lambda: None)
    assert not trial()
    assert "spconv is not installed" in caplog.text
    monkeypatch.setattr(sparse_conv, "_import_spconv", lambda: torch)  # something without its layers
    assert not trial()
    assert "spconv fails on this GPU" in caplog.text


@needs_spconv
def test_spconv_reports_its_limits(rng: np.random.Generator) -> None:
    x = SparseTensor(torch.randn(40, 6), SparseGrid(random_coords(rng, 40), 2))
    refuses("no gradients on the CPU", SubmanifoldConv3d(6, 6, backend="spconv"), x)
    with torch.no_grad(), pytest.raises(ValueError, match="must use the same backend"):
        UpsampleConv3d(6, 6, backend="torch")(DownsampleConv3d(6, 6, backend="spconv")(x))


@pytest.fixture(params=["torch", pytest.param("spconv", marks=needs_spconv)])
def on_gpu(request: pytest.FixtureRequest) -> tuple[_Network, _Network]:
    """The same network on the CPU and on CUDA with each backend."""
    on_cpu, on_cuda = _Network("torch"), _Network(request.param)
    on_cuda.load_state_dict(on_cpu.state_dict())
    return on_cpu, on_cuda.cuda()


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_on_cuda(rng, on_gpu: tuple[_Network, _Network], dtype: torch.dtype) -> None:
    coords, features = random_coords(rng, 900).cuda(), torch.randn(900, 6).cuda()
    _, network = on_gpu
    expected = network(SparseTensor(features, SparseGrid(coords, 2))).features
    with torch.autocast("cuda", dtype=dtype):
        found = network(SparseTensor(features, SparseGrid(coords, 2))).features
    torch.testing.assert_close(found.float(), expected, rtol=0.05, atol=0.05 * expected.abs().max().item())
    found.float().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.gpu
def test_cuda_gives_the_same(rng: np.random.Generator, on_gpu: tuple[_Network, _Network]) -> None:
    coords = random_coords(rng, 900)
    features = torch.randn(900, 6, requires_grad=True)
    on_cpu, on_cuda = on_gpu
    expected = on_cpu(SparseTensor(features, SparseGrid(coords, 2))).features
    moved = features.detach().cuda().requires_grad_()
    found = on_cuda(SparseTensor(moved, SparseGrid(coords.cuda(), 2))).features
    wanted = [expected, *gradients(expected, features, *on_cpu.parameters())]
    for a, b in zip([found, *gradients(found, moved, *on_cuda.parameters())], wanted, strict=True):
        # spconv multiplies in TF32 where the GPU has it.
        torch.testing.assert_close(a.cpu(), b, rtol=1e-2, atol=5e-3 * b.abs().max().item())
