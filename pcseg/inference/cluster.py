"""From two embeddings to clusters: influencers, the most influential first, gather the followers near them."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from pcseg.structures import EmbeddingOutput

# Logit of the probability that a follower at the place of its influencer belongs to it.
_CLOSEST_LOGIT = 6.0


def greedy_clusters(
    followers: Float[Tensor, "S D"],
    influencers: Float[Tensor, "S D"],
    influence: Float[Tensor, "S"],
    *,
    radius: float,
    max_clusters: int,
) -> tuple[Int64[Tensor, "M"], Bool[Tensor, "S M"]]:
    """The most influential superpoint that is in no cluster gathers the free followers within the radius, and so on.

    Args:
        followers: embedding of each superpoint as a follower.
        influencers: embedding of each superpoint as an influencer.
        influence: order of the influencers, the highest first; ties in the order of superpoints.
        radius: distance up to which an influencer attracts followers.
        max_clusters: most clusters.

    Returns:
        The influencer of each cluster, and its members; clusters do not overlap, and none is empty.
    """
    free = torch.ones(len(influence), dtype=torch.bool, device=influence.device)
    chosen, members = [], []
    for token in influence.argsort(descending=True, stable=True).tolist():
        if len(chosen) == max_clusters:
            break
        if not free[token]:
            continue
        gathered = free & ((followers - influencers[token]).square().sum(1) < radius**2)
        if gathered.any():
            free &= ~gathered
            chosen.append(token)
            members.append(gathered)
    rows = torch.tensor(chosen, dtype=torch.int64, device=influence.device)
    return rows, torch.stack(members, 1) if members else free[:, None][:, :0]


def cluster(
    outputs: EmbeddingOutput, *, radius: float, max_clusters: int
) -> tuple[Float[Tensor, "M C"], Float[Tensor, "S M"]]:
    """Clusters of the first room of a batch.

    Args:
        outputs: the two embeddings, influence and class of each superpoint.
        radius: distance up to which an influencer attracts followers.
        max_clusters: most clusters.

    Returns:
        Probability of each class for each cluster: the mean of its members, times the predicted IoU of its influencer.
        Probability of each superpoint to be in each cluster: 0 for superpoints that are not members. For members it
        falls with the squared distance from the influencer, from nearly 1 to 0.5 at the radius.
    """
    followers, influencers = outputs["pred_followers"][0].float(), outputs["pred_influencers"][0].float()
    influence, semantic = outputs["pred_influence"][0].float(), outputs["pred_semantic"][0].float().softmax(1)
    rows, members = greedy_clusters(followers, influencers, influence, radius=radius, max_clusters=max_clusters)
    distance = torch.cdist(followers, influencers[rows], compute_mode="donot_use_mm_for_euclid_dist")
    probability = members * (_CLOSEST_LOGIT * (1 - distance.square() / radius**2)).sigmoid()
    of_classes = (members.to(semantic.dtype) / members.sum(0)).T @ semantic
    return of_classes * influence[rows].sigmoid()[:, None], probability
