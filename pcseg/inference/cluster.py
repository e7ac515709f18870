"""From two embeddings to queries: influencers, the most influential first, gather the followers near them."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

from pcseg.structures import DecoderOutput, EmbeddingOutput

# Of a follower at the place of its influencer; falls to 0 at the radius.
_CLOSEST_LOGIT = 6.0


def greedy_clusters(
    followers: Float[Tensor, "S D"],
    influencers: Float[Tensor, "S D"],
    influence: Float[Tensor, "S"],
    *,
    radius: float,
    max_clusters: int,
) -> tuple[Int64[Tensor, "M"], Bool[Tensor, "S M"]]:
    """The most influential token that is in no cluster gathers the free followers within the radius, and so on.

    Args:
        followers: embedding of each token as a follower.
        influencers: embedding of each token as an influencer.
        influence: the order in which influencers come; equal ones in the order of tokens.
        radius: of attraction.
        max_clusters: stop after so many.

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


@torch.no_grad()
def cluster(outputs: EmbeddingOutput, *, radius: float, max_clusters: int = 200) -> DecoderOutput:
    """Greedy clusters of every room, as queries with class, mask and score.

    Mask logits are those of sigmoid masks: positive inside the cluster, the higher the nearer to its influencer. Class
    probabilities are the mean over the cluster; the score is the predicted IoU of the influencer.

    Args:
        outputs: of the model.
        radius: of attraction.
        max_clusters: the most a room gets.

    Returns:
        Rooms of a batch get the same number of queries; those beyond its clusters are empty and of no class.
    """
    rooms = [
        _one_room(*room, radius=radius, max_clusters=max_clusters)
        for room in zip(
            outputs["pred_followers"],
            outputs["pred_influencers"],
            outputs["pred_influence"],
            outputs["pred_semantic"],
        )
    ]
    most = max(len(scores) for _, _, scores in rooms)
    no_object = F.one_hot(torch.tensor(rooms[0][0].shape[1] - 1), rooms[0][0].shape[1]).log().to(rooms[0][0])
    return {
        "pred_logits": torch.stack(
            [torch.cat([logits, no_object.expand(most - len(logits), -1)]) for logits, _, _ in rooms]
        ),
        "pred_masks": [F.pad(masks, (0, most - masks.shape[1]), value=-torch.inf) for _, masks, _ in rooms],
        "pred_scores": torch.stack([F.pad(scores, (0, most - len(scores))) for _, _, scores in rooms]),
        "pred_semantic": outputs["pred_semantic"],
    }


def _one_room(
    followers: Tensor, influencers: Tensor, influence: Tensor, semantic: Tensor, *, radius: float, max_clusters: int
) -> tuple[Float[Tensor, "M classes"], Float[Tensor, "S M"], Float[Tensor, "M"]]:
    """Class logits with no-object last, mask logits and scores of the clusters."""
    rows, members = greedy_clusters(followers, influencers, influence, radius=radius, max_clusters=max_clusters)
    share = torch.cdist(followers, influencers[rows], compute_mode="donot_use_mm_for_euclid_dist").square() / radius**2
    masks = torch.where(members, _CLOSEST_LOGIT * (1 - share), -torch.inf)
    weight = members.to(semantic.dtype) / members.sum(0)
    probability = weight.T @ semantic.softmax(1)
    logits = F.pad(probability, (0, 1)).log()
    return logits, masks, influence[rows].sigmoid()
