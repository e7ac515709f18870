"""Convert labeled scans (.ply .pcd .npz .npy .txt .las ...) to processed rooms.

Scans have class indices in a column `semantic`, or ids of a benchmark in a column `label`
(--label-ids), and instance ids in a column `instance`.
"""

import argparse
from pathlib import Path

from pcseg.choices import CLASS_SETS
from pcseg.commands.results import claim
from pcseg.data.prepare_options import add_prepare_options
from pcseg.data.reader_options import READER_OPTIONS, add_reader_options, as_flags


def add_arguments(parser: argparse.ArgumentParser) -> None:
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
    parser.add_argument(
        "--ignore-labels",
        type=int,
        nargs="+",
        default=[],
        metavar="ID",
        help="values of `semantic` that mean no class, such as 255 or -100",
    )
    add_reader_options(parser)
    parser.add_argument("--unlabeled", action="store_true", help="also convert scans without labels")
    add_prepare_options(parser)


def run(args: argparse.Namespace) -> None:
    from functools import partial
    from operator import attrgetter

    from pcseg.classes import class_set
    from pcseg.data import preprocess
    from pcseg.data.scan_files import find_scans, read_labeled_scan
    from pcseg.prediction import is_result

    class_set(args.classes)  # reports a mistake before any scan is read
    scans = find_scans(args.raw)
    if result := next(filter(is_result, scans), None):
        raise ValueError(f"{result}: a result of pcseg; write it with labels first: pcseg export {args.raw} --las DIR")
    keys = (*READER_OPTIONS, "label_ids", "first_instance", "ignore_labels")
    options = {**{key: getattr(args, key) for key in keys}, "needs_labels": not args.unlabeled}
    read = partial(read_labeled_scan, **options)
    name_of, files_of = attrgetter("stem"), lambda path: [path]
    reader = preprocess.RoomReader(args.classes, name_of, files_of, read, repr(options))
    written = claim(args.json)
    preprocess.run(scans, reader, args, lambda text: print(as_flags(text)))
    written()
