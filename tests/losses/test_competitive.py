import pytest
import torch

from pcseg.losses.competitive import CompetitiveInfluencerLoss, CompetitiveOptions, dual_softmax, unbalanced_sinkhorn
from tests.conftest import refuses
from tests.losses.scenes import assert_same_grads
from tests.reference import competitive as slow


def _loss(activation="sigmoid", **options):
    return CompetitiveInfluencerLoss(CompetitiveOptions(**options), activation)


def _scene(num_instances, num_queries=6, num_layers=2):
    layers = [(2 * torch.randn(30, num_queries, dtype=torch.float64)).requires_grad_() for _ in range(num_layers)]
    labels = torch.cat([torch.arange(1, num_instances + 1), torch.randint(-1, num_instances + 1, (30,))])
    return layers, labels[:30]


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("num_instances", [1, 4, 9])
@pytest.mark.parametrize("progress", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(("weighted", "form"), [(False, "dual"), (True, "dual"), (False, "softmin")])
def test_agrees_with_loops(activation, num_instances, progress, weighted, form):
    layers, labels = _scene(num_instances)
    weights = 0.5 + torch.rand(30, dtype=torch.float64) if weighted else None
    probability = torch.rand(2, num_instances, 6, dtype=torch.float64)
    found = _loss(activation, claims=form)(layers, labels, probability, weights, progress)
    masks = labels == torch.arange(1, num_instances + 1)[:, None]
    counted = (labels >= 0).double() * (1 if weights is None else weights)
    temperature = 0.05 * 0.1 ** min(1, 2 * progress)
    for index, layer in enumerate(layers):
        right = slow.competitive(layer, masks, counted, probability[index], activation, temperature, form)
        torch.testing.assert_close([value[index] for value in found], list(right))
        assert_same_grads(found.loss[index], right[0], [layer])


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_arithmetic_mean_agrees_with_loops(activation):
    layers, labels = _scene(3, num_layers=1)
    found = _loss(activation, mean="arithmetic")(layers, labels)
    masks, counted = labels == torch.arange(1, 4)[:, None], (labels >= 0).double()
    dice = slow.pairs(layers[0], masks, counted, activation)[1]
    apart = slow.repulsion(layers[0], masks, counted, activation)
    suits = slow.log_mean_of_being_right(layers[0], masks, counted, activation) - dice - 0.1 * apart
    torch.testing.assert_close(found.claims[0], dual_softmax(suits[None].detach(), 0.05)[0])
    expected = (found.claims[0] * -suits).sum() / 3
    torch.testing.assert_close(found.loss[0], expected)
    assert_same_grads(found.loss[0], expected, layers)


@pytest.mark.parametrize(("num_instances", "num_queries"), [(3, 8), (8, 3)])
def test_matching_gives_each_instance_one_query(num_instances, num_queries):
    layers, labels = _scene(num_instances, num_queries=num_queries)
    result = _loss(claims="matching")(layers, labels)
    assert torch.equal(result.claims, result.responsibilities)
    for claims in result.claims:
        assert (claims.unique().tolist(), claims.sum()) == ([0, 1], min(num_instances, num_queries))
        assert claims.sum(0).max() == claims.sum(1).max() == 1
    layers[0].data[0, 0] = torch.nan  # no crash in the solver; the loss is NaN
    assert _loss(claims="matching")(layers, labels).loss[0].isnan()


def test_a_query_is_claimed_by_the_instance_it_started_in():
    labels = torch.tensor([1, 1, 2, 2, 0, -1])
    logits = torch.zeros(6, 4, requires_grad=True)  # nothing else distinguishes the queries
    starts = torch.tensor([2, 4, 1, 5])  # in the second instance, the background, the first instance, the ignored token
    claims = _loss(origin_weight=0.3)(logits, labels, query_tokens=starts).claims[0]
    assert claims.argmax(1).tolist() == [2, 0]
    assert claims.amax(1).min() > 0.99
    without = _loss(origin_weight=0.0)(logits, labels, query_tokens=starts).claims[0]
    torch.testing.assert_close(without, torch.full((2, 4), 0.25))


@pytest.mark.parametrize(("num_instances", "num_queries"), [(1, 1), (3, 8), (8, 3), (60, 100)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sinkhorn_agrees_with_logarithms(num_instances, num_queries, dtype):
    score = 0.3 * torch.randn(2, num_instances, num_queries, dtype=torch.float64)
    score[1] = score[1, :1]  # all instances want the same query
    found = unbalanced_sinkhorn(score.to(dtype), 0.01, 10)
    expected = torch.stack([slow.sinkhorn(layer, 0.01, 10) for layer in score])
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4 if dtype == torch.float32 else 1e-9)
    torch.testing.assert_close(found.sum(2), torch.ones(2, num_instances, dtype=dtype))


def test_temperature_falls_exponentially_over_the_first_half_and_sinkhorn_claims_at_its_own():
    layers, labels = _scene(3)
    result = _loss(claims="sinkhorn", temperature=0.01, final_temperature=0.01)(layers, labels)
    torch.testing.assert_close(result.claims, result.responsibilities)
    loss = _loss()
    found = [loss.temperature_at(progress) for progress in (0.0, 0.25, 0.5, 1.0)]
    assert found == pytest.approx([0.05, (0.05 * 0.005) ** 0.5, 0.005, 0.005])
    assert _loss(anneal=0.0).temperature_at(0.0) == pytest.approx(0.005)
    refuses(r"progress must be a fraction of training in 0\.\.1, got 1\.5", loss.temperature_at, 1.5)
    refuses("temperatures must be positive", _loss, temperature=0.0)
    refuses("rep_power must be 1 or more", _loss, rep_power=0.5)


def test_gradient_descent_finds_the_instances():
    labels = torch.tensor([0] * 4 + [1] * 6 + [2] * 3 + [3] * 1)
    logits = (0.1 * torch.randn(len(labels), 8)).requires_grad_()
    loss, optimizer = _loss(), torch.optim.Adam([logits], lr=0.3)
    for step in range(120):
        optimizer.zero_grad()
        loss(logits, labels, progress=step / 120).loss.sum().backward()
        optimizer.step()
    chosen = loss(logits, labels, progress=1.0).claims[0].argmax(1)
    assert chosen.unique().numel() == 3
    assert torch.equal((logits.detach() > 0).T[chosen], labels == torch.arange(1, 4)[:, None])
