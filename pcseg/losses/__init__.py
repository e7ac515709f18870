"""Losses: the Influencer Loss in its forms, and the Hungarian baseline.

Criteria take the output of a model and `Targets` in the convention of Mask2Former, with masks point-first.

>>> import torch
>>> outputs = {"pred_logits": torch.zeros(1, 5, 4), "pred_masks": [torch.zeros(20, 5)]}  # 5 queries, 3 classes
>>> targets = [{"labels": torch.tensor([2, 0]), "instance_labels": torch.arange(20) % 3}]  # 0 is background
>>> criterion = InfluencerCriterion(num_classes=3)
>>> losses = criterion(outputs, targets)
>>> criterion.total(losses).isfinite()
tensor(True)
"""

from pcseg.losses.competitive import CompetitiveInfluencerLoss
from pcseg.losses.embedding import EmbeddingCriterion
from pcseg.losses.influencer_criterion import InfluencerCriterion
from pcseg.losses.mask2former import mask2former_outputs
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
    "mask2former_outputs",
]
