"""The network: sparse U-Net, then a query decoder or two embeddings."""

from pcseg.models.embedding_heads import EmbeddingHeads
from pcseg.models.influencerformer import InfluencerFormer
from pcseg.models.query_decoder import QueryDecoder
from pcseg.models.sparse_unet import SparseUNet

__all__ = ["EmbeddingHeads", "InfluencerFormer", "QueryDecoder", "SparseUNet"]
