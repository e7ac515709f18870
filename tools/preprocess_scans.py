"""A folder of labeled scans of any format to processed rooms.

tools/preprocess_scans.py RAW OUT --classes s3dis|scannet20|scannet200|FILE.yaml [--first-instance 0] [--workers N]
"""

import argparse
import functools
from pathlib import Path

from pcseg.classes import CLASS_SETS, class_set
from pcseg.cli import run_tool, write_json
from pcseg.data.preprocess import RoomReader, format_report, preprocess, raise_failures
from pcseg.data.preprocess_options import add_options, command_of, keywords_of
from pcseg.data.scan_folder import find_scans, read_labeled_scan, scan_name, scan_source


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Labeled scans (.ply .pcd .npz .npy .txt .las ...) to processed rooms."
    )
    parser.add_argument("raw", type=Path, help="folder of scans, or one scan")
    parser.add_argument("out", type=Path, help="folder for the processed rooms")
    parser.add_argument(
        "--classes",
        required=True,
        help=f"what `semantic` indexes: {', '.join(CLASS_SETS)}, or a YAML file with `names: [floor, chair, ...]`",
    )
    parser.add_argument("--first-instance", type=int, choices=[0, 1], default=1, help="0: instance 0 is an object (1)")
    parser.add_argument("--label-ids", help="a column `label` holds the ids of this class set (a name or a YAML file)")
    parser.add_argument(
        "--columns", help="columns of text files that do not name them: 'x y z r g b semantic instance'"
    )
    parser.add_argument("--scale", type=float, default=1.0, help="factor to meters, 0.001 for millimeters")
    parser.add_argument("--up", choices=["x", "y", "z"], default="z", help="the axis that points up in the files")
    parser.add_argument("--drop-duplicates", action="store_true", help="keep one of the points that stand at one place")
    parser.add_argument("--gray", action="store_true", help="points without color become mid-gray")
    parser.add_argument("--drop-nan", action="store_true", help="leave out points whose coordinates are not finite")
    parser.add_argument("--unlabeled", action="store_true", help="take scans without labels, too")
    add_options(parser)
    args = parser.parse_args()

    class_set(args.classes)  # a mistake in it is told before anything is read
    options = {
        "drop_nan": args.drop_nan,
        "drop_duplicates": args.drop_duplicates,
        "gray": args.gray,
        "scale": args.scale,
        "up": args.up,
        "columns": args.columns,
        "label_ids": args.label_ids,
        "first_instance": args.first_instance,
        "needs_labels": not args.unlabeled,
    }
    reader = RoomReader(
        args.classes,
        scan_name,
        scan_source,
        functools.partial(read_labeled_scan, **options),
        settings=repr(options),
        command=command_of("preprocess_scans.py"),
    )
    report = preprocess(find_scans(args.raw), reader, args.out, **keywords_of(args))
    print(format_report(report))
    if args.json:
        write_json(args.json, report)
    raise_failures(report)


if __name__ == "__main__":
    run_tool(main)
