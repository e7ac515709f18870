"""Score the same predictions under every definition of a metric that scripts and papers use.

tools/compare_metrics.py [--rooms N] [--points P] [--seed S] [--export DIR] [--json FILE] [--csv FILE] [--report FILE]

The rooms are synthetic. The predictions are their ground truth with simulated errors: missed, split, merged,
misclassified, duplicate and false objects. The table in docs/metrics.md comes from this tool. --export writes ground
truth and predictions in ScanNet benchmark format (DIR/gt, DIR/pred), for use with other scripts.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from pcseg.classes import S3DIS
from pcseg.cli import run_tool
from pcseg.commands.results import claim
from pcseg.files import atomic_write, write_json
from pcseg.metrics.benchmark_files import write_ground_truth, write_predictions
from pcseg.metrics.instance_ap import SCANNET_THRESHOLDS
from pcseg.metrics.matching import Curve
from pcseg.metrics.result import nanmean
from pcseg.metrics.room_results import split_areas
from pcseg.metrics.scores import Evaluation, Scores
from pcseg.synthetic import make_room
from pcseg.synthetic.predictions import simulate_predictions
from pcseg.viz.report import WorstRooms, write_report

Readings = dict[str, dict[str, float]]


def compare_readings(scores: Scores, everything_counts: Scores, areas: dict[str, Scores]) -> Readings:
    """Computes each measure under the definitions of scripts and papers.

    `everything_counts` has the same rooms with `min_points=1`, and `areas` has them by area.

    Returns:
        For each measure, the value of each definition as a fraction. The first is the one that pcseg reports.
    """
    result = scores.compute()
    rooms = [scores.subset([name]).compute() for name in scores.names]
    folds = [part.compute() for part in areas.values()]

    def mean_of_rooms(value: Callable[[Evaluation], float]) -> float:
        return nanmean([value(room) for room in rooms])

    matched = [row["sq"] for row in result.panoptic.per_class.values() if row["sq"] > 0]
    small = everything_counts.average_precision(SCANNET_THRESHOLDS)
    curves = scores.average_precision(SCANNET_THRESHOLDS[:-1]).curves.values()
    areas_of_coco = [interpolated_area(curve) for lines in curves for curve in lines.values()]
    table = {
        "AP": {
            "ScanNet's script: nine thresholds, 0.50 to 0.90": result.ap.ap,
            "its documentation: ten thresholds, 0.50 to 0.95": result.coco.ap,
            "nine thresholds, precision made to fall as in COCO, 101 recalls": nanmean(areas_of_coco),
            "nine thresholds, objects under 100 points count too": small.ap,
            "mean over rooms of the AP of each": mean_of_rooms(lambda room: room.ap.ap),
        },
        "AP50": {
            "ScanNet's script": result.ap.ap50,
            "mean over rooms of the AP50 of each": mean_of_rooms(lambda room: room.ap.ap50),
        },
    }
    if result.s3dis is not None:
        table |= _s3dis_readings(scores, result, folds)
    table |= {
        "mIoU": {
            "one confusion matrix over all points": result.semantic.mean["miou"],
            "mean over rooms of the mIoU of each": mean_of_rooms(lambda room: room.semantic.mean["miou"]),
        },
        "PQ": {
            "matches over all rooms (panopticapi)": result.panoptic.mean["pq"],
            "mean over rooms of the PQ of each": mean_of_rooms(lambda room: room.panoptic.mean["pq"]),
        },
        "SQ": {
            "classes without a match are 0 (panopticapi)": result.panoptic.mean["sq"],
            "classes without a match are left out": nanmean(matched),
        },
    }
    return table


def _s3dis_readings(scores: Scores, result: Evaluation, folds: list[Evaluation]) -> Readings:
    assert result.s3dis is not None
    mean = result.s3dis.mean
    of_folds = [fold.ap.mean | fold.s3dis.mean for fold in folds if fold.s3dis is not None]
    table = {
        measure: {
            "best F1 of the curve (OneFormer3D)": mean[f"{key}_best_f1"],
            "partition of all predictions (ASIS, ISBNet)": mean[f"{key}_partition"],
            "partition of predictions with a score of at least 0.8 (Mask3D)": mean[f"{key}_confidence"],
        }
        for measure, key in (("mPrec", "precision"), ("mRec", "recall"))
    }
    table["mCov"] = {
        "mean over objects, then rooms, then classes (ASIS)": mean["mcov"],
        "mean over all objects of a class, then classes": _pooled_coverage(scores),
    }
    table["mWCov"] = {"weighted by points within a room (ASIS)": mean["mwcov"]}
    for name, key in (("AP50", "ap50"), ("mPrec", "precision_best_f1"), ("mCov", "mcov")):
        together, *values = (row[key] for row in [result.ap.mean | mean, *of_folds])
        table[f"six folds, {name}"] = {"all rooms together": together, "mean of the areas": nanmean(values)}
    return table


def _pooled_coverage(scores: Scores) -> float:
    rooms = [record.s3dis for record in scores.records() if record.s3dis is not None]
    num_gt = np.array([room.num_gt for room in rooms])
    covered = np.array([np.nan_to_num(room.partition.coverage) for room in rooms]) * num_gt
    has_gt = num_gt.sum(axis=0) > 0
    return float((covered.sum(axis=0)[has_gt] / num_gt.sum(axis=0)[has_gt]).mean())


def interpolated_area(curve: Curve) -> float:
    """COCO's area: the mean over 101 recalls of the best precision at that recall or a greater one; 0 beyond the last.

    Source:
        COCOeval.accumulate of pycocotools.
    """
    # COCO's curve lacks the last point, (1, 0).
    recall, precision = curve.recall[-2::-1], np.maximum.accumulate(curve.precision[:-1])[::-1]
    position = np.searchsorted(recall, np.linspace(0, 1, 101), side="left")
    return float(np.append(precision, 0.0)[position].mean())


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

    written = claim(args.json, args.csv, args.report)
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
            worst.offer(replace(prediction, semantic=prediction.point_labels(0.3)))
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
    written()


if __name__ == "__main__":
    run_tool(main)
