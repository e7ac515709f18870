"""The two-embedding loss, against the numbers of InfluencerNet's own code."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pcseg.losses.embedding_influencer import EmbeddingCriterionOptions, EmbeddingInfluencerLoss

REFERENCE = Path(__file__).resolve().parent.parent / "reference"
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
    terms = _loss(**case["kwargs"])(followers, influencers, labels)
    for key, value in terms.items():
        # The reference rounded its positive and negative terms to float32.
        assert value.item() == pytest.approx(case[key], rel=5e-8)
    terms["loss"].backward()
    np.testing.assert_allclose(followers.grad.numpy(), data[f"{name}_gf"], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(influencers.grad.numpy(), data[f"{name}_gh"], rtol=1e-9, atol=1e-12)


def _scene(num_tokens=30):
    followers, influencers = (torch.randn(num_tokens, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    return followers, influencers, torch.randint(0, 4, (num_tokens,))


def test_all_pairs_given_by_index_are_all_pairs():
    followers, influencers, labels = _scene()
    pairs = torch.cartesian_prod(torch.arange(30), torch.arange(30)).T
    loss = _loss()
    dense = loss(followers, influencers, labels)
    indexed = loss(followers, influencers, labels, pairs, pairs)
    for key in dense:
        torch.testing.assert_close(indexed[key], dense[key])
    for a, b in zip(
        torch.autograd.grad(dense["loss"], (followers, influencers)),
        torch.autograd.grad(indexed["loss"], (followers, influencers)),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_pairs_within_the_margin_hold_the_whole_gradient():
    followers, influencers, labels = _scene()
    loss = _loss()
    near = (torch.cdist(followers, influencers) < 1).nonzero().T
    different = labels[near[0]] != labels[near[1]]
    number = int((labels[:, None] != labels).sum())
    found = loss(followers, influencers, labels, near)["follower_influencer_loss"]
    positive = found - _negative(followers, influencers, near[:, different]).mean()
    expected = positive + _negative(followers, influencers, near[:, different]).sum() / number
    torch.testing.assert_close(loss(followers, influencers, labels)["follower_influencer_loss"], expected)


def _negative(followers, influencers, pairs):
    distance = (followers[pairs[0]] - influencers[pairs[1]]).norm(dim=1)
    return (1 - distance).clamp(min=0) ** 2


def test_ignored_tokens_are_left_out():
    followers, influencers, labels = _scene()
    labels[::5] = -1
    kept = labels >= 0
    loss = _loss()
    whole = loss(followers, influencers, labels)["loss"]
    torch.testing.assert_close(whole, loss(followers[kept], influencers[kept], labels[kept])["loss"])


@pytest.mark.parametrize("num_tokens", [0, 1, 2])
def test_one_instance_or_none(num_tokens):
    followers = torch.zeros(num_tokens, 2, requires_grad=True)
    terms = _loss()(followers, followers, torch.ones(num_tokens, dtype=torch.int64))
    terms["loss"].backward()
    assert terms["influencer_influencer_loss"] == 0
    assert followers.grad.isfinite().all()


def test_gradient_is_finite_where_all_coincide():
    followers, influencers = (torch.zeros(6, 2, requires_grad=True) for _ in range(2))
    _loss()(followers, influencers, torch.tensor([0, 0, 1, 1, 2, 2]))["loss"].backward()
    assert followers.grad.isfinite().all()
    assert influencers.grad.isfinite().all()


def test_margins_must_be_positive():
    with pytest.raises(ValueError, match="margins must be positive"):
        _loss(influencer_margin=0.0)
