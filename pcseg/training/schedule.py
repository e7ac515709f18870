"""Learning-rate schedules, as factors of the top rate."""

import math


def factor(schedule: str, progress: float, warmup: float) -> float:
    """Share of the top rate after a share of the run.

    Args:
        schedule: "polynomial" (power 0.9), "cosine", "one_cycle" (from 1/25 up, then to 1/10000) or "constant".
        progress: 0..1.
        warmup: share of the run over which the rate rises; with "one_cycle" the length of the rise.

    Raises:
        ValueError: an unknown schedule.
    """
    rising = progress / warmup if progress < warmup else 1.0
    after = max(0.0, (progress - warmup) / max(1e-9, 1 - warmup))
    if schedule == "one_cycle":
        if rising < 1:
            return 0.04 + 0.96 * (1 - math.cos(math.pi * rising)) / 2
        return 1e-4 + (1 - 1e-4) * (1 + math.cos(math.pi * after)) / 2
    if schedule == "polynomial":
        return rising * (1 - progress) ** 0.9
    if schedule == "cosine":
        return rising * (1 + math.cos(math.pi * after)) / 2
    if schedule == "constant":
        return rising
    raise ValueError(f"no schedule {schedule!r}; known: polynomial, cosine, one_cycle, constant")


def rate_at(step: int, *, lr: float, schedule: str, num_steps: int, warmup: float) -> float:
    """Learning rate of a step, counted from 0; the first one already has a rate above zero."""
    return lr * factor(schedule, min(1.0, (step + 0.5) / num_steps), warmup)
