from dataclasses import replace

import numpy as np
import pytest
import torch

from pcseg.classes import ClassSet
from pcseg.inference.to_instances import mask_probabilities, semantic_probabilities, to_instances
from pcseg.structures import DecoderOutput, Scene

AB = ClassSet.from_dict({"names": ["a", "b"]}, "test", "ab")
ONLY_A, ONLY_B = (replace(AB, instance_names=(name,)) for name in AB.names)


def _scene() -> Scene:
    # Superpoints of 3, 2, 1 and 4 points.
    superpoint = np.repeat(np.arange(4), [3, 2, 1, 4]).astype(np.int32)
    return Scene("room", np.zeros((10, 3), np.float32), superpoint=superpoint)


def _outputs(masks: list[list[float]], logits: list[list[float]]) -> DecoderOutput:
    return {
        "pred_logits": torch.tensor([logits]),
        "pred_masks": [torch.tensor(masks)],
        "pred_semantic": [torch.eye(4)[:, :3]],
    }


@pytest.mark.parametrize("power", [5.0, 3.0])
def test_scores_are_class_probability_times_a_power_of_the_expected_iou(power: float) -> None:
    outputs = _outputs([[4.0, -4.0], [2.0, -4.0], [-4.0, 4.0], [-4.0, -4.0]], [[2.0, 0.0, 0.0], [0.0, 3.0, 0.0]])
    found = to_instances(outputs, _scene(), AB, mask_activation="sigmoid", min_points=1, top_k=2, iou_power=power)
    class_probability = torch.tensor([[2.0, 0, 0], [0, 3.0, 0]]).softmax(1)
    p4, p2, p_off = torch.tensor([4.0, 2.0, -4.0]).sigmoid()
    # Superpoints of 3, 2, 1 and 4 points: points shared, over the mask's and those expected outside it.
    expected = [
        class_probability[0, 0] * ((3 * p4 + 2 * p2) / (5 + 5 * p_off)) ** power,
        class_probability[1, 1] * (p4 / (1 + 9 * p_off)) ** power,
    ]
    np.testing.assert_allclose(found.scores, expected, rtol=1e-6)
    assert found.labels.tolist() == [0, 1]
    assert found.masks.toarray().tolist() == [[True, True, False, False], [False, False, True, False]]
    assert found.point_mask(0).sum() == 5


def test_a_mask_is_where_its_probability_is_above_the_threshold() -> None:
    outputs = _outputs([[2.0, 1.0], [0.5, 1.0], [-3.0, 1.0], [-9.0, -9.0]], [[9.0, 0.0, 0.0], [9.0, 0.0, 0.0]])
    probability = mask_probabilities(outputs["pred_masks"][0], "softmax")
    for threshold in (0.15, 0.5, 0.7):
        found = to_instances(
            outputs, _scene(), ONLY_A, mask_activation="softmax", mask_threshold=threshold, min_points=1
        )
        expected = {tuple(mask) for mask in (probability > threshold).T.tolist() if any(mask)}
        assert {tuple(mask) for mask in found.masks.toarray().tolist()} == expected


def test_small_masks_and_low_scores_go() -> None:
    outputs = _outputs([[4.0, -4.0], [2.0, -4.0], [-4.0, 4.0], [-4.0, -4.0]], [[2.0, 0.0, 0.0], [0.0, 3.0, 0.0]])
    found = to_instances(outputs, _scene(), AB, mask_activation="sigmoid", min_points=2)
    assert not found.masks.toarray()[:, 2].any()
    assert len(to_instances(outputs, _scene(), AB, mask_activation="sigmoid", min_points=1, score_threshold=0.99)) == 0
    only = to_instances(outputs, _scene(), ONLY_B, mask_activation="sigmoid", min_points=1)
    assert set(only.labels.tolist()) == {1}


def test_softmax_masks_do_not_overlap() -> None:
    logits = torch.randn(50, 8) * 3
    probability = mask_probabilities(logits, "softmax")
    assert ((probability > 0.5).sum(1) <= 1).all()
    np.testing.assert_allclose(probability.sum(1) + 1 / (1 + logits.exp().sum(1)), torch.ones(50), rtol=1e-5)


def test_masks_of_another_scene_are_refused() -> None:
    with pytest.raises(ValueError, match="scene room has 4 superpoints, the masks are over 3"):
        to_instances(_outputs([[1.0], [1.0], [1.0]], [[1.0, 0.0]]), _scene(), AB)


def test_class_of_superpoints() -> None:
    outputs = _outputs([[0.0]] * 4, [[1.0, 0.0]])
    found = semantic_probabilities(outputs)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-6)
    assert found.argmax(1).tolist() == [0, 1, 2, 0]
    del outputs["pred_semantic"]
    with pytest.raises(ValueError, match="predicts no class of superpoints"):
        semantic_probabilities(outputs)
