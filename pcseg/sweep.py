"""Many runs of a config, a grid or a search by Optuna, each in its own process; finished runs never run again."""

import fcntl
import hashlib
import itertools
import json
import math
import os
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from pcseg import config as cfg
from pcseg.config_reader import to_text

METRICS = ("ap", "ap50", "ap25", "ap75")  # rooms have no AP75, images no AP25
NUMBERS = "ap.json"  # the file that a finished run leaves in its folder
Setting = dict[str, str]  # value of each varied key, as in an override


@dataclass(frozen=True)
class Row:
    """A setting and its results."""

    setting: Setting  # value of each varied key
    runs: dict[int, dict[str, Any]]  # numbers of each finished seed, as pcseg train writes them
    failure: str | None = None  # reason if a run failed

    def values(self, metric: str) -> list[float]:
        """A metric of each seed as a fraction; NaN if a run has none."""
        return [math.nan if run[metric] is None else float(run[metric]) for run in self.runs.values()]

    def mean(self, metric: str) -> float:
        """The mean of a metric over seeds; NaN for a setting that failed."""
        values = self.values(metric)
        return math.nan if self.failure or not values else sum(values) / len(values)


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
            is_float = re.search(r"[.eE]", low + high)
            number, kind = (float, from_optuna.FloatDistribution) if is_float else (int, from_optuna.IntDistribution)
            space[key] = kind(number(low), number(high), log=scale == "log")
        except ValueError as error:
            raise ValueError(f"{item!r}: expected low..high or low..high:log: {error}") from None
    return space


@dataclass(frozen=True)
class Sweep:
    """A sweep to run."""

    config: Path
    fixed: tuple[str, ...]  # overrides of every run
    space: Mapping[str, Any]  # distribution of each varied key, from `parse_space`
    trials: int | None  # number of settings that a search tries; None runs every setting of a grid
    seeds: tuple[int, ...]  # seeds of each setting
    out: Path
    command: tuple[str, ...]  # command that trains a config, with the arguments of pcseg train
    load: Callable[[Path, Sequence[str]], Any] = cfg.load  # reads a config with overrides

    def folder(self, setting: Setting, seed: int) -> Path:
        """The run folder: a readable name with a hash of the setting."""
        text = ",".join(f"{key}={value}" for key, value in setting.items())
        name = re.sub(r"[^\w.=,+-]", "_", text)[:100]
        return self.out / "runs" / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}" / f"seed_{seed}"

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
                self.load(self.config, [*self.fixed, f"{key}={value}"])
        config = self.load(self.config, self.fixed)
        if not config.data.val:
            raise ValueError(f"{self.config}: data.val names no rooms or images, so runs cannot be compared; name some")
        return f"{to_text(config)}\nspace: {self.space}\nseeds: {self.seeds}\ngrid: {self.trials is None}\n"


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
        return _run_trials(sweep, _open_study(sweep, identity), processes, on_trial)


def _run_trials(sweep: Sweep, study: Any, processes: int, on_trial: Callable[[list[Row]], None]) -> list[Row]:
    environment = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // processes)), **os.environ}
    started: list[subprocess.Popen[bytes]] = []
    runs: dict[Path, Future[str | None]] = {}  # the reason if a run failed, by folder
    trials: list[tuple[Any, Setting, list[Path]]] = []  # those that wait for their runs

    def train(setting: Setting, seed: int, folder: Path) -> str | None:
        if (folder / NUMBERS).exists():
            return None
        folder.mkdir(parents=True, exist_ok=True)
        overrides = [*sweep.fixed, *(f"{key}={value}" for key, value in setting.items()), f"train.seed={seed}"]
        options = ["--run", str(folder), "--json", str(folder / NUMBERS), "--auto-resume"]
        path = folder / "log.txt"
        with path.open("ab") as log:
            command = [*sweep.command, str(sweep.config), *overrides, *options]
            process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
            started.append(process)
            status = process.wait()
        lines = [line for line in path.read_text(errors="replace").split("\n") if line.strip()]
        return f"exit status {status}, {lines[-1] if lines else 'no output'} ({path})" if status else None

    with ThreadPoolExecutor(processes) as pool:
        try:
            while True:
                for trial, setting, folders in [*trials]:
                    if all(runs[folder].done() for folder in folders):
                        trials.remove((trial, setting, folders))
                        failed = [reason for folder in folders if (reason := runs[folder].result())]
                        _tell(study, trial, _row(sweep, setting, failed[-1] if failed else None))
                        on_trial(_rows(sweep, study))
                waiting = [run for run in runs.values() if not run.done()]
                if len(waiting) < processes and (trial := _ask(sweep, study)) is not None:
                    setting = sweep.setting(trial.params)
                    trials.append((trial, setting, [sweep.folder(setting, seed) for seed in sweep.seeds]))
                    for seed, folder in zip(sweep.seeds, trials[-1][2]):
                        if folder not in runs:
                            runs[folder] = pool.submit(train, setting, seed, folder)
                elif waiting:
                    wait(waiting, return_when=FIRST_COMPLETED)
                elif not trials:
                    return _rows(sweep, study)
        finally:  # another call continues these runs from their checkpoints
            pool.shutdown(wait=False, cancel_futures=True)
            while not all(run.done() for run in runs.values()):
                for process in started:
                    process.terminate()
                wait(runs.values(), timeout=0.1)


