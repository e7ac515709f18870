"""Convert a folder of labeled scans to processed rooms.

tools/preprocess_scans.py RAW OUT --classes s3dis|scannet20|scannet200|FILE.yaml [--first-instance 0] [--workers N]
"""

import argparse
import functools
import operator
from pathlib import Path

from pcseg.classes import CLASS_SETS, class_set
from pcseg.cli import run_tool
from pcseg.data.preprocess import RoomReader, add_options, run
from pcseg.data.scan_files import READER_OPTIONS, add_reader_options, find_scans, read_labeled_scan


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Convert labeled scans (.ply .pcd .npz .npy .txt .las ...) to processed rooms."
    )
    parser.add_argument("raw", type=Path, help="folder of scans, or one scan")
    parser.add_argument("out", type=Path, help="folder for the processed rooms")
    parser.add_argument(
        "--classes",
        required=True,
        help=f"class set of the rooms: {', '.join(CLASS_SETS)}, or a YAML file with `names: [floor, chair, ...]`",
    )
    parser.add_argument(
        "--first-instance", type=int, choices=[0, 1], default=1, help="first valid instance id (default: 1)"
    )
    parser.add_argument("--label-ids", help="class set (a name or a YAML file) of the ids in the column `label`")
    add_reader_options(parser)
    parser.add_argument("--unlabeled", action="store_true", help="also convert scans without labels")
    add_options(parser)
    args = parser.parse_args()
    class_set(args.classes)  # reports a mistake before any scan is read
    keys = (*READER_OPTIONS, "label_ids", "first_instance")
    options = {**{key: getattr(args, key) for key in keys}, "needs_labels": not args.unlabeled}
    read = functools.partial(read_labeled_scan, **options)
    name_of = operator.attrgetter("stem")
    run(find_scans(args.raw), RoomReader(args.classes, name_of, lambda path: [path], read, repr(options)), args)


if __name__ == "__main__":
    run_tool(main)
