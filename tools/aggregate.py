"""Put the results of rooms together: several runs, Area 5 of S3DIS, or its six folds.

tools/aggregate.py ROOMS... [--json FILE] [--csv FILE] [--report FILE]

ROOMS: folders "rooms" that tools/test.py --export and tools/evaluate.py --rooms write. The first table is over all
rooms together, which is what the literature calls 6-fold where they are the rooms of all six areas. S3DIS' areas and
the mean over them, the other thing called so, follow where all rooms are called as those of S3DIS are, Area_5_office_1.
"""

import argparse
import math
from pathlib import Path
from typing import Any

from pcseg.cli import run_tool, write_json
from pcseg.files import atomic_write
from pcseg.metrics.room_results import read_rooms, split_areas
from pcseg.metrics.scores import Evaluation
from pcseg.viz.report import write_report

COLUMNS = ("ap", "ap50", "ap25", "mcov", "mwcov", "precision_best_f1", "recall_best_f1", "miou", "pq")


def main() -> None:
    parser = argparse.ArgumentParser(description="One evaluation out of the saved results of rooms.")
    parser.add_argument("rooms", type=Path, nargs="+", help="folders with results of rooms")
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    parser.add_argument("--csv", type=Path, help="write the numbers of each class here as well")
    parser.add_argument("--report", type=Path, help="write one HTML page about them here as well")
    args = parser.parse_args()

    scores = read_rooms(args.rooms)
    result = scores.compute()
    content = result.to_json()
    print(f"{len(scores)} rooms together\n{result.to_text()}")
    parts = split_areas(scores) if scores.classes.s3dis_protocols else {}
    if parts:
        areas = {area: _means(part.compute()) for area, part in parts.items()}
        average = {key: _mean([row[key] for row in areas.values()]) for key in next(iter(areas.values()))}
        content |= {"areas": areas, "mean_of_areas": average}
        print()
        _print_areas({**areas, "mean of areas": average, "all rooms": _means(result)})
    if args.json:
        write_json(args.json, content)
    if args.csv:
        atomic_write(args.csv, result.to_csv())
    if args.report:
        write_report(args.report, scores, title=f"{len(scores)} rooms")


def _means(result: Evaluation) -> dict[str, float]:
    protocols = {} if result.s3dis is None else result.s3dis.mean
    return {**result.ap.mean, **protocols, **result.semantic.mean, **result.panoptic.mean}


def _mean(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def _print_areas(rows: dict[str, dict[str, Any]]) -> None:
    print("area".ljust(14) + "".join(f"  {column}" for column in COLUMNS))
    for name, row in rows.items():
        cells = ("-" if math.isnan(row[c]) else f"{100 * row[c]:.1f}" for c in COLUMNS)
        print(name.ljust(14) + "".join(f"  {cell:>{len(c)}}" for c, cell in zip(COLUMNS, cells)))


if __name__ == "__main__":
    run_tool(main)
