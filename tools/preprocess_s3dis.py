"""Convert raw S3DIS to processed rooms.

tools/preprocess_s3dis.py RAW OUT [--workers N] [--areas 5 6] [--force] [--json FILE]
"""

import argparse
import functools
from dataclasses import replace
from pathlib import Path

from pcseg.classes import S3DIS, ClassSet, class_set
from pcseg.cli import run_tool
from pcseg.data import s3dis
from pcseg.data.preprocess import RoomReader, add_options, run
from pcseg.data.store import RawRoom


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Convert raw S3DIS (Area_N/ROOM/Annotations/CLASS_I.txt) to processed rooms."
    )
    parser.add_argument("raw", type=Path, help="folder with Area_1 to Area_6")
    parser.add_argument("out", type=Path, help="folder for the processed rooms")
    parser.add_argument("--areas", type=int, nargs="+", help="numbers of the areas to process (default: all)")
    parser.add_argument("--classes", choices=["s3dis", "indoor"], default="s3dis", help="class set (default: s3dis)")
    add_options(parser)
    args = parser.parse_args()
    read = functools.partial(_read_room, class_set(args.classes))
    reader = RoomReader(args.classes, s3dis.room_name, s3dis.room_files, read, group_of=s3dis.area_of)
    run(s3dis.find_rooms(args.raw, args.areas), reader, args)


def _read_room(classes: ClassSet, folder: Path) -> RawRoom:
    room = s3dis.read_room(folder)
    semantic = S3DIS.mapping_to(classes)[room.scene.semantic]
    return replace(room, scene=room.scene.with_(semantic=semantic))


if __name__ == "__main__":
    run_tool(main)
