import pytest

from pcseg.training.schedule import factor, rate_at


@pytest.mark.parametrize("schedule", ["polynomial", "cosine", "one_cycle", "constant"])
def test_rises_then_never_rises_again(schedule: str) -> None:
    values = [factor(schedule, i / 100, 0.1) for i in range(101)]
    assert values[:11] == sorted(values[:11])
    assert values[10:] == sorted(values[10:], reverse=True)
    assert max(values) <= 1
    assert values[100] == (1.0 if schedule == "constant" else pytest.approx(0, abs=1.1e-4))


def test_polynomial_follows_its_formula() -> None:
    assert factor("polynomial", 0.5, 0.1) == pytest.approx(0.5**0.9)
    assert factor("polynomial", 0.05, 0.1) == pytest.approx(0.5 * 0.95**0.9)


def test_unknown_schedule() -> None:
    with pytest.raises(ValueError, match="no schedule 'stairs'; known: polynomial"):
        factor("stairs", 0.5, 0.1)


def test_first_step_moves() -> None:
    rates = [rate_at(step, lr=2.0, schedule="polynomial", num_steps=10, warmup=0.2) for step in range(10)]
    assert 0 < rates[0] < rates[1]
    assert rates[4] == 2.0 * factor("polynomial", 0.45, 0.2)
