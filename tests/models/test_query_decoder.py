import pytest
import torch

from pcseg.models.query_decoder import QueryDecoder, QueryDecoderOptions, _AnchorHead, choose_spread, mask_is_on
from tests.conftest import refuses


def _decoder(**options: object) -> QueryDecoder:
    size = {"width": 16, "num_heads": 2, "num_layers": 2, "ffn_width": 32, "num_queries": 6}
    return QueryDecoder(8, 5, QueryDecoderOptions(**{**size, **options}))


def random_rooms(sizes: list[int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features, places and offsets of superpoints."""
    total = sum(sizes)
    return torch.randn(total, 8), torch.randn(total, 3), torch.tensor([0, *sizes]).cumsum(0)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("queries", ["learned", "superpoint"])
def test_shapes_of_every_layer(queries: str, activation: str) -> None:
    decoder = _decoder(queries=queries, mask_activation=activation)
    outputs = decoder(*random_rooms([9, 7]))
    assert len(outputs["aux_outputs"]) == 2
    for layer in [outputs, *outputs["aux_outputs"]]:
        assert layer["pred_logits"].shape == (2, 6, 6)
        assert [m.shape for m in layer["pred_masks"]] == [(9, 6), (7, 6)]
    assert [s.shape for s in outputs["pred_semantic"]] == [(9, 5), (7, 5)]
    assert [c.shape for c in outputs["pred_centers"]] == [(9, 3), (7, 3)]


@pytest.mark.parametrize("queries", ["learned", "superpoint"])
def test_rooms_of_a_batch_do_not_see_each_other(queries: str) -> None:
    decoder = _decoder(queries=queries).eval()
    features, xyz, offsets = random_rooms([9, 7])
    together, alone = decoder(features, xyz, offsets), decoder(features[:9], xyz[:9], torch.tensor([0, 9]))
    for key in ("pred_masks", "pred_logits"):
        torch.testing.assert_close(together[key][0], alone[key][0], rtol=1e-4, atol=1e-5)


def test_more_queries_than_in_training_and_few_superpoints() -> None:
    decoder = _decoder().eval()
    features, xyz, offsets = random_rooms([9, 7])
    outputs = decoder(features, xyz, offsets, 7)
    assert [m.shape for m in outputs["pred_masks"]] == [(9, 7), (7, 7)]
    as_trained = decoder(features, xyz, offsets, 6)
    torch.testing.assert_close(as_trained["pred_masks"], decoder(features, xyz, offsets)["pred_masks"])
    refuses("num_queries=7, but the decoder has 6 learned", _decoder(queries="learned"), features, xyz, offsets, 7)
    outputs = _decoder(queries="superpoint")(*random_rooms([1, 4]))
    assert outputs["pred_logits"].shape == (2, 1, 6)
    assert all(torch.isfinite(m).all() for m in outputs["pred_masks"])
    refuses("room 1 of the batch has no superpoints", _decoder(), *random_rooms([3, 0]))
    refuses("width 16 must be a multiple of the number of heads 3", _decoder, num_heads=3)


def test_every_weight_learns_and_masks_do_not_move_the_votes() -> None:
    decoder = _decoder(queries="learned")
    outputs = decoder(*random_rooms([9, 7]))
    values = [*outputs["pred_semantic"], *outputs["pred_centers"]]
    for layer in [outputs, *outputs["aux_outputs"]]:
        values += [layer["pred_logits"], *layer["pred_masks"]]
    sum(value.square().sum() for value in values).backward()
    assert [name for name, p in decoder.named_parameters() if p.grad is None or not p.grad.any()] == []
    decoder = _decoder()
    decoder(*random_rooms([9]))["pred_masks"][0].sum().backward()
    assert all(p.grad is None for p in decoder.vote_head.parameters())
    assert "pred_centers" not in _decoder(votes=False)(*random_rooms([9]))


def test_superpoint_queries_start_apart_and_tell_where() -> None:
    features, xyz, offsets = random_rooms([9, 20])
    outputs = _decoder(queries="superpoint", votes=False, feature_distance=0.0)(features, xyz, offsets)
    assert outputs["query_tokens"].shape == (2, 6)
    for b, room in enumerate(xyz.split([9, 20])):
        assert outputs["query_tokens"][b].tolist() == choose_spread(room, 6).tolist()
    assert "query_tokens" not in _decoder(queries="learned")(features, xyz, offsets)
    decoder = _decoder(queries="superpoint", votes=False, feature_distance=2.0)
    captured = []
    decoder.mask_features.register_forward_hook(lambda _module, _inputs, output: captured.append(output[0].detach()))
    features, xyz, offsets = random_rooms([20])
    tokens = decoder(features, xyz, offsets)["query_tokens"][0].tolist()

    def apart(i: int, j: int) -> float:
        angle = 1 - torch.cosine_similarity(captured[0][i], captured[0][j], dim=0)
        return (xyz[i] - xyz[j]).square().sum().item() + 2.0**2 * 2 * angle.item()

    chosen = [0]
    while len(chosen) < 6:
        chosen.append(max(range(20), key=lambda row: min(apart(row, other) for other in chosen)))
    assert tokens == sorted(chosen)
    assert tokens != choose_spread(xyz, 6).tolist()


def test_masks_are_on_for_one_query_and_near_the_anchor() -> None:
    logits = torch.tensor([[2.0, 1.0], [-1.0, -2.0], [0.5, 3.0]])
    assert mask_is_on(logits, "softmax").tolist() == [[True, False], [False, False], [False, True]]
    assert mask_is_on(logits, "sigmoid").tolist() == [[True, True], [False, False], [True, True]]
    head = _AnchorHead(4)
    x, anchors = torch.randn(1, 2, 4), torch.tensor([[[0.0, 0, 0], [3.0, 0, 0]]])
    places = torch.tensor([[[0.0, 0, 0], [1.0, 0, 0], [3.0, 0, 0]]])
    distance = head.distance(x, anchors, places)[0]
    sharpness = torch.nn.functional.softplus(head.sharpness(x))[0, :, 0]
    expected = torch.tensor([[0.0, 9.0], [1.0, 4.0], [9.0, 0.0]]) * sharpness
    torch.testing.assert_close(distance, expected)
    # Untrained, anchors stay where they are.
    assert torch.equal(head.move(x, anchors), anchors)
