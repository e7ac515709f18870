"""Configs of the repository, mistakes in configs, and configs on a base."""

import re
from pathlib import Path

import pytest

from pcseg import config as cfg
from pcseg.config_reader import differences, from_text, read, read_tree, to_text
from pcseg.images.run import ImagesConfig
from pcseg.losses.competitive import CompetitiveOptions
from pcseg.losses.mask_influencer import FirstPassOptions
from tests.conftest import ROOT, refuses


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_config_of_the_repository_reads_back_unchanged(path: Path) -> None:
    schema = ImagesConfig if read_tree(path).get("kind") == "images" else cfg.Config
    config = read(schema, path)
    assert from_text(schema, to_text(config)) == config


def test_kinds_missing_files_overrides_and_mistakes(tmp_path: Path) -> None:
    path = tmp_path / "bare.yaml"
    path.write_text("data: {root: rooms}\n")
    assert cfg.load(path, ["criterion.anneal=0.3"]).criterion == CompetitiveOptions(anneal=0.3)
    refuses("no such config; give a", cfg.load, tmp_path / "nowhere.yaml")
    refuses("a model, not a config", cfg.load, tmp_path / "last.pt")
    (tmp_path / "config.yaml").touch()
    refuses("a folder; give config.yaml in it", cfg.load, tmp_path)
    refuses("override 'train.steps' must look like key=value", cfg.load, "synthetic", ["train.steps"])
    refuses(r"override 'data.train=\[\*\]' is not YAML; quote", cfg.load, "synthetic", ["data.train=[*]"])
    learned = "data: {root: a}\nmodel: {decoder: {queries: learned}}\ninference: {num_queries: 9}"
    for text, message in (
        ("data: {root: a}\ntrian: {steps: 3}", "unknown key 'trian'; did you mean 'train'?"),
        ("data: {root: a}\ntrain: {stepz: 3}", "unknown key 'train.stepz'; did you mean 'train.steps'?"),
        ("data: {root: a}\nsteps: 3", "unknown key 'steps'; did you mean 'train.steps'?"),
        ("data: {root: a}\ntrain: {steps: 0}", "train.steps must be 1 or more, got 0"),
        ("data: {root: a}\ninference: {min_points: -5}", "inference.min_points must be 0 or more, got -5"),
        ("data: {root: a}\ntrain: {steps: many}", "train.steps must be a whole number, got 'many'"),
        ("data: {root: a}\noptimizer: {lr: fast}", "optimizer.lr must be a number, got 'fast'"),
        ("data: {root: a}\naugment: [{name: flop}]", "augment[0].name 'flop' is no augmentation; known: flip, rotate"),
        ("data: {root: a}\naugment: [{name: flip, options: {n: 3}}]", "augment[0].options of flip: unknown 'n'; known"),
        ("data: {root: a}\noptimizer: {schedule: stairs}", "schedule is 'stairs'; expected one of polynomial"),
        ("data: {root: a}\ncriterion: {kind: magic}", "criterion.kind is 'magic'; expected one of competitive"),
        ("train: {steps: 3}", "data is missing"),
        ("data: {root: a, train: all}", "data.train must be a list, got 'all'"),
        ("- 1", "a config is a mapping"),
        ("data: {root: a}\ncriterion: {kind: embedding}", "criterion.kind embedding does not train model.decoder.kind"),
        ("data: {root: a}\nmodel: {decoder: {kind: embedding}}", "kind embedding; set both to embedding or neither"),
        (learned, "inference.num_queries goes with model.decoder.queries superpoint"),
        ("a: [", "not YAML"),
        ("base: nowhere", "base is nowhere, neither a file beside this one nor a config of pcseg"),
    ):
        path = tmp_path / "wrong.yaml"
        path.write_text(text)
        refuses(f"{re.escape(str(path))}.*{re.escape(message)}", cfg.load, path)


def test_file_on_its_base_and_differences(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("data: {root: a, train: [b, c]}\ncriterion: {anneal: 0.3}\n")
    path = tmp_path / "child.yaml"
    (tmp_path / "own.yaml").write_text("base: synthetic\n")
    assert cfg.load(tmp_path / "own.yaml") == cfg.load("synthetic")
    path.write_text("base: base.yaml\ndata: {train: [d]}\n")
    config = cfg.load(path, ["data.root=b"])
    assert (config.data.root, config.data.train) == (Path("b"), ("d",))
    assert config.criterion == CompetitiveOptions(anneal=0.3)
    assert cfg.load(path, ["data.root=2024"]).data.root == Path("2024")
    assert cfg.load(path, ["criterion.kind=first_pass"]).criterion == FirstPassOptions()
    message = r"child\.yaml with criterion.kind=first_pass .*: unknown key 'criterion\.anneal'"
    refuses(message, cfg.load, path, ["criterion.kind=first_pass", "criterion.anneal=1"])
    before = CompetitiveOptions()
    assert differences(before, config.criterion) == {"anneal": "anneal was 0.5, is 0.3"}
    assert {"kind", "anneal", "bg_weight"} <= set(differences(before, FirstPassOptions()))
    assert differences(before, before) == {}
