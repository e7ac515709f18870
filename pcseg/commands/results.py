"""Results of predictions, as commands find them; results of evaluations, as commands print and write them."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pcseg.metrics.scores import Scores


def report_scores(args: argparse.Namespace, scores: "Scores") -> None:
    """Prints the result, and writes it to the files of --json and --csv."""
    from pcseg.files import atomic_write, write_json

    result = scores.compute()
    print(result.to_text())
    if args.json:
        write_json(args.json, result.to_json())
    if args.csv:
        atomic_write(args.csv, result.to_csv())


def results_in(paths: Sequence[Path]) -> list[Path]:
    """The results in place of the folders that `pcseg predict` wrote them to; other paths stay."""
    from pcseg.data.store import MANIFEST
    from pcseg.prediction import is_result

    found: list[Path] = []
    for path in paths:
        if not path.is_dir() or (path / MANIFEST).exists():
            found.append(path)
        else:
            inside = [file for file in sorted(path.glob("*.npz")) if is_result(file)]
            if not inside:
                raise ValueError(f"{path}: no result of pcseg predict or pcseg test (.npz) in it")
            found += inside
    return found
