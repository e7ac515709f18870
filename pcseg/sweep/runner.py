"""Runs of many settings, a grid or a search by Optuna, each in a process of its own; finished runs never run again."""

import fcntl
import hashlib
import itertools
import json
import math
import os
import re
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from pcseg import config as cfg
from pcseg.sweep.table import Row, Setting


def parse_space(items: Sequence[str]) -> dict[str, Any]:
    """Parses the varied keys of a sweep.

    Args:
        items: ``key=v1,v2``, ``key=low..high`` or ``key=low..high:log``; commas inside brackets separate no values,
            and bounds without a point or exponent give integers.

    Returns:
        Optuna's distribution of each key.

    Raises:
        ValueError: an item of another form, a key that comes twice, or a wrong interval.
    """
    from_optuna = _optuna().distributions
    space: dict[str, Any] = {}
    for item in items:
        key, equals, text = item.partition("=")
        if not (key and equals and text):
            raise ValueError(
                f"{item!r} must look like key=v1,v2 or key=low..high[:log], as optimizer.lr=1e-4..1e-2:log"
            )
        if key in space:
            raise ValueError(f"{key} comes twice; give all its values at once")
        if ".." not in text:  # a value once: the same setting twice would be one run
            space[key] = from_optuna.CategoricalDistribution(tuple(dict.fromkeys(re.split(r",(?![^\[{]*[\]}])", text))))
            continue
        bounds, _, scale = text.partition(":")
        low, _, high = bounds.partition("..")
        try:
            if scale not in ("", "log") or not -math.inf < float(low) < float(high) < math.inf:
                raise ValueError("low must be a number below high")
            number, kind = (
                (float, from_optuna.FloatDistribution)
                if re.search(r"[.eE]", low + high)
                else (int, from_optuna.IntDistribution)
            )
            space[key] = kind(number(low), number(high), log=scale == "log")
        except ValueError as error:
            raise ValueError(f"{item!r}: expected low..high or low..high:log: {error}") from None
    return space


@dataclass(frozen=True)
class Sweep:
    """A sweep to run.

    Args:
        config: config file.
        fixed: overrides of every run.
        space: distribution of each varied key, from `parse_space`.
        trials: number of settings that a search tries; None runs every setting of a grid.
        seeds: seeds of each setting.
        out: sweep folder.
        command: command that trains a config, with the arguments of tools/train.py.
    """

    config: Path
    fixed: tuple[str, ...]
    space: Mapping[str, Any]
    trials: int | None
    seeds: tuple[int, ...]
    out: Path
    command: tuple[str, ...]

    def folder(self, setting: Setting, seed: int) -> Path:
        """The run folder: a readable name with a hash of the setting."""
        text = ",".join(f"{key}={value}" for key, value in setting.items())
        name = re.sub(r"[^\w.=,+-]", "_", text)[:100]
        return self.out / "runs" / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}" / f"seed_{seed}"

    def numbers(self, setting: Setting, seed: int) -> Path:
        """The file that a finished run leaves."""
        return self.folder(setting, seed) / "ap.json"

    def setting(self, params: Mapping[str, float | int | str]) -> Setting:
        """The overrides of a trial's parameters."""
        return {key: f"{params[key]:.6g}" if isinstance(params[key], float) else str(params[key]) for key in self.space}

    def grid(self) -> list[Setting]:
        """All settings of a grid; the last key varies fastest."""
        rows = itertools.product(*(values.choices for values in self.space.values()))
        return [dict(zip(self.space, row)) for row in rows]

    def check(self) -> str:
        """Try the config with every value, one key at a time.

        Returns:
            What two calls of the same sweep have in common, except for the number of trials.

        Raises:
            ValueError: a key or value that the config refuses, no held-out rooms, or an interval in a grid.
        """
        for key, values in self.space.items():
            choices = getattr(values, "choices", None)
            if choices is None and self.trials is None:
                raise ValueError(f"{key}: a grid takes values as v1,v2; an interval is for a search")
            for value in choices or (values.low, values.high):
                cfg.load(self.config, [*self.fixed, f"{key}={value}"])
        config = cfg.load(self.config, self.fixed)
        if not config.data.val:
            raise ValueError(f"{self.config}: data.val names no rooms, so runs cannot be compared; name some")
        return f"{cfg.dumps(config)}\nspace: {self.space}\nseeds: {self.seeds}\ngrid: {self.trials is None}\n"


