"""From outputs of the network to objects, and the filters of objects."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pcseg.classes import S3DIS, ClassSet
from pcseg.inference.decode import DecodeOptions, decode, greedy_clusters
from pcseg.inference.filters import keep, matrix_nms, without_overlap
from pcseg.models.embedding_heads import EmbeddingHeadsOptions
from pcseg.models.query_decoder import QueryDecoderOptions
from pcseg.prediction import Prediction
from pcseg.structures import DecoderOutput, EmbeddingOutput, Scene
from tests.conftest import holds
from tests.reference import greedy_clusters as slow
from tests.reference.matrix_nms_slow import slow_matrix_nms

AB, ABC = (ClassSet.from_dict({"names": list(names)}, "test", names) for names in ("ab", "abc"))
SIGMOID, SOFTMAX = QueryDecoderOptions(mask_activation="sigmoid"), QueryDecoderOptions(mask_activation="softmax")
# Superpoints of 3, 2, 1 and 4 points, and two queries for them.
SCENE = Scene.without_xyz("room", 10, superpoint=np.repeat(np.arange(4), [3, 2, 1, 4]).astype(np.int32))
MASKS, LOGITS = [[4.0, -4.0], [2.0, -4.0], [-4.0, 4.0], [-4.0, -4.0]], [[2.0, 0.0, 0.0], [0.0, 3.0, 0.0]]
PLACES = torch.tensor([[0.0, 0, 0], [0.2, 0, 0], [5, 0, 0], [5, 0.3, 0]])


def _outputs(masks: list[list[float]], logits: list[list[float]]) -> DecoderOutput:
    semantic = [torch.eye(4)[:, :3]]
    return {"pred_logits": torch.tensor([logits]), "pred_masks": [torch.tensor(masks)], "pred_semantic": semantic}


@pytest.mark.parametrize("power", [5.0, 3.0])
def test_scores_are_class_probability_times_a_power_of_the_expected_iou(power: float) -> None:
    options = DecodeOptions(min_points=1, top_k=2, iou_power=power)
    found, classes = decode(_outputs(MASKS, LOGITS), SCENE, AB, SIGMOID, options)
    p4, p2, p_off = torch.tensor([4.0, 2.0, -4.0]).sigmoid()
    # Points shared, over the mask's and those expected outside it.
    ious = (3 * p4 + 2 * p2) / (5 + 5 * p_off), p4 / (1 + 9 * p_off)
    expected = [torch.tensor(LOGITS).softmax(1)[k, k] * iou**power for k, iou in enumerate(ious)]
    np.testing.assert_allclose(found.scores, expected, rtol=1e-6)
    holds(found, labels=[0, 1], masks=[[True, True, False, False], [False, False, True, False]])
    assert found.point_mask(0).sum() == 5
    np.testing.assert_allclose(classes.sum(1), 1, rtol=1e-6)
    assert classes.argmax(1).tolist() == [0, 1, 2, 0]


@pytest.mark.parametrize("threshold", [0.15, 0.5, 0.7])
def test_a_mask_is_where_its_probability_is_above_the_threshold(threshold: float) -> None:
    outputs = _outputs([[2.0, 1.0], [0.5, 1.0], [-3.0, 1.0], [-9.0, -9.0]], [[9.0, 0.0, 0.0], [9.0, 0.0, 0.0]])
    only_a = replace(AB, instance_names=("a",))
    found, _ = decode(outputs, SCENE, only_a, SOFTMAX, DecodeOptions(mask_threshold=threshold, min_points=1))
    logits = outputs["pred_masks"][0].double()
    probability = logits.exp() / (1 + logits.exp().sum(1, keepdim=True))  # an empty choice has logit 0
    expected = {tuple(mask) for mask in (probability > threshold).T.tolist() if any(mask)}
    assert {tuple(mask) for mask in found.masks.toarray().tolist()} == expected


@pytest.mark.parametrize(("stuff", "of_objects"), [("", 4 / 8), ("b", 3 / 8)])
def test_scores_may_be_those_of_an_object_of_any_class(stuff: str, of_objects: float) -> None:
    logits = torch.tensor([2.0, 1.0, 1.0, 4.0]).log()[None]  # the last one is no-object
    classes, options = replace(ABC, stuff=frozenset(stuff)), DecodeOptions(min_points=1, one_class=True)
    outputs = _outputs([[9.0], [-9.0], [-9.0], [-9.0]], logits.tolist())
    found = [decode(outputs, SCENE, classes, SIGMOID, replace(options, class_power=p))[0] for p in (1.0, 0.5, 0.0)]
    of_class, mixed, of_object = found
    assert of_class.labels.tolist() == mixed.labels.tolist() == of_object.labels.tolist() == [0]
    np.testing.assert_allclose(of_object.scores / of_class.scores, of_objects / (2 / 8), rtol=1e-6)
    np.testing.assert_allclose(mixed.scores**2, of_object.scores * of_class.scores, rtol=1e-6)


def test_one_class_a_query_unsure_and_small_objects() -> None:
    names = ClassSet.from_dict({"names": ["a", "b", "other object"]}, "test", "abo")
    outputs = _outputs(MASKS, [[2.0, 1.9, 0.0, 0.0], [0.0, 3.0, 0.0, 0.0]])
    every, _ = decode(outputs, SCENE, names, SIGMOID, DecodeOptions(min_points=1))
    assert len(every) == 6
    best, _ = decode(outputs, SCENE, names, SIGMOID, DecodeOptions(min_points=1, one_class=True))
    assert best.labels.tolist() == [1, 0]
    # The shares of the best classes are 0.49 and 0.91.
    unsure, _ = decode(outputs, SCENE, names, SIGMOID, DecodeOptions(min_points=1, one_class=True, unsure_below=0.6))
    holds(unsure, labels=[1, 2], scores=best.scores)
    found, _ = decode(outputs, SCENE, ABC, SIGMOID, DecodeOptions(min_points=1, one_class=True, unsure_below=0.6))
    assert found.labels.tolist() == [1, 0]
    outputs, only_b = _outputs(MASKS, LOGITS), replace(AB, instance_names=("b",))
    assert not decode(outputs, SCENE, AB, SIGMOID, DecodeOptions(min_points=2))[0].masks.toarray()[:, 2].any()
    assert {*decode(outputs, SCENE, only_b, SIGMOID, DecodeOptions(min_points=1))[0].labels} == {1}


def _embeddings(shift: float = 0.0) -> EmbeddingOutput:
    """Two objects of two superpoints each."""
    return {
        "pred_followers": [PLACES + shift],
        "pred_influencers": [PLACES],
        "pred_influence": [torch.tensor([1.0, 0, 3, 2])],
        "pred_semantic": [torch.tensor([[4.0, 0, 0], [2, 0, 0], [0, 0, 3], [0, 0, 3]])],
    }


def test_clusters_become_objects() -> None:
    outputs, options = _embeddings(), EmbeddingHeadsOptions(radius=0.5)
    scene = Scene.without_xyz("room", 8, superpoint=np.repeat(np.arange(4), 2).astype(np.int32))
    found, _ = decode(outputs, scene, ABC, options, DecodeOptions(min_points=1, top_k=2))
    holds(found, masks=[[False, False, True, True], [True, True, False, False]], labels=[2, 0])
    classes = outputs["pred_semantic"][0].softmax(1)
    close, closer = ((6 * (1 - torch.tensor([0, d]) ** 2 / 0.25)).sigmoid().mean() ** 5 for d in (0.3, 0.2))
    strong, weak = torch.tensor([3.0, 1.0]).sigmoid()
    expected = [classes[2, 2] * close * strong, classes[:2, 0].mean() * closer * weak]
    np.testing.assert_allclose(found.scores, expected, rtol=1e-5)
    nothing, _ = decode(_embeddings(shift=100.0), scene, ABC, options, DecodeOptions(min_points=1))
    assert len(nothing) == 0, "no influencer attracts a follower"


@pytest.mark.parametrize("count", [0, 1, 2, 50, 200])
@pytest.mark.parametrize("radius", [0.1, 0.7, 10.0])
def test_clusters_are_those_of_the_plain_loop(count: int, radius: float) -> None:
    followers, influencers = torch.rand(2, count, 3) * 3
    influence = torch.randn(count).round(decimals=1)  # ties
    rows, members = greedy_clusters(followers, influencers, influence, radius=radius, max_clusters=1000)
    first, fewer = greedy_clusters(followers, influencers, influence, radius=radius, max_clusters=3)
    assert torch.equal(first, rows[:3])  # the most influential
    assert torch.equal(fewer, members[:, :3])
    expected = slow.greedy_clusters(followers.numpy(), influencers.numpy(), influence.numpy(), radius)
    assert members.shape == (count, len(expected))
    assert rows.tolist() == [token for token, _ in expected]
    assert [set(np.flatnonzero(column)) for column in members.T.numpy()] == [m for _, m in expected]


def _prediction(masks: np.ndarray, labels: np.ndarray, scores: np.ndarray, superpoint: np.ndarray) -> Prediction:
    scene = Scene.without_xyz("room", len(superpoint))
    return Prediction(scene, masks, labels, scores, classes=S3DIS, superpoint=superpoint.astype(np.int32))


@pytest.mark.parametrize("num_columns", [0, 1, 30])
@pytest.mark.parametrize("num", [0, 1, 2, 40])
def test_filters_of_sparse_masks_are_those_of_full_ones(rng: np.random.Generator, num: int, num_columns: int) -> None:
    masks = rng.random((num, num_columns)) < 0.2  # some are empty
    labels, scores = rng.integers(0, 3, num), np.sort(rng.random(num))[::-1]
    given = _prediction(masks, labels, scores, rng.integers(0, max(num_columns, 1), 200 * min(num_columns, 1)))
    found = matrix_nms(given, sigma=0.5)
    slow = np.array(slow_matrix_nms(masks, labels, scores, given.column_points, 0.5))
    order = np.argsort(-slow, kind="stable")
    np.testing.assert_allclose(found.scores, slow[order], rtol=1e-6)
    holds(found, masks=masks[order], labels=labels[order])
    found = without_overlap(given)
    left = masks & (np.cumsum(masks, axis=0) == 1)  # a column belongs to its best object
    holds(found, masks=left[left.any(axis=1)], labels=labels[left.any(axis=1)])
    np.testing.assert_array_equal(found.point_ids() > 0, given.point_ids() > 0)


def test_objects_without_a_name_compete_with_all_and_weak_ones_go() -> None:
    masks, scores = np.ones((3, 2), bool), np.array([0.9, 0.8, 0.7])
    given = _prediction(masks, np.array([0, 1, 2]), scores, np.array([0, 1]))
    assert matrix_nms(given).scores.tolist() == scores.tolist()
    found = matrix_nms(given, unnamed=1)
    expected = dict(zip([0, 2, 1], [0.9, 0.7, 0.8 * np.exp(-1 / 0.3)]))
    assert dict(zip(found.labels.tolist(), found.scores.tolist())) == pytest.approx(expected)
    masks = np.array([[1, 0], [0, 1], [1, 1]], bool)
    given = _prediction(masks, np.array([0, 1, 2]), np.array([0.9, 0.8, 0.1], np.float32), np.array([0, 0, 0, 1]))
    for options, left in (({}, [0, 1, 2]), ({"min_points": 3}, [0, 2]), ({"score_threshold": 0.8}, [0, 1])):
        assert keep(given, **options).labels.tolist() == left
    assert keep(given, min_points=5).masks.shape == (0, 2)
