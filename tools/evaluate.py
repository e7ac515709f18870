"""Score predictions without a model, in the benchmark's own format.

tools/evaluate.py PRED GT --dataset scannet|s3dis [--allow-missing] [--json FILE] [--csv FILE]

PRED/SCENE.txt: one line "MASK_FILE LABEL_ID SCORE" per object, MASK_FILE relative to PRED; masks as .txt (one 0 or 1
per line), .npz (key mask, or packed) or .json (run lengths). GT/SCENE.txt: one number per point, label id * 1000 +
instance, 0 where nothing is annotated; the label ids of S3DIS are 1 (ceiling) to 13 (clutter).
"""

import argparse
import sys
from pathlib import Path

from pcseg.cli import run_tool, write_json
from pcseg.labels import CLASS_SETS, class_set
from pcseg.metrics.benchmark_evaluation import evaluate_folders
from pcseg.metrics.benchmark_files import write_file
from pcseg.metrics.table import format_table, to_csv, to_json

SHORT_NAMES = {"scannet": "scannet20"}


def main() -> None:
    parser = argparse.ArgumentParser(description="Instance AP of predictions on disk; for S3DIS its protocols too.")
    parser.add_argument("pred", type=Path, help="folder of predictions")
    parser.add_argument("gt", type=Path, help="folder of ground truth")
    parser.add_argument("--dataset", required=True, choices=sorted({*SHORT_NAMES, *CLASS_SETS}))
    parser.add_argument("--allow-missing", action="store_true", help="leave out scenes without a file of predictions")
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    parser.add_argument("--csv", type=Path, help="write the AP table here as well")
    args = parser.parse_args()

    dataset: str = args.dataset
    classes = class_set(SHORT_NAMES.get(dataset, dataset))
    scores = evaluate_folders(args.pred, args.gt, classes, allow_missing=args.allow_missing)
    if scores.missing:
        total = len(scores.scenes) + len(scores.missing)
        print(f"scored {len(scores.scenes)} of {total} scenes, the others have no predictions", file=sys.stderr)
    content = to_json(scores.ap)
    print(format_table(scores.ap))
    if scores.s3dis is not None:
        content["s3dis"] = to_json(scores.s3dis)
        print()
        print(format_table(scores.s3dis))
    if args.json:
        write_json(args.json, content)
    if args.csv:
        write_file(args.csv, to_csv(scores.ap).encode())


if __name__ == "__main__":
    run_tool(main)
