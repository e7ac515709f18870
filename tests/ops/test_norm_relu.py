import pytest
import torch

from pcseg.ops.norm_relu import norm_relu
from tests.reference import norm as slow


@pytest.mark.parametrize("offset", [0.0, 100.0])
@pytest.mark.parametrize(("num_rows", "channels", "momentum", "share"), [(2, 1, 0.1, 1.0), (700, 19, 0.02, 0.3)])
def test_as_by_definition(num_rows: int, channels: int, momentum: float, share: float, offset: float) -> None:
    torch.manual_seed(0)
    x, grad = torch.randn(num_rows, channels) * 3 + offset, torch.randn(num_rows, channels)
    weight, bias, mean = torch.randn(3, channels)
    var = torch.rand(channels) + 0.5
    numbers = {"momentum": momentum, "share": share, "eps": 1e-4}
    expected, *running = slow.norm_relu(*(each.double() for each in (x, weight, bias, mean, var)), **numbers)
    doubles = [each.double() for each in (x, weight, bias, mean, var)]
    gradients = slow.norm_relu_grad(*doubles, **numbers, grad=grad.double())
    inputs = [each.requires_grad_() for each in (x, weight, bias)]
    out = norm_relu(*inputs, mean, var, **numbers)
    tolerance = {"rtol": 1e-4, "atol": 1e-4 * (1 + offset)}
    for found, true in zip([out, mean, var], [expected, *running], strict=True):
        torch.testing.assert_close(found.double(), true, **tolerance)
    for found, true in zip(torch.autograd.grad(out, inputs, grad), gradients, strict=True):
        torch.testing.assert_close(found.double(), true, **tolerance)


def test_nan_passes() -> None:
    x = torch.ones(4, 2)
    x[0, 0] = torch.nan
    out = norm_relu(x, torch.ones(2), torch.ones(2), torch.zeros(2), torch.ones(2), 0.1, 1e-4)
    assert out[:, 0].isnan().all()
    assert out[:, 1].isfinite().all()
