"""Benchmarks that time competing implementations side by side in one process.

tools/benchmark.py [NAME...] [--threads N] [--rounds N] [--json FILE]

Runs all benchmarks if no NAME is given. Times are medians over rounds; the candidates take turns in each round.
"""

import argparse
import importlib
import sys
from pathlib import Path

import torch

from pcseg.cli import run_tool, write_json

# Each is a function in the module of tools/benchmarks with its name.
BENCHMARKS = ("criterion", "metrics", "conv", "train", "voxelize", "loader", "tiles")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how fast pcseg is.")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"benchmarks to run: {', '.join(BENCHMARKS)} (default: all)"
    )
    parser.add_argument("--threads", type=int, default=1, help="number of torch threads (default: 1)")
    parser.add_argument("--rounds", type=int, default=15, help="number of rounds of each measurement (default: 15)")
    parser.add_argument("--json", type=Path, help="also write the results as JSON")
    args = parser.parse_args()
    unknown = [name for name in args.names if name not in BENCHMARKS]
    if unknown:
        raise ValueError(f"unknown benchmark {unknown[0]!r}; expected one of {', '.join(BENCHMARKS)}")
    sys.path.append(str(Path(__file__).resolve().parent.parent))  # makes tools.benchmarks importable
    from tools.benchmarks.measure import keep_freed_memory

    torch.set_num_threads(args.threads)
    keep_freed_memory()
    results = {}
    for name in args.names or BENCHMARKS:
        results[name] = getattr(importlib.import_module(f"tools.benchmarks.{name}"), name)(args.rounds)
    if args.json:
        write_json(args.json, {"threads": args.threads, "torch": torch.__version__, **results})


if __name__ == "__main__":
    run_tool(main)
