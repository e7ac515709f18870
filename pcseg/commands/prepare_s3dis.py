"""Convert raw S3DIS (Area_N/ROOM/Annotations/CLASS_I.txt) to processed rooms."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pcseg.commands.results import claim
from pcseg.data.prepare_options import add_prepare_options

if TYPE_CHECKING:
    from pcseg.data.store import RawRoom


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("raw", type=Path, help="folder with Area_1 to Area_6")
    parser.add_argument("out", type=Path, help="folder for the processed rooms")
    parser.add_argument("--areas", type=int, nargs="+", help="numbers of the areas to process (default: all)")
    parser.add_argument("--classes", choices=["s3dis", "indoor"], default="s3dis", help="class set (default: s3dis)")
    add_prepare_options(parser)


def run(args: argparse.Namespace) -> None:
    from functools import partial

    from pcseg.data import preprocess, s3dis

    read = partial(_read_room, args.classes)
    reader = preprocess.RoomReader(args.classes, s3dis.room_name, s3dis.room_files, read, group_of=s3dis.area_of)
    written = claim(args.json)
    preprocess.run(s3dis.find_rooms(args.raw, args.areas), reader, args, print)
    written()


def _read_room(classes: str, folder: Path) -> "RawRoom":
    from dataclasses import replace

    from pcseg.classes import S3DIS, class_set
    from pcseg.data.s3dis import read_room

    room = read_room(folder)
    semantic = S3DIS.mapping_to(class_set(classes))[room.scene.semantic]
    return replace(room, scene=room.scene.with_(semantic=semantic))
