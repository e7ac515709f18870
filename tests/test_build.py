"""Every option is declared once, beside the class that obeys it, and reaches that class from a config."""

import typing
from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, cast, get_args

import pytest
import torch
import yaml

from pcseg import build, load_model
from pcseg import config as cfg
from pcseg.classes import class_set
from pcseg.config_reader import from_text
from pcseg.losses.mask_influencer import FirstPassOptions
from pcseg.models.embedding_heads import EmbeddingHeads
from pcseg.ops.device import pick_device
from pcseg.training.checkpoint import load_checkpoint
from tests.conftest import ROOT, refuses
from tests.tools.small import fresh_checkpoint


def _leaves(schema: type[Any], key: str = "") -> Iterator[tuple[str, type[Any]]]:
    """Key of every option of a schema, with the kinds of its sections, and the dataclass that declares it."""
    for name, hint in typing.get_type_hints(schema).items():
        parts = [kind for kind in (hint, *get_args(hint)) if is_dataclass(kind)]
        for part in parts:
            yield from _leaves(cast(type, part), f"{key}{name}{getattr(part, 'kind', '')}.")
        if not parts and name != "kind":
            yield f"{key}{name}", schema


def test_every_option_belongs_to_one_dataclass_outside_of_config() -> None:
    leaves = list(_leaves(cfg.Config))
    assert len(dict(leaves)) == len(leaves) > 80
    assert [key for key, owner in leaves if owner.__module__ == cfg.__name__] == []


@pytest.mark.parametrize("kind", ["competitive", "first_pass", "hungarian"])
def test_options_reach_the_criterion(kind: str) -> None:
    overrides = [f"criterion.kind={kind}", "criterion.weights.center=7", "criterion.weights.no_object=0.3"]
    config = cfg.load(ROOT / "configs" / "synthetic.yaml", [*overrides, "model.decoder.mask_activation=softmax"])
    criterion = build.build_criterion(config, check_values=False)
    assert (criterion.options, criterion.weight_dict["loss_center"]) == (config.criterion, 7)
    assert not criterion.check_values
    if isinstance(config.criterion, FirstPassOptions):
        assert criterion.influencer.options is config.criterion
    else:
        assert getattr(criterion, "influencer", criterion).mask_activation == "softmax"


@pytest.mark.parametrize("name", ["synthetic", "synthetic_embedding"])
def test_options_reach_the_model(name: str) -> None:
    overrides = ["model.unet.channels=[8, 12]", "model.unet.checkpointing=true"]
    config = cfg.load(ROOT / "configs" / f"{name}.yaml", overrides)
    model = build.build_model(config, class_set("s3dis"))
    assert (model.unet.in_channels, model.unet.out_channels, model.unet.checkpointing) == (6, 8, True)
    assert isinstance(model.decoder, EmbeddingHeads) == (name == "synthetic_embedding")
    assert model.decoder.semantic_head.in_features == config.model.decoder.width


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_devices_that_are_absent() -> None:
    assert pick_device().type == "cpu"
    refuses("device 'tpu9' is not known; expected cpu, cuda", pick_device, "tpu9")
    refuses("device cuda: no CUDA device available; use cpu", pick_device, "cuda")


def test_checkpoint_with_an_iou_head_loads(tmp_path: Path) -> None:
    path = fresh_checkpoint(tmp_path / "old.pt")
    content = load_checkpoint(path)
    tree, weights = yaml.safe_load(content["config"]), content["model"]
    tree["criterion"]["differentiable_claims"] = tree["inference"]["use_iou_head"] = False
    tree["criterion"]["weights"]["score"] = 0.5
    weights["decoder.score_head.0.weight"] = torch.zeros(8, 8)
    torch.save({**content, "config": yaml.safe_dump(tree)}, path)
    assert all(torch.equal(value, weights[name]) for name, value in load_model(path).model.state_dict().items())
    refuses(r"unknown key 'criterion\.differentiable_claims'", from_text, cfg.Config, yaml.safe_dump(tree))
