"""Evaluate predictions in ScanNet benchmark format with every metric; no model needed.

PRED/SCENE.txt: one line "MASK_FILE LABEL_ID SCORE" per object, with MASK_FILE relative to
PRED. Masks are .txt (one 0 or 1 per line), .npz (key mask, or packed) or .json (run lengths).

GT/SCENE.txt: one number per point, label id * 1000 + instance, or 0 for unannotated points.
The label ids of S3DIS are 1 (ceiling) to 13 (clutter). tools/make_gt.py writes GT from
processed rooms.
"""

import argparse
import sys
from pathlib import Path

from pcseg.choices import CLASS_SETS
from pcseg.commands.results import claim, report_scores
from pcseg.parallel import add_parallel_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pred", type=Path, help="folder of predictions")
    parser.add_argument("gt", type=Path, help="folder of ground truth")
    parser.add_argument("--dataset", required=True, help=f"class set: scannet, {', '.join(CLASS_SETS)}, or a YAML file")
    parser.add_argument("--allow-missing", action="store_true", help="skip scenes without a prediction file")
    parser.add_argument(
        "--min-score",
        type=float,
        default=0.3,
        help="minimum object score for mIoU, PQ and error counts; AP uses all objects (default: 0.3)",
    )
    parser.add_argument("--json", type=Path, help="also write the results as JSON")
    parser.add_argument("--csv", type=Path, help="also write per-class results as CSV")
    parser.add_argument("--report", type=Path, help="also write an HTML report")
    parser.add_argument("--rooms", type=Path, help="folder for per-room results, for tools/aggregate.py")
    add_parallel_options(parser)


def run(args: argparse.Namespace) -> None:
    from pcseg.classes import class_set
    from pcseg.metrics.benchmark_evaluation import evaluate_folders
    from pcseg.metrics.room_results import save_room
    from pcseg.viz.report import write_report

    written = claim(args.json, args.csv, args.report)
    scores, missing = evaluate_folders(
        args.pred,
        args.gt,
        class_set(args.dataset),
        allow_missing=args.allow_missing,
        min_score=args.min_score,
        workers=args.workers,
        cluster=args.cluster,
    )
    if missing:
        total = len(scores) + len(missing)
        print(f"evaluated {len(scores)} of {total} scenes; the others have no predictions", file=sys.stderr)
    report_scores(args, scores)
    if args.report:
        write_report(args.report, scores, title=str(args.pred))
    if args.rooms:
        for name in scores.names:
            save_room(args.rooms, name, scores)
    written()
