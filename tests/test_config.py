"""Configs of the repository, mistakes in configs, and their reader with a schema of its own."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from pcseg import config as cfg
from pcseg import config_reader
from pcseg.config_reader import differences, read
from pcseg.images.run import ImagesConfig
from pcseg.losses.competitive import CompetitiveOptions
from tests.conftest import ROOT, refuses


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_config_of_the_repository_reads_back_unchanged(path: Path) -> None:
    schema = ImagesConfig if config_reader.read_tree(path).get("kind") == "images" else cfg.Config
    config = read(schema, path)
    assert config_reader.from_text(schema, config_reader.to_text(config)) == config


def test_kinds_missing_files_overrides_and_mistakes(tmp_path: Path) -> None:
    path = tmp_path / "bare.yaml"
    path.write_text("data: {root: rooms}\n")
    assert cfg.load(path, ["criterion.anneal=0.3"]).criterion == CompetitiveOptions(anneal=0.3)
    refuses("no such config; give a", cfg.load, tmp_path / "nowhere.yaml")
    refuses("must look like key=value", cfg.load, ROOT / "configs" / "synthetic.yaml", ["train.steps"])
    for text, message in (
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
    ):
        path = tmp_path / "wrong.yaml"
        path.write_text(text)
        refuses(f"{re.escape(str(path))}.*{re.escape(message)}", cfg.load, path)


@dataclass(frozen=True)
class Circle:
    kind: Literal["circle"] = "circle"
    radius: float = 1.0


@dataclass(frozen=True)
class Square:
    kind: Literal["square"] = "square"
    side: float = 1.0


@dataclass(frozen=True)
class Drawing:
    file: Path
    shape: Circle | Square = field(default_factory=Circle)
    sizes: tuple[int, ...] = ()


def test_file_on_its_base_and_differences(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("file: a.png\nshape: {radius: 2}\nsizes: [1, 2]\n")
    path = tmp_path / "child.yaml"
    path.write_text("base: base.yaml\nsizes: [3]\n")
    assert read(Drawing, path, ["file=b.png"]) == Drawing(Path("b.png"), Circle(radius=2.0), (3,))
    assert read(Drawing, path, ["file=2024"]).file == Path("2024")
    assert read(Drawing, path, ["shape.kind=square"]).shape == Square()
    message = r"child\.yaml with shape.kind=square .*: unknown key 'shape\.radius'"
    refuses(message, read, Drawing, path, ["shape.kind=square", "shape.radius=1"])
    before, now = Drawing(Path("a.png")), Drawing(Path("a.png"), Circle(radius=2.0))
    assert differences(before, now) == {"shape.radius": "shape.radius was 1.0, is 2.0"}
    assert set(differences(before, Drawing(Path("a.png"), Square()))) == {"shape.kind", "shape.radius", "shape.side"}
    assert differences(now, now) == {}
