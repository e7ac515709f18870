import pytest
import torch

from pcseg.engine.schedule import factor, make_scheduler


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
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    scheduler = make_scheduler(optimizer, "polynomial", 10, 0.2)
    assert scheduler.get_last_lr()[0] > 0
