"""Clusters of embeddings equal the plain loop."""

import numpy as np
import pytest
import torch

from pcseg.inference.cluster import greedy_clusters
from tests.reference import greedy_clusters as slow


def _tokens(count: int, dimensions: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.rand(count, dimensions) * 3, torch.rand(count, dimensions) * 3, torch.randn(count)


@pytest.mark.parametrize("count", [0, 1, 2, 50, 200])
@pytest.mark.parametrize("radius", [0.1, 0.7, 10.0])
def test_clusters_are_those_of_the_plain_loop(count: int, radius: float) -> None:
    followers, influencers, influence = _tokens(count)
    influence = influence.round(decimals=1)  # ties
    rows, members = greedy_clusters(followers, influencers, influence, radius=radius, max_clusters=1000)
    expected = slow.greedy_clusters(followers.numpy(), influencers.numpy(), influence.numpy(), radius)
    assert members.shape == (count, len(expected))
    assert rows.tolist() == [token for token, _ in expected]
    assert [set(np.flatnonzero(column)) for column in members.T.numpy()] == [m for _, m in expected]


def test_the_most_influential_clusters_remain() -> None:
    tokens = _tokens(100)
    rows, members = greedy_clusters(*tokens, radius=0.5, max_clusters=1000)
    first, fewer = greedy_clusters(*tokens, radius=0.5, max_clusters=3)
    assert len(rows) > 3
    assert torch.equal(first, rows[:3])
    assert torch.equal(fewer, members[:, :3])
