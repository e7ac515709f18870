"""Two embeddings of each superpoint, as follower and as influencer, instead of a query decoder (InfluencerNet)."""

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from pcseg.models.query_decoder import FourierPosition, mlp
from pcseg.structures import EmbeddingOutput


@dataclass(frozen=True)
class EmbeddingHeadsOptions:
    """Options of `EmbeddingHeads`; ``model.decoder`` of a config with kind ``embedding``."""

    kind: Literal["embedding"] = "embedding"
    width: int = 256  # hidden channels
    dimensions: int = 8  # dimensions of an embedding, at least 3
    votes: bool = True  # superpoints predict the center of their object and are placed there
    radius: float = 0.9  # within which an influencer attracts followers; the margins of the criterion are larger


class EmbeddingHeads(nn.Module):
    """Superpoint features in; two embeddings, influence, C class logits and center of every superpoint out.

    Source: Murnane 2023 (InfluencerNet) for the embeddings, Qi et al. 2019 (VoteNet) for votes.
    """

    def __init__(self, in_channels: int, num_classes: int, options: EmbeddingHeadsOptions) -> None:
        super().__init__()
        width, dimensions = options.width, options.dimensions
        if dimensions < 3:
            raise ValueError(f"embeddings start from places and need at least 3 dimensions, got {dimensions}")
        self.options = options
        self.input = nn.Sequential(nn.Linear(in_channels, width), nn.LayerNorm(width))
        self.position = FourierPosition(width)
        self.follower_head = mlp(width, dimensions)
        self.influencer_head = mlp(width, dimensions)
        self.influence_head = mlp(width, 1)
        self.semantic_head = nn.Linear(width, num_classes)
        self.vote_head = mlp(width, 3) if options.votes else None

    def forward(
        self, features: Float[Tensor, "S channels"], xyz: Float[Tensor, "S 3"], offsets: Int64[Tensor, "offsets"]
    ) -> EmbeddingOutput:
        """Embed the superpoints of a batch, room after room.

        Args:
            features: features of each superpoint.
            xyz: mean coordinates of each superpoint in meters.
            offsets: room b owns rows ``offsets[b]:offsets[b + 1]``.
        """
        sizes = offsets.diff().tolist()
        memory = self.input(features)
        votes = None if self.vote_head is None else xyz + self.vote_head(memory)
        places = xyz if votes is None else votes.detach()
        placed = memory + self.position(places)
        # Embeddings start as places in meters, where objects are already apart.
        start = F.pad(places, (0, self.options.dimensions - 3))
        output: EmbeddingOutput = {
            "pred_followers": list((start + self.follower_head(placed)).split(sizes)),
            "pred_influencers": list((start + self.influencer_head(placed)).split(sizes)),
            "pred_influence": list(self.influence_head(placed).squeeze(-1).split(sizes)),
            "pred_semantic": list(self.semantic_head(memory).split(sizes)),
        }
        if votes is not None:
            output["pred_centers"] = list(votes.split(sizes))
        return output
