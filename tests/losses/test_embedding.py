"""The loss of two embeddings against the numbers of InfluencerNet's own code, and the criterion around it."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pcseg.losses.embedding import EmbeddingCriterion, EmbeddingCriterionOptions, EmbeddingInfluencerLoss
from pcseg.losses.embedding import EmbeddingLossWeights as Weights
from tests.conftest import REFERENCE, refuses
from tests.losses.scenes import SIZES, random_targets, without_ignored
from tests.reference import greedy_clusters as slow

CASES = json.loads((REFERENCE / "influencernet.json").read_text())


def _criterion(radius=0.9, **options):
    return EmbeddingCriterion(EmbeddingCriterionOptions(**options), radius)


def _outputs():
    shapes = {"followers": (4,), "influencers": (4,), "influence": (), "semantic": (5,), "centers": (3,)}
    return {f"pred_{k}": [torch.randn(n, *shape, requires_grad=True) for n in SIZES] for k, shape in shapes.items()}


@pytest.mark.parametrize("radius", [0.3, 1.5, 100.0])
def test_losses_are_those_of_the_scenes(radius):
    outputs, targets = _outputs(), random_targets()
    found = _criterion(radius, pairs="all", neg_ratio=2.0)(outputs, targets)
    loss, parts = _loss(pairs="all", neg_ratio=2.0), []
    for b, target in enumerate(targets):
        ids = target["instance_labels"]
        followers, influencers = outputs["pred_followers"][b], outputs["pred_influencers"][b]
        iou = slow.reached_iou(followers.detach().numpy(), influencers.detach().numpy(), ids.numpy(), radius)
        iou = torch.tensor(iou, dtype=torch.float32)[ids >= 0]
        influence = F.binary_cross_entropy_with_logits(outputs["pred_influence"][b][ids >= 0], iou)
        terms = loss(followers, influencers, ids)
        parts.append([terms["follower_influencer_loss"], terms["influencer_influencer_loss"], influence])
    for column, key in enumerate(("followers", "influencers", "influence")):
        torch.testing.assert_close(found[f"loss_{key}"], sum(p[column] for p in parts) / 3)
    assert set(found) == {f"loss_{n}" for n in ("followers", "influencers", "influence", "semantic", "center")}


def test_perfect_embeddings_cost_nothing_and_ignored_tokens_do_not_count():
    labels = torch.tensor([1, 1, 2, 2, 0])
    places = torch.tensor([[0.0, 0, 0], [9, 0, 0], [0, 9, 0]])[labels].requires_grad_()
    outputs = {"pred_followers": [places], "pred_influencers": [places]}
    outputs["pred_influence"] = [torch.tensor([30.0, 30, 30, 30, -30])]
    criterion = _criterion()
    assert criterion.total(criterion(outputs, [{"labels": torch.tensor([3, 4]), "instance_labels": labels}])) < 1e-6
    outputs, targets = _outputs(), random_targets()
    less, fewer, _ = without_ignored(outputs, targets)
    torch.testing.assert_close(_criterion()(outputs, targets), _criterion()(less, fewer))


@pytest.mark.parametrize("pairs", ["radius", "all"])
def test_gradients_are_finite_and_keys_do_not_depend_on_the_batch(pairs):
    criterion = _criterion(pairs=pairs)
    outputs, targets = _outputs(), random_targets()
    full = criterion(outputs, targets)
    criterion.total(full).backward()
    assert all(room.grad.isfinite().all() for rooms in outputs.values() for room in rooms)
    for nothing in (0, -1):
        ids = [torch.full_like(t["instance_labels"], nothing) for t in targets]
        empty = [{**t, "labels": t["labels"][:0], "instance_labels": i} for t, i in zip(targets, ids)]
        losses = criterion(outputs, empty)
        assert set(losses) == set(full)
        assert all(value.isfinite() for value in losses.values())
        criterion.total(losses).backward()


def test_weights_count_and_bad_input_is_named():
    outputs, targets = _outputs(), random_targets()
    criterion = _criterion(weights=Weights(center=3.0))
    losses = criterion(outputs, targets)
    torch.testing.assert_close(criterion.total(losses), sum(losses.values()) + 2 * losses["loss_center"])
    refuses(r"radius must be positive, got 0\.0", _criterion, radius=0.0)
    refuses("pred_followers holds 3 scenes, targets 2", criterion, outputs, targets[:2])
    short = {**targets[0], "instance_labels": targets[1]["instance_labels"]}
    refuses(r"scene 0: instance_labels must have shape \(25,\)", criterion, outputs, [short, *targets[1:]])
    outputs["pred_influencers"][1].data[3, 2] = torch.nan
    refuses("scene 1: pred_influencers of the last layer must be finite", criterion, outputs, targets)


def _loss(**options):
    return EmbeddingInfluencerLoss(EmbeddingCriterionOptions(**options))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_reference_values_and_gradients(case):
    data, name = np.load(REFERENCE / "influencernet.npz"), case["name"]
    followers = torch.tensor(data[f"{name}_followers"], requires_grad=True)
    influencers = torch.tensor(data[f"{name}_influencers"], requires_grad=True)
    terms = _loss(pairs="all", **case["kwargs"])(followers, influencers, torch.tensor(data[f"{name}_pid"]))
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
    different, sums = labels[:, None] != labels, {}
    for pairs in ("radius", "all"):
        attracted, both = (_loss(pairs=pairs, neg_ratio=ratio)(followers, influencers, labels) for ratio in (0.0, 1.0))
        negative = both["follower_influencer_loss"] - attracted["follower_influencer_loss"]
        far = 1.0 if pairs == "radius" else torch.inf
        counts = [(different & (torch.cdist(first, influencers) <= far)).sum() for first in (followers, influencers)]
        total = counts[0] * negative + counts[1] * both["influencer_influencer_loss"]
        sums[pairs] = (total, *torch.autograd.grad(total, (followers, influencers)))
    torch.testing.assert_close(sums["radius"], sums["all"])
    refuses("margins must be positive", _loss, influencer_margin=0.0)


@pytest.mark.parametrize("labels", [[], [1], [1, 1], [0, 0, 1, 1, 2, 2]])
def test_gradient_is_finite_where_all_coincide(labels):
    followers, influencers = (torch.zeros(len(labels), 2, requires_grad=True) for _ in range(2))
    terms = _loss()(followers, influencers, torch.tensor(labels, dtype=torch.int64))
    terms["loss"].backward()
    assert (terms["influencer_influencer_loss"] == 0) == (len(set(labels)) < 2)
    assert all(leaf.grad.isfinite().all() for leaf in (followers, influencers))
