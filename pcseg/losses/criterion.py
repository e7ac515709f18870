"""What every criterion shares: weights of losses, and sums that become means over the rooms of all processes."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pcseg.losses.inputs import LossWeights, weighted_sum


class LossTerm(NamedTuple):
    """A loss before its division: sums over the rooms at hand, and what they are to be divided by.

    Args:
        sum: one value for each layer.
        count: the same, without gradient.
        least: counts below it are raised to it.
    """

    sum: Float[Tensor, "L"]
    count: Float[Tensor, "L"]
    least: float = 1.0


def scene_mean(values: list[Float[Tensor, "L"]]) -> LossTerm:
    """A loss that every room has a value of."""
    total = torch.stack(values).sum(0)
    return LossTerm(total, torch.full_like(total, len(values), requires_grad=False))


class Criterion(nn.Module):
    """What training asks of a criterion besides calling it.

    Attributes:
        weight_dict: weight of each loss.
        check_values: whether predictions that are not finite and labels out of range are refused with the name of the
            scene, which waits for the device. Otherwise what is not finite makes a loss that is not finite, for the
            trainer to find; shapes are always checked.
        sum_counts: sums counts over all processes, so that each divides by what the rooms of all have together: the
            losses of all processes then add up to those of one process with all rooms, and so do their gradients.
    """

    weight_dict: LossWeights
    check_values: bool = True
    sum_counts: Callable[[Tensor], Tensor] | None = None

    def set_progress(self, fraction: float) -> None:
        """Takes the fraction of training that is done (0..1); most losses do not depend on it."""

    def total(self, losses: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """Weighted sum of what `forward` returned."""
        return weighted_sum(losses, self.weight_dict)

    def divided(self, terms: Mapping[str, LossTerm]) -> dict[str, Float[Tensor, "L"]]:
        """Losses from their sums; one message carries the counts of all of them."""
        counts = torch.cat([term.count for term in terms.values()])
        if self.sum_counts is not None:
            counts = self.sum_counts(counts)
        parts = counts.split([len(term.count) for term in terms.values()])
        return {key: term.sum / part.clamp(min=term.least) for (key, term), part in zip(terms.items(), parts)}