def _optuna() -> ModuleType:
    try:
        import optuna
    except ImportError:
        raise ValueError("a sweep needs optuna; pip install -e '.[sweep]'") from None
    return optuna


def _open_study(sweep: Sweep, identity: str) -> Any:
    """Optuna's study in its SQLite file, in which interrupted settings wait to be run again."""
    optuna = _optuna()
    from sqlalchemy.pool import NullPool  # which comes with optuna, and leaves no connection open

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    url = f"sqlite:///{sweep.out / 'study.db'}"
    storage = optuna.storages.RDBStorage(url, engine_kwargs={"poolclass": NullPool})
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


def _ask(sweep: Sweep, study: Any) -> Any:
    """The next trial, None if there is none."""
    states, trials = _optuna().trial.TrialState, study.get_trials(deepcopy=False)
    if not any(trial.state == states.WAITING for trial in trials):
        # An interrupted trial failed without a reason; another one has its setting.
        num = sum(trial.state != states.FAIL or "failure" in trial.user_attrs for trial in trials)
        if sweep.trials is None or num >= sweep.trials:
            return None
    return study.ask(dict(sweep.space))


def _tell(study: Any, trial: Any, row: Row) -> None:
    value = row.mean("ap")
    if math.isnan(value):
        trial.set_user_attr("failure", row.failure or "AP is not a number: the held-out rooms have no objects")
        study.tell(trial, state=_optuna().trial.TrialState.FAIL)
    else:
        study.tell(trial, value)


def _row(sweep: Sweep, setting: Setting, failure: str | None) -> Row:
    files = {seed: sweep.folder(setting, seed) / NUMBERS for seed in sweep.seeds}
    runs = {seed: json.loads(path.read_text(encoding="utf-8")) for seed, path in files.items() if path.exists()}
    return Row(setting, runs, failure)


def _rows(sweep: Sweep, study: Any) -> list[Row]:
    """All settings that are finished or failed, in the order of the grid or of their first trial."""
    states = _optuna().trial.TrialState
    failures: dict[tuple[str, ...], str | None] = {}
    for trial in study.get_trials(deepcopy=False, states=(states.COMPLETE, states.FAIL)):
        failure = trial.user_attrs.get("failure")
        if trial.state == states.COMPLETE or failure is not None:
            failures[tuple(sweep.setting(trial.params).values())] = failure
    order = list(failures) if sweep.trials is not None else [tuple(setting.values()) for setting in sweep.grid()]
    return [_row(sweep, dict(zip(sweep.space, values)), failures[values]) for values in order if values in failures]


def best_first(rows: Sequence[Row]) -> list[Row]:
    """Rows by their mean AP, failed ones last."""
    return sorted(rows, key=lambda row: -math.inf if row.failure else row.mean("ap"), reverse=True)


def to_markdown(rows: Sequence[Row]) -> str:
    """A table with the mean over seeds and the range of each metric, in percent; then the reasons of failures."""
    if not rows:
        return "no run is done\n"
    keys, metrics = list(rows[0].setting), _metrics(rows)
    header = [*keys, *map(str.upper, metrics), "seeds"]
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for row in rows:
        cells = ["failed", "", ""] if row.failure else [_span(row, metric) for metric in metrics]
        lines.append("| " + " | ".join([*row.setting.values(), *cells, ", ".join(map(str, row.runs))]) + " |")
    failures = [f"{' '.join(f'{k}={v}' for k, v in row.setting.items())}: {row.failure}" for row in rows if row.failure]
    return "\n".join([*lines, *([""] if failures else []), *failures]) + "\n"


def _metrics(rows: Sequence[Row]) -> list[str]:
    """Those of `METRICS` that the runs have."""
    runs = [run for row in rows for run in row.runs.values()]
    return [metric for metric in METRICS if not runs or metric in runs[0]][:3]


def _span(row: Row, metric: str) -> str:
    values = row.values(metric)
    mean = f"{100 * row.mean(metric):.1f}"
    return mean if len(values) == 1 else f"{mean} ({100 * min(values):.1f} to {100 * max(values):.1f})"


def to_json(rows: Sequence[Row]) -> dict[str, Any]:
    """The same as fractions: mean, lowest and highest of each metric for each setting, and its runs."""
    settings, metrics = [], _metrics(rows)
    for row in rows:
        content: dict[str, Any] = {"setting": row.setting, "failure": row.failure}
        for metric in () if row.failure else metrics:
            values = row.values(metric)
            content[metric] = {"mean": row.mean(metric), "min": min(values), "max": max(values)}
        runs = {str(seed): {metric: run[metric] for metric in metrics} for seed, run in row.runs.items()}
        settings.append({**content, "runs": runs})
    return {"settings": settings}
