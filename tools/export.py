"""Convert saved results for other programs.

tools/export.py RESULT... [--ply DIR] [--csv DIR] [--coco FILE] [--threshold T]

RESULT: an .npz of tools/predict.py or tools/test.py --results.
--ply   NAME.ply: painted points, with the scalar fields instance, score and semantic; for CloudCompare and MeshLab
--csv   NAME.instances.csv: id, class, score, points, center, box and volume of each object
--coco  one JSON for all results: images, categories, annotations with RLE masks over points
"""

import argparse
from pathlib import Path

from pcseg.cli import run_tool, write_json
from pcseg.inference.exports import coco_document, write_csv
from pcseg.inference.prediction_files import add_suffix, prediction_targets, write_painted_ply
from pcseg.prediction import Prediction
from pcseg.viz.layers import DEFAULT_THRESHOLD


def main() -> None:
    parser = argparse.ArgumentParser(description="Convert saved results to .ply, .csv or COCO-like JSON.")
    parser.add_argument("results", type=Path, nargs="+", metavar="RESULT")
    parser.add_argument("--ply", type=Path, metavar="DIR", help="painted points with scalar fields, NAME.ply")
    parser.add_argument("--csv", type=Path, metavar="DIR", help="one line per object, NAME.instances.csv")
    parser.add_argument("--coco", type=Path, metavar="FILE", help="one JSON for all results")
    parser.add_argument(
        "--threshold",
        type=float,
        default=DEFAULT_THRESHOLD,
        help=f"least score of an object; 0 keeps all, as evaluations need (default: {DEFAULT_THRESHOLD})",
    )
    args = parser.parse_args()
    if not 0 <= args.threshold <= 1:
        raise ValueError(f"--threshold must be from 0 to 1, got {args.threshold}")
    if args.ply is None and args.csv is None and args.coco is None:
        parser.error("give at least one of --ply, --csv and --coco")
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


if __name__ == "__main__":
    run_tool(main)
