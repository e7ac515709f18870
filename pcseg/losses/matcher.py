"""Hungarian matching of queries to instances, as in DETR, Mask2Former and SPFormer."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from pcseg.losses.criterion import check_finite


class HungarianMatcher(nn.Module):
    """Finds one query for each instance, so that the sum of costs is least.

    Args:
        cost_class: weight of -P(class of the instance | query).
        cost_mask: weight of the binary cross-entropy.
        cost_dice: weight of the dice loss.

    >>> bce = torch.tensor([[[0.1, 0.2, 0.9], [0.1, 0.8, 0.9]]])  # one layer, two instances, three queries
    >>> HungarianMatcher()(bce, torch.zeros_like(bce), None)
    [(tensor([0, 1]), tensor([1, 0]))]
    """

    def __init__(self, cost_class: float = 1.0, cost_mask: float = 1.0, cost_dice: float = 1.0) -> None:
        super().__init__()
        if cost_class == cost_mask == cost_dice == 0:
            raise ValueError("cost_class, cost_mask and cost_dice are all 0; give at least one a weight")
        self.cost_class = cost_class
        self.cost_mask = cost_mask
        self.cost_dice = cost_dice

    @torch.no_grad()
    def forward(
        self,
        bce: Float[Tensor, "L K M"],
        dice: Float[Tensor, "L K M"],
        class_probability: Float[Tensor, "L K M"] | None,
        name: str = "scene 0",
    ) -> list[tuple[Int64[Tensor, "_"], Int64[Tensor, "_"]]]:
        """Match all layers of one scene.

        Args:
            bce: binary cross-entropy of every pair.
            dice: dice loss of every pair.
            class_probability: P(class of instance k | query m), or None where masks alone are trained.
            name: name of the scene, for messages.

        Returns:
            Queries and their instances for each layer, min(K, M) pairs by ascending query.

        Raises:
            ValueError: a cost that is not finite.
        """
        cost = self.cost_mask * bce + self.cost_dice * dice
        if class_probability is not None:
            cost = cost - self.cost_class * class_probability
        check_finite(cost, "matching costs", name)
        return cheapest_pairs(cost)


def cheapest_pairs(cost: Float[Tensor, "L K M"]) -> list[tuple[Int64[Tensor, "_"], Int64[Tensor, "_"]]]:
    """Queries and their instances for each layer, min(K, M) pairs by ascending query with the least sum of costs."""
    from scipy.optimize import linear_sum_assignment  # takes long to import, and prediction needs no matching

    pairs = [map(torch.as_tensor, linear_sum_assignment(layer)) for layer in cost.transpose(1, 2).cpu().numpy()]
    return [(queries.to(cost.device), instances.to(cost.device)) for queries, instances in pairs]


def claims_of_pairs(pairs: list[tuple[Int64[Tensor, "_"], Int64[Tensor, "_"]]], like: Tensor) -> Float[Tensor, "L K M"]:
    """1 for matched pairs of each layer, 0 for the rest.

    Args:
        pairs: matched queries and their instances for each layer, from `cheapest_pairs`.
        like: (L, K, M), gives shape, dtype and device.
    """
    claims = torch.zeros_like(like)
    for layer, (queries, instances) in zip(claims, pairs, strict=True):
        layer[instances, queries] = 1
    return claims
