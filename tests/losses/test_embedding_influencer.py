"""The two-embedding loss, against the numbers of InfluencerNet's own code."""

import json

import numpy as np
import pytest
import torch

from pcseg.losses.embedding import EmbeddingCriterionOptions, EmbeddingInfluencerLoss
from tests.conftest import REFERENCE

CASES = json.loads((REFERENCE / "influencernet.json").read_text())


def _loss(**options):
    return EmbeddingInfluencerLoss(EmbeddingCriterionOptions(**options))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_reference_values_and_gradients(case):
    data = np.load(REFERENCE / "influencernet.npz")
    name = case["name"]
    labels = torch.tensor(data[f"{name}_pid"])
    followers = torch.tensor(data[f"{name}_followers"], requires_grad=True)
    influencers = torch.tensor(data[f"{name}_influencers"], requires_grad=True)
    terms = _loss(pairs="all", **case["kwargs"])(followers, influencers, labels)
    for key, value in terms.items():
        # The reference rounded its positive and negative terms to float32.
        assert value.item() == pytest.approx(case[key], rel=5e-8)
    terms["loss"].backward()
    np.testing.assert_allclose(followers.grad.numpy(), data[f"{name}_gf"], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(influencers.grad.numpy(), data[f"{name}_gh"], rtol=1e-9, atol=1e-12)


def test_pairs_within_the_margin_hold_the_whole_gradient():
    """The means over near pairs and over all pairs are of the same sums."""
    followers, influencers = torch.randn(2, 30, 3, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 4, (30,))
    different = labels[:, None] != labels
    sums = {}
    for pairs in ("radius", "all"):
        attracted, both = (_loss(pairs=pairs, neg_ratio=ratio)(followers, influencers, labels) for ratio in (0.0, 1.0))
        negative = both["follower_influencer_loss"] - attracted["follower_influencer_loss"]
        far = 1.0 if pairs == "radius" else torch.inf
        counts = [(different & (torch.cdist(first, influencers) <= far)).sum() for first in (followers, influencers)]
        total = counts[0] * negative + counts[1] * both["influencer_influencer_loss"]
        sums[pairs] = (total, *torch.autograd.grad(total, (followers, influencers)))
    torch.testing.assert_close(sums["radius"], sums["all"])
    with pytest.raises(ValueError, match="margins must be positive"):
        _loss(influencer_margin=0.0)


@pytest.mark.parametrize("labels", [[], [1], [1, 1], [0, 0, 1, 1, 2, 2]])
def test_gradient_is_finite_where_all_coincide(labels):
    followers, influencers = (torch.zeros(len(labels), 2, requires_grad=True) for _ in range(2))
    terms = _loss()(followers, influencers, torch.tensor(labels, dtype=torch.int64))
    terms["loss"].backward()
    assert (terms["influencer_influencer_loss"] == 0) == (len(set(labels)) < 2)
    assert followers.grad.isfinite().all()
    assert influencers.grad.isfinite().all()
