"""The reader with a schema of its own: it knows no key of a config."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from pcseg.config_reader import ConfigError, differences, read


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


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "base.yaml").write_text("file: a.png\nshape: {radius: 2}\nsizes: [1, 2]\n")
    (tmp_path / "child.yaml").write_text("base: base.yaml\nsizes: [3]\n")
    return tmp_path / "child.yaml"


def test_file_on_its_base_under_overrides(path: Path) -> None:
    assert read(Drawing, path, ["file=b.png"]) == Drawing(Path("b.png"), Circle(radius=2.0), (3,))
    assert read(Drawing, path, ["file=2024"]).file == Path("2024")
    assert read(Drawing, path, ["shape.kind=square"]).shape == Square()


def test_differences_have_dotted_keys() -> None:
    before, now = Drawing(Path("a.png")), Drawing(Path("a.png"), Circle(radius=2.0))
    assert differences(before, now) == {"shape.radius": "shape.radius was 1.0, is 2.0"}
    assert set(differences(before, Drawing(Path("a.png"), Square()))) == {"shape.kind", "shape.radius", "shape.side"}
    assert differences(now, now) == {}


def test_keys_of_another_kind_are_unknown(path: Path) -> None:
    with pytest.raises(ConfigError, match=r"child\.yaml with shape.kind=square .*: unknown key 'shape\.radius'"):
        read(Drawing, path, ["shape.kind=square", "shape.radius=1"])
