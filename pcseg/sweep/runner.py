"""Runs the settings of a grid or a search in processes of their own; what is done is never run again."""

import fcntl
import json
import math
import os
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pcseg.sweep.space import Choices, Range, Setting, Sweep
from pcseg.sweep.table import Row


def run_sweep(
    sweep: Sweep, *, processes: int = 1, on_trial: Callable[[list[Row]], None] = lambda rows: None
) -> list[Row]:
    """Run what is not done yet.

    Args:
        sweep: what is run; its folder may hold an interrupted sweep, or one of fewer trials. A run that was
            interrupted goes on from its last checkpoint, a setting of a grid that failed is tried again.
        processes: runs at a time, each with its share of the cores (OMP_NUM_THREADS, where that is not set).
        on_trial: called with all rows after each setting.

    Returns:
        All settings that are done or failed, those of earlier calls included.

    Raises:
        ValueError: optuna is not installed, the recipe is wrong, or the folder holds another sweep.
    """
    identity = sweep.check()
    if processes < 1:
        raise ValueError(f"processes must be at least 1, got {processes}")
    sweep.out.mkdir(parents=True, exist_ok=True)
    with _only_one(sweep.out / "lock") as lock:
        runner = _Runner(sweep, _open_study(sweep, identity), lock, processes)
        try:
            while runner.fill():
                if runner.wait():
                    on_trial(runner.rows())
        finally:
            runner.stop()
        return runner.rows()


@contextmanager
def _only_one(path: Path) -> Iterator[int]:
    """A lock that lasts as long as this process or a run that it started, should it be killed, lives."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"{path.parent}: another sweep, or a run that one left, is at work here; end it or wait"
            ) from None
        yield file.fileno()


def _open_study(sweep: Sweep, identity: str) -> Any:
    """Optuna's study in its SQLite file, in which what was interrupted waits to be run again."""
    try:
        import optuna
    except ImportError:
        raise ValueError("a sweep needs optuna; pip install -e '.[sweep]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name="sweep",
        storage=f"sqlite:///{sweep.out / 'study.db'}",
        direction="maximize",
        load_if_exists=True,
    )
    if study.user_attrs.get("identity", identity) != identity:
        raise ValueError(f"{sweep.out} holds a sweep of another recipe, space or seeds; choose another folder")
    study.set_user_attr("identity", identity)
    # A sampler that began anew would try the same settings again.
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


def _distribution(values: Choices | Range) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(values, Choices):
        return CategoricalDistribution(values.values)
    if values.whole:
        return IntDistribution(int(values.low), int(values.high), log=values.log)
    return FloatDistribution(values.low, values.high, log=values.log)


@dataclass
class _Open:
    """A setting that is being run, for all trials that asked for it."""

    setting: Setting
    trials: list[Any]
    left: int  # runs that are not done
    failure: str | None = None


class _Runner:
    """Runs of a sweep, `processes` at a time."""

    def __init__(self, sweep: Sweep, study: Any, lock: int, processes: int) -> None:
        self.sweep, self.study, self.lock, self.processes = sweep, study, lock, processes
        self.environment = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // processes)), **os.environ}
        self.jobs: deque[tuple[_Open, int]] = deque()
        self.running: dict[subprocess.Popen[bytes], tuple[_Open, int]] = {}
        self.open: list[_Open] = []

    def fill(self) -> bool:
        """Start runs where there is room; False when there is nothing left to wait for."""
        while len(self.running) < self.processes and (self.jobs or self._ask()):
            if self.jobs:
                one, seed = self.jobs.popleft()
                self.running[self._start(one.setting, seed)] = one, seed
        return bool(self.running)

    def wait(self) -> bool:
        """Wait until a run ends; True if its setting is done with it."""
        while True:
            for process in self.running:
                if process.poll() is not None:
                    one, seed = self.running.pop(process)
                    one.left -= 1
                    if process.returncode:
                        one.failure = self._last_words(self.sweep.folder(one.setting, seed), process.returncode)
                    if not one.left:
                        self._finish(one)
                    return not one.left
            time.sleep(0.05)

    def stop(self) -> None:
        """End what still runs; it goes on from its checkpoints another time."""
        for process in self.running:
            process.terminate()
        for process in self.running:
            process.wait()

    def rows(self) -> list[Row]:
        """All settings that are done or failed, in the order of the grid or of their first trial."""
        from optuna.trial import TrialState

        rows: dict[tuple[str, ...], Row] = {}
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.FAIL)):
            failure = trial.user_attrs.get("failure")
            if trial.state == TrialState.COMPLETE or failure is not None:
                setting = self.sweep.setting(trial.params)
                rows[tuple(setting.values())] = Row(setting, self._numbers(setting), failure)
        if self.sweep.trials is None:
            order = [tuple(setting.values()) for setting in self.sweep.grid()]
            return [rows[values] for values in order if values in rows]
        return list(rows.values())

    def _ask(self) -> bool:
        """Take the next trial, if there is one; its runs that are not done become jobs."""
        from optuna.trial import TrialState

        if not self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            trials = self.study.get_trials(deepcopy=False)
            # A trial that was interrupted failed without a reason; another one has its setting.
            num = sum(trial.state != TrialState.FAIL or "failure" in trial.user_attrs for trial in trials)
            if self.sweep.trials is None or num >= self.sweep.trials:
                return False
        trial = self.study.ask({key: _distribution(values) for key, values in self.sweep.space.items()})
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
            return subprocess.Popen(command, stdout=log, stderr=log, env=self.environment, pass_fds=(self.lock,))

    def _finish(self, one: _Open) -> None:
        from optuna.trial import TrialState

        self.open.remove(one)
        value = math.nan if one.failure else Row(one.setting, self._numbers(one.setting)).mean("ap")
        for trial in one.trials:
            if math.isnan(value):
                trial.set_user_attr("failure", one.failure or "AP is not a number: the held-out rooms have no objects")
                self.study.tell(trial, state=TrialState.FAIL)
            else:
                self.study.tell(trial, value)

    def _numbers(self, setting: Setting) -> dict[int, dict[str, Any]]:
        files = {seed: self.sweep.numbers(setting, seed) for seed in self.sweep.seeds}
        return {seed: json.loads(path.read_text()) for seed, path in files.items() if path.exists()}

    @staticmethod
    def _last_words(folder: Path, status: int) -> str:
        lines = (folder / "log.txt").read_text(errors="replace").split("\n")
        said = [line for line in lines if line.strip()]
        return f"exit status {status}, {said[-1] if said else 'no output'} ({folder / 'log.txt'})"
