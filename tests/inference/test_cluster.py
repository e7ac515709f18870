import numpy as np
import pytest
import torch

from pcseg.classes import ClassSet
from pcseg.inference.cluster import cluster, greedy_clusters
from pcseg.inference.to_instances import to_instances
from pcseg.structures import EmbeddingOutput, Scene
from tests.reference import greedy_clusters as slow

ABC = ClassSet.from_dict({"names": ["a", "b", "c"]}, "test", "abc")


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


def test_the_most_influential_clusters_are_kept() -> None:
    tokens = _tokens(100)
    rows, members = greedy_clusters(*tokens, radius=0.5, max_clusters=1000)
    first, fewer = greedy_clusters(*tokens, radius=0.5, max_clusters=3)
    assert len(rows) > 3
    assert torch.equal(first, rows[:3])
    assert torch.equal(fewer, members[:, :3])


def _outputs() -> EmbeddingOutput:
    """A room of two objects of two superpoints each, and a room of one superpoint."""
    places = torch.tensor([[0.0, 0, 0], [0.2, 0, 0], [5, 0, 0], [5, 0.3, 0]])
    classes = torch.tensor([[4.0, 0, 0], [2, 0, 0], [0, 0, 3], [0, 0, 3]])
    return {
        "pred_followers": [places, places[:1]],
        "pred_influencers": [places, places[:1]],
        "pred_influence": [torch.tensor([1.0, 0, 3, 2]), torch.tensor([0.0])],
        "pred_semantic": [classes, classes[:1]],
    }


def test_clusters_become_objects() -> None:
    outputs = _outputs()
    queries = cluster(outputs, radius=0.5)
    scene = Scene("room", np.zeros((8, 3), np.float32), superpoint=np.repeat(np.arange(4), 2).astype(np.int32))
    found = to_instances(queries, scene, ABC, mask_activation="sigmoid", min_points=1, top_k=2)
    assert found.masks.toarray().tolist() == [[False, False, True, True], [True, True, False, False]]
    assert found.labels.tolist() == [2, 0]
    classes = outputs["pred_semantic"][0].softmax(1)
    closeness = [(6 * (1 - torch.tensor([0, d]) ** 2 / 0.25)).sigmoid().mean() for d in (0.3, 0.2)]
    influence = torch.tensor([3.0, 1.0]).sigmoid()
    expected = [
        classes[2, 2] * closeness[0] ** 5 * influence[0],
        classes[:2, 0].mean() * closeness[1] ** 5 * influence[1],
    ]
    np.testing.assert_allclose(found.scores, expected, rtol=1e-5)


def test_rooms_of_a_batch_get_equally_many_queries() -> None:
    queries = cluster(_outputs(), radius=0.5)
    assert queries["pred_logits"].shape == (2, 2, 4)
    assert [masks.shape for masks in queries["pred_masks"]] == [(4, 2), (1, 2)]
    assert queries["pred_scores"].shape == (2, 2)
    scene = Scene("one", np.zeros((5, 3), np.float32), superpoint=np.zeros(5, np.int32))
    found = to_instances(queries, scene, ABC, room=1, mask_activation="sigmoid", min_points=0, score_threshold=1e-6)
    assert found.masks.toarray().all()
    assert found.labels[0] == 0
    assert len(found) == 3  # one object under three classes, none of the query that only fills up


def test_a_room_where_nothing_is_attracted() -> None:
    outputs = _outputs()
    outputs["pred_followers"] = [f + 100 for f in outputs["pred_followers"]]
    queries = cluster(outputs, radius=0.5)
    assert queries["pred_logits"].shape == (2, 0, 4)
    scene = Scene("room", np.zeros((4, 3), np.float32), superpoint=np.arange(4, dtype=np.int32))
    assert len(to_instances(queries, scene, ABC, mask_activation="sigmoid", min_points=1)) == 0
