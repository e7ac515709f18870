"""Combine saved room results: several runs, Area 5 of S3DIS, or its six folds.

tools/aggregate.py ROOMS... [--json FILE] [--csv FILE] [--report FILE]

ROOMS: folders written by tools/test.py --export (DIR/rooms) and tools/evaluate.py --rooms. The first table covers all
rooms together; for the rooms of all six areas, papers call this 6-fold. If room names follow S3DIS (Area_5_office_1),
a second table gives each area and the mean over areas, which other papers call 6-fold.
"""

import argparse
from pathlib import Path

from pcseg.cli import run_tool
from pcseg.commands.results import claim
from pcseg.files import atomic_write, write_json
from pcseg.metrics.result import nanmean, percent
from pcseg.metrics.room_results import read_rooms, split_areas
from pcseg.metrics.scores import Evaluation
from pcseg.prediction import counted
from pcseg.viz.report import write_report

COLUMNS = ("ap", "ap50", "ap25", "mcov", "mwcov", "precision_best_f1", "recall_best_f1", "miou", "pq")


def main() -> None:
    parser = argparse.ArgumentParser(description="Evaluate the saved results of many rooms together.")
    parser.add_argument("rooms", type=Path, nargs="+", help="folders with saved room results")
    parser.add_argument("--json", type=Path, help="also write the results as JSON")
    parser.add_argument("--csv", type=Path, help="also write per-class results as CSV")
    parser.add_argument("--report", type=Path, help="also write an HTML report")
    args = parser.parse_args()

    written = claim(args.json, args.csv, args.report)
    scores = read_rooms(args.rooms)
    result = scores.compute()
    content = result.to_json()
    print(f"{counted(len(scores), 'room')} together\n{result.to_text()}")
    parts = split_areas(scores) if scores.classes.s3dis_protocols else {}
    if parts:
        areas = {area: _means(part.compute()) for area, part in parts.items()}
        average = {key: nanmean([row[key] for row in areas.values()]) for key in next(iter(areas.values()))}
        content |= {"areas": areas, "mean_of_areas": average}
        print(f"\n{'area':<14}" + "".join(f"  {column}" for column in COLUMNS))
        for name, row in {**areas, "mean of areas": average, "all rooms": _means(result)}.items():
            print(f"{name:<14}" + "".join(f"  {percent(row[column]):>{len(column)}}" for column in COLUMNS))
    if args.json:
        write_json(args.json, content)
    if args.csv:
        atomic_write(args.csv, result.to_csv())
    if args.report:
        write_report(args.report, scores, title=counted(len(scores), "room"))
    written()


def _means(result: Evaluation) -> dict[str, float]:
    protocols = {} if result.s3dis is None else result.s3dis.mean
    return {**result.ap.mean, **protocols, **result.semantic.mean, **result.panoptic.mean}


if __name__ == "__main__":
    run_tool(main)
