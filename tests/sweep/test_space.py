from pathlib import Path

import pytest

from pcseg.sweep.runner import Sweep, parse_space

distributions = pytest.importorskip("optuna").distributions

ROOT = Path(__file__).resolve().parent.parent.parent


def _sweep(space: str, trials: int | None = None, config: str = "synthetic.yaml", fixed: tuple[str, ...] = ()) -> Sweep:
    return Sweep(ROOT / "configs" / config, fixed, parse_space(space.split()), trials, (0,), Path("out"), ("train",))


def test_values_and_intervals() -> None:
    choices, floats, ints = (getattr(distributions, f"{kind}Distribution") for kind in ("Categorical", "Float", "Int"))
    space = parse_space(["a.b=1,x,1e-3", "c=[8, 16],[4, 8]", "d=1e-4..1e-2:log", "e=20..100", "f=-1..2.5", "g=2,2"])
    assert space == {
        "a.b": choices(("1", "x", "1e-3")),
        "c": choices(("[8, 16]", "[4, 8]")),
        "d": floats(1e-4, 1e-2, log=True),
        "e": ints(20, 100),
        "f": floats(-1.0, 2.5),
        "g": choices(("2",)),
    }


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("a", "must look like key=v1,v2"),
        ("a=", "must look like key=v1,v2"),
        ("a=x..y", "could not convert string to float"),
        ("a=3..1", "low must be a number below high"),
        ("a=0..1:log", "must hold for `log=True`"),
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
    sweep = _sweep("optimizer.lr=1e-3,1e-2 criterion.claims=dual,sinkhorn")
    rows = [list(setting.values()) for setting in sweep.grid()]
    assert rows == [["1e-3", "dual"], ["1e-3", "sinkhorn"], ["1e-2", "dual"], ["1e-2", "sinkhorn"]]


def test_folders_tell_settings_apart() -> None:
    sweep = _sweep("optimizer.lr=1e-3")
    texts = ["[8, 16]", "[8; 16]", "x" * 300, "x" * 301]
    folders = {sweep.folder({"a": text}, seed) for text in texts for seed in (0, 1)}
    assert len(folders) == 8
    assert all(len(folder.parent.name) < 120 and " " not in str(folder) for folder in folders)


def test_config_is_tried_before_anything_runs() -> None:
    assert _sweep("optimizer.lr=1e-3").check() != _sweep("optimizer.lr=1e-2").check()
    with pytest.raises(ValueError, match=r"unknown key 'optimizer\.rate'"):
        _sweep("optimizer.rate=1e-3").check()
    with pytest.raises(ValueError, match="expected one of dual"):
        _sweep("criterion.claims=dual,single").check()
    with pytest.raises(ValueError, match=r"optimizer\.lr: a grid takes values"):
        _sweep("optimizer.lr=1e-3..1e-2").check()
    with pytest.raises(ValueError, match=r"data\.val names no rooms"):
        _sweep("optimizer.lr=1e-3", fixed=("data.val=[]",)).check()
