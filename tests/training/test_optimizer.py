import pytest

from pcseg.training.optimizer import OptimizerOptions, learning_rate


def test_learning_rate_rises_then_falls() -> None:
    rates = [learning_rate(step, 100, OptimizerOptions(lr=2.0, warmup=0.1)) for step in range(100)]
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert min(rates) > 0
    assert max(rates) < 2
    assert rates[4] == pytest.approx(2 * 0.45 * 0.955**0.9)
    assert rates[49] == pytest.approx(2 * 0.505**0.9)
