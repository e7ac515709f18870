"""Convert raw ScanNet to processed rooms.

tools/preprocess_scannet.py RAW OUT [--workers N] [--classes scannet20] [--labels FILE] [--force] [--json FILE]
"""

import argparse
import functools
import operator
from pathlib import Path

from pcseg.cli import run_tool
from pcseg.data import scannet
from pcseg.data.preprocess import RoomReader, add_options, run


def main() -> None:
    parser = argparse.ArgumentParser(description="Convert raw ScanNet (scans/sceneNNNN_NN/...) to processed rooms.")
    parser.add_argument("raw", type=Path, help=f"folder with scans/ and {scannet.LABEL_TABLE}")
    parser.add_argument("out", type=Path, help="folder for the processed rooms")
    classes = sorted(scannet.LABEL_COLUMNS)
    parser.add_argument("--classes", choices=classes, default="scannet20", help="class set (default: scannet20)")
    parser.add_argument("--labels", type=Path, help=f"label table (default: RAW/{scannet.LABEL_TABLE})")
    add_options(parser)
    args = parser.parse_args()
    table = args.labels or args.raw / scannet.LABEL_TABLE
    reader = RoomReader(
        args.classes,
        operator.attrgetter("name"),
        functools.partial(scannet.room_files, label_table=table),
        functools.partial(scannet.read_room, label_table=table, class_set=args.classes),
    )
    run(scannet.find_rooms(args.raw), reader, args)


if __name__ == "__main__":
    run_tool(main)
