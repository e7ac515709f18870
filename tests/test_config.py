from pathlib import Path

import pytest

from pcseg import config as cfg
from pcseg import config_reader
from pcseg.images.run import ImagesConfig
from pcseg.losses.competitive import CompetitiveOptions
from tests.conftest import ROOT


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_config_of_the_repository_reads_back_unchanged(path: Path) -> None:
    schema = ImagesConfig if config_reader.read_tree(path).get("kind") == "images" else cfg.Config
    config = config_reader.read(schema, path)
    assert config_reader.from_text(schema, config_reader.to_text(config)) == config


def test_criterion_without_kind_is_the_competitive_one(tmp_path: Path) -> None:
    path = tmp_path / "bare.yaml"
    path.write_text("data: {root: rooms}\n")
    assert cfg.load(path, ["criterion.anneal=0.3"]).criterion == CompetitiveOptions(anneal=0.3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: {root: a}\ntrian: {steps: 3}", "unknown key 'trian'; did you mean 'train'?"),
        ("data: {root: a}\ntrain: {stepz: 3}", "unknown key 'train.stepz'; did you mean 'steps'?"),
        ("data: {root: a}\ntrain: {steps: many}", "train.steps must be int, got 'many'"),
        ("data: {root: a}\noptimizer: {lr: fast}", "optimizer.lr must be a number, got 'fast'"),
        ("data: {root: a}\noptimizer: {schedule: stairs}", "schedule is 'stairs'; expected one of polynomial"),
        ("data: {root: a}\ncriterion: {kind: magic}", "criterion.kind is 'magic'; expected one of competitive"),
        ("train: {steps: 3}", "data is missing"),
        ("data: {root: a, train: all}", "data.train must be a list, got 'all'"),
        ("- 1", "a config is a mapping"),
        ("data: {root: a}\ncriterion: {kind: embedding}", "criterion.kind embedding does not train model.decoder.kind"),
        ("data: {root: a}\nmodel: {decoder: {kind: embedding}}", "kind embedding; set both to embedding or neither"),
        (
            "data: {root: a}\nmodel: {decoder: {queries: learned}}\ninference: {num_queries: 9}",
            "inference.num_queries goes with model.decoder.queries superpoint",
        ),
        ("a: [", "not YAML"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(cfg.ConfigError) as error:
        cfg.load(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)


def test_missing_file_and_bad_override(tmp_path: Path) -> None:
    with pytest.raises(cfg.ConfigError, match="no such config; give a"):
        cfg.load(tmp_path / "nowhere.yaml")
    with pytest.raises(cfg.ConfigError, match="must look like key=value"):
        cfg.load(ROOT / "configs" / "synthetic.yaml", ["train.steps"])
