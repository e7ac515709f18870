"""Results of an evaluation, as `pcseg test` and `pcseg evaluate` print and write them."""

import argparse
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