def run_sweep(
    sweep: Sweep, *, processes: int = 1, on_trial: Callable[[list[Row]], None] = lambda rows: None
) -> list[Row]:
    """Run what is not finished yet.

    Args:
        sweep: the sweep. Its folder may hold the same sweep, interrupted or with fewer trials. Interrupted runs then
            continue from their checkpoints, and failed settings of a grid are tried again.
        processes: number of runs at a time, each with its share of the cores unless OMP_NUM_THREADS is set.
        on_trial: called with all rows after each setting.

    Returns:
        All settings that are finished or failed, including earlier calls.

    Raises:
        ValueError: optuna is not installed, the config is wrong, or the folder holds another sweep.
    """
    identity = sweep.check()
    if processes < 1:
        raise ValueError(f"processes must be at least 1, got {processes}")
    sweep.out.mkdir(parents=True, exist_ok=True)
    with (sweep.out / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"{sweep.out}: another sweep is running in this folder; end it or wait") from None
        runner = _Runner(sweep, _open_study(sweep, identity), processes)
        try:
            while runner.start_runs():
                if runner.wait():
                    on_trial(runner.rows())
        finally:
            runner.stop()
        return runner.rows()


def _optuna() -> ModuleType:
    try:
        import optuna
    except ImportError:
        raise ValueError("a sweep needs optuna; pip install -e '.[sweep]'") from None
    return optuna


def _open_study(sweep: Sweep, identity: str) -> Any:
    """Optuna's study in its SQLite file, in which interrupted settings wait to be run again."""
    optuna = _optuna()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = f"sqlite:///{sweep.out / 'study.db'}"
    study = optuna.create_study(study_name="sweep", storage=storage, direction="maximize", load_if_exists=True)
    if study.user_attrs.get("identity", identity) != identity:
        raise ValueError(f"{sweep.out} holds a sweep of another config, space or seeds; choose another folder")
    study.set_user_attr("identity", identity)
    # With the same seed again, a sampler would try the same settings again.
    study.sampler = optuna.samplers.TPESampler(seed=len(study.trials), constant_liar=True)
    states = optuna.trial.TrialState
    again = []
    for trial in study.get_trials(states=(states.RUNNING,)):
        study.tell(trial.number, state=states.FAIL)
        if set(trial.params) == set(sweep.space):
            again.append(trial.params)
    if sweep.trials is None:
        known = [t.params for t in study.get_trials(states=(states.COMPLETE,))]
        known += [t.system_attrs["fixed_params"] for t in study.get_trials(states=(states.WAITING,))]
        again = [setting for setting in sweep.grid() if setting not in known]
    for params in again:
        study.enqueue_trial(params)
    return study


@dataclass
class _Open:
    """A setting that is being run, for all trials that asked for it."""

    setting: Setting
    trials: list[Any]
    left: int  # unfinished runs
    failure: str | None = None


