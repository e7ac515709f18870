"""A folder of labelled scans of any format to processed rooms.

tools/preprocess_scans.py RAW OUT --classes s3dis|scannet20 [--first-instance 0] [--workers N] [--force] [--json FILE]
"""

import argparse
import functools
from pathlib import Path

from pcseg.cli import run_tool, write_json
from pcseg.data.preprocess import RoomReader, format_report, preprocess, raise_failures
from pcseg.data.scan_folder import find_scans, read_labelled_scan, scan_name, scan_source
from pcseg.labels import CLASS_SETS


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Labelled scans (.ply .pcd .npz .npy .txt .las ...) to processed rooms."
    )
    parser.add_argument("raw", type=Path, help="folder of scans, or one scan")
    parser.add_argument("out", type=Path, help="folder for the processed rooms")
    parser.add_argument("--classes", choices=sorted(CLASS_SETS), required=True, help="what `semantic` indexes")
    parser.add_argument("--first-instance", type=int, choices=[0, 1], default=1, help="0: instance 0 is an object (1)")
    parser.add_argument("--label-ids", choices=sorted(CLASS_SETS), help="a column `label` holds ids of this benchmark")
    parser.add_argument(
        "--columns", help="columns of text files that do not name them: 'x y z r g b semantic instance'"
    )
    parser.add_argument("--scale", type=float, default=1.0, help="factor to metres, 0.001 for millimetres")
    parser.add_argument("--up", choices=["x", "y", "z"], default="z", help="the axis that points up in the files")
    parser.add_argument("--drop-nan", action="store_true", help="leave out points whose coordinates are not finite")
    parser.add_argument("--unlabelled", action="store_true", help="take scans without labels, too")
    parser.add_argument("--workers", type=int, default=1, help="processes (1)")
    parser.add_argument("--voxel-size", type=float, default=0.02, help="of the over-segmentation, in metres (0.02)")
    parser.add_argument("--force", action="store_true", help="process rooms again that are up to date")
    parser.add_argument("--json", type=Path, help="write the report here as well")
    args = parser.parse_args()

    options = {
        "drop_nan": args.drop_nan,
        "scale": args.scale,
        "up": args.up,
        "columns": args.columns,
        "label_ids": args.label_ids,
        "first_instance": args.first_instance,
        "needs_labels": not args.unlabelled,
    }
    reader = RoomReader(
        args.classes,
        scan_name,
        scan_source,
        functools.partial(read_labelled_scan, **options),
        settings=repr(options),
    )
    report = preprocess(
        find_scans(args.raw), reader, args.out, num_workers=args.workers, force=args.force, voxel_size=args.voxel_size
    )
    print(format_report(report))
    if args.json:
        write_json(args.json, report)
    raise_failures(report)


if __name__ == "__main__":
    run_tool(main)
