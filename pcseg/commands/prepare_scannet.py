"""Convert raw ScanNet (scans/sceneNNNN_NN/...) to processed rooms."""

import argparse
from pathlib import Path

from pcseg.choices import SCANNET_LABEL_COLUMNS, SCANNET_LABEL_TABLE
from pcseg.commands.results import claim
from pcseg.data.prepare_options import add_prepare_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("raw", type=Path, help=f"folder with scans/ and {SCANNET_LABEL_TABLE}")
    parser.add_argument("out", type=Path, help="folder for the processed rooms")
    classes = sorted(SCANNET_LABEL_COLUMNS)
    parser.add_argument("--classes", choices=classes, default="scannet20", help="class set (default: scannet20)")
    parser.add_argument("--labels", type=Path, help=f"label table (default: RAW/{SCANNET_LABEL_TABLE})")
    add_prepare_options(parser)


def run(args: argparse.Namespace) -> None:
    from functools import partial
    from operator import attrgetter

    from pcseg.data import preprocess, scannet

    table = args.labels or args.raw / SCANNET_LABEL_TABLE
    reader = preprocess.RoomReader(
        args.classes,
        attrgetter("name"),
        partial(scannet.room_files, label_table=table),
        partial(scannet.read_room, label_table=table, class_set=args.classes),
    )
    written = claim(args.json)
    preprocess.run(scannet.find_rooms(args.raw), reader, args, print)
    written()
