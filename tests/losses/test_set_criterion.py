"""The Hungarian baseline against Mask2Former's own numbers, and in the forms that point clouds bring."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from pcseg.losses.matcher import HungarianMatcher
from pcseg.losses.set_criterion import SetCriterion
from tests.reference import competitive as slow

REFERENCE = Path(__file__).resolve().parent.parent / "reference" / "set_criterion"
EXPECTED = json.loads((REFERENCE / "expected.json").read_text())
CASES = [name for name in EXPECTED if not name.startswith("_")]


class _Recorder(HungarianMatcher):
    """Keeps what it matched."""

    def __init__(self, *costs):
        super().__init__(*costs)
        self.matches = []

    def forward(self, *args):
        self.matches.append(super().forward(*args))
        return self.matches[-1]


@pytest.mark.parametrize("name", CASES)
def test_mask2former_losses_indices_and_gradients(name):
    data, expected = np.load(REFERENCE / f"{name}.npz"), EXPECTED[name]
    num_layers, num_images = len(expected["indices"]), len(expected["indices"][0])
    layers = [
        {k: torch.tensor(data[f"layer{i}_{k}"]).double().requires_grad_() for k in ("pred_logits", "pred_masks")}
        for i in range(num_layers)
    ]
    targets = [{k: torch.tensor(data[f"target{i}_{k}"]) for k in ("labels", "masks")} for i in range(num_images)]
    matcher = _Recorder(2.0, 5.0, 5.0)
    weights = {"loss_ce": 2.0, "loss_mask": 5.0, "loss_dice": 5.0}
    criterion = SetCriterion(int(data["num_classes"]), matcher, weights)
    losses = criterion({**layers[-1], "aux_outputs": layers[:-1]}, targets)
    assert set(losses) == set(expected["losses"])
    for key, value in losses.items():
        assert value.item() == pytest.approx(expected["losses"][key], abs=1e-6)
    total = criterion.total(losses)
    assert total.item() == pytest.approx(expected["total"], abs=1e-6)
    for image, by_layer in enumerate(matcher.matches):
        for (queries, instances), i in zip(by_layer, [num_layers - 1, *range(num_layers - 1)], strict=True):
            assert [queries.tolist(), instances.tolist()] == expected["indices"][i][image]
    total.backward()
    for i, layer in enumerate(layers):
        for key, leaf in layer.items():
            np.testing.assert_allclose(leaf.grad.numpy(), data[f"grad{i}_{key}"], rtol=0, atol=1e-6)


def _batch(dtype=torch.float64, num_queries=7):
    sizes, counts = (25, 13), (4, 2)
    outputs = {
        "pred_logits": torch.randn(2, num_queries, 6, dtype=dtype, requires_grad=True),
        "pred_scores": torch.rand(2, num_queries, dtype=dtype, requires_grad=True),
        "pred_masks": [(3 * torch.randn(n, num_queries, dtype=dtype)).requires_grad_() for n in sizes],
    }
    targets = []
    for n, k in zip(sizes, counts, strict=True):
        ids = torch.cat([torch.arange(1, k + 1), torch.randint(-1, k + 1, (n - k,))])
        counts_ = torch.randint(1, 9, (n,)).to(dtype)
        targets.append({"labels": torch.randint(0, 5, (k,)), "instance_labels": ids, "point_counts": counts_})
    return outputs, targets


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
@pytest.mark.parametrize("weighted", [False, True])
def test_agrees_with_loops(activation, weighted):
    outputs, targets = _batch()
    # Some masks are good enough for their IoU to count.
    outputs["pred_masks"][0].data[:, :4] += 20.0 * (targets[0]["instance_labels"][:, None] == torch.arange(1, 5)) - 10
    criterion = SetCriterion(5, mask_activation=activation, weight_tokens=weighted)
    losses = criterion(outputs, targets)
    bce_sum, dice_sum, chosen, ious = 0.0, 0.0, [], []
    for b, target in enumerate(targets):
        ids = target["instance_labels"]
        weights = (ids >= 0) * (target["point_counts"] if weighted else 1.0)
        masks = ids == torch.arange(1, len(target["labels"]) + 1)[:, None]
        bce, dice, iou = slow.pairs(outputs["pred_masks"][b], masks, weights.double(), activation)
        probability = outputs["pred_logits"][b].softmax(1)[:, target["labels"]].T
        rows, columns = linear_sum_assignment((bce + dice - probability).detach().numpy())
        bce_sum, dice_sum = bce_sum + bce[rows, columns].sum(), dice_sum + dice[rows, columns].sum()
        chosen.append(torch.zeros_like(bce))
        chosen[-1][rows, columns] = 1
        ious.append(iou)
    ce, score = slow.class_and_score(
        outputs["pred_logits"], outputs["pred_scores"], [t["labels"] for t in targets], chosen, ious
    )
    assert score > 0
    expected = {"loss_ce": ce, "loss_mask": bce_sum / 6, "loss_dice": dice_sum / 6, "loss_score": score}
    assert set(losses) == set(expected)
    for key, value in expected.items():
        torch.testing.assert_close(losses[key], value)
    leaves = [outputs["pred_logits"], outputs["pred_scores"], *outputs["pred_masks"]]
    right = torch.autograd.grad(sum(criterion.weight_dict[key] * value for key, value in expected.items()), leaves)
    for grad, each in zip(torch.autograd.grad(criterion.total(losses), leaves), right, strict=True):
        torch.testing.assert_close(grad, each)


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_masks_and_instance_labels_are_two_forms_of_one_target(activation):
    outputs, targets = _batch()
    for target in targets:
        target["instance_labels"] = target["instance_labels"].clamp(min=0)
    masks = [
        {"labels": t["labels"], "masks": t["instance_labels"] == torch.arange(1, len(t["labels"]) + 1)[:, None]}
        for t in targets
    ]
    criterion = SetCriterion(5, mask_activation=activation)
    found, expected = criterion(outputs, masks), criterion(outputs, targets)
    for key in expected:
        torch.testing.assert_close(found[key], expected[key])


def test_overlapping_masks_are_welcome():
    masks = torch.ones(2, 9, dtype=torch.bool)
    criterion = SetCriterion(3)
    losses = criterion({"pred_masks": torch.randn(9, 4)}, [{"labels": torch.tensor([0, 1]), "masks": masks}])
    assert set(losses) == {"loss_mask", "loss_dice"}
    assert criterion.total(losses).isfinite()


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
@pytest.mark.parametrize(("num_instances", "num_tokens", "num_queries"), [(0, 5, 3), (1, 1, 1), (1, 6, 3), (5, 9, 2)])
def test_degenerate_sizes(activation, num_instances, num_tokens, num_queries):
    outputs = {
        "pred_logits": torch.randn(1, num_queries, 4, requires_grad=True),
        "pred_scores": torch.randn(1, num_queries, requires_grad=True),
        "pred_masks": torch.randn(num_tokens, num_queries, requires_grad=True),
    }
    ids = torch.arange(num_tokens).clamp(max=num_instances)
    if num_tokens == 1:
        ids = torch.ones(1, dtype=torch.int64)
    criterion = SetCriterion(3, mask_activation=activation)
    targets = [{"labels": torch.zeros(num_instances, dtype=torch.int64), "instance_labels": ids}]
    losses = criterion(outputs, targets)
    assert set(losses) == {"loss_ce", "loss_mask", "loss_dice", "loss_score"}
    criterion.total(losses).backward()
    for leaf in outputs.values():
        assert leaf.grad.isfinite().all()


def test_nan_names_the_scene_and_the_layer():
    outputs, targets = _batch(torch.float32)
    targets[1]["name"] = "Area_5_office_1"
    aux = {key: value for key, value in outputs.items() if key != "pred_masks"}
    aux["pred_masks"] = [mask.detach().clone() for mask in outputs["pred_masks"]]
    aux["pred_masks"][1][3, 2] = torch.nan
    with pytest.raises(ValueError, match=r"scene 1 \(Area_5_office_1\): matching costs of aux layer 0 are not finite"):
        SetCriterion(5)({**outputs, "aux_outputs": [aux]}, targets)


def test_progress_is_taken_and_changes_nothing():
    outputs, targets = _batch()
    criterion = SetCriterion(5)
    before = criterion(outputs, targets)
    criterion.set_progress(0.7)
    after = criterion(outputs, targets)
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_bad_options():
    with pytest.raises(ValueError, match="are all 0"):
        HungarianMatcher(0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match=r"weight_dict has \['loss_masks'\]"):
        SetCriterion(3, weight_dict={"loss_masks": 1.0})
