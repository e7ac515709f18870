from pathlib import Path

import pytest

from pcseg.sweep.space import Choices, Range, Sweep, parse_space

ROOT = Path(__file__).resolve().parent.parent.parent


def _sweep(space: str, trials: int | None = None, config: str = "synthetic.yaml", fixed: tuple[str, ...] = ()) -> Sweep:
    return Sweep(ROOT / "configs" / config, fixed, parse_space(space.split()), trials, (0,), Path("out"), ("train",))


def test_values_and_intervals() -> None:
    space = parse_space(["a.b=1,x,1e-3", "c=[8, 16],[4, 8]", "d=1e-4..1e-2:log", "e=20..100", "f=-1..2.5", "g=2,2"])
    assert space == {
        "a.b": Choices(("1", "x", "1e-3")),
        "c": Choices(("[8, 16]", "[4, 8]")),
        "d": Range(1e-4, 1e-2, log=True),
        "e": Range(20.0, 100.0, whole=True),
        "f": Range(-1.0, 2.5),
        "g": Choices(("2",)),
    }


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("a", "must look like key=v1,v2"),
        ("a=", "must look like key=v1,v2"),
        ("a=x..y", "the ends of an interval must be numbers"),
        ("a=3..1", "low below high"),
        ("a=0..1:log", "above 0 for log"),
        ("a=1..2:linear", "expected low..high or low..high:log"),
    ],
)
def test_mistakes_are_named(item: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_space([item])


def test_a_key_comes_once() -> None:
    with pytest.raises(ValueError, match="a comes twice"):
        parse_space(["a=1", "a=2"])


def test_grid_is_every_combination() -> None:
    sweep = _sweep("optimizer.lr=1e-3,1e-2 criterion.claims=dual,none")
    rows = [list(setting.values()) for setting in sweep.grid()]
    assert rows == [["1e-3", "dual"], ["1e-3", "none"], ["1e-2", "dual"], ["1e-2", "none"]]


def test_folders_tell_settings_apart() -> None:
    sweep = _sweep("optimizer.lr=1e-3")
    texts = ["[8, 16]", "[8; 16]", "x" * 300, "x" * 301]
    folders = {sweep.folder({"a": text}, seed) for text in texts for seed in (0, 1)}
    assert len(folders) == 8
    assert all(len(folder.parent.name) < 120 and " " not in str(folder) for folder in folders)


def test_recipe_is_tried_before_anything_runs() -> None:
    assert _sweep("optimizer.lr=1e-3").check() != _sweep("optimizer.lr=1e-2").check()
    with pytest.raises(ValueError, match=r"unknown key 'optimizer\.rate'"):
        _sweep("optimizer.rate=1e-3").check()
    with pytest.raises(ValueError, match="expected one of dual"):
        _sweep("criterion.claims=dual,single").check()
    with pytest.raises(ValueError, match=r"optimizer\.lr: a grid takes values"):
        _sweep("optimizer.lr=1e-3..1e-2").check()
    with pytest.raises(ValueError, match=r"data\.val names no rooms"):
        _sweep("optimizer.lr=1e-3", fixed=("data.val=[]",)).check()
