"""The criteria of queries: against loops, reference numbers of other programs, and in the forms that data takes."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from pcseg.losses import HungarianMatcher, InfluencerCriterion, MaskInfluencerLoss, SetCriterion
from pcseg.losses.competitive import CompetitiveOptions
from pcseg.losses.criterion import LossWeights
from pcseg.losses.inputs import SceneTarget
from pcseg.losses.mask_influencer import FirstPassOptions
from pcseg.losses.set_criterion import HungarianOptions
from tests.conftest import REFERENCE, holds, refuses
from tests.losses import scenes
from tests.losses.scenes import assert_same_grads, masks_of, random_layer, random_targets, token_weights
from tests.reference import competitive as slow

CRITERIA = {
    "competitive": InfluencerCriterion,
    "first_pass": lambda num_classes: InfluencerCriterion(num_classes, FirstPassOptions()),
    "hungarian": SetCriterion,
}
MASK2FORMER = json.loads((REFERENCE / "set_criterion" / "expected.json").read_text())
FIRST_PASS_CASES = json.loads((REFERENCE / "mask_influencer_first_pass.json").read_text())
PARTS = ("loss", "attractive", "repulsive", "background")


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("weighted", [False, True])
def test_agrees_with_loops(activation, weighted):
    layers, targets = [random_layer(), random_layer()], random_targets()
    criterion = InfluencerCriterion(5, CompetitiveOptions(weight_tokens=weighted), activation)
    losses = criterion({**layers[0], "aux_outputs": layers[1:]}, targets, progress=0.25)
    labels, temperature, right = [t["labels"] for t in targets], (0.05 * 0.005) ** 0.5, {}
    for layer, suffix in zip(layers, ("", "_0"), strict=True):
        values, shares = [], []
        for b in range(2):
            probability = layer["pred_logits"][b].softmax(1)[:, labels[b]].T
            truth = masks_of(targets[b]), token_weights(targets[b], weighted)
            value, _, share = slow.competitive(layer["pred_masks"][b], *truth, probability, activation, temperature)
            values.append(value)
            shares.append(share)
        shares.append(torch.zeros(0, 7))  # the last scene has no instances
        right[f"loss_ce{suffix}"] = slow.class_loss(layer["pred_logits"], labels, shares)
        right[f"loss_influencer{suffix}"] = sum(values) / 3
    torch.testing.assert_close(losses, right)
    leaves = [leaf for layer in layers for leaf in (layer["pred_logits"], *layer["pred_masks"])]
    total = sum({"loss_ce": 0.5, "loss_influencer": 1.0}[k.removesuffix("_0")] * v for k, v in right.items())
    assert_same_grads(criterion.total(losses), total, leaves)


def test_first_pass_is_the_mask_loss_per_scene():
    layer, targets = random_layer(), random_targets()
    criterion = InfluencerCriterion(5, FirstPassOptions(temperature=0.3, rep_weight=2.0))
    losses = criterion(layer, targets)
    assert set(losses) == {"loss_ce", "loss_attractive", "loss_repulsive", "loss_background"}
    loss = MaskInfluencerLoss(temperature=0.3, rep_weight=2.0)
    terms = [loss(mask, t["instance_labels"]) for mask, t in zip(layer["pred_masks"], targets, strict=True)]
    for part in ("attractive", "repulsive", "background"):
        torch.testing.assert_close(losses[f"loss_{part}"], sum(term[part] for term in terms) / 3)
    masks_only = {key: value for key, value in losses.items() if key != "loss_ce"}
    torch.testing.assert_close(criterion.total(masks_only), sum(term["loss"] for term in terms) / 3)


@pytest.mark.parametrize("kind", CRITERIA)
def test_images_lists_and_single_matrices_are_one_thing(kind):
    criterion = CRITERIA[kind](5)
    images, ids = torch.randn(2, 7, 4, 6, dtype=torch.float64), torch.randint(0, 4, (2, 4, 6))
    masks = [{"labels": torch.tensor([3, 0, 4]), "masks": i == torch.arange(1, 4)[:, None, None]} for i in ids]
    labels = [{"labels": torch.tensor([3, 0, 4]), "instance_labels": i.flatten()} for i in ids]
    logits = torch.randn(2, 7, 6, dtype=torch.float64)
    rows = [image.flatten(1).T for image in images]
    expected = criterion({"pred_logits": logits, "pred_masks": images}, masks)
    for form, targets in ((images, labels), (rows, masks), (rows, labels)):
        torch.testing.assert_close(criterion({"pred_logits": logits, "pred_masks": form}, targets), expected)
    one = criterion({"pred_logits": logits[:1], "pred_masks": rows[0]}, labels[:1])
    torch.testing.assert_close(one, criterion({"pred_logits": logits[:1], "pred_masks": [rows[0]]}, masks[:1]))


@pytest.mark.parametrize("kind", CRITERIA)
def test_ignored_tokens_are_as_if_absent(kind):
    criterion = CRITERIA[kind](5)
    layer, targets = random_layer(semantic=True), random_targets()
    less, fewer, counted = scenes.without_ignored(layer, targets)
    found = criterion(layer, targets)
    torch.testing.assert_close(found, criterion(less, fewer))
    criterion.total(found).backward()
    assert not layer["pred_masks"][0].grad[~counted[0]].any()


@pytest.mark.parametrize("ids", [[2, 1, -1, 0, 2, 3], [0, 0, -1], [-1], [1]])
def test_trusted_targets_are_read_as_checked_ones(ids):
    target = {"labels": torch.arange(5, 5 + max(0, *ids)), "instance_labels": torch.tensor(ids)}
    checked, trusted = (SceneTarget(target, 0, len(ids), check).segmentation(False) for check in (True, False))
    holds(trusted, labels=checked.labels, segment=checked.segment)


def test_keys_do_not_depend_on_the_batch_nor_losses_on_instances_without_tokens():
    layer, targets = random_layer(), random_targets()
    criterion = InfluencerCriterion(5)
    expected = criterion(layer, targets)
    targets[0]["labels"] = torch.cat([targets[0]["labels"][:1], torch.tensor([2]), targets[0]["labels"][1:]])
    targets[0]["instance_labels"] = targets[0]["instance_labels"] + (targets[0]["instance_labels"] > 1)
    torch.testing.assert_close(criterion(layer, targets), expected)
    outputs = {**random_layer(semantic=True), "aux_outputs": [random_layer(), random_layer()]}
    full = set(criterion(outputs, random_targets()))
    nothing = [{**t, "labels": t["labels"][:0], "instance_labels": t["instance_labels"] * 0} for t in random_targets()]
    losses = criterion(outputs, nothing)
    assert set(losses) == full
    assert {"loss_semantic", "loss_ce_1", "loss_influencer_0"} < full
    assert set(criterion({"pred_masks": outputs["pred_masks"]}, nothing)) == {"loss_influencer"}
    assert "loss_semantic_0" not in full
    assert losses["loss_influencer"] == 0
    criterion.total(losses).backward()


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
@pytest.mark.parametrize("kind", CRITERIA)
@pytest.mark.parametrize("scale", [0.0, 1.0, 500.0])  # profiles that coincide, and logits that are large
@pytest.mark.parametrize(("num_instances", "num_tokens", "num_queries"), [(0, 5, 3), (1, 1, 1), (1, 6, 3), (5, 9, 2)])
def test_degenerate_sizes_and_logits(kind, activation, num_instances, num_tokens, num_queries, scale):
    logits = torch.randn(1, num_queries, 4, requires_grad=True)
    masks = (scale * torch.randn(num_tokens, num_queries)).requires_grad_()
    ids = torch.ones(1, dtype=torch.int64) if num_tokens == 1 else torch.arange(num_tokens).clamp(max=num_instances)
    criterion = CRITERIA[kind](3)
    if kind != "first_pass":
        criterion = type(criterion)(3, mask_activation=activation)
    targets = [{"labels": torch.zeros(num_instances, dtype=torch.int64), "instance_labels": ids}]
    losses = criterion({"pred_logits": logits, "pred_masks": masks}, targets)
    assert "loss_ce" in losses
    assert all(value.isfinite() for value in losses.values())
    criterion.total(losses).backward()
    assert all(leaf.grad.isfinite().all() for leaf in (logits, masks))
    assert num_instances or kind != "competitive" or not masks.grad.any()


def test_semantic_loss_is_cross_entropy_without_ignored_tokens():
    layer, targets = random_layer(semantic=True), random_targets()
    found = InfluencerCriterion(5)(layer, targets)["loss_semantic"]
    labels = torch.cat([t["semantic_labels"] for t in targets])
    logits = torch.cat(layer["pred_semantic"])
    torch.testing.assert_close(found, torch.nn.functional.cross_entropy(logits, labels, ignore_index=-1))
    for target in targets:
        target["semantic_labels"] = torch.full_like(target["semantic_labels"], -1)
    assert InfluencerCriterion(5)(layer, targets)["loss_semantic"] == 0


@pytest.mark.parametrize("kind", CRITERIA)
def test_absent_classes_learn_nothing(kind):
    layer, targets = random_layer(semantic=True), random_targets()
    for target in targets:
        target["labels"] %= 4
        target["semantic_labels"].clamp_(max=3)
    criterion = CRITERIA[kind](5)
    criterion = type(criterion)(5, criterion.options, absent=[4])
    criterion.total(criterion(layer, targets)).backward()
    for logits in (layer["pred_logits"], *layer["pred_semantic"]):
        assert logits.grad.flatten(0, -2).any(0).tolist() == [index != 4 for index in range(logits.shape[-1])]


@pytest.mark.parametrize("kind", CRITERIA)
def test_intermediate_layers_have_the_weight_of_the_last_or_none(kind):
    outputs, targets = {**random_layer(), "aux_outputs": [random_layer()]}, random_targets()
    criterion = CRITERIA[kind](5)
    losses = criterion(outputs, targets)
    expected = sum(criterion.weight_dict[key.removesuffix("_0")] * value for key, value in losses.items())
    torch.testing.assert_close(criterion.total(losses), expected)
    last = type(criterion)(5, replace(criterion.options, weights=LossWeights(aux_layers=False)))(outputs, targets)
    assert last == {key: value for key, value in losses.items() if not key.endswith("_0")}


def _nan(outputs, key):
    outputs[key][0].data.view(-1)[5] = torch.nan


def _overlap(outputs, target):
    del target["instance_labels"]
    target.update(masks=torch.ones(4, 25, dtype=torch.bool), name="office")


# What each one changes in the outputs and in the first target.
BAD = {
    "overlap": (_overlap, r"scene 0 \(office\): target masks overlap at 25 of 25 tokens.*SetCriterion"),
    "nan mask": (lambda out, _: _nan(out, "pred_masks"), "scene 0: pred_masks of the last layer must be finite"),
    "nan class": (lambda out, _: _nan(out, "pred_logits"), "scene 0: pred_logits of the last layer must be finite"),
    "scenes": (lambda out, _: out.update(pred_masks=[torch.zeros(25, 7)]), "pred_masks holds 1 scenes, targets 3"),
    "dims": (lambda out, _: out.update(pred_masks=torch.zeros(3, 25, 7)), r"a list of .* got \(3, 25, 7\)"),
    "aux": (lambda out, _: out.update(aux_outputs=[{"pred_masks": out["pred_masks"]}]), "must have pred_logits"),
    "no masks": (lambda out, _: out.pop("pred_masks"), "must have pred_masks"),
    "ids": (lambda _, target: target["instance_labels"].fill_(5), r"instance_labels must be in -1\.\.4, got 5"),
    "length": (lambda _, target: target.update(instance_labels=torch.ones(3).long()), r"shape \(25,\).*got \(3,\)"),
    "class": (lambda _, target: target["labels"].fill_(9), r"labels must be in 0\.\.4"),
    "no ids": (lambda _, target: target.pop("instance_labels"), "neither instance_labels nor masks"),
    "semantic": (lambda _, target: target["semantic_labels"].fill_(5), r"semantic_labels must be in -1\.\.4"),
    "no semantic": (lambda _, target: target.pop("semantic_labels"), "needs semantic_labels"),
    "no counts": (lambda _, target: target.pop("point_counts"), "needs point_counts"),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_named(change, message):
    outputs, targets = random_layer(torch.float32, semantic=True), random_targets(dtype=torch.float32)
    change(outputs, targets[0])
    refuses(message, InfluencerCriterion(5, CompetitiveOptions(weight_tokens=True)), outputs, targets)


def test_bad_masks_are_named_and_overlapping_ones_are_for_matching():
    target = {"labels": torch.tensor([0]), "masks": torch.zeros(1, 3, 3)}
    criterion, images, tokens = InfluencerCriterion(5), torch.zeros(1, 2, 4, 4), torch.zeros(9, 2)
    refuses("target masks have 9 tokens, pred_masks 16; resize", criterion, {"pred_masks": images}, [target])
    two = [{**target, "labels": torch.tensor([0, 1])}]
    refuses("the target has 2 labels for 1 masks", criterion, {"pred_masks": tokens}, two)
    masks, criterion = torch.ones(2, 9, dtype=torch.bool), SetCriterion(3)
    losses = criterion({"pred_masks": torch.randn(9, 4)}, [{"labels": torch.tensor([0, 1]), "masks": masks}])
    assert set(losses) == {"loss_mask", "loss_dice"}
    assert criterion.total(losses).isfinite()
    refuses("are all 0", HungarianMatcher, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("case", FIRST_PASS_CASES, ids=lambda case: case["name"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
def test_reference_values_and_gradients(case, dtype, tolerance):
    data, name = np.load(REFERENCE / "mask_influencer_first_pass.npz"), case["name"]
    logits = torch.tensor(data[f"{name}_logits"], dtype=dtype, requires_grad=True)
    terms = MaskInfluencerLoss(**case["kwargs"])(logits, torch.tensor(data[f"{name}_labels"]))
    assert tuple(terms) == PARTS
    for part in PARTS:
        assert terms[part].item() == pytest.approx(case[part], abs=tolerance)
    terms["loss"].backward()
    np.testing.assert_allclose(logits.grad.numpy(), data[f"{name}_grad"], rtol=0, atol=tolerance)


def test_no_instances_leaves_the_background_and_the_graph():
    logits = torch.randn(8, 3, requires_grad=True)
    terms = MaskInfluencerLoss()(logits, torch.zeros(8, dtype=torch.int64))
    assert terms["attractive"] == terms["repulsive"] == 0
    torch.testing.assert_close(terms["background"], torch.sigmoid(logits).mean())
    for part in ("attractive", "repulsive"):
        assert not torch.autograd.grad(terms[part], logits, retain_graph=True)[0].any()
    assert MaskInfluencerLoss()(torch.zeros(6, 3), torch.tensor([1, 1, 2, 2, 3, 3]))["repulsive"] == 1
    refuses("temperature must be positive, got 0", MaskInfluencerLoss, temperature=0.0)


@pytest.mark.parametrize("name", [name for name in MASK2FORMER if not name.startswith("_")])
def test_agrees_with_mask2former(name):
    data, expected = np.load(REFERENCE / "set_criterion" / f"{name}.npz"), MASK2FORMER[name]
    num_layers, num_images = len(expected["indices"]), len(expected["indices"][0])
    layers = [
        {k: torch.tensor(data[f"layer{i}_{k}"]).double().requires_grad_() for k in ("pred_logits", "pred_masks")}
        for i in range(num_layers)
    ]
    targets = [{k: torch.tensor(data[f"target{i}_{k}"]) for k in ("labels", "masks")} for i in range(num_images)]
    matches, costs = [], {"cost_class": 2.0, "cost_mask": 5.0, "cost_dice": 5.0}
    options = HungarianOptions(weights=LossWeights(classes=2.0), mask_weight=5.0, dice_weight=5.0, **costs)
    criterion = SetCriterion(int(data["num_classes"]), options)
    criterion.matcher.register_forward_hook(lambda _module, _inputs, found: matches.append(found))
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
def test_hungarian_agrees_with_loops(activation, weighted):
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
    total = sum(criterion.weight_dict[key] * value for key, value in expected.items())
    assert_same_grads(criterion.total(losses), total, [outputs["pred_logits"], *outputs["pred_masks"]])


def test_nan_of_matching_names_the_scene_and_the_layer():
    outputs, targets = random_layer(torch.float32), random_targets(torch.float32)
    targets[1]["name"] = "Area_5_office_1"
    aux = {**outputs, "pred_masks": [mask.detach().clone() for mask in outputs["pred_masks"]]}
    aux["pred_masks"][1][3, 2] = torch.nan
    both = {**outputs, "aux_outputs": [aux]}
    with pytest.raises(ValueError, match=r"scene 1 \(Area_5_office_1\): matching costs of aux layer 0 must be finite"):
        SetCriterion(5)(both, targets)
    trusting = SetCriterion(5, check_values=False)
    assert not trusting.total(trusting(both, targets)).isfinite()
