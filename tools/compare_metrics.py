"""Score the same predictions under every definition of a metric that scripts and papers use.

tools/compare_metrics.py [--rooms N] [--points P] [--seed S] [--export DIR] [--json FILE] [--csv FILE] [--report FILE]

The rooms are synthetic. The predictions are their ground truth with simulated errors: missed, split, merged,
misclassified, duplicate and false objects. The table in docs/metrics.md comes from this tool. --export writes ground
truth and predictions in ScanNet benchmark format (DIR/gt, DIR/pred), for use with other scripts.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from pcseg.classes import S3DIS
from pcseg.cli import run_tool
from pcseg.files import atomic_write, write_json
from pcseg.metrics.benchmark_files import write_ground_truth, write_predictions
from pcseg.metrics.comparison import compare_readings
from pcseg.metrics.room_results import split_areas
from pcseg.metrics.scores import Scores
from pcseg.synthetic import make_room
from pcseg.synthetic.predictions import simulate_predictions
from pcseg.viz.report import WorstRooms, write_report


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how much definitions of a metric differ.")
    parser.add_argument("--rooms", type=int, default=24, help="number of synthetic rooms (default: 24)")
    parser.add_argument(
        "--points", type=int, default=20_000, help="number of points of an average room (default: 20000)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of rooms and errors (default: 0)")
    parser.add_argument("--export", type=Path, help="folder for ground truth and predictions")
    parser.add_argument("--json", type=Path, help="also write the results as JSON")
    parser.add_argument("--csv", type=Path, help="also write the results as CSV")
    parser.add_argument("--report", type=Path, help="also write an HTML report of the predictions")
    args = parser.parse_args()
    if args.rooms < 1:
        raise ValueError(f"--rooms must be at least 1, got {args.rooms}")

    scores, everything_counts = Scores(S3DIS), Scores(S3DIS, min_points=1)
    worst = WorstRooms(S3DIS)
    for index in range(args.rooms):
        scene = make_room(args.seed, index, num_points=args.points)
        prediction = simulate_predictions(scene, S3DIS, np.random.default_rng([args.seed, index]))
        for each in (scores, everything_counts):
            each.add(prediction)
        if args.export:
            write_ground_truth(args.export / "gt", scene, S3DIS)
            write_predictions(args.export / "pred", prediction, mask_format="npz")
        if args.report:
            semantic = np.append(-1, prediction.labels)[prediction.point_ids(0.3, min_points=0)].astype(np.int32)
            worst.offer(replace(prediction, semantic=semantic))
    readings = compare_readings(scores, everything_counts, split_areas(scores))
    print(f"{args.rooms} rooms, {sum(scores.compute().ap.num_gt.values())} objects")
    rows, table = [], []
    for measure, values in readings.items():
        base = next(iter(values.values()))
        for row, (name, value) in enumerate(values.items()):
            difference = f"{100 * (value - base):+6.1f}" if row else ""
            print(f"{measure:<17}{name:<66}{100 * value:6.1f} {difference}".rstrip())
            rows.append(f'{measure},"{name}",{value!r}')
            table.append({"measure": measure, "name": name, "value": value, "is_base": row == 0})
    if args.json:
        write_json(args.json, {"readings": table})
    if args.csv:
        atomic_write(args.csv, "\n".join(["measure,reading,value", *rows, ""]))
    if args.report:
        write_report(args.report, scores, title="Simulated errors", pictures=worst.pictures(scores))


if __name__ == "__main__":
    run_tool(main)
