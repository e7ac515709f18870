"""Measure how fast pcseg is: competing implementations, timed side by side in one process.

Times are medians over rounds; the candidates take turns in each round.
"""

import argparse
from pathlib import Path

from pcseg.choices import BENCHMARKS
from pcseg.commands.results import claim


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"benchmarks to run: {', '.join(BENCHMARKS)} (default: all)"
    )
    parser.add_argument("--threads", type=int, default=1, help="number of torch threads (default: 1)")
    parser.add_argument("--rounds", type=int, default=15, help="number of rounds of each measurement (default: 15)")
    parser.add_argument("--json", type=Path, help="also write the results as JSON")


def run(args: argparse.Namespace) -> None:
    unknown = [name for name in args.names if name not in BENCHMARKS]
    if unknown:
        raise ValueError(f"unknown benchmark {unknown[0]!r}; expected one of {', '.join(BENCHMARKS)}")
    from importlib import import_module

    import torch

    from pcseg.benchmarks.measure import keep_freed_memory
    from pcseg.files import write_json

    written = claim(args.json)
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    results = {}
    for name in args.names or BENCHMARKS:
        results[name] = getattr(import_module(f"pcseg.benchmarks.{name}"), name)(args.rounds)
    if args.json:
        write_json(args.json, {"threads": args.threads, "torch": torch.__version__, **results})
    written()
