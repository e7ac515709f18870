"""InfluencerFormer: sparse U-Net on voxels, mean over each superpoint, query decoder or two embeddings."""

from torch import nn

from pcseg.models.embedding_heads import EmbeddingHeads
from pcseg.models.query_decoder import QueryDecoder
from pcseg.ops.segment import segment_mean
from pcseg.structures import DecoderOutput, EmbeddingOutput, SceneBatch


class InfluencerFormer(nn.Module):
    """The whole network; it never sees ground truth and never moves data between devices.

    The backbone is a `SparseUNet` or another module with the same arguments and result.
    """

    def __init__(self, unet: nn.Module, decoder: QueryDecoder | EmbeddingHeads) -> None:
        super().__init__()
        self.unet = unet
        self.decoder = decoder

    def forward(self, batch: SceneBatch, num_queries: int | None = None) -> DecoderOutput | EmbeddingOutput:
        """Objects of every room of the batch, or the embeddings that become objects.

        Args:
            batch: voxels and superpoints of the rooms.
            num_queries: most queries per room; None uses the number in training.

        Raises:
            ValueError: another number of queries for a decoder whose queries do not start at superpoints.
        """
        voxels = self.unet(batch.voxel_coords, batch.voxel_features, len(batch))
        features, weights = voxels.index_select(0, batch.pair_voxel), batch.pair_points.to(voxels.dtype)
        features = segment_mean(features, batch.pair_superpoint, len(batch.superpoint_xyz), weights=weights)
        if isinstance(self.decoder, QueryDecoder):
            return self.decoder(features, batch.superpoint_xyz, batch.superpoint_offsets, num_queries)
        if num_queries is not None:
            raise ValueError(f"num_queries={num_queries}, but the model has two embeddings and no queries")
        return self.decoder(features, batch.superpoint_xyz, batch.superpoint_offsets)
