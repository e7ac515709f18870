import pytest
import torch

from pcseg.ops import segment
from pcseg.ops.segment import segment_mean, segment_sum
from tests.reference import segment as slow

# Segments 1 and 5 of 6 stay empty.
INDEX = torch.tensor([4, 0, 0, 2, 3, 4, 4, 0, 2, 4])


@pytest.fixture(params=[False, True], autouse=True)
def _scatter(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param:
        pytest.importorskip("torch_scatter")
    monkeypatch.setattr(segment, "USE_TORCH_SCATTER", request.param)


@pytest.mark.parametrize("shape", [(10,), (10, 2, 3)])
def test_sum_and_mean_are_those_of_a_loop(shape: tuple[int, ...]) -> None:
    values, weights = torch.randn(shape), torch.rand(10)
    weights[3] = weights[8] = 0  # segment 2 has no weight at all
    torch.testing.assert_close(segment_sum(values, INDEX, 6), slow.segment_sum(values, INDEX, 6))
    torch.testing.assert_close(segment_mean(values, INDEX, 6), slow.segment_mean(values, INDEX, 6))
    weighted = segment_mean(values, INDEX, 6, weights)
    torch.testing.assert_close(weighted, slow.segment_mean(values, INDEX, 6, weights))
    assert (weighted[[1, 2, 5]] == 0).all()


def test_gradients_are_right_nothing_gives_zeros_and_half_precision_adds_up_in_single() -> None:
    values = torch.randn(10, 3, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(10, dtype=torch.float64).add(0.1).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: segment_sum(v, INDEX, 6), values)
    assert torch.autograd.gradcheck(lambda v, w: segment_mean(v, INDEX, 6, w), (values, weights))
    segment_mean(values, INDEX, 6, 0 * weights).sum().backward()
    assert (values.grad == 0).all()  # without weight no NaN
    values, index = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)
    for result in (segment_sum(values, index, 3), segment_mean(values, index, 3)):
        assert result.tolist() == [[0] * 4] * 3
    assert segment_mean(values, index, 0).shape == (0, 4)
    values, index = torch.ones(5000, 2, dtype=torch.bfloat16), torch.zeros(5000, dtype=torch.int64)
    assert segment_sum(values, index, 1).tolist() == [[4992, 4992]]  # 5000 rounded to bfloat16
    assert segment_mean(values, index, 1).tolist() == [[1, 1]]
