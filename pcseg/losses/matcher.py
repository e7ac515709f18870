"""Hungarian matching of queries to instances, as DETR, Mask2Former and SPFormer do it; the baseline."""

import torch
from jaxtyping import Float, Int64
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn


class HungarianMatcher(nn.Module):
    """Finds for each instance the one query that costs least in sum, one query for one instance.

    Args:
        cost_class: weight of -P(class of the instance | query).
        cost_mask: weight of the binary cross-entropy.
        cost_dice: weight of the dice loss.

    Source:
        Mask2Former (Cheng et al. 2022), with all tokens in the place of sampled points.
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
        """Matches all layers of one scene.

        Args:
            bce: binary cross-entropy of every pair.
            dice: dice loss of every pair.
            class_probability: P(class of instance k | query m), or None where masks alone are trained.
            name: of the scene, for messages.

        Returns:
            For each layer queries and their instances, min(K, M) pairs by ascending query.

        Raises:
            ValueError: a cost that is not finite.
        """
        cost = self.cost_mask * bce + self.cost_dice * dice
        if class_probability is not None:
            cost = cost - self.cost_class * class_probability
        finite = cost.isfinite().flatten(1).all(1)
        if not finite.all():
            layer = int((~finite).nonzero()[0])
            which = "the last layer" if layer == 0 else f"aux layer {layer - 1}"
            raise ValueError(
                f"{name}: matching costs of {which} are not finite (NaN or infinity); lower the learning rate or clip "
                "gradients"
            )
        return cheapest_pairs(cost)


def cheapest_pairs(cost: Float[Tensor, "L K M"]) -> list[tuple[Int64[Tensor, "_"], Int64[Tensor, "_"]]]:
    """For each layer queries and their instances, min(K, M) pairs by ascending query whose costs sum to the least."""
    pairs = []
    for layer_cost in cost.transpose(1, 2).cpu().numpy():
        queries, instances = linear_sum_assignment(layer_cost)
        pairs.append((torch.as_tensor(queries).to(cost.device), torch.as_tensor(instances).to(cost.device)))
    return pairs
