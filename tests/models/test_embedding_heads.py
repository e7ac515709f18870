import pytest
import torch

from pcseg.models.embedding_heads import EmbeddingHeads, EmbeddingHeadsOptions
from tests.conftest import refuses
from tests.models.test_query_decoder import random_rooms


def _heads(**options: object) -> EmbeddingHeads:
    return EmbeddingHeads(8, 5, EmbeddingHeadsOptions(**{"width": 16, **options}))


@pytest.mark.parametrize("votes", [True, False])
def test_shapes(votes: bool) -> None:
    output = _heads(dimensions=4, votes=votes)(*random_rooms([7, 1]))
    shapes = {key.removeprefix("pred_"): [tuple(room.shape) for room in rooms] for key, rooms in output.items()}
    embedding = {"followers": [(7, 4), (1, 4)], "influencers": [(7, 4), (1, 4)], "influence": [(7,), (1,)]}
    expected = {**embedding, "semantic": [(7, 5), (1, 5)]}
    assert shapes == (expected | {"centers": [(7, 3), (1, 3)]} if votes else expected)


def test_embeddings_start_as_votes_and_every_parameter_is_trained() -> None:
    heads = _heads(dimensions=5)
    for head in (heads.follower_head, heads.influencer_head):
        torch.nn.init.zeros_(head[-1].weight)
        torch.nn.init.zeros_(head[-1].bias)
    output = heads(*random_rooms([6]))
    torch.testing.assert_close(output["pred_followers"][0][:, :3], output["pred_centers"][0])
    assert not output["pred_influencers"][0][:, 3:].any()
    output["pred_followers"][0].sum().backward()
    assert heads.vote_head[0].weight.grad is None
    heads = _heads()
    output = heads(*random_rooms([6]))
    sum(rooms[0].square().sum() for rooms in output.values()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in heads.parameters())
    refuses("at least 3 dimensions, got 2", _heads, dimensions=2)
