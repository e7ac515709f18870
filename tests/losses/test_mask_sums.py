import itertools

import pytest
import torch

from pcseg.losses.mask_sums import mask_sums
from tests.reference import mask_sums as slow


def _problem(num_instances, scale, num_tokens=41, num_queries=9, num_layers=2):
    segment = torch.randint(-1, num_instances + 1, (num_tokens,))
    weights = 0.1 + 3 * torch.rand(num_tokens)
    layers = [(scale * torch.randn(num_tokens, num_queries)).requires_grad_() for _ in range(num_layers)]
    return layers, segment, weights


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("num_instances", [0, 1, 5])
@pytest.mark.parametrize("scale", [1.0, 10.0, 200.0])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
@pytest.mark.parametrize("shape", [(41, 9), (1, 1), (1, 5), (7, 1)])
def test_agrees_with_sums_written_out(activation, num_instances, scale, dtype, tolerance, shape):
    layers, segment, weights = _problem(num_instances, scale, *shape)
    exact = [layer.detach().double().requires_grad_() for layer in layers]
    layers = [layer.detach().to(dtype).requires_grad_() for layer in layers]
    expected = slow.mask_sums(exact, segment, num_instances, weights.double(), activation)
    found = mask_sums(layers, segment, num_instances, weights.to(dtype), activation)
    for value, right in zip(found[:5], expected, strict=True):
        assert value.dtype == dtype
        torch.testing.assert_close(value.double(), right, rtol=tolerance, atol=tolerance * scale)
    directions = [torch.randn_like(value) for value in expected]
    right = torch.autograd.grad(sum((v * d).sum() for v, d in zip(expected, directions)), exact)
    grads = torch.autograd.grad(sum((v * d.to(dtype)).sum() for v, d in zip(found, directions)), layers)
    for grad, each in zip(grads, right, strict=True):
        torch.testing.assert_close(grad.double(), each, rtol=tolerance, atol=tolerance * (1 + float(each.abs().max())))
    assert not grads[0][segment < 0].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_cancellation_where_one_query_takes_the_token(dtype):
    logits = torch.tensor([[30.0, 0.0, -30.0], [300.0, 1.0, 0.0]], dtype=dtype, requires_grad=True)
    sums = mask_sums([logits], torch.tensor([0, 1]), 1, None, "softmax")
    exact = logits.detach().double()
    log_p, log_off = slow.log_probabilities(exact, "softmax")
    torch.testing.assert_close(sums.total_log_off[0].double(), log_off.sum(0), rtol=1e-6, atol=1e-12)
    torch.testing.assert_close(sums.log_off[0, 0].double(), log_off[0], rtol=1e-6, atol=1e-12)
    torch.testing.assert_close(sums.log_odds[0, 0].double(), (log_p - log_off)[0], rtol=1e-6, atol=1e-6)
    sums.total_log_off[0, 0].backward()
    # Each token pulls its first query down with a force of p = 1 and spreads it over the others.
    torch.testing.assert_close(logits.grad[:, 0], -torch.ones(2, dtype=dtype))
    others = torch.cat([exact[:, 1:], torch.zeros(2, 1, dtype=torch.float64)], 1).softmax(1)[:, :2]
    torch.testing.assert_close(logits.grad[:, 1:].double(), others, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_layout_threads_and_half_precision_do_not_matter_and_nan_shows(activation, set_threads):
    layers, segment, _ = _problem(3, 2.0, num_layers=3)
    plain = mask_sums(layers, segment, 3, None, activation)
    columns = [layer.detach().T.contiguous().T for layer in layers]
    set_threads(2)
    torch.testing.assert_close(mask_sums(columns, segment, 3, None, activation), plain, rtol=0, atol=0)
    half = [layer.detach().bfloat16().requires_grad_() for layer in layers]
    sums = mask_sums(half, segment, 3, None, activation)
    assert sums.total_log_off.dtype == torch.float32
    sums.inside.sum().backward()
    assert half[0].grad.dtype == torch.bfloat16
    for dtype, place in itertools.product((torch.float32, torch.float64), (0, 3)):
        logits = torch.randn(6, 4, dtype=dtype)
        logits[2, place] = torch.nan
        sums = mask_sums([logits], torch.zeros(6, dtype=torch.int64), 1, None, activation)
        assert sums.total_log_off.isnan().any()


@pytest.mark.gpu
@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_cuda_agrees_with_cpu(activation):
    layers, segment, weights = _problem(5, 5.0, 500, 40)
    on_gpu = [layer.detach().cuda().requires_grad_() for layer in layers]
    found = mask_sums(on_gpu, segment.cuda(), 5, weights.cuda(), activation)
    expected = mask_sums(layers, segment, 5, weights, activation)
    (expected.bce().sum() + expected.dice().sum()).backward()
    (found.bce().sum() + found.dice().sum()).backward()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3, check_device=False)
    grads, expected_grads = ([layer.grad for layer in of] for of in (on_gpu, layers))
    torch.testing.assert_close(grads, expected_grads, rtol=1e-4, atol=1e-6, check_device=False)
