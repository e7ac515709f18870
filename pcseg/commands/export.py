"""Export saved predictions to other programs.

RESULT: .npz file written by pcseg predict or pcseg test --results.

--ply   NAME.ply: colored points with scalar fields instance, score and semantic, for
        CloudCompare and MeshLab
--csv   NAME.instances.csv: id, class, score, number of points, center, box and box volume
        of each object
--coco  one JSON file for all results: images, categories, and annotations with RLE masks
        over points
"""

import argparse
from pathlib import Path

from pcseg.choices import DEFAULT_THRESHOLD


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("results", type=Path, nargs="+", metavar="RESULT", help="saved predictions (.npz)")
    parser.add_argument(
        "--ply", type=Path, metavar="DIR", help="folder for NAME.ply: colored points with scalar fields"
    )
    parser.add_argument("--csv", type=Path, metavar="DIR", help="folder for NAME.instances.csv: one line per object")
    parser.add_argument("--coco", type=Path, metavar="FILE", help="JSON file for all results")
    parser.add_argument(
        "--threshold",
        type=float,
        default=DEFAULT_THRESHOLD,
        help=f"minimum object score; use 0 to keep all objects for an evaluation (default: {DEFAULT_THRESHOLD})",
    )


def run(args: argparse.Namespace) -> None:
    if not 0 <= args.threshold <= 1:
        raise ValueError(f"--threshold must be from 0 to 1, got {args.threshold}")
    if args.ply is None and args.csv is None and args.coco is None:
        raise ValueError("give at least one of --ply, --csv and --coco")
    from pcseg.files import write_json
    from pcseg.inference.exports import coco_document, write_csv
    from pcseg.inference.prediction_files import add_suffix, prediction_targets, write_painted_ply
    from pcseg.prediction import Prediction

    if args.ply is not None:
        for path, target in zip(args.results, prediction_targets(args.results, args.ply, [".ply"])):
            write_painted_ply(add_suffix(target, ".ply"), Prediction.load(path), threshold=args.threshold)
            print(add_suffix(target, ".ply"))
    if args.csv is not None:
        for path, target in zip(args.results, prediction_targets(args.results, args.csv, [".instances.csv"])):
            written = add_suffix(target, ".instances.csv")
            write_csv(written, Prediction.load(path), args.threshold)
            print(written)
    if args.coco is not None:
        write_json(args.coco, coco_document((Prediction.load(p) for p in args.results), threshold=args.threshold))
        print(args.coco)
