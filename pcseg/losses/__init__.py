"""Losses: the Influencer Loss in its forms, and the Hungarian baseline."""

from pcseg.losses.competitive import CompetitiveInfluencerLoss
from pcseg.losses.embedding import EmbeddingCriterion
from pcseg.losses.influencer_criterion import InfluencerCriterion
from pcseg.losses.mask_influencer import MaskInfluencerLoss
from pcseg.losses.matcher import HungarianMatcher
from pcseg.losses.set_criterion import SetCriterion

__all__ = [
    "CompetitiveInfluencerLoss",
    "EmbeddingCriterion",
    "HungarianMatcher",
    "InfluencerCriterion",
    "MaskInfluencerLoss",
    "SetCriterion",
]
