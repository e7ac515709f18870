"""Two embeddings of each superpoint, as follower and as influencer, in the place of a query decoder (InfluencerNet)."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from pcseg.models.query_decoder import FourierPosition
from pcseg.structures import EmbeddingOutput


def _mlp(width: int, num_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, num_out))


class EmbeddingHeads(nn.Module):
    """Superpoint features in; two embeddings, influence, class and center of every superpoint out.

    Args:
        in_channels: channels of the superpoint features.
        num_classes: C.
        width: hidden channels.
        dimensions: D of the embeddings, at least 3.
        votes: superpoints predict the center of their object, and are placed there instead of where they are.

    Source: Murnane 2023 (InfluencerNet) for the embeddings, Qi et al. 2019 (VoteNet) for votes.
    """

    def __init__(
        self, in_channels: int, num_classes: int, *, width: int = 256, dimensions: int = 8, votes: bool = True
    ) -> None:
        super().__init__()
        if dimensions < 3:
            raise ValueError(f"embeddings start from places and need at least 3 dimensions, got {dimensions}")
        self.dimensions = dimensions
        self.input = nn.Sequential(nn.Linear(in_channels, width), nn.LayerNorm(width))
        self.position = FourierPosition(width)
        self.follower_head = _mlp(width, dimensions)
        self.influencer_head = _mlp(width, dimensions)
        self.influence_head = _mlp(width, 1)
        self.semantic_head = nn.Linear(width, num_classes)
        self.vote_head = _mlp(width, 3) if votes else None

    def forward(
        self, features: Float[Tensor, "S channels"], xyz: Float[Tensor, "S 3"], offsets: Int64[Tensor, "offsets"]
    ) -> EmbeddingOutput:
        """Embed the superpoints of a batch.

        Args:
            features: of all superpoints of the batch, room after room.
            xyz: mean coordinates in meters.
            offsets: B + 1 of them: room b owns rows ``offsets[b]:offsets[b + 1]``.
        """
        sizes = offsets.diff().tolist()
        memory = self.input(features)
        votes = None if self.vote_head is None else xyz + self.vote_head(memory)
        places = xyz if votes is None else votes.detach()
        x = memory + self.position(places)
        # Embeddings start as places in meters, where objects already lie apart.
        start = torch.nn.functional.pad(places, (0, self.dimensions - 3))
        output: EmbeddingOutput = {
            "pred_followers": list((start + self.follower_head(x)).split(sizes)),
            "pred_influencers": list((start + self.influencer_head(x)).split(sizes)),
            "pred_influence": list(self.influence_head(x).squeeze(-1).split(sizes)),
            "pred_semantic": list(self.semantic_head(memory).split(sizes)),
        }
        if votes is not None:
            output["pred_centers"] = list(votes.split(sizes))
        return output
