"""Every key of a recipe's criterion reaches the criterion that is built from it."""

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest

from pcseg import build
from pcseg import config as cfg
from pcseg.losses.influencer_criterion import InfluencerCriterion
from pcseg.losses.set_criterion import SetCriterion

RECIPE = Path(__file__).resolve().parent.parent / "configs" / "synthetic.yaml"
WORDS = {"mean": "arithmetic", "claims": "none"}


def _changed(name: str, value: Any) -> Any:
    """Another value than the default."""
    if isinstance(value, bool):
        return not value
    return WORDS[name] if isinstance(value, str) else value + 1


def _built(kind: str, *overrides: str) -> Any:
    return build.build_criterion(cfg.load(RECIPE, [f"criterion.kind={kind}", *overrides]))


def _keys(config: type[Any]) -> list[Any]:
    own = [key for key in fields(config) if key.name not in ("kind", "weights", "mask_weight")]
    return [pytest.param(key.name, _changed(key.name, key.default), id=key.name) for key in own]


@pytest.mark.parametrize(("name", "value"), _keys(cfg.CompetitiveConfig))
def test_keys_of_the_competitive_loss(name: str, value: Any) -> None:
    criterion = _built("competitive", f"criterion.{name}={value}")
    assert isinstance(criterion, InfluencerCriterion)
    owner = criterion if name == "weight_tokens" else criterion.influencer
    assert getattr(owner, name) == value


@pytest.mark.parametrize(("name", "value"), _keys(cfg.FirstPassConfig))
def test_keys_of_the_first_form(name: str, value: Any) -> None:
    assert getattr(_built("first_pass", f"criterion.{name}={value}").influencer, name) == value


@pytest.mark.parametrize(("name", "value"), _keys(cfg.HungarianConfig))
def test_keys_of_hungarian_matching(name: str, value: Any) -> None:
    criterion = _built("hungarian", f"criterion.{name}={value}")
    assert isinstance(criterion, SetCriterion)
    if name == "dice_weight":
        assert criterion.weight_dict["loss_dice"] == value
    else:
        assert getattr(criterion.matcher if name.startswith("cost_") else criterion, name) == value


@pytest.mark.parametrize(("kind", "masks"), [("competitive", "loss_influencer"), ("hungarian", "loss_mask")])
def test_weights_of_losses(kind: str, masks: str) -> None:
    values = {name: 2.0 + i for i, name in enumerate(asdict(cfg.LossWeights())) if name != "aux_layers"}
    overrides = [f"criterion.weights.{name}={value}" for name, value in values.items()]
    criterion = _built(kind, "criterion.mask_weight=9", *overrides)
    assert criterion.eos_coef == values.pop("no_object")
    names = {"classes": "loss_ce", "score": "loss_score", "semantic": "loss_semantic", "center": "loss_center"}
    assert {name: criterion.weight_dict[names[name]] for name in values} == values
    assert criterion.weight_dict[masks] == 9