class _Runner:
    """Runs of a sweep, `processes` at a time."""

    def __init__(self, sweep: Sweep, study: Any, processes: int) -> None:
        self.sweep, self.study, self.processes = sweep, study, processes
        self.states = _optuna().trial.TrialState
        self.environment = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // processes)), **os.environ}
        self.jobs: deque[tuple[_Open, int]] = deque()
        self.running: dict[subprocess.Popen[bytes], tuple[_Open, int]] = {}
        self.open: list[_Open] = []

    def start_runs(self) -> bool:
        """Start runs up to `processes`; False if none is running."""
        while len(self.running) < self.processes and (self.jobs or self._ask()):
            if self.jobs:
                one, seed = self.jobs.popleft()
                self.running[self._start(one.setting, seed)] = one, seed
        return bool(self.running)

    def wait(self) -> bool:
        """Wait until a run ends; True if its setting is finished."""
        while not (ended := [process for process in self.running if process.poll() is not None]):
            time.sleep(0.05)
        one, seed = self.running.pop(ended[0])
        one.left -= 1
        if status := ended[0].returncode:
            log = self.sweep.folder(one.setting, seed) / "log.txt"
            lines = [line for line in log.read_text(errors="replace").split("\n") if line.strip()]
            one.failure = f"exit status {status}, {lines[-1] if lines else 'no output'} ({log})"
        if not one.left:
            self._finish(one)
        return not one.left

    def stop(self) -> None:
        """End the running processes; another call continues them from their checkpoints."""
        for process in self.running:
            process.terminate()
        for process in self.running:
            process.wait()

    def rows(self) -> list[Row]:
        """All settings that are finished or failed, in the order of the grid or of their first trial."""
        rows: dict[tuple[str, ...], Row] = {}
        for trial in self.study.get_trials(deepcopy=False, states=(self.states.COMPLETE, self.states.FAIL)):
            failure = trial.user_attrs.get("failure")
            if trial.state == self.states.COMPLETE or failure is not None:
                setting = self.sweep.setting(trial.params)
                rows[tuple(setting.values())] = Row(setting, self._numbers(setting), failure)
        if self.sweep.trials is None:
            order = [tuple(setting.values()) for setting in self.sweep.grid()]
            return [rows[values] for values in order if values in rows]
        return list(rows.values())

    def _ask(self) -> bool:
        """Take the next trial, if there is one; its unfinished runs become jobs."""
        trials = self.study.get_trials(deepcopy=False)
        if not any(trial.state == self.states.WAITING for trial in trials):
            # An interrupted trial failed without a reason; another one has its setting.
            num = sum(trial.state != self.states.FAIL or "failure" in trial.user_attrs for trial in trials)
            if self.sweep.trials is None or num >= self.sweep.trials:
                return False
        trial = self.study.ask(dict(self.sweep.space))
        setting = self.sweep.setting(trial.params)
        for one in self.open:
            if one.setting == setting:
                one.trials.append(trial)
                return True
        seeds = [seed for seed in self.sweep.seeds if not self.sweep.numbers(setting, seed).exists()]
        one = _Open(setting, [trial], len(seeds))
        self.open.append(one)
        self.jobs.extend((one, seed) for seed in seeds)
        if not seeds:
            self._finish(one)
        return True

    def _start(self, setting: Setting, seed: int) -> subprocess.Popen[bytes]:
        sweep, folder = self.sweep, self.sweep.folder(setting, seed)
        folder.mkdir(parents=True, exist_ok=True)
        overrides = [*sweep.fixed, *(f"{key}={value}" for key, value in setting.items()), f"train.seed={seed}"]
        files = ["--run", str(folder), "--json", str(sweep.numbers(setting, seed))]
        command = [*sweep.command, str(sweep.config), *overrides, *files, "--auto-resume"]
        with (folder / "log.txt").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, env=self.environment)

    def _finish(self, one: _Open) -> None:
        self.open.remove(one)
        value = math.nan if one.failure else Row(one.setting, self._numbers(one.setting)).mean("ap")
        for trial in one.trials:
            if math.isnan(value):
                trial.set_user_attr("failure", one.failure or "AP is not a number: the held-out rooms have no objects")
                self.study.tell(trial, state=self.states.FAIL)
            else:
                self.study.tell(trial, value)

    def _numbers(self, setting: Setting) -> dict[int, dict[str, Any]]:
        files = {seed: self.sweep.numbers(setting, seed) for seed in self.sweep.seeds}
        return {seed: json.loads(path.read_text()) for seed, path in files.items() if path.exists()}
