"""What a sweep varies: values or intervals of keys of a recipe."""

import hashlib
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pcseg import config as cfg


@dataclass(frozen=True)
class Choices:
    """The values a key takes, as they stand on the command line."""

    values: tuple[str, ...]


@dataclass(frozen=True)
class Range:
    """The interval in which a key is searched; whole numbers where `whole`, evenly in the logarithm where `log`."""

    low: float
    high: float
    log: bool = False
    whole: bool = False


Space = dict[str, Choices | Range]
Setting = dict[str, str]  # value of each varied key, as an override has it


def parse_space(items: Sequence[str]) -> Space:
    """What is varied, from ``key=v1,v2`` and ``key=low..high`` or ``key=low..high:log``.

    Commas inside brackets do not separate values. Bounds that are written as whole numbers give whole numbers.

    Raises:
        ValueError: an item of another form, a key that comes twice, or an empty interval.
    """
    space: Space = {}
    for item in items:
        key, equals, text = item.partition("=")
        if not (key and equals and text):
            raise ValueError(
                f"{item!r} must look like key=v1,v2 or key=low..high[:log], as optimizer.lr=1e-4..1e-2:log"
            )
        if key in space:
            raise ValueError(f"{key} comes twice; give all its values at once")
        if ".." in text:
            space[key] = _range(item, text)
        else:
            # A value once: the same setting twice would be one run, and one row.
            space[key] = Choices(tuple(dict.fromkeys(re.split(r",(?![^\[{]*[\]}])", text))))
    return space


def _range(item: str, text: str) -> Range:
    bounds, _, scale = text.partition(":")
    low, _, high = bounds.partition("..")
    try:
        found = Range(float(low), float(high), scale == "log", not re.search(r"[.eE]", low + high))
    except ValueError:
        raise ValueError(f"{item!r}: the ends of an interval must be numbers, as in 1e-4..1e-2:log") from None
    if scale not in ("", "log") or not -math.inf < found.low < found.high < math.inf or (found.log and found.low <= 0):
        raise ValueError(f"{item!r}: expected low..high or low..high:log with low below high, and above 0 for log")
    return found


def value_text(value: float | int | str) -> str:
    """A value as an override has it."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class Sweep:
    """What is run.

    Args:
        config: the recipe.
        fixed: overrides of every run.
        space: what is varied.
        trials: settings that a search tries; None runs every setting of a grid.
        seeds: each setting is trained with all of them.
        out: folder of the sweep.
        command: what trains a recipe, called as tools/train.py.
    """

    config: Path
    fixed: tuple[str, ...]
    space: Space
    trials: int | None
    seeds: tuple[int, ...]
    out: Path
    command: tuple[str, ...]

    def folder(self, setting: Mapping[str, str], seed: int) -> Path:
        """Where a run lives, whichever trial it belongs to; a readable name, and a hash that tells all apart."""
        text = ",".join(f"{key}={value}" for key, value in setting.items())
        name = re.sub(r"[^\w.=,+-]", "_", text)[:100]
        return self.out / "runs" / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}" / f"seed_{seed}"

    def numbers(self, setting: Mapping[str, str], seed: int) -> Path:
        """The file that a run leaves when it is done."""
        return self.folder(setting, seed) / "ap.json"

    def setting(self, params: Mapping[str, float | int | str]) -> Setting:
        """The overrides of a trial's parameters."""
        return {key: value_text(params[key]) for key in self.space}

    def grid(self) -> list[Setting]:
        """All settings of a grid, the last key varying fastest."""
        values = [choices.values if isinstance(choices, Choices) else () for choices in self.space.values()]
        return [dict(zip(self.space, row)) for row in itertools.product(*values)]

    def check(self) -> str:
        """Tries the recipe with every value, one key at a time.

        Returns:
            What makes two sweeps the same, but for the number of trials.

        Raises:
            ValueError: a key or value that the recipe does not take, no held-out rooms, or an interval in a grid.
        """
        for key, values in self.space.items():
            if isinstance(values, Range) and self.trials is None:
                raise ValueError(f"{key}: a grid takes values as v1,v2; an interval is for a search")
            ends = values.values if isinstance(values, Choices) else (value_text(values.low), value_text(values.high))
            for text in ends:
                cfg.load(self.config, [*self.fixed, f"{key}={text}"])
        recipe = cfg.load(self.config, self.fixed)
        if not recipe.data.val:
            raise ValueError(f"{self.config}: data.val names no rooms, so runs cannot be compared; name some")
        return f"{cfg.dumps(recipe)}\nspace: {self.space}\nseeds: {self.seeds}\ngrid: {self.trials is None}\n"
