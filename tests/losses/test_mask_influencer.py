"""The mask loss as first specified, against the numbers of an independent implementation."""

import json

import numpy as np
import pytest
import torch

from pcseg.losses import MaskInfluencerLoss
from tests.conftest import REFERENCE, refuses

CASES = json.loads((REFERENCE / "mask_influencer_first_pass.json").read_text())
PARTS = ("loss", "attractive", "repulsive", "background")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
def test_reference_values_and_gradients(case, dtype, tolerance):
    data = np.load(REFERENCE / "mask_influencer_first_pass.npz")
    name = case["name"]
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
    refuses("temperature must be positive, got 0", MaskInfluencerLoss, temperature=0.0)


@pytest.mark.parametrize("scale", [0.0, 1.0, 200.0])  # profiles that coincide, and logits that are large
@pytest.mark.parametrize("labels", [[], [1], [4] * 8, [1, 1, 2, 2, 3, 3], [0, 1, 2, 3, -1, 1]])
def test_gradient_is_finite(labels, scale):
    logits = (scale * torch.randn(len(labels), 4)).requires_grad_()
    terms = MaskInfluencerLoss(temperature=0.01)(logits, torch.tensor(labels, dtype=torch.int64))
    terms["loss"].backward()
    assert terms["loss"].isfinite()
    assert logits.grad.isfinite().all()
    if len(set(labels)) < 2:
        assert terms["repulsive"] == terms["background"] == 0
    elif scale == 0:
        assert terms["repulsive"].item() == pytest.approx(1)
