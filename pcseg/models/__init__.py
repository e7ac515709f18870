"""The network: sparse U-Net, then a query decoder or two embeddings."""

from pcseg.models.embedding_heads import EmbeddingHeads, EmbeddingHeadsOptions
from pcseg.models.influencerformer import InfluencerFormer
from pcseg.models.query_decoder import QueryDecoder, QueryDecoderOptions
from pcseg.models.sparse_unet import SparseUNet, SparseUNetOptions

__all__ = [
    "EmbeddingHeads",
    "EmbeddingHeadsOptions",
    "InfluencerFormer",
    "QueryDecoder",
    "QueryDecoderOptions",
    "SparseUNet",
    "SparseUNetOptions",
]
