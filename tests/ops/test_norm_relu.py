from collections.abc import Callable

import pytest
import torch

from pcseg.ops.norm_relu import PART, norm_relu
from tests.reference import norm as slow


@pytest.mark.parametrize("offset", [0.0, 100.0])
@pytest.mark.parametrize(("num_rows", "channels", "momentum", "share"), [(2, 1, 0.1, 1.0), (PART + 700, 19, 0.02, 0.3)])
def test_as_by_definition(num_rows: int, channels: int, momentum: float, share: float, offset: float) -> None:
    x, grad = torch.randn(num_rows, channels) * 3 + offset, torch.randn(num_rows, channels)
    weight, bias, mean = torch.randn(3, channels)
    var = torch.rand(channels) + 0.5
    a, b, c = inputs = [each.double().requires_grad_() for each in (x, weight, bias)]
    expected, *running = slow.norm_relu(a, b, c, mean.double(), var.double(), momentum, 1e-4, share)
    gradients = torch.autograd.grad(expected, inputs, grad.double())
    inputs = [each.requires_grad_() for each in (x, weight, bias)]
    out = norm_relu(x, weight, bias, mean, var, momentum, 1e-4, share)
    found = [out, mean, var, *torch.autograd.grad(out, inputs, grad)]
    for value, true in zip(found, [expected, *running, *gradients], strict=True):
        torch.testing.assert_close(value.double(), true, rtol=1e-4, atol=1e-4 * (1 + offset))


def test_the_same_on_any_number_of_threads(set_threads: Callable[[int], None]) -> None:
    x, grad = torch.randn(2, 3 * PART + 5, 16)
    results = []
    for num_threads in (1, 2):
        set_threads(num_threads)
        inputs = [x.clone().requires_grad_(), torch.ones(16, requires_grad=True), torch.ones(16, requires_grad=True)]
        out = norm_relu(inputs[0], inputs[1], inputs[2], torch.zeros(16), torch.ones(16), 0.1, 1e-4)
        results.append([out, *torch.autograd.grad(out, inputs, grad)])
    for one, two in zip(*results, strict=True):
        assert torch.equal(one, two)


def test_nan_passes() -> None:
    x, one = torch.ones(4, 2), torch.ones(2)
    x[1, 0] = torch.nan
    out = norm_relu(x, one, one, torch.zeros(2), torch.ones(2), 0.1, 1e-4)
    assert out[:, 0].isnan().all()
    assert out[:, 1].isfinite().all()
