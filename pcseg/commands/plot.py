"""Plot losses, learning rate, speed and AP of training runs as PNG."""

import argparse
from pathlib import Path
from typing import Any

from pcseg.commands.results import claim


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run folder written by pcseg train")
    parser.add_argument("--out", type=Path, required=True, help="PNG file to write")
    parser.add_argument(
        "--smoothing", type=float, default=0.95, help="smoothing of losses, from 0 (none) to below 1 (default: 0.95)"
    )


def run(args: argparse.Namespace) -> None:
    from pcseg.viz.figures import to_image, training_curves
    from pcseg.viz.grid import save_png

    written = claim(args.out)
    names = [folder.name for folder in args.runs]
    if len(set(names)) < len(names):
        names = [str(folder) for folder in args.runs]
    runs = dict(zip(names, map(_read_run, args.runs)))
    save_png(args.out, to_image(training_curves(runs, smoothing=args.smoothing)))
    written()


def _read_run(folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Training steps and evaluations of a run."""
    from pcseg.files import read_records

    steps, evaluations = folder / "metrics.jsonl", folder / "evaluations.jsonl"
    if not steps.is_file():
        raise FileNotFoundError(f"{folder}: no metrics.jsonl found; expected a run folder")
    return read_records(steps), read_records(evaluations) if evaluations.is_file() else []
