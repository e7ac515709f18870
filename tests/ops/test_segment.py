"""Segment reductions against plain loops, in both backends, forward and backward."""

import pytest
import torch

from pcseg.ops.segment import HAVE_TORCH_SCATTER, segment_mean, segment_sum
from tests.reference import segment as slow

BACKENDS = [
    "auto",
    "torch",
    pytest.param("scatter", marks=pytest.mark.skipif(not HAVE_TORCH_SCATTER, reason="torch-scatter is not installed")),
]
# Segments 1 and 5 of 6 stay empty.
INDEX = torch.tensor([4, 0, 0, 2, 3, 4, 4, 0, 2, 4])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shape", [(10,), (10, 3), (10, 2, 3)])
def test_sum_and_mean_are_those_of_a_loop(backend: str, shape: tuple[int, ...]) -> None:
    values = torch.randn(shape)
    weights = torch.rand(10)
    weights[3] = weights[8] = 0  # segment 2 has no weight at all
    torch.testing.assert_close(segment_sum(values, INDEX, 6, backend=backend), slow.segment_sum(values, INDEX, 6))
    torch.testing.assert_close(segment_mean(values, INDEX, 6, backend=backend), slow.segment_mean(values, INDEX, 6))
    weighted = segment_mean(values, INDEX, 6, weights, backend=backend)
    torch.testing.assert_close(weighted, slow.segment_mean(values, INDEX, 6, weights))
    assert (weighted[[1, 2, 5]] == 0).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_are_right(backend: str) -> None:
    values = torch.randn(10, 3, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(10, dtype=torch.float64).add(0.1).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: segment_sum(v, INDEX, 6, backend=backend), values)
    assert torch.autograd.gradcheck(lambda v, w: segment_mean(v, INDEX, 6, w, backend=backend), (values, weights))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_segment_without_weight_has_no_nan_in_its_gradient(backend: str) -> None:
    values = torch.randn(10, 3, requires_grad=True)
    segment_mean(values, INDEX, 6, torch.zeros(10), backend=backend).sum().backward()
    assert (values.grad == 0).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_gives_zeros(backend: str) -> None:
    values, index = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)
    for result in (
        segment_sum(values, index, 3, backend=backend),
        segment_mean(values, index, 3, backend=backend),
    ):
        assert result.shape == (3, 4)
        assert (result == 0).all()
    assert segment_mean(values, index, 0, backend=backend).shape == (0, 4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_half_precision_adds_up_in_single(backend: str) -> None:
    values = torch.ones(5000, 2, dtype=torch.bfloat16)
    index = torch.zeros(5000, dtype=torch.int64)
    assert segment_sum(values, index, 1, backend=backend).tolist() == [[4992, 4992]]  # 5000 rounded to bfloat16
    assert segment_mean(values, index, 1, backend=backend).tolist() == [[1, 1]]


@pytest.mark.skipif(not HAVE_TORCH_SCATTER, reason="torch-scatter is not installed")
def test_the_backends_agree_on_many_rows() -> None:
    values, index, weights = torch.randn(20000, 32), torch.randint(0, 500, (20000,)), torch.rand(20000)
    torch.testing.assert_close(
        segment_mean(values, index, 500, weights, backend="torch"),
        segment_mean(values, index, 500, weights, backend="scatter"),
    )


def test_bad_input_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="got 3 for 2 rows"):
        segment_sum.__wrapped__(torch.zeros(2), torch.zeros(3, dtype=torch.int64), 1)
    monkeypatch.setattr("pcseg.ops.segment.HAVE_TORCH_SCATTER", False)
    with pytest.raises(ValueError, match="torch-scatter, which is not installed"):
        segment_sum(torch.zeros(2), torch.zeros(2, dtype=torch.int64), 1, backend="scatter")
    assert segment_sum(torch.ones(2), torch.zeros(2, dtype=torch.int64), 1).tolist() == [2]
