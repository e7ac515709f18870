"""Train a config with many settings, a grid or a search, and compare them.

DIR gets every run (runs/), the Optuna study (study.db), table.md, table.json and plot.png. To
continue an interrupted sweep, run the same command again, with more --trials if needed;
finished runs are not repeated.

    pcseg sweep synthetic --grid criterion.kind=competitive,hungarian --seeds 0,1,2
    pcseg sweep synthetic --search optimizer.lr=1e-4..1e-2:log --trials 20
"""

import argparse
import re
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pcseg.commands.results import claim

if TYPE_CHECKING:
    from pcseg.sweep import Row


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, help="config file, or the name of a shipped one such as synthetic")
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="key=value", help="overrides of every run, such as train.steps=100"
    )
    varied = parser.add_mutually_exclusive_group(required=True)
    varied.add_argument("--grid", nargs="+", metavar="key=v1,v2", help="train every combination of these values")
    varied.add_argument("--search", nargs="+", metavar="key=low..high[:log]", help="search for high AP with Optuna")
    parser.add_argument("--trials", type=int, help="number of settings that --search tries")
    parser.add_argument("--seeds", help="seeds for every setting, such as 0,1,2 (default: the seed of the config)")
    parser.add_argument("--processes", type=int, default=1, help="number of concurrent runs (default: 1)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="sweep folder (default: sweeps/NAME-OF-CONFIG)")
    parser.add_argument("--json", type=Path, help="also write the results as JSON")
    parser.add_argument("--command", help="training command with the interface of pcseg train (default: pcseg train)")


def run(args: argparse.Namespace) -> None:
    if (args.trials is None) != (args.search is None):
        raise ValueError("--search needs --trials N, and --grid takes none")
    if args.seeds and not re.fullmatch(r"\d+(,\d+)*", args.seeds):
        raise ValueError(f"--seeds must be integers such as 0,1,2, got {args.seeds!r}")
    from pcseg.config_files import find_config

    path = find_config(args.config)
    from pcseg.files import atomic_write, write_json
    from pcseg.images import config as cfg
    from pcseg.prediction import counted
    from pcseg.sweep import Sweep, best_first, parse_space, run_sweep, to_json, to_markdown
    from pcseg.viz.figures import sweep_chart, to_image
    from pcseg.viz.grid import save_png

    written = claim(args.json)
    config = cfg.load(path, args.overrides)
    seeds = tuple(map(int, args.seeds.split(","))) if args.seeds else (config.train.seed,)
    space = parse_space(args.grid or args.search)
    out = args.out or Path("sweeps") / path.stem
    command = shlex.split(args.command) if args.command else [sys.executable, "-m", "pcseg", "train"]
    sweep = Sweep(path, tuple(args.overrides), space, args.trials, seeds, out, tuple(command), cfg.load)
    # A stopped sweep stops its runs.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))

    def write(rows: "list[Row]") -> None:
        ordered = best_first(rows) if args.search else rows
        atomic_write(out / "table.md", to_markdown(ordered))
        write_json(out / "table.json", to_json(ordered))
        done = [row for row in ordered if not row.failure]
        chart = sweep_chart([row.setting for row in done], [row.values("ap") for row in done])
        save_png(out / "plot.png", to_image(chart))
        print(f"{counted(len(rows), 'setting')} finished, {out / 'table.md'}", flush=True)

    rows = run_sweep(sweep, processes=args.processes, on_trial=write)
    write(rows)
    print((out / "table.md").read_text(encoding="utf-8"), end="")
    if args.json:
        write_json(args.json, to_json(rows))
    written()
    failed = sum(row.failure is not None for row in rows)
    if failed:
        raise ValueError(f"{failed} of {len(rows)} settings failed; see {out / 'table.md'}")
