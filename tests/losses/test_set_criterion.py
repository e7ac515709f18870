"""The Hungarian baseline against Mask2Former's own numbers, and in the forms that point clouds bring."""

import json

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from pcseg.losses import HungarianMatcher, SetCriterion
from pcseg.losses.criterion import LossWeights
from pcseg.losses.set_criterion import HungarianOptions
from tests.conftest import REFERENCE, refuses
from tests.losses.scenes import assert_same_grads, masks_of, random_layer, random_targets, token_weights
from tests.reference import competitive as slow

EXPECTED = json.loads((REFERENCE / "set_criterion" / "expected.json").read_text())
CASES = [name for name in EXPECTED if not name.startswith("_")]


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_mask2former(name):
    data, expected = np.load(REFERENCE / "set_criterion" / f"{name}.npz"), EXPECTED[name]
    num_layers, num_images = len(expected["indices"]), len(expected["indices"][0])
    layers = [
        {k: torch.tensor(data[f"layer{i}_{k}"]).double().requires_grad_() for k in ("pred_logits", "pred_masks")}
        for i in range(num_layers)
    ]
    targets = [{k: torch.tensor(data[f"target{i}_{k}"]) for k in ("labels", "masks")} for i in range(num_images)]
    matcher, matches = HungarianMatcher(2.0, 5.0, 5.0), []
    matcher.register_forward_hook(lambda _module, _inputs, found: matches.append(found))
    options = HungarianOptions(weights=LossWeights(classes=2.0), mask_weight=5.0, dice_weight=5.0)
    criterion = SetCriterion(int(data["num_classes"]), options)
    criterion.matcher = matcher
    losses = criterion({**layers[-1], "aux_outputs": layers[:-1]}, targets)
    assert set(losses) == set(expected["losses"])
    for key, value in losses.items():
        assert value.item() == pytest.approx(expected["losses"][key], abs=1e-6)
    total = criterion.total(losses)
    assert total.item() == pytest.approx(expected["total"], abs=1e-6)
    for image, by_layer in enumerate(matches):
        for (queries, instances), i in zip(by_layer, [num_layers - 1, *range(num_layers - 1)], strict=True):
            assert [queries.tolist(), instances.tolist()] == expected["indices"][i][image]
    total.backward()
    for i, layer in enumerate(layers):
        for key, leaf in layer.items():
            np.testing.assert_allclose(leaf.grad.numpy(), data[f"grad{i}_{key}"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
@pytest.mark.parametrize("weighted", [False, True])
def test_agrees_with_loops(activation, weighted):
    outputs, targets = random_layer(), random_targets()
    criterion = SetCriterion(5, HungarianOptions(cost_class=1.0, weight_tokens=weighted), activation)
    losses = criterion(outputs, targets)
    bce_sum, dice_sum, chosen = 0.0, 0.0, []
    for b, target in enumerate(targets):
        weights = token_weights(target, weighted)
        bce, dice = slow.pairs(outputs["pred_masks"][b], masks_of(target), weights, activation)
        probability = outputs["pred_logits"][b].softmax(1)[:, target["labels"]].T
        rows, columns = linear_sum_assignment((bce + dice - probability).detach().numpy())
        bce_sum, dice_sum = bce_sum + bce[rows, columns].sum(), dice_sum + dice[rows, columns].sum()
        chosen.append(torch.zeros_like(bce))
        chosen[-1][rows, columns] = 1
    classes = slow.class_loss(outputs["pred_logits"], [t["labels"] for t in targets], chosen)
    expected = {"loss_ce": classes, "loss_mask": bce_sum / 6, "loss_dice": dice_sum / 6}
    torch.testing.assert_close(losses, expected)
    leaves = [outputs["pred_logits"], *outputs["pred_masks"]]
    total = sum(criterion.weight_dict[key] * value for key, value in expected.items())
    assert_same_grads(criterion.total(losses), total, leaves)


def test_overlapping_masks_are_allowed_and_costs_of_zero_are_not():
    masks = torch.ones(2, 9, dtype=torch.bool)
    criterion = SetCriterion(3)
    losses = criterion({"pred_masks": torch.randn(9, 4)}, [{"labels": torch.tensor([0, 1]), "masks": masks}])
    assert set(losses) == {"loss_mask", "loss_dice"}
    assert criterion.total(losses).isfinite()
    refuses("are all 0", HungarianMatcher, 0.0, 0.0, 0.0)


def test_nan_names_the_scene_and_the_layer():
    outputs, targets = random_layer(torch.float32), random_targets(torch.float32)
    targets[1]["name"] = "Area_5_office_1"
    aux = {**outputs, "pred_masks": [mask.detach().clone() for mask in outputs["pred_masks"]]}
    aux["pred_masks"][1][3, 2] = torch.nan
    both = {**outputs, "aux_outputs": [aux]}
    with pytest.raises(ValueError, match=r"scene 1 \(Area_5_office_1\): matching costs of aux layer 0 must be finite"):
        SetCriterion(5)(both, targets)
    trusting = SetCriterion(5, check_values=False)
    assert not trusting.total(trusting(both, targets)).isfinite()
